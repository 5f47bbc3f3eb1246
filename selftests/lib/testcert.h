/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for unit tests, made in memory and valid for an hour.
 */
#ifndef SELFTESTS_LIB_TESTCERT_H
#define SELFTESTS_LIB_TESTCERT_H

#include <openssl/types.h>
#include <stdint.h>

struct test_cert {
	X509 *cert;
	EVP_PKEY *key; /* P-256 */
};

/* A CA of this common name, self-signed. Every function here aborts when OpenSSL fails. */
struct test_cert test_ca_new(const char *name);
/* A server's certificate; names: as in subjectAltName, e.g. "DNS:a.test,DNS:*.b.test". */
struct test_cert test_cert_new(const struct test_cert *ca, const char *names);
void test_cert_free(struct test_cert *c);

/* SHA-256 of the public key (SPKI): what a pin is. */
void test_cert_pin(const struct test_cert *c, uint8_t ret[32]);
/* Writes PEM to path: leaf, then the CA if not NULL, then the leaf's key if with_key. */
void test_cert_write(const char *path, const struct test_cert *leaf, const struct test_cert *ca,
		     bool with_key);
void test_cert_write_key(const char *path, const struct test_cert *c);

/* Contexts for stream sockets: a server that sends c, a client that trusts ca. */
SSL_CTX *test_cert_server_ctx(const struct test_cert *c);
SSL_CTX *test_cert_client_ctx(const struct test_cert *ca);

#endif
