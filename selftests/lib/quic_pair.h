/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC links against one another over loopback in one thread: a dialling worker, a server on one or
 * more workers, and records of what their sinks were told.
 */
#ifndef SELFTESTS_LIB_QUIC_PAIR_H
#define SELFTESTS_LIB_QUIC_PAIR_H

#include "daemon/link/quic.h"
#include "selftests/lib/testcert.h"

enum {
	PAIR_WORKERS_MAX = 4, /* of the server */
	PAIR_LINKS_MAX = 64,
	PAIR_STREAMS_MAX = 4096,
};

/* One end of a link as its user sees it. */
struct pair_end {
	struct link *link; /* NULL before it exists and after pair_end_free() */
	struct quic_pair *pair;
	bool is_up, is_draining, is_closed;
	struct link_close_info info;
	struct stream *streams[PAIR_STREAMS_MAX]; /* opened by the peer, in order */
	uint64_t ids[PAIR_STREAMS_MAX];
	unsigned int stream_count;
	/* Called with each new stream instead of just remembering it. */
	void (*on_stream)(struct pair_end *end, struct stream *stream);
	unsigned int datagrams;
	uint64_t datagram_bytes;
	uint8_t datagram[2048]; /* the last one */
	size_t datagram_len;
};

struct quic_pair {
	unsigned int worker_count; /* of the server */
	struct worker_set *set;    /* client first, then the server's */
	struct worker_set *server_set;
	struct quic_settings client_settings, server_settings;
	struct quic_worker *client_qw, *server_qws[PAIR_WORKERS_MAX];
	struct quic_server *server;
	struct ip_port addr; /* where the server listens */
	struct quic_server_params params;
	uint8_t key[32];
	struct test_cert ca, cert;
	SSL_CTX *client_tls, *server_tls;
	struct tls_trust trust;
	char dir[64];
	struct pair_end *accepted[PAIR_LINKS_MAX]; /* server ends, in order */
	unsigned int accepted_count;
	void (*on_server_stream)(struct pair_end *end, struct stream *stream);
	bool is_server_gone;
	size_t server_memory; /* budget of each of the server's workers */
	const char *server_name;
	int null_fd;
	struct pair_end client; /* of the first dial */
	struct ip_port relay;   /* dialled instead of the server when its family is set */
	void (*on_turn)(void *arg);
	void *turn_arg;
};

/* Settings as the programs have them. To be changed between pair_init() and pair_start(). */
void pair_init(struct quic_pair *p, unsigned int workers);
/* Opens the server. */
void pair_start(struct quic_pair *p);
/* Frees all; everything must end without leaks. */
void pair_done(struct quic_pair *p);
/* After pair_init() alone: for tests that want its contexts only. */
void pair_done_tls(struct quic_pair *p);
/* The server's process dies without a word; pair_restart() makes another on the same address. */
void pair_kill_server(struct quic_pair *p);
void pair_restart_server(struct quic_pair *p);

/* Dials; does not wait. */
int pair_dial(struct quic_pair *p, struct pair_end *end);
/* How long to wait for something that takes msec at most: ADIT_SLOW times that. */
nsec_t pair_patience(unsigned int msec);
/* Turns all loops until check says yes; false after that. */
bool pair_until(struct quic_pair *p, bool (*check)(void *arg), void *arg, unsigned int msec);
/* Turns all loops for a while. What passes while the machine does something else doesn't count: a
 * turn is taken for a millisecond at most. */
void pair_run(struct quic_pair *p, unsigned int msec);
/* One turn of every loop. */
void pair_turn(struct quic_pair *p);
/* Dials the pair's client and waits until both ends are up. */
void pair_connect(struct quic_pair *p);
void pair_end_free(struct pair_end *end);

/* Opens a stream; it must be possible. */
struct stream *pair_open_stream(struct link *link);
/* Waits until the first accepted link has seen so many streams. */
void pair_wait_streams(struct quic_pair *p, unsigned int count);
/* What a stream said last when it was read. */
struct pair_reading {
	struct stream *s;
	uint8_t buf[256];
	ssize_t ret;
};
/* Reads once; true when stream_read() said something else than -EAGAIN. arg: a pair_reading. */
bool pair_has_read(void *arg);
/* Waits for that; returns what it said. */
ssize_t pair_read_one(struct quic_pair *p, struct stream *s, struct pair_reading *r);

#endif
