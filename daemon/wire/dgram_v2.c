/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 2. They are read from the end: type, then id or trace, and the rest
 * is the content.
 */
#include "daemon/wire/dgram_v2.h"

#include <errno.h>

/* Bytes behind the content of a type. */
static const size_t tails[] = {
	[DGRAM2_TYPE_PAYLOAD] = DGRAM2_PAYLOAD_TAIL,
	[DGRAM2_TYPE_PACKET] = DGRAM2_PACKET_TAIL,
	[DGRAM2_TYPE_TRACED] = DGRAM2_TRACE_TAIL,
	[DGRAM2_TYPE_SPANS] = DGRAM2_TRACE_TAIL,
};

size_t dgram2_content_max(enum dgram2_type type)
{
	return type == DGRAM2_TYPE_PAYLOAD ? DGRAM_PAYLOAD_MAX : DGRAM2_PACKET_MAX - tails[type];
}

int dgram2_read(struct span in, struct dgram2 *ret)
{
	if (in.len == 0)
		return -ENODATA;
	struct dgram2 d = { .type = (enum dgram2_type)in.ptr[in.len - 1] };
	if (d.type > DGRAM2_TYPE_SPANS)
		return -EBADMSG;
	if (in.len < tails[d.type])
		return -ENODATA;

	d.content = span_first(in, in.len - tails[d.type]);
	struct span tail = span_first(span_skip(in, d.content.len), tails[d.type] - 1);
	int r = 0;
	switch (d.type) {
	case DGRAM2_TYPE_PAYLOAD:
		r = dgram_id_read(tail, &d.id);
		break;
	case DGRAM2_TYPE_PACKET:
		break;
	case DGRAM2_TYPE_TRACED:
	case DGRAM2_TYPE_SPANS:
		r = trace_read(tail, &d.trace);
		break;
	}
	if (r < 0)
		return r;
	*ret = d;
	return 0;
}

int dgram2_write(struct packer *p, const struct dgram2 *d)
{
	if (d->content.len > dgram2_content_max(d->type))
		return -EMSGSIZE;
	packer_bytes(p, d->content);
	switch (d->type) {
	case DGRAM2_TYPE_PAYLOAD:
		packer_bytes(p, dgram_id_span(&d->id));
		break;
	case DGRAM2_TYPE_PACKET:
		break;
	case DGRAM2_TYPE_TRACED:
	case DGRAM2_TYPE_SPANS:
		trace_write(p, &d->trace);
		break;
	}
	packer_u8(p, d->type);
	return packer_finish(p);
}

void dgram2_payload_tail(const struct dgram_id *id, uint8_t ret[DGRAM2_PAYLOAD_TAIL])
{
	memcpy(ret, id->bytes, DGRAM_ID_LEN);
	ret[DGRAM_ID_LEN] = DGRAM2_TYPE_PAYLOAD;
}
