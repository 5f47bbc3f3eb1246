/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the loader share: the sections as they were given, and how faults are told.
 */
#ifndef DAEMON_CONF_LOAD_PRIV_H
#define DAEMON_CONF_LOAD_PRIV_H

#include "daemon/conf/arena.h"
#include "daemon/conf/load.h"
#include "daemon/conf/schema.h"
#include "util/macro.h"

/* Options about which "no effect in this version" has been said. */
constexpr size_t LOAD_LATER_MAX = 256;

struct loader {
	const struct conf_source *src;
	enum conf_program program;
	struct conf_report *report;
	struct conf_arena *arena; /* of the snapshot */
	const char *file;         /* that was read; NULL: none, or it doesn't exist and needn't */
	struct conf_section *sections;
	size_t section_count;
	const void *said_later[LOAD_LATER_MAX]; /* rows and sections */
	size_t said_later_count;
	size_t errors_before; /* in the report when loading began */
};

/*
 * Reads file, environment and --set into l->sections; checks names of sections and keys. 0 or
 * -ENOMEM (faults are in the report).
 */
[[nodiscard]] int load_gather(struct loader *l);

/* Applies defaults and values of every section without a name to the snapshot. 0 or -ENOMEM. */
[[nodiscard]] int load_apply_unnamed(struct loader *l, void *conf);
/* Applies the values of one section to its struct (NULL: checks only). 0 or -ENOMEM. */
[[nodiscard]] int load_apply_values(struct loader *l, const struct conf_section *s, void *base);
/* Applies the defaults of a kind of section. 0 or -ENOMEM. */
[[nodiscard]] int load_apply_defaults(struct loader *l, const struct schema_section *schema,
				      void *base);
/* Checks the named sections that nothing is kept of. 0 or -ENOMEM. */
[[nodiscard]] int load_check_unstored(struct loader *l);
/* What options of both programs must agree on. */
void load_check_common(struct loader *l, const struct conf_common *c);
/* Fills what every snapshot has besides its options. */
void load_finish_common(const struct loader *l, struct conf_common *c);

/* The value of an environment variable, or NULL when it is unset or empty. */
const char *load_environment(const struct loader *l, const char *name);
/* The first section of this kind, or NULL. */
const struct conf_section *load_find(const struct loader *l, const char *kind);
/* What was given for a key, or NULL (also for "key ="). s may be NULL. */
const struct conf_value *load_value(const struct conf_section *s, const char *key);
/* Where its first item stands, for a message; NULL when nothing was given. */
const struct conf_item *load_item(const struct conf_section *s, const char *key);
size_t load_count(const struct loader *l, const char *kind);

/*
 * Report "[kind name] key: …" at an item, or at the section when at is NULL. key may be NULL.
 */
PRINTF_LIKE(5, 6)
void load_error(struct loader *l, const struct conf_section *s, const char *key,
		const struct conf_item *at, const char *format, ...);
PRINTF_LIKE(5, 6)
void load_warn(struct loader *l, const struct conf_section *s, const char *key,
	       const struct conf_item *at, const char *format, ...);

/* Says once for each row or section that it has no effect in this version. */
void load_tell_later(struct loader *l, const struct conf_section *s, const struct conf_value *v);

/* A text for a message: cut, and without what stands before "@" if it may be a password. */
const char *load_quote(const char *text, bool is_secret, char *buf, size_t size);

#endif
