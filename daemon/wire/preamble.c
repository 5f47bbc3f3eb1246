/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of a stream. The reader loops until everything is there: the reference fetches
 * the version with one read and misparses when only half of it has arrived (docs/protocol.md §3).
 */
#include "daemon/wire/preamble.h"

#include <errno.h>

#include "util/macro.h"

static const uint8_t signature_data[PREAMBLE_SIGNATURE_LEN] = {
	0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e
};
static const uint8_t signature_rpc[PREAMBLE_SIGNATURE_LEN] = { 0x52, 0xbb, 0x82, 0x5c, 0xdb, 0x65 };
static const uint8_t version[PREAMBLE_VERSION_LEN] = { '0', '1' };

/* Collects bytes until want are there. */
static bool collect(struct preamble_reader *r, struct span *in, size_t want)
{
	size_t len = in->ptr ? MIN(want - r->len, in->len) : 0;
	if (len)
		memcpy(r->bytes + r->len, in->ptr, len);
	r->len = (uint8_t)(r->len + len);
	*in = span_skip(*in, len);
	return r->len == want;
}

int preamble_read(struct preamble_reader *r, struct span *in)
{
	if (r->kind != PREAMBLE_KIND_NONE)
		return 0;
	if (r->len < PREAMBLE_SIGNATURE_LEN && !collect(r, in, PREAMBLE_SIGNATURE_LEN))
		return -EAGAIN;

	if (memcmp(r->bytes, signature_rpc, sizeof(signature_rpc)) == 0) {
		r->kind = PREAMBLE_KIND_RPC;
		return 0;
	}
	if (memcmp(r->bytes, signature_data, sizeof(signature_data)) != 0)
		return -EBADMSG;
	if (!collect(r, in, PREAMBLE_MAX))
		return -EAGAIN;
	r->kind = PREAMBLE_KIND_DATA;
	return 0;
}

void preamble_write(struct packer *p, enum preamble_kind kind)
{
	switch (kind) {
	case PREAMBLE_KIND_NONE:
		return;
	case PREAMBLE_KIND_DATA:
		packer_bytes(p, span_of(signature_data, sizeof(signature_data)));
		packer_bytes(p, span_of(version, sizeof(version)));
		return;
	case PREAMBLE_KIND_RPC:
		packer_bytes(p, span_of(signature_rpc, sizeof(signature_rpc)));
		return;
	}
}
