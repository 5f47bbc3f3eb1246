/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option table: one row per option of either program (style C5). It drives parsing, checking,
 * --dump-config, and docs/config.md; nothing else knows the name of a key.
 */
#ifndef DAEMON_CONF_SCHEMA_H
#define DAEMON_CONF_SCHEMA_H

#include "daemon/conf/conf_common.h"
#include "daemon/conf/report.h"

enum schema_type : uint8_t {
	SCHEMA_TYPE_BOOL = 1, /* bool */
	SCHEMA_TYPE_UINT,     /* unsigned int; the word of choices, if any, is 0 */
	SCHEMA_TYPE_U16,      /* uint16_t */
	SCHEMA_TYPE_SIZE,     /* uint64_t bytes; the word of choices, if any, is 0 */
	SCHEMA_TYPE_DURATION, /* nsec_t */
	SCHEMA_TYPE_WORD,     /* an enum of one byte; choices name its values */
	SCHEMA_TYPE_STRING,   /* const char *, NULL when empty */
	SCHEMA_TYPE_PATH,     /* the same, absolute */
	SCHEMA_TYPE_PARSED,   /* by a function of its own */
};

/* enum schema_flag */
enum : uint16_t {
	SCHEMA_LIST = 1U << 0,        /* may be given again and continued */
	SCHEMA_COMMAS = 1U << 1,      /* commas divide a list */
	SCHEMA_RELOAD = 1U << 2,      /* takes effect on reload */
	SCHEMA_SECRET = 1U << 3,      /* shown as *** */
	SCHEMA_REQUIRED = 1U << 4,    /* must be given */
	SCHEMA_LATER = 1U << 5,       /* checked, but without effect in this version */
	SCHEMA_INHERIT = 1U << 6,     /* may stand in a rule as well ([ingress NAME]) */
	SCHEMA_SECRET_FILE = 1U << 7, /* names a file that only its owner may read */
	SCHEMA_UNSTORED = 1U << 8,    /* nothing of it is kept but its text */
	SCHEMA_WHOLE = 1U << 9,   /* a list whose parser takes the whole struct of the section */
	SCHEMA_FILE = 1U << 10,   /* names a file that must be readable */
	SCHEMA_FOLDER = 1U << 11, /* names a directory in which we may make files */
};

struct schema_word {
	const char *word;
	uint8_t value;
	bool is_alias; /* accepted, but not in the manual */
};

struct schema_context;

/*
 * Parses one value (one item of a list) into field. Returns 0, -EINVAL (the
 * row's accepts says what would do; *ret_reason, static, may say more), -ENOMEM.
 */
typedef int (*schema_parse_fn)(struct schema_context *x, struct span text, void *field,
			       const char **ret_reason);

struct schema_option {
	const char *key;
	const char *env;       /* environment variable or NULL */
	const char *def;       /* default in the syntax of the file; "" is unset */
	const char *accepts;   /* for messages; NULL: made from type, range and words */
	const char *help;      /* one sentence for the manual */
	uint64_t min;          /* UINT, U16, SIZE (bytes), DURATION (ns) */
	uint64_t max;          /* 0: none */
	size_t offset;         /* of the field in the section's struct */
	schema_parse_fn parse; /* PARSED */
	const struct schema_word *words;
	enum schema_type type;
	uint16_t flags;
};

enum schema_naming : uint8_t {
	SCHEMA_NAMING_NONE = 1, /* [kind] */
	SCHEMA_NAMING_REQUIRED, /* [kind name] */
};

/* Rows of a section, up to an empty one. */
struct schema_table {
	const struct schema_option *rows;
	const char *prefix; /* stands before every key, or NULL */
	size_t offset;      /* of the rows' struct in the section's */
	bool is_inherited;  /* belongs to another section: rows with SCHEMA_INHERIT only */
};

constexpr size_t SCHEMA_TABLES_MAX = 3;

struct schema_section {
	const char *kind;
	uint8_t programs; /* enum conf_program, or-ed */
	enum schema_naming naming;
	bool is_later;  /* the whole section has no effect in this version */
	bool is_stored; /* its options have fields in a struct */
	size_t offset; /* NAMING_NONE: of the section's struct in struct conf or struct edge_conf */
	const char *help;
	struct schema_table tables[SCHEMA_TABLES_MAX];
};

/* One given text: a value, or one item of a list. */
struct conf_item {
	const char *text;
	const char *file;  /* path, "command line", "environment variable NAME" */
	unsigned int line; /* 0: none */
};

/* Who may overrule whom. */
enum conf_rank : uint8_t {
	CONF_RANK_FILE = 1,
	CONF_RANK_ENVIRONMENT,
	CONF_RANK_COMMAND_LINE,
};

/* One option that was given in a section instance. */
struct conf_value {
	const struct schema_option *option;
	const struct schema_table *table;
	struct conf_item *items; /* none: "key =", which means the default */
	size_t item_count;
	struct conf_item given; /* where the option was given first */
	enum conf_rank rank;
};

/* A section instance with the values that were given; the others have their defaults. */
struct conf_section {
	const struct schema_section *schema;
	const char *name; /* NULL: none */
	const char *file;
	unsigned int line;
	struct conf_value *values;
	size_t value_count;
};

/* All sections of both programs, in the order of the manual; an empty one ends them. */
extern const struct schema_section schema_sections[];

/* The section of this kind, or NULL. */
const struct schema_section *schema_find_section(enum conf_program program, struct span kind);
/*
 * The option of this key, or NULL. *ret_table (written if found) says where it stands; its prefix
 * was part of the key.
 */
const struct schema_option *schema_find_option(const struct schema_section *s, struct span key,
					       const struct schema_table **ret_table);

/* What an option accepts, as text for a message or the manual; written into buf (cut). Returns buf.
 */
const char *schema_accepts(const struct schema_option *o, char *buf, size_t size);

#endif
