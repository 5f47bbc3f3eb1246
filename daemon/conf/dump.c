/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints configuration as INI and all options as Markdown. Both walk the schema, so an option that
 * exists is shown.
 */
#include "daemon/conf/dump.h"

#include <errno.h>
#include <string.h>

#include "daemon/conf/schema_priv.h"

/* ---- effective configuration ---- */

/* What stands before "@" may be a password. */
static void put_text(FILE *to, const struct schema_option *o, const char *text)
{
	const char *at = o->flags & SCHEMA_SECRET ? strrchr(text, '@') : NULL;
	const char *scheme = at ? strstr(text, "://") : NULL;
	if (!at) {
		(void)fputs(text, to);
		return;
	}
	if (scheme && scheme < at)
		(void)fprintf(to, "%.*s", (int)(scheme + 3 - text), text);
	(void)fprintf(to, "***%s", at);
}

static void put_origin(FILE *to, const struct conf_item *item, const struct conf_common *c)
{
	if (item->line && c->file && strcmp(item->file, c->file) == 0)
		(void)fprintf(to, "  ; line %u\n", item->line);
	else
		(void)fprintf(to, "  ; %s\n", item->file);
}

static void put_value(FILE *to, const struct conf_common *c, const struct conf_value *v)
{
	const char *prefix = v->table->prefix ? v->table->prefix : "";
	bool has_commas = v->option->flags & SCHEMA_COMMAS;
	for (size_t i = 0; i < v->item_count; i++) {
		if (i == 0 || !has_commas)
			(void)fprintf(to, "%s%s = ", prefix, v->option->key);
		put_text(to, v->option, v->items[i].text);
		if (has_commas && i + 1 < v->item_count)
			(void)fputs(", ", to);
		else
			put_origin(to, &v->items[i], c);
	}
}

static const struct conf_value *
value_of(const struct conf_section *s, const struct schema_option *o, const struct schema_table *t)
{
	for (size_t i = 0; s && i < s->value_count; i++)
		if (s->values[i].option == o && s->values[i].table == t && s->values[i].item_count)
			return &s->values[i];
	return NULL;
}

/* A section with its values; what isn't given is shown as a comment, as is a section that isn't.
 * Inherited rows only if given.
 */
static void put_section(FILE *to, const struct conf_common *c, const struct schema_section *schema,
			const struct conf_section *s)
{
	(void)fprintf(to, "\n%s[%s%s%s]\n", s ? "" : "; ", schema->kind, s && s->name ? " " : "",
		      s && s->name ? s->name : "");
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++) {
		const struct schema_table *t = &schema->tables[i];
		for (const struct schema_option *o = t->rows; o && o->key; o++) {
			const struct conf_value *v = value_of(s, o, t);
			if (v)
				put_value(to, c, v);
			else if (!t->is_inherited)
				(void)fprintf(to, "; %s = %s\n", o->key, o->def);
		}
	}
}

int conf_dump(const struct conf_common *c, FILE *to)
{
	(void)fprintf(to, "; effective configuration; lines that begin with ; are defaults\n");
	for (const struct schema_section *schema = schema_sections; schema->kind; schema++) {
		if (!(schema->programs & c->program))
			continue;
		bool is_shown = false;
		for (size_t i = 0; i < c->section_count; i++)
			if (c->sections[i].schema == schema) {
				put_section(to, c, schema, &c->sections[i]);
				is_shown = true;
			}
		if (!is_shown && schema->naming == SCHEMA_NAMING_NONE && !schema->is_later)
			put_section(to, c, schema, NULL);
	}
	return fflush(to) == EOF || ferror(to) ? -EIO : 0;
}

/* ---- docs/config.md ---- */

static void put_cell(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			(void)fputc('\\', to);
		(void)fputc(*text, to);
	}
}

