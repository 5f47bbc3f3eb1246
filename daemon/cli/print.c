/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned text and JSON from the same rows. Cells are made twice, once for their width and once to
 * be written: nothing is stored, however many rows there are.
 */
#include "daemon/cli/print.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <systemd/sd-json.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum {
	COLUMNS_MAX = 24,
	GAP = 2,
};

/* ---- cells --------------------------------------------------------------------------------- */

static void format_bytes(uint64_t n, char buf[PRINT_CELL_MAX])
{
	static const char units[] = { 'K', 'M', 'G', 'T', 'P', 'E' };
	if (n < 1024) {
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64, n);
		return;
	}
	size_t i = 0;
	double value = (double)n / 1024;
	for (; value >= 1024 && i + 1 < sizeof(units); i++)
		value /= 1024;
	(void)snprintf(buf, PRINT_CELL_MAX, "%.1f%c", value, units[i]);
}

/* The two largest units say enough. */
static void format_age(uint64_t sec, char buf[PRINT_CELL_MAX])
{
	if (sec < 60)
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64 "s", sec);
	else if (sec < 3600)
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64 "m %" PRIu64 "s", sec / 60,
			       sec % 60);
	else if (sec < 86400)
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64 "h %" PRIu64 "m", sec / 3600,
			       sec % 3600 / 60);
	else
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64 "d %" PRIu64 "h", sec / 86400,
			       sec % 86400 / 3600);
}

