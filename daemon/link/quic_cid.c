/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connection ids. The table is keyed with a secret because a stranger chooses the first id of a
 * connection.
 */
#include "daemon/link/quic_cid.h"

#include <errno.h>
#include <linux/filter.h>
#include <ngtcp2/ngtcp2.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "util/endian.h"
#include "util/macro.h"

enum {
	FIRST_BITS = 6,
	LOAD_MAX = 2, /* entries a bucket */
};

struct quic_cid_node {
	struct quic_cid_node *next; /* in the bucket */
	struct quic_link *link;
	ngtcp2_cid cid;
};

static unsigned int bucket_of(const struct quic_cid_table *t, struct span cid)
{
	uint64_t h = t->seed;
	for (size_t i = 0; i < cid.len; i++)
		h = (h ^ cid.ptr[i]) * UINT64_C(0x9ddfea08eb382d69);
	h ^= h >> 32;
	h *= t->seed | 1;
	return (unsigned int)(h >> (64 - t->bits));
}

static struct span span_of_cid(const ngtcp2_cid *cid)
{
	return span_of(cid->data, cid->datalen);
}

static struct quic_cid_node **new_buckets(unsigned int bits)
{
	return (struct quic_cid_node **)calloc((size_t)1 << bits, sizeof(struct quic_cid_node *));
}

int quic_cid_table_init(struct quic_cid_table *t)
{
	*t = (struct quic_cid_table){ .bits = FIRST_BITS };
	t->buckets = new_buckets(t->bits);
	if (!t->buckets)
		return -ENOMEM;
	if (RAND_bytes((uint8_t *)&t->seed, sizeof(t->seed)) != 1) {
		free((void *)t->buckets);
		t->buckets = NULL;
		return -EIO;
	}
	return 0;
}

void quic_cid_table_done(struct quic_cid_table *t)
{
	for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++) {
		struct quic_cid_node *next;
		for (struct quic_cid_node *n = t->buckets[i]; n; n = next) {
			next = n->next;
			free(n);
		}
	}
	free((void *)t->buckets);
	*t = (struct quic_cid_table){};
}

/* Doubles the table; if there is no memory the chains get longer, nothing else. */
static void grow(struct quic_cid_table *t)
{
	struct quic_cid_table bigger = *t;
	bigger.bits++;
	bigger.buckets = new_buckets(bigger.bits);
	if (!bigger.buckets)
		return;
	for (size_t i = 0; i < (size_t)1 << t->bits; i++) {
		struct quic_cid_node *next;
		for (struct quic_cid_node *n = t->buckets[i]; n; n = next) {
			next = n->next;
			struct quic_cid_node **b =
				&bigger.buckets[bucket_of(&bigger, span_of_cid(&n->cid))];
			n->next = *b;
			*b = n;
		}
	}
	free((void *)t->buckets);
	*t = bigger;
}

/* Where the pointer to the entry with this id stands; points to NULL when there is none. */
static struct quic_cid_node **find(const struct quic_cid_table *t, struct span cid)
{
	struct quic_cid_node **at = &t->buckets[bucket_of(t, cid)];
	while (*at && !span_eq(span_of_cid(&(*at)->cid), cid))
		at = &(*at)->next;
	return at;
}

int quic_cid_add(struct quic_cid_table *t, const ngtcp2_cid *cid, struct quic_link *link)
{
	if (t->count >= (size_t)LOAD_MAX << t->bits)
		grow(t);
	struct quic_cid_node **at = find(t, span_of_cid(cid));
	if (*at)
		return -EEXIST;
	struct quic_cid_node *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->link = link;
	n->cid = *cid;
	*at = n;
	t->count++;
	return 0;
}

static void drop(struct quic_cid_table *t, struct quic_cid_node **at)
{
	struct quic_cid_node *n = *at;
	*at = n->next;
	free(n);
	t->count--;
}

void quic_cid_remove(struct quic_cid_table *t, const ngtcp2_cid *cid)
{
	struct quic_cid_node **at = find(t, span_of_cid(cid));
	if (*at)
		drop(t, at);
}

struct quic_link *quic_cid_find(const struct quic_cid_table *t, struct span cid)
{
	const struct quic_cid_node *n = *find(t, cid);
	return n ? n->link : NULL;
}

void quic_cid_make(unsigned int worker, unsigned int generation, ngtcp2_cid *ret)
{
	*ret = (ngtcp2_cid){ .datalen = STEER_CID_LEN };
	ret->data[STEER_CID_WORKER] = (uint8_t)worker;
	ret->data[STEER_CID_GENERATION] = (uint8_t)generation;
	ret->data[STEER_CID_CHECK] = STEER_CHECK((uint8_t)worker, (uint8_t)generation);
	/* On failure (no entropy: never after start) the id is guessable, not wrong. */
	(void)RAND_bytes(ret->data + STEER_CID_RANDOM, STEER_CID_LEN - STEER_CID_RANDOM);
}

bool quic_cid_is_ours(struct span cid)
{
	return cid.len == STEER_CID_LEN &&
	       cid.ptr[STEER_CID_CHECK] ==
		       STEER_CHECK(cid.ptr[STEER_CID_WORKER], cid.ptr[STEER_CID_GENERATION]);
}

int quic_cid_of_packet(struct span packet, struct quic_cid_view *ret)
{
	if (packet.len == 0)
		return -EBADMSG;

	struct quic_cid_view v = { .is_long = packet.ptr[0] & STEER_LONG_FORM };
	size_t at = STEER_SHORT_CID;
	size_t len = STEER_CID_LEN;
	if (v.is_long) {
		if (packet.len <= STEER_LONG_CID_LEN)
			return -EBADMSG;
		at = STEER_LONG_CID;
		len = packet.ptr[STEER_LONG_CID_LEN];
	}
	if (len > NGTCP2_MAX_CIDLEN || packet.len < at + len)
		return -EBADMSG;
	v.dcid = span_of(packet.ptr + at, len);
	*ret = v;
	return 0;
}

unsigned int quic_cid_owner(const struct quic_cid_view *view, unsigned int workers)
{
	struct span id = view->dcid;
	if (!view->is_long || quic_cid_is_ours(id))
		return id.ptr[STEER_CID_WORKER] % workers;
	if (id.len < STEER_FOREIGN_MIN)
		return 0;
	return STEER_HASH(load_be32(id.ptr), load_be32(id.ptr + 4)) % workers;
}

int quic_cid_attach_steering(int fd, unsigned int workers)
{
	/* The data begins at the UDP payload; a load beyond its end returns 0: worker 0. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, STEER_LONG_FORM, 3, 0),
		/* short header: the worker's byte */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_SHORT_CID + STEER_CID_WORKER),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
		/* long header: an id of ours? */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_LONG_CID_LEN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, STEER_CID_LEN, 0, 10),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_LONG_CID + STEER_CID_WORKER),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_LONG_CID + STEER_CID_GENERATION),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, STEER_CHECK_SALT),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_LONG_CID + STEER_CID_CHECK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, STEER_LONG_CID + STEER_CID_WORKER),
		BPF_JUMP(BPF_JMP | BPF_JA, 6, 0, 0),
		/* no: hash of the first eight bytes */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, STEER_LONG_CID),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, STEER_LONG_CID + 4),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, STEER_HASH_FACTOR),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, STEER_HASH_SHIFT),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0
		       ? -errno
		       : 0;
}
