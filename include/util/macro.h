/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small expressions that C lacks: array lengths, minimum and maximum, the object around a member.
 */
#ifndef INCLUDE_UTIL_MACRO_H
#define INCLUDE_UTIL_MACRO_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b)                                  \
	({                                         \
		typeof(a) min_a_ = (a);            \
		typeof(b) min_b_ = (b);            \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})

#define MAX(a, b)                                  \
	({                                         \
		typeof(a) max_a_ = (a);            \
		typeof(b) max_b_ = (b);            \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

/* The object of the given type that holds *ptr as its member. ptr must not be NULL. */
#define CONTAINER_OF(ptr, type, member)                                         \
	({                                                                      \
		typeof(((type *)0)->member) *member_ptr_ = (ptr);               \
		(type *)(void *)((char *)member_ptr_ - offsetof(type, member)); \
	})

#define UNUSED                 __attribute__((unused))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#endif
