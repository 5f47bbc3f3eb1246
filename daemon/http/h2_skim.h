/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands between the bytes of an HTTP/2 peer and the library, whose HPACK decoder gives a whole
 * connection up for one string of 64 KiB. Header blocks are put together here, with a short string
 * in place of a long one, so that only the stream suffers; everything else passes untouched.
 */
#ifndef DAEMON_HTTP_H2_SKIM_H
#define DAEMON_HTTP_H2_SKIM_H

#include "util/span.h"

enum {
	H2_SKIM_FRAME_HEAD = 9,
	H2_SKIM_STRING_MAX = 48 * 1024, /* as it is coded; longer ones are replaced */
	H2_SKIM_STAND_IN = 4096,        /* by so many bytes: no more fits into the table (§4.4) */
	H2_SKIM_BLOCK_KEPT = 4 * 1024,  /* room that a connection keeps between blocks */
	H2_SKIM_BLOCK_MAX = 120 * 1024, /* of a block without what was replaced */
	H2_SKIM_RAW_MAX = 4 * 1024 * 1024, /* of a block as it came */
	H2_SKIM_FRAMES_MAX = 300,          /* of one block */
};

/* Where in a block's representations we are (RFC 7541 §6). */
enum h2_skim_at : uint8_t {
	H2_SKIM_AT_START, /* of a representation */
	H2_SKIM_AT_INDEX, /* in the continuation of an integer that ends a representation */
	H2_SKIM_AT_NAME_INDEX,
	H2_SKIM_AT_LENGTH, /* of a string: its first byte */
	H2_SKIM_AT_LENGTH_MORE,
	H2_SKIM_AT_STRING,
};

struct h2_skim {
	/* What the library is given; returns 0 or a negative errno, which ends the feeding. */
	int (*emit)(void *user, struct span bytes);
	void *user;
	uint8_t head[H2_SKIM_FRAME_HEAD];
	unsigned int head_len;
	unsigned int preface; /* bytes of the client's preface to come */
	uint32_t left;        /* bytes of the current frame's payload to come */
	bool is_in_block;     /* the frame is part of a block */
	bool is_oversize;     /* a string of the last block was replaced */
	uint32_t stream;      /* of the block that is being put together; 0: none */
	uint8_t flags;        /* of its HEADERS */
	uint8_t skip;         /* bytes of padding length and priority before the fragment */
	bool has_padding;     /* its length comes first */
	uint32_t padding;     /* bytes behind the fragment */
	unsigned int frames;
	size_t raw;
	uint8_t *block; /* a frame head and block_room bytes; a small one is kept */
	size_t block_len, block_room;

	enum h2_skim_at at;
	bool is_value_next; /* the string that begins is a name */
	bool is_replaced;   /* the current string is */
	uint8_t shift;
	uint8_t first; /* byte of the length */
	uint64_t number;
};

/* is_server: the peer begins with the client's preface (RFC 9113 §3.4). */
void h2_skim_init(struct h2_skim *s, bool is_server, int (*emit)(void *user, struct span bytes),
		  void *user);
void h2_skim_done(struct h2_skim *s);
/*
 * Passes bytes on. When the library gets the end of a block is_oversize tells about it. Returns 0,
 * what emit said, -ENOMEM, -E2BIG for a block over a limit (a flood), or -EBADMSG for one
 * that can't be.
 */
[[nodiscard]] int h2_skim_feed(struct h2_skim *s, struct span in);

#endif