static void format_number(const struct print *p, uint64_t n, enum print_as as,
			  char buf[PRINT_CELL_MAX])
{
	switch (as) {
	case PRINT_AS_TEXT:
	case PRINT_AS_COUNT:
		(void)snprintf(buf, PRINT_CELL_MAX, "%" PRIu64, n);
		return;
	case PRINT_AS_BYTES:
		format_bytes(n, buf);
		return;
	case PRINT_AS_AGE:
		if (n == 0)
			(void)snprintf(buf, PRINT_CELL_MAX, "-");
		else
			format_age(p->now_usec > n ? (p->now_usec - n) / 1000000 : 0, buf);
		return;
	case PRINT_AS_DELAY:
		(void)snprintf(buf, PRINT_CELL_MAX, "%.1fms", (double)n / 1000);
		return;
	case PRINT_AS_PER_MIL:
		(void)snprintf(buf, PRINT_CELL_MAX, "%.2f%%", (double)n / 10000);
		return;
	}
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* Appends text (UTF-8) to buf at len, cut between characters. Returns the new length. */
static size_t append_text(char buf[PRINT_CELL_MAX], size_t len, const char *text)
{
	size_t whole = len; /* up to here no character is cut */
	for (; *text && len + 1 < PRINT_CELL_MAX; text++) {
		unsigned char c = (unsigned char)*text;
		if ((c & 0xc0) != 0x80)
			whole = len;
		/* U+0080 … U+009F control terminals as well. */
		bool is_c1 = c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80;
		buf[len++] = (char)(is_control(c) || is_c1 ? '?' : c);
		text += is_c1;
	}
	if (*text)
		len = whole;
	buf[len] = '\0';
	return len;
}

static void format_array(sd_json_variant *array, char buf[PRINT_CELL_MAX])
{
	size_t len = 0;
	buf[0] = '\0';
	for (size_t i = 0; i < sd_json_variant_elements(array); i++) {
		sd_json_variant *item = sd_json_variant_by_index(array, i);
		if (!sd_json_variant_is_string(item))
			continue;
		len = append_text(buf, len, len ? " " : "");
		len = append_text(buf, len, sd_json_variant_string(item));
	}
}

const char *print_cell(const struct print *p, struct sd_json_variant *row,
		       const struct print_column *column, char buf[PRINT_CELL_MAX])
{
	sd_json_variant *value = sd_json_variant_by_key(row, column->key);
	buf[0] = '\0';
	if (sd_json_variant_is_string(value))
		(void)append_text(buf, 0, sd_json_variant_string(value));
	else if (sd_json_variant_is_unsigned(value))
		format_number(p, sd_json_variant_unsigned(value), column->as, buf);
	else if (sd_json_variant_is_array(value))
		format_array(value, buf);
	if (buf[0] == '\0')
		(void)snprintf(buf, PRINT_CELL_MAX, "-");
	return buf;
}

/* ---- tables -------------------------------------------------------------------------------- */

/* Characters, where all are one column wide: true of what daemons say. */
static size_t width_of(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* The last cell of a line is not filled up. */
static void put_cell(FILE *out, const char *text, size_t width, bool is_last)
{
	size_t have = width_of(text);
	(void)fputs(text, out);
	if (is_last)
		(void)fputc('\n', out);
	else
		(void)fprintf(out, "%*s", (int)(width > have ? width - have : 0) + GAP, "");
}

void print_head(const struct print *p, struct sd_json_variant *document,
		const struct print_column *columns, size_t count)
{
	char cell[PRINT_CELL_MAX];
	size_t width = 0;
	for (size_t i = 0; i < count; i++)
		width = MAX(width, width_of(columns[i].heading));
	for (size_t i = 0; i < count; i++) {
		put_cell(p->out, columns[i].heading, width, false);
		put_cell(p->out, print_cell(p, document, &columns[i], cell), 0, true);
	}
}

void print_rows(const struct print *p, struct sd_json_variant *document,
		const struct print_table *table)
{
	sd_json_variant *array = sd_json_variant_by_key(document, table->key);
	size_t rows = sd_json_variant_is_array(array) ? sd_json_variant_elements(array) : 0;
	size_t count = MIN(table->count, (size_t)COLUMNS_MAX);
	size_t widths[COLUMNS_MAX] = {};
	char cell[PRINT_CELL_MAX];
	for (size_t i = 0; i < count; i++)
		widths[i] = width_of(table->columns[i].heading);
	for (size_t n = 0; n < rows * count; n++) {
		size_t i = n % count;
		sd_json_variant *row = sd_json_variant_by_index(array, n / count);
		widths[i] = MAX(widths[i], width_of(print_cell(p, row, &table->columns[i], cell)));
	}
	for (size_t i = 0; i < count; i++)
		put_cell(p->out, table->columns[i].heading, widths[i], i + 1 == count);
	for (size_t n = 0; n < rows * count; n++) {
		size_t i = n % count;
		sd_json_variant *row = sd_json_variant_by_index(array, n / count);
		put_cell(p->out, print_cell(p, row, &table->columns[i], cell), widths[i],
			 i + 1 == count);
	}
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* A copy of a row in which no column is missing is appended to array. */
static int append_whole_row(sd_json_variant **array, sd_json_variant *row,
			    const struct print_table *table)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *whole = sd_json_variant_ref(row);
	int r = 0;
	for (size_t i = 0; r >= 0 && i < table->count; i++)
		if (!sd_json_variant_by_key(whole, table->columns[i].key))
			r = sd_json_variant_set_fieldb(&whole, table->columns[i].key,
						       SD_JSON_BUILD_NULL);
	return r < 0 ? r : sd_json_variant_append_array(array, whole);
}

static int complete_table(sd_json_variant **document, const struct print_table *table)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *array = NULL;
	sd_json_variant *rows = sd_json_variant_by_key(*document, table->key);
	int r = sd_json_variant_new_array(&array, NULL, 0);
	for (size_t i = 0; r >= 0 && i < sd_json_variant_elements(rows); i++)
		r = append_whole_row(&array, sd_json_variant_by_index(rows, i), table);
	return r < 0 ? r : sd_json_variant_set_field(document, table->key, array);
}

int print_json(const struct print *p, struct sd_json_variant *document,
	       const struct print_table *tables, size_t count)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *whole = sd_json_variant_ref(document);
	int r = 0;
	for (size_t i = 0; r >= 0 && i < count; i++)
		r = complete_table(&whole, &tables[i]);
	if (r >= 0)
		r = sd_json_variant_dump(whole, SD_JSON_FORMAT_PRETTY | SD_JSON_FORMAT_NEWLINE,
					 p->out, NULL);
	return MIN(r, 0);
}
