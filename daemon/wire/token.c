/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a join token: base64 of one JSON object. Everything in it is plain ASCII by then, so
 * writing needs no escapes; what would need one is refused.
 */
#include "daemon/wire/token.h"

#include "daemon/wire/base64.h"

#include <errno.h>

static bool is_plain(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < ' ' || s.ptr[i] > '~' || s.ptr[i] == '"' || s.ptr[i] == '\\')
			return false;
	return true;
}

static void put_string(struct packer *p, struct span s)
{
	packer_u8(p, '"');
	packer_bytes(p, s);
	packer_u8(p, '"');
}

/* The member that a reference reader ignores: addresses and pin of the edge. */
static int put_extension(struct packer *p, const struct tunnel_credential *c)
{
	packer_str(p, ",\"x\":{\"v\":1");
	for (unsigned int i = 0; i < c->edge_count; i++) {
		struct span edge = span_of(c->edges[i].text, c->edges[i].len);
		if (!is_plain(edge))
			return -EINVAL;
		packer_str(p, i == 0 ? ",\"edge\":[" : ",");
		put_string(p, edge);
	}
	if (c->edge_count > 0)
		packer_u8(p, ']');
	if (c->has_pin) {
		packer_str(p, ",\"pin\":\"sha256/");
		base64_encode(p, span_of(c->pin, sizeof(c->pin)));
		packer_u8(p, '"');
	}
	packer_u8(p, '}');
	return 0;
}

int token_encode(const struct tunnel_credential *c, struct packer *scratch, struct packer *p)
{
	struct packer json = *scratch;
	char id[UUID_TEXT_LEN + 1];

	if (!is_plain(tunnel_credential_account(c)))
		return -EINVAL;
	uuid_format(&c->tunnel_id, id);
	packer_str(&json, "{\"a\":");
	put_string(&json, tunnel_credential_account(c));
	packer_str(&json, ",\"t\":");
	put_string(&json, span_str(id));
	packer_str(&json, ",\"s\":\"");
	base64_encode(&json, tunnel_credential_secret(c));
	packer_u8(&json, '"');
	if (c->edge_count > 0 || c->has_pin) {
		int r = put_extension(&json, c);
		if (r < 0)
			return r;
	}
	packer_u8(&json, '}');

	struct packer out = *p;
	base64_encode(&out, span_skip(packer_span(&json), scratch->len));
	int r = packer_finish(&json);
	if (r == 0)
		r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}
