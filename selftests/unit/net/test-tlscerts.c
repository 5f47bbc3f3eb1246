/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates by SNI: both layouts, exact names before wildcards, reload while a bad file appears,
 * a file that goes, ALPN.
 */
#include "daemon/net/tlscerts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "selftests/lib/testcert.h"
#include "util/macro.h"

static struct test_cert ca;
static SSL_CTX *client_ctx;
static char dir[] = "/tmp/test-tlscerts.XXXXXX";

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir) || chdir(dir) < 0 || mkdir("certs", 0700) < 0)
		return -1;
	ca = test_ca_new("adit test CA");
	client_ctx = test_cert_client_ctx(&ca);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	static const char *const files[] = { "certs/blog.pem",          "certs/wild.pem",
					     "certs/bad.pem",           "certs/default.pem",
					     "certs/two/fullchain.pem", "certs/two/privkey.pem",
					     "certs/readme.txt" };
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlink(files[i]);
	(void)rmdir("certs/two");
	(void)rmdir("certs");
	if (chdir("/") == 0)
		(void)rmdir(dir);
	SSL_CTX_free(client_ctx);
	test_cert_free(&ca);
	return 0;
}

/* NAME.pem with a certificate for these names; returns its serial number. */
static long write_pem(const char *file, const char *names)
{
	struct test_cert c = test_cert_new(&ca, names);
	test_cert_write(file, &c, &ca, true);
	long serial = ASN1_INTEGER_get(X509_get_serialNumber(c.cert));
	test_cert_free(&c);
	return serial;
}

static long write_folder(const char *folder, const char *names)
{
	char file[64];
	struct test_cert c = test_cert_new(&ca, names);
	assert_int_equal(mkdir(folder, 0700), 0);
	(void)snprintf(file, sizeof(file), "%s/fullchain.pem", folder);
	test_cert_write(file, &c, &ca, false);
	(void)snprintf(file, sizeof(file), "%s/privkey.pem", folder);
	test_cert_write_key(file, &c);
	long serial = ASN1_INTEGER_get(X509_get_serialNumber(c.cert));
	test_cert_free(&c);
	return serial;
}

