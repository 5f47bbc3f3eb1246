/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for unit tests. Keys are P-256: making one takes microseconds.
 */
#include "selftests/lib/testcert.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(e && X509_add_ext(cert, e, -1));
	X509_EXTENSION_free(e);
}

static struct test_cert new_unsigned(const char *name)
{
	static long serial = 1000;
	struct test_cert c = { .cert = X509_new(), .key = EVP_EC_gen("P-256") };
	must(c.cert && c.key && X509_set_version(c.cert, X509_VERSION_3));
	must(ASN1_INTEGER_set(X509_get_serialNumber(c.cert), serial++));
	must(X509_gmtime_adj(X509_getm_notBefore(c.cert), -60));
	must(X509_gmtime_adj(X509_getm_notAfter(c.cert), 3600));
	must(X509_set_pubkey(c.cert, c.key));
	X509_NAME *subject = X509_NAME_new();
	must(subject && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
						   (const unsigned char *)name, -1, -1, 0));
	must(X509_set_subject_name(c.cert, subject));
	X509_NAME_free(subject);
	return c;
}

struct test_cert test_ca_new(const char *name)
{
	struct test_cert c = new_unsigned(name);
	must(X509_set_issuer_name(c.cert, X509_get_subject_name(c.cert)));
	add_extension(c.cert, c.cert, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(c.cert, c.cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	add_extension(c.cert, c.cert, NID_subject_key_identifier, "hash");
	must(X509_sign(c.cert, c.key, EVP_sha256()));
	return c;
}

struct test_cert test_cert_new(const struct test_cert *ca, const char *names)
{
	struct test_cert c = new_unsigned("leaf");
	must(X509_set_issuer_name(c.cert, X509_get_subject_name(ca->cert)));
	add_extension(c.cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE");
	add_extension(c.cert, ca->cert, NID_authority_key_identifier, "keyid");
	add_extension(c.cert, ca->cert, NID_ext_key_usage, "serverAuth");
	add_extension(c.cert, ca->cert, NID_subject_alt_name, names);
	must(X509_sign(c.cert, ca->key, EVP_sha256()));
	return c;
}

void test_cert_free(struct test_cert *c)
{
	X509_free(c->cert);
	EVP_PKEY_free(c->key);
	*c = (struct test_cert){};
}

void test_cert_pin(const struct test_cert *c, uint8_t ret[32])
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(c->key, &der);
	must(len > 0);
	must(EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL));
	OPENSSL_free(der);
}

void test_cert_write(const char *path, const struct test_cert *leaf, const struct test_cert *ca,
		     bool with_key)
{
	FILE *f = fopen(path, "we");
	must(f && PEM_write_X509(f, leaf->cert));
	if (ca)
		must(PEM_write_X509(f, ca->cert));
	if (with_key)
		must(PEM_write_PrivateKey(f, leaf->key, NULL, NULL, 0, NULL, NULL));
	must(fclose(f) == 0);
}

void test_cert_write_key(const char *path, const struct test_cert *c)
{
	FILE *f = fopen(path, "we");
	must(f && PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL));
	must(fclose(f) == 0);
}

SSL_CTX *test_cert_server_ctx(const struct test_cert *c)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	must(ctx && SSL_CTX_use_certificate(ctx, c->cert) && SSL_CTX_use_PrivateKey(ctx, c->key));
	return ctx;
}

SSL_CTX *test_cert_client_ctx(const struct test_cert *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	must(ctx && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->cert));
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}
