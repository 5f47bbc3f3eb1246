/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator's own names in glibc, which no header of it declares.
 */
#ifndef SELFTESTS_BENCH_COUNT_ALLOCS_H
#define SELFTESTS_BENCH_COUNT_ALLOCS_H

#include <stddef.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

#endif
