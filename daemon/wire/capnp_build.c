/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto writer: one segment that grows at its end, in the order of the calls.
 *
 * Positions are byte offsets from the start of the buffer; 0 can't be an object (the frame header
 * is there), so it stands for "didn't fit" and every setter ignores it.
 */
#include "daemon/wire/capnp_build.h"

#include <assert.h>
#include <errno.h>

#include "util/endian.h"

#define HEADER_LEN       8
#define LIST_COUNT_MAX   ((UINT32_C(1) << 29) - 1)
#define EMPTY_STRUCT_PTR UINT64_C(0x00000000fffffffc) /* offset -1, no data, no pointers */

static struct capnp_ref nothing(struct capnp_builder *b)
{
	b->error = -ENOBUFS;
	return (struct capnp_ref){};
}

/* len zero bytes at the end, padded to a word; their offset, or 0. */
static size_t append(struct capnp_builder *b, size_t len)
{
	size_t padded = (len + 7) & ~(size_t)7;
	if (b->error || padded < len || padded > b->cap - b->len) {
		b->error = -ENOBUFS;
		return 0;
	}
	size_t at = b->len;
	memset(b->buf + at, 0, padded);
	b->len += padded;
	return at;
}

/* Offset of a pointer slot, or 0. */
static size_t slot_at(struct capnp_ref s, unsigned int slot)
{
	if (s.at == 0)
		return 0;
	assert(slot < s.ptr_count);
	return s.at + ((size_t)s.data_words + slot) * CAPNP_WORD;
}

/* Writes a pointer at from to the object at to. low: kind in its two lowest bits; high: the rest.
 */
static void link_to(struct capnp_builder *b, size_t from, size_t to, uint32_t kind, uint32_t high)
{
	size_t words = (to - from) / CAPNP_WORD - 1;
	store_le64(b->buf + from, (uint64_t)high << 32 | (uint64_t)words << 2 | kind);
}

void capnp_build_init(struct capnp_builder *b, void *buf, size_t cap)
{
	*b = (struct capnp_builder){ .buf = buf, .cap = cap };
	(void)append(b, HEADER_LEN + CAPNP_WORD); /* header and root pointer */
}

struct capnp_ref capnp_build_root(struct capnp_builder *b, uint16_t data_words, uint16_t ptr_count)
{
	/* The root pointer is the only slot of a struct without data that begins behind the header.
	 */
	struct capnp_ref top = { .at = HEADER_LEN, .ptr_count = 1 };
	return capnp_put_struct(b, top, 0, data_words, ptr_count);
}

int capnp_build_finish(struct capnp_builder *b, struct span *ret_frame)
{
	if (b->error)
		return b->error;
	store_le32(b->buf, 0);
	store_le32(b->buf + 4, (uint32_t)((b->len - HEADER_LEN) / CAPNP_WORD));
	*ret_frame = span_of(b->buf, b->len);
	return 0;
}

/* ---- data ---- */

/* Where len bytes at offset at of the struct's data are, or NULL after an overflow. */
static uint8_t *field(struct capnp_builder *b, struct capnp_ref s, size_t at, size_t len)
{
	if (b->error || s.at == 0)
		return NULL;
	assert(at + len <= (size_t)s.data_words * CAPNP_WORD);
	return b->buf + s.at + at;
}

void capnp_set_u8(struct capnp_builder *b, struct capnp_ref s, size_t at, uint8_t v)
{
	uint8_t *p = field(b, s, at, 1);
	if (p)
		*p = v;
}

void capnp_set_u16(struct capnp_builder *b, struct capnp_ref s, size_t at, uint16_t v)
{
	uint8_t *p = field(b, s, at, 2);
	if (p)
		store_le16(p, v);
}

void capnp_set_u32(struct capnp_builder *b, struct capnp_ref s, size_t at, uint32_t v)
{
	uint8_t *p = field(b, s, at, 4);
	if (p)
		store_le32(p, v);
}

void capnp_set_u64(struct capnp_builder *b, struct capnp_ref s, size_t at, uint64_t v)
{
	uint8_t *p = field(b, s, at, 8);
	if (p)
		store_le64(p, v);
}

void capnp_set_bit(struct capnp_builder *b, struct capnp_ref s, size_t bit, bool v)
{
	uint8_t *p = field(b, s, bit / 8, 1);
	uint8_t mask = (uint8_t)(1U << bit % 8);
	if (p)
		*p = v ? *p | mask : *p & (uint8_t)~mask;
}

/* ---- objects ---- */

struct capnp_ref capnp_put_struct(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				  uint16_t data_words, uint16_t ptr_count)
{
	size_t from = slot_at(s, slot);
	size_t len = ((size_t)data_words + ptr_count) * CAPNP_WORD;
	size_t at = append(b, len);
	if (at == 0 || from == 0)
		return nothing(b);

	if (len == 0)
		store_le64(b->buf + from, EMPTY_STRUCT_PTR);
	else
		link_to(b, from, at, 0, (uint32_t)ptr_count << 16 | data_words);
	return (struct capnp_ref){ .at = at, .data_words = data_words, .ptr_count = ptr_count };
}

struct capnp_ref capnp_put_list(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				struct capnp_ref item)
{
	size_t from = slot_at(s, slot);
	uint64_t words = ((uint64_t)item.data_words + item.ptr_count) * item.count;
	if (words > LIST_COUNT_MAX)
		return nothing(b);
	size_t at = append(b, ((size_t)words + 1) * CAPNP_WORD);
	if (at == 0 || from == 0)
		return nothing(b);

