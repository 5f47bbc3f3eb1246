/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between two configurations. Sections are sorted by kind and name and walked side by
 * side, so a hundred thousand rules are no problem; the options of a section are few.
 */
#include "daemon/conf/diff.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/conf/schema.h"
#include "daemon/wire/http_field.h"
#include "util/macro.h"

/* ---- names ---- */

static void names_done(struct conf_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free((void *)names->items);
	*names = (struct conf_names){};
}

void conf_changes_done(struct conf_changes *c)
{
	names_done(&c->changed);
	names_done(&c->need_restart);
}

int conf_names_add(struct conf_names *names, const char *format, ...)
{
	if (names->count == names->room) {
		size_t room = names->room ? names->room * 2 : 8;
		char **items =
			(char **)reallocarray((void *)names->items, room, sizeof(*names->items));
		if (!items)
			return -ENOMEM;
		names->items = items;
		names->room = room;
	}
	va_list ap;
	va_start(ap, format);
	char *text = NULL;
	int len = vasprintf(&text, format, ap);
	va_end(ap);
	if (len < 0)
		return -ENOMEM;
	names->items[names->count++] = text;
	return 0;
}

/* ---- values ---- */

/* The items of an option, given or by default, one after the other. */
struct items {
	const struct conf_value *value; /* NULL: the default */
	size_t next;
	struct span rest;
	bool has_commas;
};

static struct items items_of(const struct conf_section *s, const struct schema_option *o,
			     const struct schema_table *t)
{
	struct items it = { .rest = span_str(o->def), .has_commas = o->flags & SCHEMA_COMMAS };
	for (size_t i = 0; s && i < s->value_count; i++)
		if (s->values[i].option == o && s->values[i].table == t && s->values[i].item_count)
			it.value = &s->values[i];
	return it;
}

static bool items_next(struct items *it, struct span *ret)
{
	if (it->value) {
		if (it->next == it->value->item_count)
			return false;
		*ret = span_str(it->value->items[it->next++].text);
		return true;
	}
	if (it->has_commas)
		return http_list_next(&it->rest, ret);
	*ret = it->rest;
	it->rest = span_of(NULL, 0);
	return ret->len > 0;
}

static bool is_same(struct items a, struct items b)
{
	struct span x = {}, y = {};
	for (;;) {
		bool has_x = items_next(&a, &x), has_y = items_next(&b, &y);
		if (!has_x || !has_y)
			return has_x == has_y;
		if (!span_eq(x, y))
			return false;
	}
}

/* ---- sections ---- */

/* One walk over two snapshots. */
struct walk {
	bool wants_reload; /* options that take effect on reload, else the others */
	struct conf_names *names;
};

static int compare_sections(const void *a, const void *b)
{
	const struct conf_section *x = *(const struct conf_section *const *)a;
	const struct conf_section *y = *(const struct conf_section *const *)b;
	int r = (x->schema > y->schema) - (x->schema < y->schema);
	return r || !x->name ? r : strcmp(x->name, y->name);
}

static int add_option(struct walk *w, const struct conf_section *s, const struct schema_table *t,
		      const struct schema_option *o)
{
	return conf_names_add(w->names, "%s%s%s.%s%s", s->schema->kind, s->name ? "." : "",
			      s->name ? s->name : "", t->prefix ? t->prefix : "", o->key);
}

/* Both are of the kind and name of s; one may be NULL: not there. */
static int walk_options(struct walk *w, const struct conf_section *s, const struct conf_section *a,
			const struct conf_section *b)
{
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++) {
		const struct schema_table *t = &s->schema->tables[i];
		for (const struct schema_option *o = t->rows; o && o->key; o++) {
			bool reloads = o->flags & SCHEMA_RELOAD;
			if ((o->flags & SCHEMA_LATER) || reloads != w->wants_reload ||
			    is_same(items_of(a, o, t), items_of(b, o, t)))
				continue;
			int r = add_option(w, s, t, o);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int walk_both(struct walk *w, const struct conf_section *a, const struct conf_section *b)
{
	return b->schema->is_later ? 0 : walk_options(w, b, a, b);
}

/* A section that only one of the two has. */
static int walk_one(struct walk *w, const struct conf_section *s, bool is_new)
{
	if (s->schema->is_later)
		return 0;
	if (!s->name)
		return walk_options(w, s, s, NULL);
	return w->wants_reload ? conf_names_add(w->names, "%s.%s (%s)", s->schema->kind, s->name,
						is_new ? "new" : "removed")
			       : 0;
}

static const struct conf_section **sorted(const struct conf_common *c)
{
	const struct conf_section **all = (const struct conf_section **)calloc(
		c->section_count + 1, sizeof(const struct conf_section *));
	for (size_t i = 0; all && i < c->section_count; i++)
		all[i] = &c->sections[i];
	if (all)
		qsort((void *)all, c->section_count, sizeof(const struct conf_section *),
		      compare_sections);
	return all;
}

static int walk_sections(struct walk *w, const struct conf_common *a, const struct conf_common *b)
{
	const struct conf_section **as = sorted(a), **bs = sorted(b);
	size_t i = 0, j = 0;
	int r = as && bs ? 0 : -ENOMEM;
	while (r == 0 && (i < a->section_count || j < b->section_count)) {
		int order = i == a->section_count   ? 1
			    : j == b->section_count ? -1
						    : compare_sections(&as[i], &bs[j]);
		if (order < 0)
			r = walk_one(w, as[i++], false);
		else if (order > 0)
			r = walk_one(w, bs[j++], true);
		else
			r = walk_both(w, as[i++], bs[j++]);
	}
	free((void *)as);
	free((void *)bs);
	return r;
}

/* The next section of rules from i on; NULL when there is none. */
static const struct conf_section *next_rule(const struct conf_common *c, size_t *i)
{
	while (*i < c->section_count) {
		const struct conf_section *s = &c->sections[(*i)++];
		if (strcmp(s->schema->kind, "ingress") == 0)
			return s;
	}
	return NULL;
}

/* The order of the rules is part of what they mean; where their number has changed, that is news
 * enough. */
static bool is_reordered(const struct conf_common *a, const struct conf_common *b)
{
	size_t i = 0, j = 0;
	bool differs = false;
	for (;;) {
		const struct conf_section *x = next_rule(a, &i), *y = next_rule(b, &j);
		if (!x || !y)
			return differs && x == y;
		differs |= strcmp(x->name, y->name) != 0;
	}
}

int conf_diff(const struct conf_common *boot, const struct conf_common *old,
	      const struct conf_common *now, struct conf_changes *ret)
{
	struct walk changed = { .wants_reload = true, .names = &ret->changed };
	struct walk fixed = { .wants_reload = false, .names = &ret->need_restart };
	int r = walk_sections(&changed, old, now);
	if (r == 0 && is_reordered(old, now))
		r = conf_names_add(&ret->changed, "ingress (order)");
	if (r == 0)
		r = walk_sections(&fixed, boot, now);
	if (r < 0)
		conf_changes_done(ret);
	return r;
}
