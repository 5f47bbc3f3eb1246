/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writer of single-segment Cap'n Proto messages into a caller's buffer (docs/protocol.md §4.4).
 *
 * Objects are appended in the order of the calls, which decides the bytes. An overflow is sticky:
 * later calls change nothing and capnp_build_finish() tells once. A reference to an object that
 * didn't fit is harmless.
 */
#ifndef DAEMON_WIRE_CAPNP_BUILD_H
#define DAEMON_WIRE_CAPNP_BUILD_H

#include "daemon/wire/capnp.h"

struct capnp_builder {
	uint8_t *buf; /* borrowed */
	size_t cap;   /* bytes */
	size_t len;   /* bytes written, frame header included */
	int error;    /* 0 or -ENOBUFS */
};

/* An object that was written: a struct, or a list of structs (count of them). */
struct capnp_ref {
	size_t at; /* byte offset in buf; 0 = nothing */
	uint16_t data_words;
	uint16_t ptr_count;
	uint32_t count;
};

/* Starts a message with a root pointer that is still null. */
void capnp_build_init(struct capnp_builder *b, void *buf, size_t cap);
struct capnp_ref capnp_build_root(struct capnp_builder *b, uint16_t data_words, uint16_t ptr_count);
/* Fills in the frame header. 0 and the frame (borrowed from buf), or -ENOBUFS. */
[[nodiscard]] int capnp_build_finish(struct capnp_builder *b, struct span *ret_frame);

/* Data fields by byte offset (bit number for capnp_set_bit), inside the struct's data section. */
void capnp_set_u8(struct capnp_builder *b, struct capnp_ref s, size_t at, uint8_t v);
void capnp_set_u16(struct capnp_builder *b, struct capnp_ref s, size_t at, uint16_t v);
void capnp_set_u32(struct capnp_builder *b, struct capnp_ref s, size_t at, uint32_t v);
void capnp_set_u64(struct capnp_builder *b, struct capnp_ref s, size_t at, uint64_t v);
void capnp_set_bit(struct capnp_builder *b, struct capnp_ref s, size_t bit, bool v);

/* Appends an object and lets pointer slot of s point to it. */
struct capnp_ref capnp_put_struct(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				  uint16_t data_words, uint16_t ptr_count);
/* List of structs; item gives the shape (data_words, ptr_count) and count of the elements. */
struct capnp_ref capnp_put_list(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				struct capnp_ref item);
/* List of pointers, used as a struct with count pointer slots. */
struct capnp_ref capnp_put_ptr_list(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				    uint16_t count);
/* Text made of two parts (the second may be empty); an empty text stays a null pointer. */
void capnp_put_text(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    struct span text);
void capnp_put_text2(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		     struct span first, struct span second);
/* Bytes; a span without pointer stays null, one of length 0 with a pointer is an empty list. */
void capnp_put_data(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    struct span bytes);
void capnp_put_cap(struct capnp_builder *b, struct capnp_ref s, unsigned int slot, uint32_t index);
/* Deep copy of a whole struct that is being read, depth first. Reader errors stay in from->msg. */
void capnp_put_copy(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    const struct capnp_struct *from);

/* Element i of a list written by capnp_put_list(). */
struct capnp_ref capnp_ref_at(struct capnp_ref list, uint32_t i);

#endif
