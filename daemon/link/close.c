/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between codes on the wire, errnos and the ends of a link.
 */
#include "daemon/link/close.h"

#include <errno.h>

#include "util/macro.h"

enum {
	CRYPTO_ERROR_FIRST = 0x100, /* RFC 9000 §20.1 */
	CRYPTO_ERROR_LAST = 0x1ff,
};

bool link_code_is_tls(uint64_t transport_code)
{
	return transport_code >= CRYPTO_ERROR_FIRST && transport_code <= CRYPTO_ERROR_LAST;
}

enum link_end link_end_of_peer(uint64_t code, bool is_transport_code, bool was_up)
{
	if (is_transport_code && link_code_is_tls(code) && !was_up)
		return LINK_END_HANDSHAKE;
	return LINK_END_PEER;
}

enum {
	H2_REFUSED_STREAM = 7,
	H2_ENHANCE_YOUR_CALM = 11,
};

uint32_t h2_code_of_link(uint64_t code)
{
	return code == LINK_CODE_OVERLOADED ? H2_ENHANCE_YOUR_CALM : STREAM_CODE_NONE;
}

uint64_t link_code_of_h2(uint64_t code)
{
	if (code == H2_REFUSED_STREAM)
		return LINK_CODE_REFUSED;
	return code == H2_ENHANCE_YOUR_CALM ? LINK_CODE_OVERLOADED : LINK_CODE_NONE;
}

enum link_end link_end_of_error(int error)
{
	return error == -ECONNREFUSED ? LINK_END_REFUSED : LINK_END_NETWORK;
}

void link_reason_copy(char *to, size_t cap, struct span words)
{
	size_t n = MIN(words.len, cap - 1);
	for (size_t i = 0; i < n; i++)
		to[i] = (char)(words.ptr[i] >= 0x20 && words.ptr[i] < 0x7f ? words.ptr[i] : '?');
	to[n] = '\0';
}
