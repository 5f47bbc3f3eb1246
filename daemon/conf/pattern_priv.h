/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of the translator of path expressions share: its state, input and output.
 */
#ifndef DAEMON_CONF_PATTERN_PRIV_H
#define DAEMON_CONF_PATTERN_PRIV_H

#include "daemon/conf/pattern.h"
#include "util/macro.h"

/* Most repeats, nested ones multiplied (ingress-and-origins §2.2). */
constexpr unsigned int PATTERN_REPEAT_MAX = 1000;
constexpr size_t PATTERN_NAMES_MAX = 256;

/* What a repetition operator would apply to. */
struct translate_atom {
	bool is_set;
	bool is_repeated;
	bool is_assertion;    /* PCRE2 is particular about repeating those: put in a group */
	size_t start;         /* offset in the output */
	unsigned int product; /* of the counts of nested repeats */
};

struct translate_group {
	size_t start;         /* offset of its "(" in the output */
	unsigned int product; /* the largest of its atoms */
};

struct translator {
	struct span in; /* what is left */
	const uint8_t *start;
	char *out; /* NUL-terminated */
	size_t len;
	size_t cap;
	int error; /* 0, -EINVAL with reason, -ENOMEM */
	const char *reason;
	size_t fault_at;
	struct translate_atom atom;
	size_t depth;
	struct translate_group groups[PATTERN_DEPTH_MAX + 1];
	struct span names[PATTERN_NAMES_MAX];
	size_t name_count;
};

/* Notes the first fault and drops the rest of the input. */
void translate_fail(struct translator *t, const char *reason);

void translate_put(struct translator *t, const char *text);
/* Writes a character that stands for itself, inside a class or outside. */
void translate_put_char(struct translator *t, uint32_t code);

/* Takes text off the input if it stands there. */
bool translate_take(struct translator *t, const char *text);
/* Takes one character; 0 after a fault. */
uint32_t translate_take_char(struct translator *t);

/* Takes "\n", "\x{2603}", "\." and the like; 0 after a fault. */
uint32_t translate_escaped_char(struct translator *t);
/* Takes "\d", "\pL" and the like and writes it for inside or outside of a class. False: none there.
 */
bool translate_class_escape(struct translator *t, bool is_in_class);
/* Takes "[…]". */
void translate_class(struct translator *t);

#endif
