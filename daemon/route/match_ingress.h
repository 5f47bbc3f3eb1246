/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress rules, compiled: exact hosts and wildcard suffixes in one index, then paths; the first
 * match in the order of the file wins (ingress-and-origins §3).
 */
#ifndef DAEMON_ROUTE_MATCH_INGRESS_H
#define DAEMON_ROUTE_MATCH_INGRESS_H

#include "daemon/conf/pattern.h"
#include "daemon/conf/rule.h"

struct match_ingress;

/* rules are borrowed and must outlive the result. Returns 0 or -ENOMEM. */
[[nodiscard]] int match_ingress_new(const struct conf_rule *rules, size_t count,
				    struct match_ingress **ret);
void match_ingress_free(struct match_ingress *m);
DEFINE_CLEANUP(struct match_ingress *, match_ingress_free)

/*
 * Finds the first rule for a host (port and all, any case) and a decoded path.
 *
 * Returns 0 with its index; -ESTALE when none matches; -E2BIG when the path expression of rule
 * *ret_index (written in this case too) reached its limit.
 */
[[nodiscard]] int match_ingress_find(const struct match_ingress *m, struct pattern_scratch *s,
				     struct span host, struct span path, size_t *ret_index);

#endif
