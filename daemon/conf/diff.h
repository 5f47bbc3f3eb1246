/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration that is read again: what differs from the one in force, and which of it can't
 * take effect while the program runs (the schema's "takes effect on reload" decides).
 *
 * Three snapshots meet here. The one of the start says what can't change; the one in force is what
 * the last reload made; the new one is what the file says now. A new one is put together before it
 * is published: conf_keep_fixed() gives the options that need a restart the value of the start, so
 * that whoever reads it sees what is true of the running program. It holds a reference of the
 * start's snapshot and of no other, so a thousand reloads keep two in memory.
 */
#ifndef DAEMON_CONF_DIFF_H
#define DAEMON_CONF_DIFF_H

#include "daemon/conf/conf.h"
#include "daemon/conf/edge_conf.h"
#include "util/macro.h"

/* Names as --set takes them: "log.level", "ingress.blog.service"; with more in brackets behind. */
struct conf_changes {
	struct conf_names {
		char **items; /* owned */
		size_t count;
		size_t room;
	} changed, need_restart;
};

/* Frees the names; harmless on an empty one. */
void conf_changes_done(struct conf_changes *c);
/* Adds one more name, printf-like: what the texts don't show. 0 or -ENOMEM. */
[[nodiscard]] PRINTF_LIKE(2, 3) int conf_names_add(struct conf_names *names, const char *format,
						   ...);

/*
 * Compares the texts of three snapshots of one program; a text that says the same as the default is
 * no difference. Fills *ret, which must be empty: changed is what differs between old and now and
 * takes effect, need_restart what differs between boot and now and doesn't. Options and sections
 * without effect in this version are left out. Returns 0 or -ENOMEM (then *ret is empty).
 */
[[nodiscard]] int conf_diff(const struct conf_common *boot, const struct conf_common *old,
			    const struct conf_common *now, struct conf_changes *ret);

/*
 * Gives now, which nobody else has yet, what boot says of all that needs a restart, and a reference
 * of boot. A credential of the same tunnel stays new, that of another tunnel doesn't. What the
 * texts don't tell is added to changes: old is the one in force. Returns 0 or -ENOMEM.
 */
[[nodiscard]] int conf_keep_fixed(struct conf *now, struct conf *boot, const struct conf *old,
				  struct conf_changes *changes);
[[nodiscard]] int edge_conf_keep_fixed(struct edge_conf *now, struct edge_conf *boot,
				       struct conf_changes *changes);

#endif
