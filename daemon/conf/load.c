/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First half of loading: where values come from. The file's sections, then the environment, then
 * --set are gathered as texts with their origin; a later source takes the place of an earlier one.
 * Which keys exist is asked of the schema, what they mean is for load_apply.c.
 */
#include "daemon/conf/load.h"

#include <fcntl.h>
#include <stdarg.h>

#include "daemon/conf/ini.h"
#include "daemon/conf/load_priv.h"
#include "daemon/wire/http_field.h"

/* ---- messages ---- */

const char *load_quote(const char *text, bool is_secret, char *buf, size_t size)
{
	const char *at = is_secret ? strrchr(text, '@') : NULL;
	int len = (int)MIN(strlen(at ? at : text), (size_t)100);
	(void)snprintf(buf, size, "%s%.*s", at ? "***" : "", len, at ? at : text);
	return buf;
}

/* Where a message belongs to. */
struct place {
	const struct conf_section *s;
	const char *key;
	const struct conf_item *at;
};

__attribute__((format(printf, 4, 0))) static void
tell(struct loader *l, enum conf_severity severity, struct place p, const char *format, va_list ap)
{
	char text[1500];
	const struct conf_section *s = p.s;
	(void)vsnprintf(text, sizeof(text), format, ap);
	conf_report_add(l->report, severity, p.at ? p.at->file : s->file,
			p.at ? p.at->line : s->line, "[%s%s%s]%s%s: %s", s->schema->kind,
			s->name ? " " : "", s->name ? s->name : "", p.key ? " " : "",
			p.key ? p.key : "", text);
}

void load_error(struct loader *l, const struct conf_section *s, const char *key,
		const struct conf_item *at, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	tell(l, CONF_SEVERITY_ERROR, (struct place){ s, key, at }, format, ap);
	va_end(ap);
}

void load_warn(struct loader *l, const struct conf_section *s, const char *key,
	       const struct conf_item *at, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	tell(l, CONF_SEVERITY_WARNING, (struct place){ s, key, at }, format, ap);
	va_end(ap);
}

void load_tell_later(struct loader *l, const struct conf_section *s, const struct conf_value *v)
{
	bool is_section = s->schema->is_later;
	const void *what = is_section ? (const void *)s->schema : v->option;
	for (size_t i = 0; i < l->said_later_count; i++)
		if (l->said_later[i] == what)
			return;
	if (l->said_later_count == LOAD_LATER_MAX)
		return;
	l->said_later[l->said_later_count++] = what;
	if (is_section)
		load_warn(l, s, NULL, NULL, "has no effect in this version");
	else
		load_warn(l, s, v->option->key, &v->given, "has no effect in this version");
}

/* ---- look-ups ---- */

const struct conf_section *load_find(const struct loader *l, const char *kind)
{
	for (size_t i = 0; i < l->section_count; i++)
		if (strcmp(l->sections[i].schema->kind, kind) == 0)
			return &l->sections[i];
	return NULL;
}

size_t load_count(const struct loader *l, const char *kind)
{
	size_t n = 0;
	for (size_t i = 0; i < l->section_count; i++)
		n += strcmp(l->sections[i].schema->kind, kind) == 0;
	return n;
}

const struct conf_value *load_value(const struct conf_section *s, const char *key)
{
	for (size_t i = 0; s && i < s->value_count; i++)
		if (strcmp(s->values[i].option->key, key) == 0 && !s->values[i].table->prefix)
			return s->values[i].item_count ? &s->values[i] : NULL;
	return NULL;
}

const struct conf_item *load_item(const struct conf_section *s, const char *key)
{
	const struct conf_value *v = load_value(s, key);
	return v ? &v->items[0] : NULL;
}

static struct conf_section *section_find(struct loader *l, const struct schema_section *schema,
					 const char *name)
{
	for (size_t i = 0; i < l->section_count; i++) {
		struct conf_section *s = &l->sections[i];
		if (s->schema == schema && (name ? strcmp(s->name, name) == 0 : !s->name))
			return s;
	}
	return NULL;
}

/* ---- sections ---- */

