/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second half of loading: texts become fields, as the schema says. Works the same for every option
 * of either program; what several options must agree on is in load_aditd.c and load_edge.c.
 */
#include <assert.h>
#include <sys/stat.h>

#include "daemon/conf/credential.h"
#include "daemon/conf/load_priv.h"
#include "daemon/conf/parse.h"

/* Room for whatever the parser of an option writes that isn't stored. */
union unstored {
	unsigned char bytes[256];
	max_align_t align;
};

/* ---- one value ---- */

static const struct schema_word *word_find(const struct schema_context *x,
					   const struct schema_option *o, struct span text)
{
	for (const struct schema_word *w = o->words; w && w->word; w++)
		if (span_eq_str(text, w->word) && (!w->is_alias || x->is_environment))
			return w;
	return NULL;
}

/* UINT, U16, SIZE, DURATION: a word or a number in range. */
static int number_apply(const struct schema_context *x, const struct schema_option *o,
			struct span text, void *field, const char **ret_reason)
{
	const struct schema_word *word = word_find(x, o, text);
	uint64_t v = word ? word->value : 0;
	if (!word) {
		int r = o->type == SCHEMA_TYPE_DURATION ? conf_parse_duration(text, &v)
			: o->type == SCHEMA_TYPE_SIZE   ? conf_parse_size(text, &v)
							: conf_parse_uint(text, &v);
		if (r < 0)
			return r;
		if (v < o->min || v > o->max) {
			*ret_reason = v < o->min ? "too small" : "too large";
			return -EINVAL;
		}
	}
	if (o->type == SCHEMA_TYPE_U16)
		*(uint16_t *)field = (uint16_t)v;
	else if (o->type == SCHEMA_TYPE_UINT)
		*(unsigned int *)field = (unsigned int)v;
	else
		*(uint64_t *)field = v;
	return 0;
}

static int text_apply(struct schema_context *x, const struct schema_option *o, struct span text,
		      void *field, const char **ret_reason)
{
	if (o->type == SCHEMA_TYPE_PATH && (text.len == 0 || text.ptr[0] != '/')) {
		*ret_reason = "not absolute";
		return -EINVAL;
	}
	return parse_keep_text(x, text, field);
}

static int item_apply(struct schema_context *x, const struct schema_option *o, struct span text,
		      void *field, const char **ret_reason)
{
	switch (o->type) {
	case SCHEMA_TYPE_BOOL:
		return conf_parse_bool(text, field);
	case SCHEMA_TYPE_UINT:
	case SCHEMA_TYPE_U16:
	case SCHEMA_TYPE_SIZE:
	case SCHEMA_TYPE_DURATION:
		return number_apply(x, o, text, field, ret_reason);
	case SCHEMA_TYPE_WORD: {
		const struct schema_word *word = word_find(x, o, text);
		if (word)
			*(uint8_t *)field = word->value;
		return word ? 0 : -EINVAL;
	}
	case SCHEMA_TYPE_STRING:
	case SCHEMA_TYPE_PATH:
		return text_apply(x, o, text, field, ret_reason);
	case SCHEMA_TYPE_PARSED:
		return o->parse(x, text, field, ret_reason);
	}
	return -EINVAL;
}

static void *field_of(const struct schema_option *o, const struct schema_table *t, void *base,
		      union unstored *unstored)
{
	if (!base || (o->flags & SCHEMA_UNSTORED))
		return unstored;
	return (unsigned char *)base + t->offset + o->offset;
}

/* A list that is given takes the place of the one that was inherited or a default. */
static void list_clear(const struct schema_option *o, void *field)
{
	static const struct {
		void *array;
		size_t count;
	} empty = {};
	if ((o->flags & SCHEMA_LIST) && !(o->flags & SCHEMA_WHOLE))
		memcpy(field, &empty, sizeof(empty));
}

/* ---- files that options name ---- */

static int folder_check(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return access(path, W_OK | X_OK) < 0 ? -errno : 0;
}

/* What is wrong with a file that an option names, and what would do. */
static int named_check(const struct schema_option *o, const char *path, const char **ret_reason,
		       const char **ret_accepts)
{
	*ret_reason = "not readable";
	if (o->flags & SCHEMA_SECRET_FILE) {
		*ret_accepts = "a file that only its owner may read (mode 0600 or 0400)";
		return secret_file_check(path, ret_reason);
	}
	if (o->flags & SCHEMA_FOLDER) {
		*ret_accepts = "an existing directory that we may write to";
		return folder_check(path);
	}
	*ret_accepts = "a readable file";
	return (o->flags & SCHEMA_FILE) && access(path, R_OK) < 0 ? -errno : 0;
}

/* Secret files must be their owner's alone, others readable, directories writable. */
static void file_check(struct loader *l, const struct conf_section *s, const struct conf_value *v)
{
	bool is_later = s->schema->is_later || (v->option->flags & SCHEMA_LATER);
	const struct conf_item *item = &v->items[0];
	const char *reason = "", *accepts = "";
	int r = named_check(v->option, item->text, &reason, &accepts);
	if (r == 0 || (r == -ENOENT && is_later))
		return;
	bool is_tolerated = r == -ENOENT && l->src->check;
	(is_tolerated ? load_warn
		      : load_error)(l, s, v->option->key, item, "%s: %s; accepted: %s", item->text,
				    r == -EPERM ? reason : strerrordesc_np(-r), accepts);
}

