/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and tokens. Each has pages of its own, because locking and leaving out of dumps work by
 * page. Locking may be refused (RLIMIT_MEMLOCK); a daemon that runs with an unlocked key is better
 * than none.
 */
#include "daemon/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/base/file.h"

struct secret {
	size_t len;
	size_t map_len;
	uint8_t data[];
};

int secret_new_empty(size_t len, struct secret **ret)
{
	if (len > SECRET_MAX)
		return -EMSGSIZE;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t map_len = (sizeof(struct secret) + len + page - 1) & ~(page - 1);
	struct secret *s =
		mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return -ENOMEM;
	(void)mlock(s, map_len);
	(void)madvise(s, map_len, MADV_DONTDUMP);
	s->len = len;
	s->map_len = map_len;
	*ret = s;
	return 0;
}

int secret_new(struct span bytes, struct secret **ret)
{
	struct secret *s = NULL;
	int r = secret_new_empty(bytes.len, &s);
	if (r < 0)
		return r;
	if (bytes.len)
		memcpy(s->data, bytes.ptr, bytes.len);
	*ret = s;
	return 0;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int secret_read_file(const char *path, size_t max, struct secret **ret)
{
	if (max > SECRET_MAX - 1)
		max = SECRET_MAX - 1;
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	_cleanup_(secret_freep) struct secret *s = NULL;
	int r = secret_new_empty(max + 1, &s); /* one more shows that there is more */
	if (r < 0)
		return r;
	ssize_t n = file_read_fd(fd, s->data, max + 1);
	if (n < 0)
		return (int)n;
	if ((size_t)n > max)
		return -EMSGSIZE;
	s->len = (size_t)n;
	while (s->len && is_blank(s->data[s->len - 1]))
		s->len--;
	*ret = TAKE_PTR(s);
	return 0;
}

void secret_free(struct secret *s)
{
	if (!s)
		return;
	size_t map_len = s->map_len;
	secret_wipe(s, map_len);
	(void)munmap(s, map_len);
}

struct span secret_span(const struct secret *s)
{
	return s ? span_of(s->data, s->len) : (struct span){};
}

uint8_t *secret_data(struct secret *s)
{
	return s->data;
}

bool secret_eq(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	const volatile uint8_t *p = a.ptr;
	const volatile uint8_t *q = b.ptr;
	uint8_t difference = 0;
	for (size_t i = 0; i < a.len; i++)
		difference |= p[i] ^ q[i];
	return difference == 0;
}

void secret_wipe(void *ptr, size_t len)
{
	if (len)
		explicit_bzero(ptr, len);
}