	link_to(b, from, at, 1, (uint32_t)words << 3 | 7);
	/* The tag: a struct pointer whose offset field is the count. */
	uint64_t shape = (uint64_t)item.ptr_count << 48 | (uint64_t)item.data_words << 32;
	store_le64(b->buf + at, shape | (uint64_t)item.count << 2);
	item.at = at + CAPNP_WORD;
	return item;
}

struct capnp_ref capnp_ref_at(struct capnp_ref list, uint32_t i)
{
	if (list.at == 0)
		return (struct capnp_ref){};
	assert(i < list.count);
	list.at += ((size_t)list.data_words + list.ptr_count) * CAPNP_WORD * i;
	list.count = 0;
	return list;
}

/* A list of count elements of a primitive kind (or pointers), len bytes long. */
static size_t put_plain(struct capnp_builder *b, size_t from, uint8_t elem, uint32_t count,
			size_t len)
{
	size_t at = append(b, len);
	if (at == 0 || from == 0) {
		(void)nothing(b);
		return 0;
	}
	link_to(b, from, at, 1, count << 3 | elem);
	return at;
}

struct capnp_ref capnp_put_ptr_list(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
				    uint16_t count)
{
	size_t at = put_plain(b, slot_at(s, slot), 6, count, (size_t)count * CAPNP_WORD);
	return (struct capnp_ref){ .at = at, .ptr_count = count };
}

void capnp_put_text(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    struct span text)
{
	capnp_put_text2(b, s, slot, text, (struct span){});
}

void capnp_put_text2(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		     struct span first, struct span second)
{
	if (first.len == 0 && second.len == 0)
		return;
	if (first.len >= LIST_COUNT_MAX || second.len >= LIST_COUNT_MAX - first.len) {
		(void)nothing(b);
		return;
	}
	size_t count = first.len + second.len + 1; /* with the NUL, which append() wrote */
	size_t at = put_plain(b, slot_at(s, slot), 2, (uint32_t)count, count);
	if (at == 0)
		return;
	if (first.len)
		memcpy(b->buf + at, first.ptr, first.len);
	if (second.len)
		memcpy(b->buf + at + first.len, second.ptr, second.len);
}

void capnp_put_data(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    struct span bytes)
{
	if (!bytes.ptr)
		return;
	if (bytes.len > LIST_COUNT_MAX) {
		(void)nothing(b);
		return;
	}
	size_t at = put_plain(b, slot_at(s, slot), 2, (uint32_t)bytes.len, bytes.len);
	if (at != 0 && bytes.len)
		memcpy(b->buf + at, bytes.ptr, bytes.len);
}

void capnp_put_cap(struct capnp_builder *b, struct capnp_ref s, unsigned int slot, uint32_t index)
{
	size_t from = slot_at(s, slot);
	if (from != 0 && !b->error)
		store_le64(b->buf + from, (uint64_t)index << 32 | 3);
}

/* ---- deep copy ---- */

static void copy_content(struct capnp_builder *b, struct capnp_ref to,
			 const struct capnp_struct *from);

static void copy_list(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		      const struct capnp_list *l)
{
	struct capnp_ref to;
	if (l->elem == 7) {
		struct capnp_ref item = { .data_words = (uint16_t)(l->item_data_len / CAPNP_WORD),
					  .ptr_count = l->item_ptr_count,
					  .count = l->count };
		to = capnp_put_list(b, s, slot, item);
	} else if (l->elem == 6) {
		/* Read and written as structs of one pointer. */
		to = (struct capnp_ref){ .ptr_count = 1, .count = l->count };
		to.at = put_plain(b, slot_at(s, slot), 6, l->count, (size_t)l->count * CAPNP_WORD);
	} else {
		size_t len = l->elem == 1 ? (l->count + 7U) / 8 : (size_t)l->count * l->step;
		size_t at = put_plain(b, slot_at(s, slot), l->elem, l->count, len);
		if (at != 0 && len)
			memcpy(b->buf + at, l->items, len);
		return;
	}

	for (uint32_t i = 0; i < l->count && !b->error && !l->msg->error; i++) {
		struct capnp_struct item = capnp_list_at(l, i);
		copy_content(b, capnp_ref_at(to, i), &item);
	}
}

/* Recursion ends with the reader's depth limit, loops with its traversal budget. */
static void copy_content(struct capnp_builder *b, struct capnp_ref to,
			 const struct capnp_struct *from)
{
	if (b->error || to.at == 0)
		return;
	if (from->data_len)
		memcpy(b->buf + to.at, from->data, from->data_len);

	for (unsigned int i = 0; i < from->ptr_count && !b->error; i++) {
		struct capnp_struct child;
		struct capnp_list list;
		switch (capnp_kind(from, i)) {
		case CAPNP_KIND_STRUCT:
			child = capnp_get_struct(from, i);
			capnp_put_copy(b, to, i, &child);
			break;
		case CAPNP_KIND_LIST:
			list = capnp_get_list(from, i);
			copy_list(b, to, i, &list);
			break;
		case CAPNP_KIND_CAP:
			capnp_put_cap(b, to, i, capnp_get_cap(from, i));
			break;
		case CAPNP_KIND_NULL:
			break;
		case CAPNP_KIND_BAD:
			return;
		}
	}
}

void capnp_put_copy(struct capnp_builder *b, struct capnp_ref s, unsigned int slot,
		    const struct capnp_struct *from)
{
	struct capnp_ref to = capnp_put_struct(b, s, slot, (uint16_t)(from->data_len / CAPNP_WORD),
					       from->ptr_count);
	copy_content(b, to, from);
}
