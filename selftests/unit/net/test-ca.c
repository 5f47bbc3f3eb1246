/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's authority: the chain verifies for the protocol's names, name constraints refuse
 * others, the pin is the digest of the public key, files and their modes.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/ca.h"
#include "util/macro.h"

static char folder[64];

static char *path_of(const char *name)
{
	static char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int start(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/test-ca.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	static const char *const files[] = { CA_FILE, CA_KEY_FILE, LEAF_FILE, LEAF_KEY_FILE };
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlink(path_of(files[i]));
	return rmdir(folder);
}

/* The n-th certificate of a PEM file; n from 0. NULL when there are fewer. */
static X509 *read_cert(const char *name, unsigned int n)
{
	FILE *f = fopen(path_of(name), "re");
	assert_non_null(f);
	X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
	for (; n > 0; n--) {
		X509_free(cert);
		cert = PEM_read_X509(f, NULL, NULL, NULL);
	}
	(void)fclose(f);
	return cert;
}

/* What OpenSSL says to the leaf under our authority and this host name. */
static int verify(const char *host)
{
	X509 *ca = read_cert(CA_FILE, 0), *leaf = read_cert(LEAF_FILE, 0);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	assert_int_equal(X509_STORE_add_cert(store, ca), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, NULL), 1);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	assert_int_equal(X509_VERIFY_PARAM_set1_host(param, host, 0), 1);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER), 1);
	int error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(leaf);
	X509_free(ca);
	return error;
}

static void test_chain(void **state)
{
	(void)state;
	static const char *const names[] = { "quic.cftunnel.com", "h2.cftunnel.com",
					     "probe.cftunnel.com" };
	assert_int_equal(ca_create(folder, "example.com"), 0);
	assert_int_equal(ca_issue(folder, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(verify(names[i]), X509_V_OK);
	assert_int_equal(verify("edge.example.com"), X509_V_ERR_HOSTNAME_MISMATCH);

	/* The authority is sent along, and is no leaf. */
	X509 *sent = read_cert(LEAF_FILE, 1), *ca = read_cert(CA_FILE, 0);
	assert_non_null(sent);
	assert_int_equal(X509_cmp(sent, ca), 0);
	assert_null(read_cert(LEAF_FILE, 2));
	assert_int_equal(X509_check_ca(ca), 1);
	X509 *leaf = read_cert(LEAF_FILE, 0);
	assert_int_equal(X509_check_ca(leaf), 0);
	assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(ca)), 256);
	X509_free(leaf);
	X509_free(sent);
	X509_free(ca);
}

static void test_name_constraints(void **state)
{
	(void)state;
	assert_int_equal(ca_create(folder, "example.com"), 0);
	assert_int_equal(ca_issue(folder, "edge.example.com"), 0);
	assert_int_equal(verify("edge.example.com"), X509_V_OK);
	assert_true(ca_permits(folder, "edge.example.com"));
	assert_true(ca_permits(folder, "Example.COM"));
	assert_true(ca_permits(folder, "quic.cftunnel.com"));
	assert_true(ca_permits("/nonexistent", "bank.test"));
	assert_int_equal(verify("quic.cftunnel.com"), X509_V_OK);
	/* Whatever our authority signs outside its names is worth nothing. */
	static const char *const foreign[] = { "bank.test", "example.com.test", "notexample.com" };
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		assert_false(ca_permits(folder, foreign[i]));
		assert_int_equal(ca_issue(folder, foreign[i]), 0);
		assert_int_equal(verify(foreign[i]), X509_V_ERR_PERMITTED_VIOLATION);
		assert_int_equal(verify("quic.cftunnel.com"), X509_V_ERR_PERMITTED_VIOLATION);
	}
	assert_int_equal(ca_issue(folder, NULL), 0);
	assert_int_equal(verify("quic.cftunnel.com"), X509_V_OK);
}

static void test_pin(void **state)
{
	(void)state;
	uint8_t pin[32], wanted[32], again[32];
	unsigned int len = 0;
	assert_int_equal(ca_create(folder, "example.com"), 0);
	assert_int_equal(ca_pin(folder, pin), 0);
	X509 *ca = read_cert(CA_FILE, 0);
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ca), &der);
	assert_true(n > 0);
	assert_int_equal(EVP_Digest(der, (size_t)n, wanted, &len, EVP_sha256(), NULL), 1);
	assert_memory_equal(pin, wanted, sizeof(pin));
	OPENSSL_free(der);
	X509_free(ca);
	assert_int_equal(ca_issue(folder, NULL), 0); /* a renewed leaf changes nothing */
	assert_int_equal(ca_pin(folder, again), 0);
	assert_memory_equal(pin, again, sizeof(pin));
}

static mode_t mode_of(const char *name)
{
	struct stat st;
	assert_int_equal(stat(path_of(name), &st), 0);
	return st.st_mode & 0777;
}

static void test_files(void **state)
{
	(void)state;
	uint8_t pin[32];
	int days = 77;
	assert_int_equal(ca_issue(folder, NULL), -ENOENT);
	assert_int_equal(ca_pin(folder, pin), -ENOENT);
	assert_int_equal(ca_leaf_days(folder, &days), -ENOENT);
	assert_int_equal(days, 77);
	assert_int_equal(ca_create(folder, "example.com"), 0);
	assert_int_equal(ca_create(folder, "example.com"), -EEXIST);
	assert_int_equal(ca_issue(folder, NULL), 0);
	assert_int_equal(ca_leaf_days(folder, &days), 0);
	assert_in_range(days, LEAF_DAYS - 1, LEAF_DAYS);
	assert_true(ca_leaf_has_name(folder, NULL));
	assert_false(ca_leaf_has_name(folder, "edge.example.com"));
	assert_int_equal(ca_issue(folder, "edge.example.com"), 0);
	assert_true(ca_leaf_has_name(folder, "edge.example.com"));
	assert_int_equal(mode_of(CA_KEY_FILE), 0600);
	assert_int_equal(mode_of(LEAF_KEY_FILE), 0600);
	assert_int_equal(mode_of(CA_FILE), 0644);

	FILE *f = fopen(path_of(LEAF_FILE), "we");
	assert_non_null(f);
	(void)fputs("-----BEGIN CERTIFICATE-----\nnonsense\n", f);
	(void)fclose(f);
	days = 77;
	assert_int_equal(ca_leaf_days(folder, &days), -EBADMSG);
	assert_int_equal(days, 77);
}

static void test_bad_domain(void **state)
{
	(void)state;
	static const char *const bad[] = { "a,permitted;DNS:test", "a b", "a\nb", "", ".a" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ca_create(folder, bad[i]), -EINVAL);
		assert_int_not_equal(access(path_of(CA_FILE), F_OK), 0);
		assert_int_not_equal(access(path_of(CA_KEY_FILE), F_OK), 0);
	}
	assert_int_equal(ca_create(folder, "example.com"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ca_issue(folder, bad[i]), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_chain, start, end),
		cmocka_unit_test_setup_teardown(test_name_constraints, start, end),
		cmocka_unit_test_setup_teardown(test_pin, start, end),
		cmocka_unit_test_setup_teardown(test_files, start, end),
		cmocka_unit_test_setup_teardown(test_bad_domain, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
