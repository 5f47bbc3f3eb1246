/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64, hexadecimal digits, UUIDs: what is read is written the same.
 */
#include <stdlib.h>

#include "daemon/wire/base64.h"
#include "daemon/wire/hex.h"
#include "daemon/wire/token.h"
#include "util/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

static void run_base64(struct span in)
{
	static uint8_t bytes[8192];
	static uint8_t text[12288];
	struct packer p = packer_over(bytes, sizeof(bytes));
	struct packer q = packer_over(text, sizeof(text));
	if (base64_decode(in, &p) < 0)
		return;
	check(p.len <= BASE64_DECODED_MAX(in.len));
	base64_encode(&q, packer_span(&p));
	check(span_eq(packer_span(&q), in)); /* one text for one run of bytes */
}

static void run_hex(struct span in)
{
	static uint8_t bytes[8192];
	static uint8_t text[16384];
	struct packer p = packer_over(bytes, sizeof(bytes));
	struct packer q = packer_over(text, sizeof(text));
	if (hex_decode(in, &p) < 0)
		return;
	hex_encode(&q, packer_span(&p));
	check(span_eq_nocase(packer_span(&q), in));
}

static void run_uuid(struct span in)
{
	struct uuid u;
	char text[UUID_TEXT_LEN + 1];
	if (uuid_parse(in, &u) < 0)
		return;
	uuid_format(&u, text);
	check(span_eq_nocase(span_str(text), in));
}

/* The input as a credential; only what isn't plain may be refused. */
static void run_token(struct span in)
{
	static uint8_t scratch[TOKEN_TEXT_MAX];
	static uint8_t text[TOKEN_TEXT_MAX];
	struct tunnel_credential c = { .account_len =
					       (uint8_t)MIN(in.len, (size_t)TUNNEL_ACCOUNT_MAX),
				       .secret_len =
					       (uint16_t)MIN(in.len, (size_t)TUNNEL_SECRET_MAX),
				       .edge_count = in.len > 70,
				       .has_pin = in.len % 2 };
	if (in.len) {
		memcpy(c.account, in.ptr, c.account_len);
		memcpy(c.secret, in.ptr, c.secret_len);
		c.edges[0].len = (uint16_t)MIN(in.len, (size_t)TUNNEL_EDGE_MAX);
		memcpy(c.edges[0].text, in.ptr, c.edges[0].len);
	}
	struct packer s = packer_over(scratch, sizeof(scratch));
	struct packer p = packer_over(text, sizeof(text));
	int r = token_encode(&c, &s, &p);
	check(r == 0 || r == -EINVAL);
	if (r == 0)
		run_base64(packer_span(&p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	run_base64(in);
	run_hex(in);
	run_uuid(in);
	run_token(in);
	return 0;
}
