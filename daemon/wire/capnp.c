/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto reader: framing, segments, pointers and their limits.
 *
 * Every pointer goes through follow(), which resolves far pointers, and read_object(), which checks
 * the object against its segment and charges its words to the traversal budget. The accessors only
 * compare with the lengths that were checked there.
 */
#include "daemon/wire/capnp.h"

#include <errno.h>

#include "util/cursor.h"
#include "util/macro.h"

#define BODY_WORDS_MAX (UINT32_C(1) << 28) /* offsets of words stay in 32 bits, signed too */
#define LIST_ELEM_PTR  6
#define LIST_COMPOSITE 7

/* A pointer word that is no far pointer, and where its object is counted from. */
struct pointer {
	uint64_t word;
	uint32_t segment;
	uint32_t base; /* word index in body that the offset is added to */
	bool is_tag;   /* from a double-far pad: the object is at base itself */
};

/* An object's place: a struct, or a list in the shape of struct capnp_list. */
struct object {
	enum capnp_kind kind;
	uint32_t segment;
	uint32_t at; /* word index in body */
	uint32_t count;
	uint32_t data_len; /* bytes, of the struct or of one element */
	uint32_t step;     /* bytes */
	uint16_t ptr_count;
	uint8_t elem; /* list: element kind */
};

static bool msg_fail(struct capnp_msg *m)
{
	m->error = -EBADMSG;
	return false;
}

static bool msg_charge(struct capnp_msg *m, uint64_t words)
{
	if (words > m->budget)
		return msg_fail(m);
	m->budget -= words;
	return true;
}

static const uint8_t *word_at(const struct capnp_msg *m, uint32_t at)
{
	return m->body.ptr + (size_t)at * CAPNP_WORD;
}

static uint32_t word_of(const struct capnp_msg *m, const uint8_t *p)
{
	return (uint32_t)((size_t)(p - m->body.ptr) / CAPNP_WORD);
}

/* ---- framing ---- */

/* Bytes of a segment table with this many segments: padded to whole words. */
static size_t table_len(size_t segments)
{
	return (4 + 4 * segments + 7) & ~(size_t)7;
}

int capnp_frame_need(struct span in, size_t limit, size_t *ret_need)
{
	struct cursor c = cursor_over(in);
	if (in.len < 4) {
		*ret_need = CAPNP_WORD;
		return 0;
	}

	/* The field holds the count minus one; compare before adding, it may be all ones. */
	uint32_t field = cursor_le32(&c);
	if (field >= CAPNP_SEGMENTS_MAX)
		return -EBADMSG;
	size_t need = table_len((size_t)field + 1);
	if (need > limit)
		return -EMSGSIZE;
	if (in.len < need) {
		*ret_need = need;
		return 0;
	}

	for (uint32_t i = 0; i <= field; i++) {
		uint32_t words = cursor_le32(&c);
		if (i == 0 && words == 0)
			return -EBADMSG;
		if (words > BODY_WORDS_MAX || (size_t)words * CAPNP_WORD > limit - need)
			return -EMSGSIZE;
		need += (size_t)words * CAPNP_WORD;
	}
	*ret_need = need;
	return 0;
}

int capnp_msg_open(struct span frame, struct capnp_msg *ret)
{
	size_t need = 0;
	int r = capnp_frame_need(frame, (size_t)BODY_WORDS_MAX * CAPNP_WORD, &need);
	if (r < 0)
		return -EBADMSG;
	if (need > frame.len)
		return -ENODATA;
	if (need < frame.len)
		return -EBADMSG;

	struct cursor c = cursor_over(frame);
	ret->segment_count = cursor_le32(&c) + 1;
	ret->segment_start[0] = 0;
	for (uint32_t i = 0; i < ret->segment_count; i++)
		ret->segment_start[i + 1] = ret->segment_start[i] + cursor_le32(&c);
	ret->body = span_skip(frame, table_len(ret->segment_count));
	ret->error = 0;
	capnp_msg_rewind(ret);
	return 0;
}

int capnp_msg_finish(const struct capnp_msg *m)
{
	return m->error;
}

void capnp_msg_rewind(struct capnp_msg *m)
{
	m->budget = (uint64_t)(m->body.len / CAPNP_WORD) * CAPNP_TRAVERSAL;
}

/* ---- pointers ---- */

static bool segment_has(const struct capnp_msg *m, uint32_t segment, uint64_t at, uint64_t words)
{
	uint64_t end = m->segment_start[segment + 1];
	return at >= m->segment_start[segment] && at <= end && words <= end - at;
}

