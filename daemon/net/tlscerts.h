/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of a public listener: NAME.pem (chain and key) or NAME/{fullchain,privkey}.pem
 * of a directory, chosen by SNI and read again when they change (spec §2.3). One object belongs to
 * one thread; handshakes that have begun keep the certificate that they were given.
 */
#ifndef DAEMON_NET_TLSCERTS_H
#define DAEMON_NET_TLSCERTS_H

#include <openssl/types.h>

enum { TLS_CERTS_MAX = 1000 }; /* of one directory; more are counted as bad */

struct tls_certs;

/*
 * alpn: as in tlsctx_set_alpn(), or NULL. A directory without a usable certificate is not an error:
 * handshakes fail until a reload finds one; tls_certs_reload() tells how many entries are bad.
 * Returns 0, -ENOMEM, or why the directory can't be read.
 */
[[nodiscard]] int tls_certs_new(const char *directory, const char *alpn, struct tls_certs **ret);
/* No handshake of an SSL from tls_certs_accept() may run any more. Accepts NULL. */
void tls_certs_free(struct tls_certs *certs);

/*
 * Reads the directory again if it changed (names, times, sizes). A bad file doesn't replace the
 * good one that was read before. Returns the count of bad entries, or the negative errno of a
 * directory that can't be read, in which case all stays as it was.
 */
int tls_certs_reload(struct tls_certs *certs);
unsigned int tls_certs_count(const struct tls_certs *certs);

/*
 * A fresh SSL in accept state. The certificate is the one whose DNS names hold the SNI, exact names
 * before wildcards; without SNI or match it is "default", else the first by name. NULL when out of
 * memory.
 */
SSL *tls_certs_accept(struct tls_certs *certs);

#endif
