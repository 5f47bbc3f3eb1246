/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which connections does this edge hold? A file mapped shared: what is stored there survives a kill
 * -9 of the process (not of the machine, whose connections are gone anyway), and a change costs a
 * store.
 */
#include "daemon/link/quic_ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum { FILE_LEN = QUIC_LEDGER_ENTRIES * (int)sizeof(struct quic_ledger_entry) };

struct quic_ledger {
	struct quic_ledger_entry *entries; /* the mapping */
	struct quic_ledger_entry *old;     /* QUIC_LEDGER_ENTRIES of the last process; NULL: none */
	unsigned int per_worker;
	unsigned int next[256]; /* by worker: where to look for a free entry first */
	char *path;
};

static int read_old(struct quic_ledger *l)
{
	_cleanup_(fd_closep) int fd = open(l->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	l->old = malloc(FILE_LEN);
	if (!l->old)
		return -ENOMEM;
	if (read(fd, l->old, FILE_LEN) != FILE_LEN)
		free(TAKE_PTR(l->old)); /* not one of ours */
	return 0;
}

static int map_new(struct quic_ledger *l, uid_t uid, gid_t gid)
{
	(void)unlink(l->path);
	_cleanup_(fd_closep) int fd =
		open(l->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* All of it now: on a full file system a store into the mapping would be a SIGBUS. */
	int r = -posix_fallocate(fd, 0, FILE_LEN);
	if (r == 0 && uid != (uid_t)-1 && fchown(fd, uid, gid) < 0)
		r = -errno;
	void *map = r == 0 ? mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			   : MAP_FAILED;
	if (r == 0 && map == MAP_FAILED)
		r = -errno;
	if (r == 0)
		l->entries = map;
	else
		(void)unlink(l->path);
	return r;
}

int quic_ledger_open(const char *path, unsigned int workers, uid_t uid, gid_t gid,
		     struct quic_ledger **ret)
{
	if (workers == 0 || workers > ARRAY_SIZE(((struct quic_ledger *)NULL)->next))
		return -EINVAL;
	struct quic_ledger *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->per_worker = QUIC_LEDGER_ENTRIES / workers;
	l->path = strdup(path);
	int r = l->path ? read_old(l) : -ENOMEM;
	if (r == 0)
		r = map_new(l, uid, gid);
	if (r < 0) {
		free(l->old);
		free(l->path);
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void quic_ledger_close(struct quic_ledger *l)
{
	if (!l)
		return;
	(void)munmap(l->entries, FILE_LEN);
	(void)unlink(l->path);
	free(l->old);
	free(l->path);
	free(l);
}

void quic_ledger_each_old(struct quic_ledger *l,
			  void (*visit)(const struct quic_ledger_entry *entry, void *arg),
			  void *arg)
{
	for (unsigned int i = 0; l && l->old && i < QUIC_LEDGER_ENTRIES; i++)
		if (l->old[i].cid_len > 0 && l->old[i].cid_len <= QUIC_LEDGER_CID_MAX)
			visit(&l->old[i], arg);
	if (l)
		free(TAKE_PTR(l->old));
}

int quic_ledger_add(struct quic_ledger *l, unsigned int worker, const struct ip_port *peer,
		    unsigned int listen, struct span cid)
{
	if (!l || cid.len == 0 || cid.len > QUIC_LEDGER_CID_MAX)
		return -1;
	unsigned int first = worker * l->per_worker;
	for (unsigned int i = 0; i < l->per_worker; i++) {
		unsigned int at = first + (l->next[worker] + i) % l->per_worker;
		struct quic_ledger_entry *e = &l->entries[at];
		if (e->cid_len > 0)
			continue;
		e->family = (uint8_t)peer->ip.family;
		e->port = peer->port;
		e->listen = (uint8_t)listen;
		memcpy(e->ip, peer->ip.bytes, sizeof(e->ip));
		memcpy(e->cid, cid.ptr, cid.len);
		e->cid_len = (uint8_t)cid.len; /* last: from here on the entry counts */
		l->next[worker] = at - first + 1;
		return (int)at;
	}
	return -1;
}

void quic_ledger_remove(struct quic_ledger *l, int slot)
{
	if (l && slot >= 0)
		l->entries[slot] = (struct quic_ledger_entry){};
}