/* Replaces a far pointer by the one at its landing pad (docs/protocol.md §4.2). */
static bool follow(struct capnp_msg *m, struct pointer *p)
{
	if ((p->word & 3) != 2)
		return true;

	bool is_double = p->word & 4;
	uint32_t segment = (uint32_t)(p->word >> 32);
	uint64_t offset = (uint32_t)p->word >> 3;
	if (segment >= m->segment_count)
		return msg_fail(m);
	uint64_t pad = m->segment_start[segment] + offset;
	if (!segment_has(m, segment, pad, is_double ? 2 : 1) || !msg_charge(m, 1))
		return msg_fail(m);

	uint64_t word = load_le64(word_at(m, (uint32_t)pad));
	if (!is_double) {
		/* A pad that is far again would make a chain. */
		if ((word & 3) == 2)
			return msg_fail(m);
		*p = (struct pointer){ .word = word,
				       .segment = segment,
				       .base = (uint32_t)pad + 1 };
		return true;
	}

	/* Double-far: a single-far pointer to the object, then a tag with its shape. */
	uint32_t to = (uint32_t)(word >> 32);
	uint64_t at = (uint32_t)word >> 3;
	uint64_t tag = load_le64(word_at(m, (uint32_t)pad + 1));
	if ((word & 7) != 2 || to >= m->segment_count || (tag & 3) > 1 || (uint32_t)tag >> 2 != 0)
		return msg_fail(m);
	at += m->segment_start[to];
	if (!segment_has(m, to, at, 0))
		return msg_fail(m);
	*p = (struct pointer){ .word = tag, .segment = to, .base = (uint32_t)at, .is_tag = true };
	return true;
}

static bool read_struct(struct capnp_msg *m, const struct pointer *p, struct object *o)
{
	uint32_t data_words = (uint32_t)(p->word >> 32) & 0xffff;
	uint32_t ptr_count = (uint32_t)(p->word >> 48);

	if (!segment_has(m, o->segment, o->at, (uint64_t)data_words + ptr_count))
		return msg_fail(m);
	o->kind = CAPNP_KIND_STRUCT;
	o->data_len = data_words * CAPNP_WORD;
	o->ptr_count = (uint16_t)ptr_count;
	return msg_charge(m, (uint64_t)data_words + ptr_count + 1);
}

static bool read_composite(struct capnp_msg *m, uint32_t words, struct object *o)
{
	if (!segment_has(m, o->segment, o->at, (uint64_t)words + 1))
		return msg_fail(m);
	uint64_t tag = load_le64(word_at(m, o->at));
	if ((tag & 3) != 0)
		return msg_fail(m);

	uint32_t data_words = (uint32_t)(tag >> 32) & 0xffff;
	uint32_t item_words = data_words + (uint32_t)(tag >> 48);
	o->count = (uint32_t)tag >> 2;
	/* The tag wins over a larger word count, so only "too many" is wrong. */
	if ((uint64_t)o->count * item_words > words)
		return msg_fail(m);
	o->at++;
	o->data_len = data_words * CAPNP_WORD;
	o->ptr_count = (uint16_t)(tag >> 48);
	o->step = item_words * CAPNP_WORD;
	/* Elements of no size cost too, or a few bytes would make a long loop. */
	return msg_charge(m, MAX((uint64_t)words, (uint64_t)o->count) + 1);
}

static bool read_list(struct capnp_msg *m, const struct pointer *p, struct object *o)
{
	/* Bits of one element by its kind; 6 is a pointer. */
	static const uint8_t bits[] = { 0, 1, 8, 16, 32, 64, 64 };
	uint32_t count = (uint32_t)(p->word >> 35);

	o->kind = CAPNP_KIND_LIST;
	o->elem = (uint8_t)(p->word >> 32 & 7);
	if (o->elem == LIST_COMPOSITE)
		return read_composite(m, count, o);

	uint64_t words = ((uint64_t)count * bits[o->elem] + 63) / 64;
	if (!segment_has(m, o->segment, o->at, words))
		return msg_fail(m);
	o->count = count;
	o->step = bits[o->elem] / 8U;
	o->ptr_count = o->elem == LIST_ELEM_PTR;
	o->data_len = o->elem == LIST_ELEM_PTR ? 0 : o->step;
	return msg_charge(m, (o->elem == 0 ? count : words) + 1);
}

/*
 * The object behind the pointer at ptr, in this segment. False when there is none to read: null, or
 * an error, which is then in m->error.
 */
static bool read_object(struct capnp_msg *m, const uint8_t *ptr, uint32_t segment,
			struct object *ret)
{
	struct object o = {};
	uint32_t here = word_of(m, ptr);
	struct pointer p = { .word = load_le64(ptr), .segment = segment, .base = here + 1 };
	*ret = o;
	if (p.word == 0 || m->error || !follow(m, &p) || p.word == 0)
		return false;

	if ((p.word & 3) == 3) {
		if ((uint32_t)p.word != 3)
			return msg_fail(m); /* reserved kinds of "other" */
		o.kind = CAPNP_KIND_CAP;
		o.count = (uint32_t)(p.word >> 32);
		*ret = o;
		return true;
	}

	int64_t offset = p.is_tag ? 0 : (int32_t)(uint32_t)p.word >> 2;
	int64_t at = (int64_t)p.base + offset;
	/* A struct of no size lies nowhere; its offset is -1 by convention. */
	if (at < m->segment_start[p.segment] || at > m->segment_start[p.segment + 1])
		return msg_fail(m);
	o.segment = p.segment;
	o.at = (uint32_t)at;
	if (!((p.word & 3) == 0 ? read_struct(m, &p, &o) : read_list(m, &p, &o)))
		return false;
	*ret = o;
	return true;
}

