/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's way to a socket: like its own socket BIO, but without SIGPIPE and with the errno kept.
 */
#ifndef DAEMON_NET_TLSBIO_H
#define DAEMON_NET_TLSBIO_H

#include <openssl/types.h>

/* Embedded next to the SSL, which it must outlive. */
struct tlsbio {
	int fd;    /* borrowed */
	int error; /* negative errno of the last call that failed for good; 0: none */
	bool is_eof;
};

/* Gives ssl a BIO over t. Returns 0 or -ENOMEM. */
[[nodiscard]] int tlsbio_attach(struct tlsbio *t, int fd, SSL *ssl);

#endif
