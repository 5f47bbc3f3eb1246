/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 for parts that have nothing else to do with OpenSSL.
 */
#include "daemon/net/digest.h"

#include <errno.h>
#include <openssl/evp.h>

int digest_sha256(struct span in, uint8_t ret[DIGEST_SHA256_LEN])
{
	uint8_t out[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	if (EVP_Digest(in.ptr, in.len, out, &len, EVP_sha256(), NULL) != 1 ||
	    len != DIGEST_SHA256_LEN)
		return -ENOMEM;
	memcpy(ret, out, DIGEST_SHA256_LEN);
	return 0;
}
