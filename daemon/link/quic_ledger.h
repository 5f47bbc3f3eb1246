/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which connections does this edge hold? Written down where a crash doesn't destroy it, so that the
 * next process can tell the daemons at once, by stateless reset (RFC 9000 §10.3), what it has
 * forgotten: an idle daemon would otherwise find out with its next keep-alive.
 */
#ifndef DAEMON_LINK_QUIC_LEDGER_H
#define DAEMON_LINK_QUIC_LEDGER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/addr.h"
#include "util/span.h"

enum {
	QUIC_LEDGER_ENTRIES = 8192, /* of all workers; more connections just aren't written down */
	QUIC_LEDGER_CID_MAX = 20,
};

/* One connection, in the file. All zero: free. */
struct quic_ledger_entry {
	uint8_t cid_len; /* our id, which the peer sends to; 0: the entry is free */
	uint8_t family;
	uint16_t port;  /* host order: the file is read by this machine only */
	uint8_t listen; /* which listener */
	uint8_t ip[16];
	uint8_t cid[QUIC_LEDGER_CID_MAX];
	uint8_t reserved[3];
};
static_assert(sizeof(struct quic_ledger_entry) == 44);

struct quic_ledger;

/*
 * Takes over the file of the last process (if there is one) and starts an empty one of the same
 * name, which belongs to uid, gid (-1: unchanged). Each worker writes a part of its own. 0 or a
 * negative errno.
 */
[[nodiscard]] int quic_ledger_open(const char *path, unsigned int workers, uid_t uid, gid_t gid,
				   struct quic_ledger **ret);
/* An orderly end: what is still written down is of no use to anybody. Accepts NULL. */
void quic_ledger_close(struct quic_ledger *ledger);

/* The last process's connections; then they are forgotten. */
void quic_ledger_each_old(struct quic_ledger *ledger,
			  void (*visit)(const struct quic_ledger_entry *entry, void *arg),
			  void *arg);

/* Writes one down. Returns its slot, or -1 when the worker's part is full (or ledger is NULL). */
int quic_ledger_add(struct quic_ledger *ledger, unsigned int worker, const struct ip_port *peer,
		    unsigned int listen, struct span cid);
/* Crosses it out; slot -1 is harmless. */
void quic_ledger_remove(struct quic_ledger *ledger, int slot);

#endif
