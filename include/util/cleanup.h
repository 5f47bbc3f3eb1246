/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership: a local that owns something is released when its scope ends (style O2).
 *
 *	_cleanup_(conf_freep) struct conf *c = conf_new();
 *	...
 *	*ret = TAKE_PTR(c);
 */
#ifndef INCLUDE_UTIL_CLEANUP_H
#define INCLUDE_UTIL_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Moves a value out of a variable and leaves the empty value behind. */
#define TAKE_GENERIC(var, empty)                \
	({                                      \
		typeof(var) *take_p_ = &(var);  \
		typeof(var) take_v_ = *take_p_; \
		*take_p_ = (empty);             \
		take_v_;                        \
	})
#define TAKE_PTR(p) TAKE_GENERIC(p, NULL)
#define TAKE_FD(fd) TAKE_GENERIC(fd, -EBADF)

/* Defines name_freep() for the cleanup attribute from a destructor that accepts NULL. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type can't stand in parentheses */
#define DEFINE_CLEANUP(type, func)          \
	static inline void func##p(type *p) \
	{                                   \
		func(*p);                   \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Closes a descriptor that may be empty (-EBADF); errno survives. Returns the empty value. */
static inline int fd_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;
		(void)close(fd);
		errno = saved;
	}
	return -EBADF;
}

static inline void fd_closep(int *fd)
{
	*fd = fd_close(*fd);
}

static inline void file_closep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#endif
