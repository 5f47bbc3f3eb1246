/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned text and JSON from the same rows: a table says which member of an object is shown, under
 * which heading and how.
 */
#ifndef DAEMON_CLI_PRINT_H
#define DAEMON_CLI_PRINT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sd_json_variant;

enum print_as : uint8_t {
	PRINT_AS_TEXT,    /* string, or strings of an array with blanks between */
	PRINT_AS_COUNT,   /* 17 */
	PRINT_AS_BYTES,   /* 1.5M */
	PRINT_AS_AGE,     /* microseconds of CLOCK_REALTIME: "3h 5m" ago */
	PRINT_AS_DELAY,   /* microseconds: 12.3ms */
	PRINT_AS_PER_MIL, /* parts of a million: 0.12% */
};

/* A column of a table, or a line of a head. */
struct print_column {
	const char *key; /* member of the row's object; absent or null is shown as "-" */
	const char *heading;
	enum print_as as;
};

struct print_table {
	const char *key; /* member of the document: an array of objects */
	const struct print_column *columns;
	size_t count;
};

/* Time that ages are counted from: microseconds of CLOCK_REALTIME. */
struct print {
	FILE *out;
	uint64_t now_usec;
};

enum { PRINT_CELL_MAX = 320 };

/*
 * One member as text into buf, which is returned. Control characters become '?': part of what is
 * shown was sent by the other end of a connection.
 */
const char *print_cell(const struct print *p, struct sd_json_variant *row,
		       const struct print_column *column, char buf[PRINT_CELL_MAX]);

/* "heading  value", one line for each column of document. */
void print_head(const struct print *p, struct sd_json_variant *document,
		const struct print_column *columns, size_t count);

/* Headings, then a line for each row; each column as wide as its widest cell. */
void print_rows(const struct print *p, struct sd_json_variant *document,
		const struct print_table *table);

/*
 * The document as JSON, in which every row has every column of its table: what the daemon left out
 * is null. Returns 0 or a negative errno.
 */
[[nodiscard]] int print_json(const struct print *p, struct sd_json_variant *document,
			     const struct print_table *tables, size_t count);

#endif
