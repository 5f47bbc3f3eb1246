/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload library that counts allocations of the program's own code and of its libraries, told
 * apart by who called. The counts stand in the file that COUNT_ALLOCS names: two 64-bit numbers.
 */
#include "selftests/bench/count_allocs.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct counts {
	_Atomic uint64_t own, library;
};

static struct counts before_main;
static struct counts *counts = &before_main;
static uintptr_t first, last; /* the program's text */

/* Where the program lies: the mappings that name it come first in the list. */
static void find_program(void)
{
	char exe[512], line[1024];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (n <= 0 || fd < 0)
		return;
	size_t have = 0;
	char c;
	while (read(fd, &c, 1) == 1) {
		if (c != '\n') {
			if (have < sizeof(line) - 1)
				line[have++] = c;
			continue;
		}
		line[have] = '\0';
		char *dash = NULL;
		uintptr_t from = strtoul(line, &dash, 16);
		uintptr_t to = *dash == '-' ? strtoul(dash + 1, NULL, 16) : 0;
		if (have > (size_t)n && __builtin_memcmp(line + have - n, exe, (size_t)n) == 0) {
			if (!first)
				first = from;
			last = to;
		}
		have = 0;
	}
	(void)close(fd);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("COUNT_ALLOCS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	find_program();
	if (fd < 0)
		return;
	void *map = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map != MAP_FAILED)
		counts = map;
}

static void count(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	_Atomic uint64_t *which = at >= first && at < last ? &counts->own : &counts->library;
	atomic_fetch_add_explicit(which, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
	count(__builtin_return_address(0));
	return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_realloc(ptr, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_memalign(alignment, size);
}