static void doc_notes(FILE *to, const struct schema_option *o, bool is_later)
{
	if (o->flags & SCHEMA_LIST)
		(void)fputs(o->flags & SCHEMA_COMMAS
				    ? " A list, divided by commas or one item a line."
				    : " A list, one item a line.",
			    to);
	if (o->flags & SCHEMA_REQUIRED)
		(void)fputs(" Required.", to);
	if (o->env)
		(void)fprintf(to, " Environment: `%s`.", o->env);
	if (o->flags & SCHEMA_RELOAD)
		(void)fputs(" Takes effect on reload.", to);
	if ((o->flags & SCHEMA_LATER) && !is_later)
		(void)fputs(" **Without effect in this version.**", to);
}

static void doc_table(FILE *to, const struct schema_section *s, const struct schema_table *t)
{
	char accepts[512];
	for (const struct schema_option *o = t->rows; o && o->key; o++) {
		(void)fprintf(to, "| `%s` | ", o->key);
		if (o->def[0])
			(void)fprintf(to, "`%s`", o->def);
		(void)fputs(" | ", to);
		put_cell(to, schema_accepts(o, accepts, sizeof(accepts)));
		(void)fputs(" | ", to);
		put_cell(to, o->help);
		doc_notes(to, o, s->is_later);
		(void)fputs(" |\n", to);
	}
}

static void doc_section(FILE *to, const struct schema_section *s)
{
	(void)fprintf(to, "\n### [%s%s]\n\n%s%s\n\n", s->kind,
		      s->naming == SCHEMA_NAMING_REQUIRED ? " NAME" : "", s->help,
		      s->is_later ? " **Without effect in this version.**" : "");
	(void)fputs("| key | default | accepted | meaning |\n|---|---|---|---|\n", to);
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++)
		if (!s->tables[i].is_inherited)
			doc_table(to, s, &s->tables[i]);
}

static void doc_program(FILE *to, enum conf_program program, const char *title)
{
	(void)fprintf(to, "\n## %s\n", title);
	for (const struct schema_section *s = schema_sections; s->kind; s++)
		if (s->programs & program)
			doc_section(to, s);
}

int conf_dump_docs(FILE *to)
{
	(void)fputs(
		"<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
		"# Configuration\n\n"
		"Generated by `aditd --dump-docs` from the option table (`daemon/conf/schema*.c`): change it there.\n\n"
		"`[kind]` or `[kind name]`, then `key = value`. Keys begin in column 0; an indented line continues a "
		"list. `;` begins a comment, in a value after a blank. Names are `[a-z0-9][a-z0-9_.-]{0,31}`. Times "
		"need a unit (`250ms 30s 5m 1h`), except 0; sizes take `K M G` (binary); booleans are `yes` or `no`. "
		"An empty value means the default. A line has at most 4093 bytes, a file 16 MiB, and there are at "
		"most 100000 rules.\n\n"
		"The command line wins over the environment, that over the file, that over the default. "
		"`--set section.key=value` (or `section.name.key=value`) sets any option. `--check` reports every "
		"fault with its line; `--dump-config` prints what is in force.\n\n"
		"A changed file takes effect by SIGHUP, `systemctl reload`, `adit reload`, or by itself with `watch-config`. "
		"It is checked whole first; with a fault in it everything stays as it is. Requests that run end with "
		"the configuration that they began with. Secrets, certificates and authorities in files are read again too. "
		"An option that doesn't say \"Takes effect on reload\" keeps its value until a restart; `adit reload` and "
		"`adit status` name those that wait for one.\n\n"
		"Credentials are looked for in this order: `--token`, then `token-file` or `credentials-file` by "
		"`--set`; the environment's `TUNNEL_TOKEN`, `TUNNEL_TOKEN_FILE`, `TUNNEL_CRED_FILE`; the file's; "
		"`token`, then `credentials.json` in `$CREDENTIALS_DIRECTORY`. A file with a secret that group or "
		"others may read is refused.\n",
		to);
	doc_program(to, CONF_PROGRAM_ADITD,
		    "aditd: `/etc/adit/adit.conf`, instance NAME: `/etc/adit/NAME.conf`");
	doc_program(to, CONF_PROGRAM_EDGE, "adit-edge: `/etc/adit/edge.conf`");
	return fflush(to) == EOF || ferror(to) ? -EIO : 0;
}
