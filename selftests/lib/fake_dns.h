/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name server for unit tests, on loopback: UDP, and DNS over TLS when it is given a context. It
 * knows what is in its table and does what it is told to do wrong.
 */
#ifndef SELFTESTS_LIB_FAKE_DNS_H
#define SELFTESTS_LIB_FAKE_DNS_H

#include <openssl/types.h>

#include "daemon/base/bufq.h"
#include "daemon/net/dns_answer.h"
#include "daemon/net/tcp.h"

/* One record; of a name without any: NXDOMAIN. */
struct fake_record {
	const char *name;
	enum dns_type type;
	const char *value; /* address, target or text; NULL: no record, but the name is there */
	unsigned int ttl;
	uint16_t priority, weight, port; /* SRV */
	int rcode;                       /* instead of a record */
	bool is_mute;                    /* no answer at all */
};

#define FAKE_RECORD(n, t, v, seconds) \
	{ .name = (n), .type = DNS_TYPE_##t, .value = (v), .ttl = (seconds) }
#define FAKE_SRV(n, seconds, prio, w, p, target) \
	{ .name = (n),                           \
	  .type = DNS_TYPE_SRV,                  \
	  .value = (target),                     \
	  .ttl = (seconds),                      \
	  .priority = (prio),                    \
	  .weight = (w),                         \
	  .port = (p) }
#define FAKE_FAILURE(n, t, code) { .name = (n), .type = DNS_TYPE_##t, .rcode = (code) }
#define FAKE_SILENCE(n, t)       { .name = (n), .type = DNS_TYPE_##t, .is_mute = true }

enum { FAKE_DNS_CONNECTIONS = 16 };

struct fake_dns_connection {
	struct fake_dns *dns;
	struct iostream *io;
	struct bufq rx, tx;
};

struct fake_dns {
	/* To be set, and changed at will. */
	const struct fake_record *records; /* ends with a NULL name */
	bool is_mute;
	int rcode;         /* of all answers; 0: as in the table */
	struct span raw;   /* over TLS: sent instead of an answer */
	bool closes_first; /* over TLS: the connection ends at a question */

	uint16_t port;     /* UDP */
	uint16_t tls_port; /* TCP */
	unsigned int udp_questions, tls_questions, connections;

	struct loop *loop;
	struct slab *slab;
	SSL_CTX *tls;
	struct loop_io udp;
	struct tcp_listener listener;
	struct fake_dns_connection live[FAKE_DNS_CONNECTIONS];
};

/* slab and tls are borrowed; NULL: UDP alone. */
void fake_dns_start(struct fake_dns *f, struct loop *loop, struct slab *slab, SSL_CTX *tls);
void fake_dns_stop(struct fake_dns *f);

#endif
