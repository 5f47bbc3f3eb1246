/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS towards the origins of a snapshot: whom each rule trusts, and which name a request asks for
 * (ingress-and-origins §8).
 */
#ifndef DAEMON_ORIGIN_ORIGIN_TLS_H
#define DAEMON_ORIGIN_ORIGIN_TLS_H

#include "daemon/conf/conf.h"

struct ssl_ctx_st;
struct ssl_st;
struct origin_tls;

/*
 * Makes the contexts of all rules whose service has TLS; rules with the same trust share one. Reads
 * ca-pool files. Main thread; immutable afterwards, for any thread.
 *
 * Returns 0, -ENOMEM, or -EINVAL with the rule and why its ca-pool isn't one (static text).
 */
[[nodiscard]] int origin_tls_new(const struct conf *conf, struct origin_tls **ret,
				 const struct conf_rule **ret_rule, const char **ret_reason);
/* Accepts NULL. */
void origin_tls_free(struct origin_tls *tls);
/* The context of a rule of that snapshot; NULL where its service has no TLS. Borrowed. */
struct ssl_ctx_st *origin_tls_context(const struct origin_tls *tls, const struct conf_rule *rule);

enum { ORIGIN_TLS_NAME_MAX = 254 }; /* with its NUL */

/* Whether the name depends on the request: then connections are kept apart by it. */
bool origin_tls_name_varies(const struct conf_rule *rule);
/*
 * The name to ask for and to verify: origin-server-name, the service's host, or the request's Host
 * without port, brackets and last dot, in lower case.
 *
 * Returns 0 or -EINVAL: the Host is no name or address.
 */
[[nodiscard]] int origin_tls_name(const struct conf_rule *rule, struct span authority,
				  char ret[ORIGIN_TLS_NAME_MAX]);

#endif
