/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto messages in the unpacked stream format: framing, a bounded multi-segment reader and a
 * single-segment writer (docs/protocol.md §4).
 *
 * The reader never fails in the middle: the first malformed pointer, a nesting deeper than
 * CAPNP_DEPTH_MAX or a spent traversal budget is kept in capnp_msg.error, later reads give zero,
 * and capnp_msg_finish() tells once. Everything read is borrowed from the frame.
 */
#ifndef DAEMON_WIRE_CAPNP_H
#define DAEMON_WIRE_CAPNP_H

#include "util/span.h"

#define CAPNP_WORD         8
#define CAPNP_SEGMENTS_MAX 513
#define CAPNP_DEPTH_MAX    64
#define CAPNP_TRAVERSAL    8 /* budget in multiples of the message's words */
#define CAPNP_RPC_MAX      ((size_t)64 << 10)
#define CAPNP_CONNECT_MAX  ((size_t)256 << 10)
#define CAPNP_CONFIG_RPC_MAX                                                 \
	(((size_t)4 << 20) + 4096) /* a configuration and the call around it \
				    */

/* A message being read. About 2 KiB: lives on the stack or in a connection, never per packet. */
struct capnp_msg {
	struct span body; /* borrowed: all segments, without the segment table */
	uint64_t budget;  /* words that may still be traversed */
	uint32_t segment_count;
	uint32_t segment_start[CAPNP_SEGMENTS_MAX + 1]; /* word index in body; last = end */
	int error;                                      /* 0 or -EBADMSG */
};

/* A struct inside a message; all zero reads as the default of every field. */
struct capnp_struct {
	struct capnp_msg *msg; /* borrowed; must outlive the value */
	const uint8_t *data;
	const uint8_t *ptrs;
	uint32_t data_len; /* bytes */
	uint32_t segment;
	uint16_t ptr_count;
	uint8_t depth;
};

/* A list whose elements are read as structs (of one pointer for a List(Text)). */
struct capnp_list {
	struct capnp_msg *msg;
	const uint8_t *items;
	uint32_t count;
	uint32_t step; /* bytes from one element to the next */
	uint32_t item_data_len;
	uint32_t segment;
	uint16_t item_ptr_count;
	uint8_t depth;
	uint8_t elem; /* kind of element (docs/protocol.md §4.2) */
	bool is_null; /* the pointer was null: told apart from an empty list */
};

enum capnp_kind : uint8_t {
	CAPNP_KIND_NULL,
	CAPNP_KIND_STRUCT,
	CAPNP_KIND_LIST,
	CAPNP_KIND_CAP,
	CAPNP_KIND_BAD,
};

/*
 * How many bytes the message at the start of in needs. *ret_need <= in.len: the frame is the first
 * *ret_need bytes. Else at least *ret_need bytes must be there before calling again (exact once the
 * segment table is complete). limit: largest frame accepted, table included.
 *
 * Returns 0, -EBADMSG for bad framing (more than 513 segments, empty first segment), -EMSGSIZE over
 * the limit.
 */
[[nodiscard]] int capnp_frame_need(struct span in, size_t limit, size_t *ret_need);

/* Prepares reading of one whole frame (borrowed). 0, -ENODATA cut short, -EBADMSG. */
[[nodiscard]] int capnp_msg_open(struct span frame, struct capnp_msg *ret);
/* 0 or -EBADMSG when something that was read was malformed or over a limit. */
[[nodiscard]] int capnp_msg_finish(const struct capnp_msg *m);
/* Gives a second pass over the same message a traversal budget of its own. */
void capnp_msg_rewind(struct capnp_msg *m);

/* The root struct; default for a null root or one of another kind (docs/protocol.md §4.3). */
struct capnp_struct capnp_root(struct capnp_msg *m);

/* Fields of the data section by byte offset (bit number for capnp_bit); past its end: zero. */
uint8_t capnp_u8(const struct capnp_struct *s, size_t at);
uint16_t capnp_u16(const struct capnp_struct *s, size_t at);
uint32_t capnp_u32(const struct capnp_struct *s, size_t at);
uint64_t capnp_u64(const struct capnp_struct *s, size_t at);
bool capnp_bit(const struct capnp_struct *s, size_t bit);

/* Pointer fields by slot. A null pointer, a missing slot or another kind gives the default. */
enum capnp_kind capnp_kind(const struct capnp_struct *s, unsigned int slot);
struct capnp_struct capnp_get_struct(const struct capnp_struct *s, unsigned int slot);
struct capnp_list capnp_get_list(const struct capnp_struct *s, unsigned int slot);
struct span capnp_get_text(const struct capnp_struct *s, unsigned int slot); /* without the NUL */
struct span capnp_get_data(const struct capnp_struct *s, unsigned int slot); /* ptr NULL if null */
uint32_t capnp_get_cap(const struct capnp_struct *s, unsigned int slot); /* UINT32_MAX if none */

struct capnp_struct capnp_list_at(const struct capnp_list *l, uint32_t i);
struct span capnp_list_text(const struct capnp_list *l, uint32_t i);

#endif