static void list_append(char *buf, size_t size, const char *word)
{
	size_t len = strlen(buf);
	if (len < size)
		(void)snprintf(buf + len, size - len, "%s%s", len ? ", " : "", word);
}

static void tell_unknown_kind(struct loader *l, const char *kind, const struct conf_item *at)
{
	char known[400] = "";
	for (const struct schema_section *s = schema_sections; s->kind; s++)
		if (s->programs & l->program)
			list_append(known, sizeof(known), s->kind);
	conf_report_add(l->report, CONF_SEVERITY_ERROR, at->file, at->line,
			"[%s]: unknown section; accepted: %s", kind, known);
}

/* Checks kind and name and adds an instance. 0 with NULL: refused, and said. */
static int section_add(struct loader *l, const char *kind, const char *name,
		       const struct conf_item *at, struct conf_section **ret)
{
	const struct schema_section *schema = schema_find_section(l->program, span_str(kind));
	*ret = NULL;
	if (!schema) {
		tell_unknown_kind(l, kind, at);
		return 0;
	}
	if (name && schema->naming == SCHEMA_NAMING_NONE) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, at->file, at->line,
				"[%s %s]: a name that this section doesn't have; accepted: [%s]",
				kind, name, kind);
		return 0;
	}
	if (!name && schema->naming == SCHEMA_NAMING_REQUIRED) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, at->file, at->line,
				"[%s]: a name is missing; accepted: [%s NAME]", kind, kind);
		return 0;
	}
	struct conf_section *s =
		conf_array_add(l->arena, (void *)&l->sections, &l->section_count, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct conf_section){
		.schema = schema,
		.name = name ? conf_strdup(l->arena, span_str(name)) : NULL,
		.file = at->file,
		.line = at->line,
	};
	*ret = s;
	return name && !s->name ? -ENOMEM : 0;
}

static int compare_sections(const void *a, const void *b)
{
	const struct conf_section *x = *(const struct conf_section *const *)a;
	const struct conf_section *y = *(const struct conf_section *const *)b;
	int r = strcmp(x->schema->kind, y->schema->kind);
	if (r == 0 && x->name && y->name)
		r = strcmp(x->name, y->name);
	return r ? r : (x > y) - (x < y);
}

/* Two sections of the same kind and name are an error at the later one. */
static int check_repeated_sections(struct loader *l)
{
	if (l->section_count < 2)
		return 0;
	const struct conf_section **all =
		(const struct conf_section **)conf_alloc(l->arena, l->section_count * sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < l->section_count; i++)
		all[i] = &l->sections[i];
	qsort((void *)all, l->section_count, sizeof(*all), compare_sections);
	for (size_t i = 1; i < l->section_count; i++) {
		const struct conf_section *a = all[i - 1];
		const struct conf_section *b = all[i];
		if (a->schema == b->schema && (!a->name || strcmp(a->name, b->name) == 0))
			load_error(
				l, b, NULL, NULL,
				"a repeated section, first in line %u; accepted: one of each name",
				a->line);
	}
	return 0;
}

/* ---- values ---- */

static void tell_unknown_key(struct loader *l, const struct conf_section *s, const char *key,
			     const struct conf_item *at)
{
	char known[1200] = "";
	char prefixed[64];
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++) {
		const struct schema_table *t = &s->schema->tables[i];
		for (const struct schema_option *o = t->rows; o && o->key; o++) {
			if (t->is_inherited && !(o->flags & SCHEMA_INHERIT))
				continue;
			(void)snprintf(prefixed, sizeof(prefixed), "%s%s",
				       t->prefix ? t->prefix : "", o->key);
			list_append(known, sizeof(known), prefixed);
		}
	}
	load_error(l, s, key, at, "unknown key; accepted: %s", known);
}

static int item_add(struct loader *l, struct conf_value *v, struct span text,
		    const struct conf_item *at)
{
	const char *copy = conf_strdup(l->arena, text);
	struct conf_item *item =
		conf_array_add(l->arena, (void *)&v->items, &v->item_count, sizeof(*item));
	if (!copy || !item)
		return -ENOMEM;
	*item = (struct conf_item){ .text = copy, .file = at->file, .line = at->line };
	return 0;
}