static struct capnp_struct struct_of(struct capnp_msg *m, const struct object *o, uint8_t depth)
{
	const uint8_t *data = word_at(m, o->at);
	return (struct capnp_struct){
		.msg = m,
		.data = data,
		.ptrs = data + o->data_len,
		.data_len = o->data_len,
		.segment = o->segment,
		.ptr_count = o->ptr_count,
		.depth = depth,
	};
}

/* The object in a pointer slot; false for none, a missing slot or nesting that is too deep. */
static bool slot_object(const struct capnp_struct *s, unsigned int slot, struct object *ret)
{
	if (slot >= s->ptr_count)
		return false;
	if (!read_object(s->msg, s->ptrs + (size_t)slot * CAPNP_WORD, s->segment, ret))
		return false;
	return s->depth < CAPNP_DEPTH_MAX || msg_fail(s->msg);
}

/* ---- accessors ---- */

struct capnp_struct capnp_root(struct capnp_msg *m)
{
	struct object o;
	if (!read_object(m, m->body.ptr, 0, &o) || o.kind != CAPNP_KIND_STRUCT)
		return (struct capnp_struct){ .msg = m };
	return struct_of(m, &o, 1);
}

uint8_t capnp_u8(const struct capnp_struct *s, size_t at)
{
	return at < s->data_len ? s->data[at] : 0;
}

uint16_t capnp_u16(const struct capnp_struct *s, size_t at)
{
	return at + 2 <= s->data_len ? load_le16(s->data + at) : 0;
}

uint32_t capnp_u32(const struct capnp_struct *s, size_t at)
{
	return at + 4 <= s->data_len ? load_le32(s->data + at) : 0;
}

uint64_t capnp_u64(const struct capnp_struct *s, size_t at)
{
	return at + 8 <= s->data_len ? load_le64(s->data + at) : 0;
}

bool capnp_bit(const struct capnp_struct *s, size_t bit)
{
	return capnp_u8(s, bit / 8) >> (bit % 8) & 1;
}

enum capnp_kind capnp_kind(const struct capnp_struct *s, unsigned int slot)
{
	struct object o;
	if (!slot_object(s, slot, &o))
		return s->msg && s->msg->error ? CAPNP_KIND_BAD : CAPNP_KIND_NULL;
	return o.kind;
}

struct capnp_struct capnp_get_struct(const struct capnp_struct *s, unsigned int slot)
{
	struct object o;
	if (!slot_object(s, slot, &o) || o.kind != CAPNP_KIND_STRUCT)
		return (struct capnp_struct){ .msg = s->msg };
	return struct_of(s->msg, &o, (uint8_t)(s->depth + 1));
}

struct capnp_list capnp_get_list(const struct capnp_struct *s, unsigned int slot)
{
	struct object o;
	if (!slot_object(s, slot, &o) || o.kind != CAPNP_KIND_LIST)
		return (struct capnp_list){ .msg = s->msg, .is_null = true };
	return (struct capnp_list){
		.msg = s->msg,
		.items = word_at(s->msg, o.at),
		.count = o.count,
		.step = o.step,
		.item_data_len = o.data_len,
		.segment = o.segment,
		.item_ptr_count = o.ptr_count,
		.depth = (uint8_t)(s->depth + 1),
		.elem = o.elem,
	};
}

/* A list of single bytes, which is what text and data are. ptr NULL for anything else. */
static struct span slot_bytes(const struct capnp_struct *s, unsigned int slot)
{
	struct object o;
	if (!slot_object(s, slot, &o) || o.kind != CAPNP_KIND_LIST || o.elem != 2)
		return (struct span){};
	return span_of(word_at(s->msg, o.at), o.count);
}

struct span capnp_get_data(const struct capnp_struct *s, unsigned int slot)
{
	return slot_bytes(s, slot);
}

struct span capnp_get_text(const struct capnp_struct *s, unsigned int slot)
{
	struct span t = slot_bytes(s, slot);
	if (t.len == 0 || t.ptr[t.len - 1] != 0)
		return (struct span){};
	return span_first(t, t.len - 1);
}

uint32_t capnp_get_cap(const struct capnp_struct *s, unsigned int slot)
{
	struct object o;
	return slot_object(s, slot, &o) && o.kind == CAPNP_KIND_CAP ? o.count : UINT32_MAX;
}

struct capnp_struct capnp_list_at(const struct capnp_list *l, uint32_t i)
{
	if (i >= l->count || l->elem == 1)
		return (struct capnp_struct){ .msg = l->msg };
	const uint8_t *data = l->items + (size_t)i * l->step;
	return (struct capnp_struct){
		.msg = l->msg,
		.data = data,
		.ptrs = data + l->item_data_len,
		.data_len = l->item_data_len,
		.segment = l->segment,
		.ptr_count = l->item_ptr_count,
		.depth = l->depth,
	};
}

struct span capnp_list_text(const struct capnp_list *l, uint32_t i)
{
	struct capnp_struct s = capnp_list_at(l, i);
	return capnp_get_text(&s, 0);
}
