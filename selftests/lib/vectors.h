/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What selftests/lib/vectors.py writes: recorded cases with their fields and overrides.
 */
#ifndef SELFTESTS_LIB_VECTORS_H
#define SELFTESTS_LIB_VECTORS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

/* A pair of texts; tables of them end with key NULL. */
struct vector_field {
	const char *key;
	const char *value;
};

struct vector_case {
	const char *name;
	const char *direction;
	const uint8_t *octets; /* "hex" of the case */
	size_t len;
	const struct vector_field *fields; /* "metadata/0/key" = "HttpMethod", "metadata/#" = "2" */
	const struct vector_field *overrides; /* path inside the case ("" = all of it), kind */
};

/* The value of a field, or NULL. */
static inline const char *vector_get(const struct vector_case *c, const char *key)
{
	for (const struct vector_field *f = c->fields; f->key; f++)
		if (strcmp(f->key, key) == 0)
			return f->value;
	return NULL;
}

static inline bool vector_is(const struct vector_case *c, const char *key, const char *value)
{
	const char *v = vector_get(c, key);
	return v && strcmp(v, value) == 0;
}

/* A field that has to be there, as a number: decimal, or hexadecimal with 0x. */
static inline unsigned long vector_number(const struct vector_case *c, const char *key)
{
	const char *text = vector_get(c, key);
	if (!text)
		abort();
	return strtoul(text, NULL, 0);
}

/* Kind of the override on the whole case, or NULL. */
static inline const char *vector_override(const struct vector_case *c)
{
	for (const struct vector_field *o = c->overrides; o->key; o++)
		if (o->key[0] == '\0')
			return o->value;
	return NULL;
}

static inline struct span vector_span(const struct vector_case *c)
{
	return span_of(c->octets, c->len);
}

/*
 * A copy of exactly these bytes on the heap, so that a sanitizer sees a read one byte too far.
 * Free it with vector_heap_free().
 */
static inline struct span vector_heap_copy(struct span s)
{
	uint8_t *p = malloc(s.len ? s.len : 1);
	if (!p)
		abort();
	if (s.len)
		memcpy(p, s.ptr, s.len);
	/* Without bytes even the first one is too far. */
	return span_of(s.len ? p : p + 1, s.len);
}

static inline void vector_heap_free(struct span s)
{
	const uint8_t *p = s.len ? s.ptr : s.ptr - 1;
	free((void *)(uintptr_t)p);
}

/* Gives f such a copy with one bit wrong, for every bit; returns how many there are. */
static inline unsigned int vector_flip_bits(struct span s, int (*f)(struct span in))
{
	struct span copy = vector_heap_copy(s);
	uint8_t *bytes = (uint8_t *)(uintptr_t)copy.ptr;
	unsigned int bit = 0;
	for (; bit < 8 * copy.len; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		(void)f(copy);
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	vector_heap_free(copy);
	return bit;
}

#endif