static void write_text(const char *file, const char *text)
{
	FILE *f = fopen(file, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* A handshake in memory; serial of the server's certificate, 0 when it failed. */
static long ask_alpn(struct tls_certs *certs, const char *sni, const char *alpn, char *ret_alpn)
{
	SSL *client = SSL_new(client_ctx), *server = tls_certs_accept(certs);
	assert_non_null(client);
	assert_non_null(server);
	if (sni) {
		char name[64];
		(void)snprintf(name, sizeof(name), "%s", sni);
		assert_true(SSL_ctrl(client, SSL_CTRL_SET_TLSEXT_HOSTNAME,
				     TLSEXT_NAMETYPE_host_name, name));
	}
	if (alpn)
		assert_int_equal(SSL_set_alpn_protos(client, (const unsigned char *)alpn,
						     (unsigned int)strlen(alpn)),
				 0);
	BIO *a, *b;
	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(client, a, a);
	SSL_set_bio(server, b, b);
	SSL_set_connect_state(client);
	for (int i = 0; i < 20; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	ERR_clear_error();
	long serial = 0;
	if (SSL_is_init_finished(client) && SSL_is_init_finished(server)) {
		X509 *got = SSL_get1_peer_certificate(client);
		serial = ASN1_INTEGER_get(X509_get_serialNumber(got));
		X509_free(got);
		const unsigned char *name = NULL;
		unsigned int len = 0;
		SSL_get0_alpn_selected(client, &name, &len);
		if (ret_alpn)
			(void)snprintf(ret_alpn, 32, "%.*s", (int)len, (const char *)name);
	}
	SSL_free(client);
	SSL_free(server);
	return serial;
}

static long ask(struct tls_certs *certs, const char *sni)
{
	return ask_alpn(certs, sni, NULL, NULL);
}

static void test_choice_and_reload(void **state)
{
	(void)state;
	struct tls_certs *certs;
	assert_int_equal(tls_certs_new("no-such-folder", NULL, &certs), -ENOENT);
	assert_int_equal(tls_certs_new("certs", NULL, &certs), 0);
	assert_int_equal(tls_certs_count(certs), 0);
	assert_int_equal(ask(certs, "blog.example.com"), 0);

	long wild = write_pem("certs/wild.pem", "DNS:*.example.com");
	long two = write_folder("certs/two", "DNS:two.test,DNS:second.test");
	long blog = write_pem("certs/blog.pem", "DNS:blog.example.com");
	write_text("certs/readme.txt", "not a certificate");
	assert_int_equal(tls_certs_reload(certs), 0);
	assert_int_equal(tls_certs_count(certs), 3);
	assert_int_equal(ask(certs, "blog.example.com"), blog);
	assert_int_equal(ask(certs, "BLOG.Example.com"), blog);
	assert_int_equal(ask(certs, "shop.example.com"), wild);
	assert_int_equal(ask(certs, "second.test"), two);
	assert_int_equal(ask(certs, "a.b.example.com"), blog); /* none: the first by name */
	assert_int_equal(ask(certs, NULL), blog);
	long fallback = write_pem("certs/default.pem", "DNS:fallback.test");
	assert_int_equal(tls_certs_reload(certs), 0);
	assert_int_equal(ask(certs, "unknown.test"), fallback);

	/* Renewed, and one that was destroyed: the old one serves on. */
	long renewed = write_pem("certs/wild.pem", "DNS:*.example.com");
	write_text("certs/blog.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n");
	write_text("certs/bad.pem", "never was one");
	assert_int_equal(tls_certs_reload(certs), 2);
	assert_int_equal(tls_certs_count(certs), 4);
	assert_int_equal(ask(certs, "shop.example.com"), renewed);
	assert_int_equal(ask(certs, "blog.example.com"), blog);
	assert_int_equal(tls_certs_reload(certs), 2); /* unchanged: still two */

	/* Gone: the wildcard takes over. */
	assert_int_equal(unlink("certs/blog.pem"), 0);
	assert_int_equal(unlink("certs/bad.pem"), 0);
	assert_int_equal(tls_certs_reload(certs), 0);
	assert_int_equal(ask(certs, "blog.example.com"), renewed);

	/* A key of another certificate. */
	struct test_cert other = test_cert_new(&ca, "DNS:other.test");
	test_cert_write_key("certs/two/privkey.pem", &other);
	test_cert_free(&other);
	assert_int_equal(tls_certs_reload(certs), 1);
	assert_int_equal(ask(certs, "two.test"), two);
	tls_certs_free(certs);
	tls_certs_free(NULL);
}

static void test_alpn(void **state)
{
	(void)state;
	struct tls_certs *certs;
	char got[32];
	(void)write_pem("certs/default.pem", "DNS:fallback.test");
	assert_int_equal(tls_certs_new("certs", "h2,http/1.1", &certs), 0);
	assert_int_not_equal(ask_alpn(certs, "fallback.test", "\x08http/1.1\x02h2", got), 0);
	assert_string_equal(got, "h2");
	assert_int_not_equal(ask_alpn(certs, "fallback.test", "\x08http/1.1", got), 0);
	assert_string_equal(got, "http/1.1");
	assert_int_not_equal(ask_alpn(certs, "fallback.test", NULL, got), 0);
	assert_string_equal(got, "");
	assert_int_equal(ask_alpn(certs, "fallback.test", "\x03zzz", got), 0);
	tls_certs_free(certs);
}

/* The table may be replaced between ClientHello and the rest; what was begun ends well. */
static void test_reload_during_handshake(void **state)
{
	(void)state;
	struct tls_certs *certs;
	assert_int_equal(tls_certs_new("certs", NULL, &certs), 0);
	SSL *client = SSL_new(client_ctx), *server = tls_certs_accept(certs);
	BIO *a, *b;
	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(client, a, a);
	SSL_set_bio(server, b, b);
	SSL_set_connect_state(client);
	(void)SSL_do_handshake(client);
	(void)SSL_do_handshake(server);
	(void)write_pem("certs/default.pem", "DNS:new.test");
	assert_true(tls_certs_reload(certs) >= 0);
	for (int i = 0; i < 10; i++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	assert_true(SSL_is_init_finished(client) && SSL_is_init_finished(server));
	SSL_free(client);
	SSL_free(server);
	tls_certs_free(certs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice_and_reload),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_reload_during_handshake),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
