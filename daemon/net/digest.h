/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 for parts that have nothing else to do with OpenSSL.
 */
#ifndef DAEMON_NET_DIGEST_H
#define DAEMON_NET_DIGEST_H

#include "util/span.h"

enum { DIGEST_SHA256_LEN = 32 };

/* Returns 0, or -ENOMEM when OpenSSL gives no digest. */
[[nodiscard]] int digest_sha256(struct span in, uint8_t ret[DIGEST_SHA256_LEN]);

#endif
