/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INI text to section instances and entries: inih behind a line reader of ours that counts lines
 * and refuses what inih would cut or guess at (adit.md §2.1). Knows no key.
 */
#ifndef DAEMON_CONF_INI_H
#define DAEMON_CONF_INI_H

#include "daemon/conf/report.h"
#include "util/span.h"

/* Longest line without its end, bytes; longest text between the brackets of a header. */
constexpr size_t INI_LINE_MAX = 4093;
constexpr size_t INI_HEADER_MAX = 48;

struct conf_arena;

struct ini_entry {
	const char *key;
	const char *value; /* "" when empty */
	unsigned int line;
};

struct ini_section {
	const char *kind;
	const char *name; /* NULL: none */
	unsigned int line;
	struct ini_entry *entries; /* in order; continuation lines repeat the key */
	size_t entry_count;
};

struct ini_file {
	struct ini_section *sections;
	size_t section_count;
	struct conf_arena *arena; /* where all of it lives */
};

void ini_file_done(struct ini_file *f);

/*
 * Says whether a key is a list (then indented lines may follow it). An unknown key counts as a
 * list, so that it gives one message and not one a line.
 */
typedef bool (*ini_is_list_fn)(void *userdata, const char *kind, const char *key);

/* Whose text it is. */
struct ini_source {
	const char *file; /* name in messages */
	ini_is_list_fn is_list;
	void *userdata;
};

/*
 * Reads a whole text. Every fault is added to the report with its line; the rest of the text is
 * read nevertheless.
 *
 * Returns 0 (also with faults: report->errors says), -ENOMEM. conf_global_init() must have run.
 */
[[nodiscard]] int ini_parse_text(struct span text, const struct ini_source *source,
				 struct conf_report *report, struct ini_file *ret);

#endif
