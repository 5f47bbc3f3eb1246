/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a join token or a credentials file says, and the text of a token (docs/protocol.md §14).
 * Reading them is daemon/conf/credential.h, which has a JSON parser.
 */
#ifndef DAEMON_WIRE_TOKEN_H
#define DAEMON_WIRE_TOKEN_H

#include "daemon/wire/uuid.h"
#include "util/packer.h"

#define TUNNEL_ACCOUNT_MAX 64
#define TUNNEL_SECRET_MAX  256
#define TUNNEL_EDGES_MAX   16
#define TUNNEL_EDGE_MAX    255
#define TUNNEL_PIN_LEN     32
#define TUNNEL_REGION_MAX  20
#define TOKEN_TEXT_MAX     8192

struct tunnel_edge {
	uint16_t len;
	char text[TUNNEL_EDGE_MAX]; /* "host:port" as in the token, no NUL */
};

/* Holds a secret: keep it in locked memory and wipe it (style O6). */
struct tunnel_credential {
	struct uuid tunnel_id;
	uint8_t account_len;
	uint16_t secret_len;
	uint8_t edge_count; /* 0 = the token names no edge */
	bool has_pin;
	char account[TUNNEL_ACCOUNT_MAX]; /* no NUL */
	uint8_t secret[TUNNEL_SECRET_MAX];
	uint8_t pin[TUNNEL_PIN_LEN];        /* SHA-256 of the CA's public key info */
	char region[TUNNEL_REGION_MAX + 1]; /* of the vendor's edge; empty: anywhere */
	struct tunnel_edge edges[TUNNEL_EDGES_MAX];
};

static inline struct span tunnel_credential_account(const struct tunnel_credential *c)
{
	return span_of(c->account, c->account_len);
}

static inline struct span tunnel_credential_secret(const struct tunnel_credential *c)
{
	return span_of(c->secret, c->secret_len);
}

/*
 * Appends the join token (base64 of JSON) to p, with the member x when there are edges or a pin.
 * p holds a secret afterwards, and so does the scratch (borrowed, TOKEN_TEXT_MAX bytes are always
 * enough).
 *
 * Returns 0, -ENOBUFS, -EINVAL when the account or an edge holds what a JSON string can't hold bare
 * (control characters, quote, backslash, bytes over 126).
 */
[[nodiscard]] int token_encode(const struct tunnel_credential *c, struct packer *scratch,
			       struct packer *p);

#endif
