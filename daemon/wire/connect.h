/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConnectRequest and ConnectResponse, which open a proxied stream, with their metadata
 * (docs/protocol.md §5.1, §10).
 */
#ifndef DAEMON_WIRE_CONNECT_H
#define DAEMON_WIRE_CONNECT_H

#include "daemon/wire/capnp_build.h"

enum connect_type : uint16_t {
	CONNECT_TYPE_HTTP = 0,
	CONNECT_TYPE_WEBSOCKET = 1,
	CONNECT_TYPE_TCP = 2,
};

#define CONNECT_KEY_METHOD  "HttpMethod"
#define CONNECT_KEY_HOST    "HttpHost"
#define CONNECT_KEY_STATUS  "HttpStatus"
#define CONNECT_KEY_HEADER  "HttpHeader"
#define CONNECT_KEY_FLOW_ID "FlowID"
#define CONNECT_KEY_TRACE   "cf-trace-id"
#define CONNECT_KEY_LIMITED "FlowConnectRateLimited"
#define CONNECT_KEY_FRAMES  "AditFrames"

/* One metadata entry, borrowed from the frame. */
struct connect_meta {
	bool is_header; /* name is then what follows "HttpHeader:" */
	struct span name;
	struct span value;
};

/* The metadata of a decoded message. Iterate with struct connect_iter. */
struct connect_metadata {
	struct capnp_msg msg;
	struct capnp_list list; /* list.msg is set on use, so that this can be copied */
	uint32_t count;
	uint32_t header_count;
	struct span bad_key; /* first key with HttpHeader in it that isn't "X:Name"; NULL = none */
};

/* All spans are borrowed from the frame. About 2 KiB. */
struct connect_request {
	enum connect_type type; /* any 16-bit value can arrive: answer with an error */
	struct span dest;
	struct span method; /* last HttpMethod; empty means GET */
	struct span host;   /* last HttpHost */
	bool is_framed;     /* AditFrames is 1 */
	struct connect_metadata meta;
};

struct connect_response {
	struct span error;   /* non-empty = failed, no payload follows */
	unsigned int status; /* HttpStatus, 100..999; 0 = absent or not a number */
	struct connect_metadata meta;
};

/* Zero is the start. */
struct connect_iter {
	uint32_t next;
};

/*
 * Reads a frame (without its preamble). For HTTP and WebSocket a bad_key must be answered with an
 * error (docs/protocol.md §10.2); for TCP it means nothing.
 *
 * Returns 0, -ENODATA cut short, -EBADMSG malformed: the stream is reset.
 */
[[nodiscard]] int connect_request_decode(struct span frame, struct connect_request *ret);
[[nodiscard]] int connect_response_decode(struct span frame, struct connect_response *ret);
/* The next entry in order; false at the end. Entries with a bad key are passed over. */
bool connect_next(struct connect_metadata *m, struct connect_iter *it, struct connect_meta *ret);

/* Builds preamble and message in one buffer. */
struct connect_writer {
	struct capnp_builder b;
	struct capnp_ref list;
	uint32_t next;
	uint8_t *start; /* the preamble */
};

/*
 * Room for a message: buf (cap bytes, borrowed). Then one of the two begins, then count times
 * connect_add() or connect_add_header(), then connect_finish(). Entries keep their order; count 0
 * gives a null list in a request and in a response with an error, an empty one in a response
 * without.
 */
void connect_writer_init(struct connect_writer *w, void *buf, size_t cap);
void connect_request_begin(struct connect_writer *w, enum connect_type type, struct span dest,
			   uint32_t count);
void connect_response_begin(struct connect_writer *w, struct span error, uint32_t count);
void connect_add(struct connect_writer *w, struct span key, struct span value);
/* Key "HttpHeader:name". */
void connect_add_header(struct connect_writer *w, struct span name, struct span value);
/* 0 and preamble + message (borrowed from buf), -ENOBUFS, -EPROTO when count wasn't met. */
[[nodiscard]] int connect_finish(struct connect_writer *w, struct span *ret);

#endif
