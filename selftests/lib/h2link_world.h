/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two links over HTTP/2 against one another, in one loop over loopback: a daemon's and an edge's,
 * and what their sinks were told.
 */
#ifndef SELFTESTS_LIB_H2LINK_WORLD_H
#define SELFTESTS_LIB_H2LINK_WORLD_H

#include "daemon/link/h2link.h"
#include "daemon/net/tcp.h"
#include "daemon/wire/connect.h"
#include "selftests/lib/testcert.h"

enum { HW_MEMORY = 64 * 1024 * 1024, HW_STREAMS_MAX = 64, HW_TEXT_MAX = 512 * 1024 };

/* One end as its user sees it. */
struct hw_end {
	struct link *link;
	unsigned int ups;
	bool is_suspect, is_draining, is_closed;
	struct link_close_info info;
	struct stream *streams[HW_STREAMS_MAX];
	uint64_t ids[HW_STREAMS_MAX];
	unsigned int count;
	struct stream *config;
};

struct h2link_world {
	struct worker_set *set;
	struct worker *worker;
	struct test_cert ca, cert;
	SSL_CTX *client_tls, *server_tls;
	struct tls_trust trust;
	struct h2link_settings settings;
	struct tcp_listener listener;
	struct ip_port addr;
	struct hw_end daemon, edge;
	struct stream *edge_control, *daemon_control;
};

extern struct h2link_world hw;
extern const struct link_sink hw_sink;
extern uint8_t hw_text[HW_TEXT_MAX];

struct hw_request {
	enum connect_type type;
	const char *dest;
	struct connect_meta meta[8];
	unsigned int count;
	bool is_framed;
	const char *flow_id;
};

void hw_turn(void);
/* Turns the loop until check says yes; false after the deadline. */
bool hw_until(bool (*check)(void), unsigned int msec);
/* The daemon dials; does not wait. */
void hw_dial(void);
bool hw_are_both_up(void);
int hw_setup(void **state);
/* Both are up, the control streams are open, and the edge counts the daemon as registered. */
int hw_setup_up(void **state);
/* An edge takes larger heads than a daemon. */
int hw_setup_edge(void **state);
int hw_teardown(void **state);
void hw_write_all(struct stream *s, struct span bytes);
/* Reads until the end, an error or len bytes, into hw_text; what the stream said last. */
ssize_t hw_read_some(struct stream *s, size_t len, size_t *ret_len);
void hw_expect_bytes(struct stream *s, struct span want);
void hw_expect_end(struct stream *s);
/* The edge asks; its stream, and the one that the daemon gets. */
struct stream *hw_ask(const struct hw_request *req, struct stream **ret_daemon);
/* Reads preamble and message into hw_text. */
struct span hw_take_message(struct stream *s);
/* The daemon answers with these fields. */
void hw_answer(struct stream *s, const char *status, const struct connect_meta *fields,
	       unsigned int count);
/* The value of an entry: of a field of this name, in any case, or of a key. */
struct span hw_find(struct connect_metadata *meta, bool is_header, const char *name);

#endif