/* Adds a text as one item, or as many as its commas make. An empty one adds none. */
static int items_add(struct loader *l, struct conf_value *v, const struct conf_item *at)
{
	struct span rest = span_trim(span_str(at->text));
	if (rest.len == 0)
		return 0;
	if (!(v->option->flags & SCHEMA_COMMAS))
		return item_add(l, v, rest, at);
	struct span one;
	while (http_list_next(&rest, &one)) {
		int r = item_add(l, v, one, at);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct conf_value *value_find(const struct conf_section *s, const struct schema_option *o,
				     const struct schema_table *t)
{
	for (size_t i = 0; i < s->value_count; i++)
		if (s->values[i].option == o && s->values[i].table == t)
			return &s->values[i];
	return NULL;
}

/* Takes "key = at->text" for a section. */
static int value_add(struct loader *l, struct conf_section *s, const char *key,
		     const struct conf_item *at, enum conf_rank rank)
{
	const struct schema_table *table;
	const struct schema_option *option = schema_find_option(s->schema, span_str(key), &table);
	if (!option) {
		tell_unknown_key(l, s, key, at);
		return 0;
	}
	struct conf_value *v = value_find(s, option, table);
	if (v && v->rank == rank && !(option->flags & SCHEMA_LIST)) {
		load_error(l, s, key, at, "given twice, first in line %u; accepted: once",
			   v->given.line);
		return 0;
	}
	if (!v)
		v = conf_array_add(l->arena, (void *)&s->values, &s->value_count, sizeof(*v));
	if (!v)
		return -ENOMEM;
	if (v->rank != rank)
		*v = (struct conf_value){
			.option = option, .table = table, .given = *at, .rank = rank
		};
	return items_add(l, v, at);
}

/* ---- sources ---- */

static bool is_list(void *userdata, const char *kind, const char *key)
{
	struct loader *l = userdata;
	const struct schema_table *table;
	const struct schema_section *s = schema_find_section(l->program, span_str(kind));
	const struct schema_option *o = s ? schema_find_option(s, span_str(key), &table) : NULL;
	return !o || (o->flags & SCHEMA_LIST);
}

static int gather_ini(struct loader *l, const struct ini_file *ini, const char *file)
{
	for (size_t i = 0; i < ini->section_count; i++) {
		const struct ini_section *in = &ini->sections[i];
		struct conf_item at = { .file = file, .line = in->line };
		struct conf_section *s;
		int r = section_add(l, in->kind, in->name, &at, &s);
		for (size_t k = 0; r == 0 && s && k < in->entry_count; k++) {
			const struct ini_entry *e = &in->entries[k];
			at = (struct conf_item){ .text = e->value, .file = file, .line = e->line };
			r = value_add(l, s, e->key, &at, CONF_RANK_FILE);
		}
		if (r < 0)
			return r;
	}
	return check_repeated_sections(l);
}

/* Room for at least one more byte behind len. 0, -E2BIG, -ENOMEM. */
static int buffer_grow(char **buf, size_t *cap, size_t len)
{
	if (len < *cap)
		return 0;
	if (len > CONF_FILE_MAX)
		return -E2BIG;
	size_t size = MAX(*cap * 2, (size_t)4096);
	char *grown = realloc(*buf, size);
	if (!grown)
		return -ENOMEM;
	*buf = grown;
	*cap = size;
	return 0;
}

/* Reads a whole file. 0, or the error of open() and read(), -E2BIG. */
static int file_read(const char *path, char **ret, size_t *ret_len)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_(freep) char *buf = NULL;
	size_t len = 0;
	size_t cap = 0;
	ssize_t n = 1;
	if (fd < 0)
		return -errno;
	while (n != 0) {
		int r = buffer_grow(&buf, &cap, len);
		if (r < 0)
			return r;
		n = read(fd, buf + len, cap - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	if (len > CONF_FILE_MAX)
		return -E2BIG;
	*ret = TAKE_PTR(buf);
	*ret_len = len;
	return 0;
}

static int gather_file(struct loader *l)
{
	const char *path = l->src->path;
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	if (!path)
		return 0;
	int r = file_read(path, &text, &len);
	if (r == -ENOENT && l->src->path_is_optional)
		return 0;
	if (r < 0) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, path, 0, "%s",
				r == -E2BIG ? "over 16M, the limit of a configuration"
					    : strerrordesc_np(-r));
		return r == -ENOMEM ? r : 0;
	}

	const char *file = conf_strdup(l->arena, span_str(path));
	if (!file)
		return -ENOMEM;
	l->file = file;
	struct ini_source source = { .file = file, .is_list = is_list, .userdata = l };
	_cleanup_(ini_file_done) struct ini_file ini = {};
	r = ini_parse_text(span_of(text, len), &source, l->report, &ini);
	return r < 0 ? r : gather_ini(l, &ini, file);
}

const char *load_environment(const struct loader *l, const char *name)
{
	size_t len = strlen(name);
	for (const char *const *e = l->src->environ; e && *e; e++)
		if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
			return (*e)[len + 1] ? *e + len + 1 : NULL;
	return NULL;
}

/* The section of this kind and name, made if need be. 0 with NULL: refused. */
static int section_get(struct loader *l, const char *kind, const char *name,
		       const struct conf_item *at, struct conf_section **ret)
{
	const struct schema_section *schema = schema_find_section(l->program, span_str(kind));
	struct conf_section *s = schema ? section_find(l, schema, name) : NULL;
	if (!s)
		return section_add(l, kind, name, at, ret);
	*ret = s;
	return 0;
}

static int gather_variable(struct loader *l, const struct schema_section *schema,
			   const struct schema_option *o)
{
	const char *text = o->env ? load_environment(l, o->env) : NULL;
	if (!text)
		return 0;
	char file[64];
	(void)snprintf(file, sizeof(file), "environment variable %s", o->env);
	struct conf_item at = { .text = text, .file = conf_strdup(l->arena, span_str(file)) };
	if (strcmp(o->env, "NO_COLOR") == 0)
		at.text = "no"; /* any value means that (no-color.org) */
	struct conf_section *s = NULL;
	int r = at.file ? section_get(l, schema->kind, NULL, &at, &s) : -ENOMEM;
	return r < 0 || !s ? r : value_add(l, s, o->key, &at, CONF_RANK_ENVIRONMENT);
}

static int gather_environment(struct loader *l)
{
	for (const struct schema_section *s = schema_sections; s->kind; s++) {
		if (!(s->programs & l->program) || s->naming != SCHEMA_NAMING_NONE)
			continue;
		for (const struct schema_option *o = s->tables[0].rows; o->key; o++) {
			int r = gather_variable(l, s, o);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* "kind.key=value" or "kind.name.key=value"; a name may have dots in it. */
static int gather_set(struct loader *l, const char *set)
{
	struct span all = span_str(set);
	size_t equals = span_find(all, '=');
	struct span left = span_trim(span_first(all, equals));
	size_t dot = span_find(left, '.');
	if (equals == all.len || dot == left.len) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, "command line", 0,
				"%.100s; accepted: section.key=value or section.name.key=value",
				set);
		return 0;
	}
	size_t last = left.len - 1;
	while (left.ptr[last] != '.')
		last--;
	char *kind = conf_strdup(l->arena, span_first(left, dot));
	char *key = conf_strdup(l->arena, span_skip(left, last + 1));
	char *name = last > dot ? conf_strdup(l->arena, span_skip(span_first(left, last), dot + 1))
				: NULL;
	if (!kind || !key || (last > dot && !name))
		return -ENOMEM;

	struct conf_item at = { .text = set + equals + 1, .file = "command line" };
	struct conf_section *s;
	int r = section_get(l, kind, name, &at, &s);
	return r < 0 || !s ? r : value_add(l, s, key, &at, CONF_RANK_COMMAND_LINE);
}

void conf_source_settle(struct conf_source *src)
{
	if (src->path && access(src->path, F_OK) == 0)
		src->path_is_optional = false;
}

int load_gather(struct loader *l)
{
	int r = gather_file(l);
	if (r == 0)
		r = gather_environment(l);
	for (size_t i = 0; r == 0 && i < l->src->set_count; i++)
		r = gather_set(l, l->src->set[i]);
	return r;
}