/* ---- sections ---- */

static int value_apply(struct loader *l, const struct conf_section *s, const struct conf_value *v,
		       void *base)
{
	union unstored unstored = {};
	void *field = field_of(v->option, v->table, base, &unstored);
	struct schema_context x = {
		.arena = l->arena,
		.is_environment = v->rank == CONF_RANK_ENVIRONMENT,
	};
	bool is_fine = true;
	list_clear(v->option, field);
	for (size_t i = 0; i < v->item_count; i++) {
		const char *reason = NULL;
		int r = item_apply(&x, v->option, span_str(v->items[i].text), field, &reason);
		if (r == -ENOMEM)
			return r;
		if (r == 0)
			continue;
		is_fine = false;
		char found[128], accepts[400], key[64];
		(void)snprintf(key, sizeof(key), "%s%s", v->table->prefix ? v->table->prefix : "",
			       v->option->key);
		load_error(l, s, key, &v->items[i], "\"%s\"%s%s%s; accepted: %s",
			   load_quote(v->items[i].text, v->option->flags & SCHEMA_SECRET, found,
				      sizeof(found)),
			   reason ? " (" : "", reason ? reason : "", reason ? ")" : "",
			   schema_accepts(v->option, accepts, sizeof(accepts)));
	}
	if (is_fine)
		file_check(l, s, v);
	if (s->schema->is_later || (v->option->flags & SCHEMA_LATER))
		load_tell_later(l, s, v);
	return 0;
}

static void check_required(struct loader *l, const struct conf_section *s)
{
	char accepts[400];
	for (const struct schema_option *o = s->schema->tables[0].rows; o->key; o++)
		if ((o->flags & SCHEMA_REQUIRED) && !load_value(s, o->key))
			load_error(l, s, o->key, NULL, "missing; accepted: %s",
				   schema_accepts(o, accepts, sizeof(accepts)));
}

int load_apply_values(struct loader *l, const struct conf_section *s, void *base)
{
	for (size_t i = 0; i < s->value_count; i++) {
		if (s->values[i].item_count == 0)
			continue;
		int r = value_apply(l, s, &s->values[i], base);
		if (r < 0)
			return r;
	}
	check_required(l, s);
	return 0;
}

/* A default is ours: it must parse. Lists have their commas here as well. */
static int default_apply(struct loader *l, const struct schema_option *o,
			 const struct schema_table *t, void *base)
{
	union unstored unstored = {};
	void *field = field_of(o, t, base, &unstored);
	struct schema_context x = { .arena = l->arena };
	struct span rest = span_str(o->def);
	while (rest.len) {
		size_t end = o->flags & SCHEMA_COMMAS ? span_find(rest, ',') : rest.len;
		const char *reason = NULL;
		int r = item_apply(&x, o, span_trim(span_first(rest, end)), field, &reason);
		assert(r != -EINVAL);
		if (r < 0)
			return r;
		rest = span_skip(rest, end + 1);
	}
	return 0;
}

int load_apply_defaults(struct loader *l, const struct schema_section *schema, void *base)
{
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++) {
		const struct schema_table *t = &schema->tables[i];
		if (!t->rows || t->is_inherited)
			continue;
		for (const struct schema_option *o = t->rows; o->key; o++) {
			int r = default_apply(l, o, t, base);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int load_apply_unnamed(struct loader *l, void *conf)
{
	for (const struct schema_section *schema = schema_sections; schema->kind; schema++) {
		if (!(schema->programs & l->program) || schema->naming != SCHEMA_NAMING_NONE)
			continue;
		void *base = schema->is_stored ? (unsigned char *)conf + schema->offset : NULL;
		int r = load_apply_defaults(l, schema, base);
		for (size_t i = 0; r == 0 && i < l->section_count; i++)
			if (l->sections[i].schema == schema)
				r = load_apply_values(l, &l->sections[i], base);
		if (r < 0)
			return r;
	}
	return 0;
}

int load_check_unstored(struct loader *l)
{
	for (size_t i = 0; i < l->section_count; i++) {
		const struct schema_section *schema = l->sections[i].schema;
		if (schema->naming == SCHEMA_NAMING_NONE || schema->is_stored)
			continue;
		int r = load_apply_values(l, &l->sections[i], NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

void load_check_common(struct loader *l, const struct conf_common *c)
{
	const struct conf_section *s = load_find(l, "limits");
	const struct conf_limits *m = &c->limits;
	if (m->stream_window > m->stream_window_max)
		load_error(l, s, "stream-window", NULL,
			   "larger than stream-window-max; accepted: at most that");
	if (m->link_window > m->link_window_max)
		load_error(l, s, "link-window", NULL,
			   "larger than link-window-max; accepted: at most that");
	if (m->head_line > m->head_size)
		load_error(l, s, "head-line", NULL,
			   "larger than head-size; accepted: at most that");

	s = load_find(l, "metrics");
	if (c->metrics.listen == CONF_SWITCH_ON &&
	    !ip_addr_is_loopback(&c->metrics.address.addr.ip))
		load_warn(l, s, "listen", load_item(s, "listen"),
			  "metrics can be read by whoever reaches %s", c->metrics.address.host);
}

void load_finish_common(const struct loader *l, struct conf_common *c)
{
	c->refs = 1;
	c->program = l->program;
	c->arena = l->arena;
	c->file = l->file;
	c->sections = l->sections;
	c->section_count = l->section_count;
}
