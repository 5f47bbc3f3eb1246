/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnel contexts: handshakes in memory with every kind of trust, what a false peer is told,
 * groups, ciphers, ALPN, key log.
 */
#include "daemon/net/tlsctx.h"

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

#define NAME "quic.cftunnel.com"

static struct test_cert ca, foreign_ca, leaf, foreign_leaf;
static char dir[] = "/tmp/test-tlsctx.XXXXXX";

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir) || chdir(dir) < 0)
		return -1;
	ca = test_ca_new("adit test CA");
	foreign_ca = test_ca_new("somebody else's CA");
	leaf = test_cert_new(&ca, "DNS:" NAME);
	foreign_leaf = test_cert_new(&foreign_ca, "DNS:" NAME);
	test_cert_write("ca.pem", &ca, NULL, false);
	test_cert_write("foreign-ca.pem", &foreign_ca, NULL, false);
	test_cert_write("chain.pem", &leaf, &ca, false);
	test_cert_write_key("key.pem", &leaf);
	test_cert_write("alone.pem", &leaf, NULL, false);
	/* What an attacker can send: a leaf of his own and our CA's certificate, which is public.
	 */
	test_cert_write("forged.pem", &foreign_leaf, &ca, false);
	test_cert_write_key("forged-key.pem", &foreign_leaf);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	static const char *const files[] = {
		"ca.pem",     "foreign-ca.pem", "chain.pem", "key.pem", "alone.pem",
		"forged.pem", "forged-key.pem", "keylog",    "bad.pem", "ca.d/x.pem",
	};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlink(files[i]);
	(void)rmdir("ca.d");
	if (chdir("/") == 0)
		(void)rmdir(dir);
	test_cert_free(&ca);
	test_cert_free(&foreign_ca);
	test_cert_free(&leaf);
	test_cert_free(&foreign_leaf);
	return 0;
}

/* ---- one handshake in memory ----------------------------------------------------------------- */

struct pair {
	SSL *client, *server;
};

static void pair_connect(struct pair *p)
{
	BIO *a, *b;
	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(p->client, a, a);
	SSL_set_bio(p->server, b, b);
	SSL_set_connect_state(p->client);
	SSL_set_accept_state(p->server);
	for (int i = 0; i < 20; i++) {
		(void)SSL_do_handshake(p->client);
		(void)SSL_do_handshake(p->server);
	}
	ERR_clear_error();
}

static void pair_free(struct pair *p)
{
	SSL_free(p->client);
	SSL_free(p->server);
}

static bool pair_is_up(const struct pair *p)
{
	return SSL_is_init_finished(p->client) && SSL_is_init_finished(p->server);
}

static SSL_CTX *server_ctx(const char *chain, const char *key)
{
	SSL_CTX *ctx;
	const char *reason = NULL;
	assert_int_equal(tlsctx_new_tunnel_server(chain, key, &ctx, &reason), 0);
	return ctx;
}

static struct pair pair_new(const struct tls_trust *trust, enum tls_pq pq, SSL_CTX *server)
{
	SSL_CTX *ctx;
	const char *reason = NULL;
	assert_int_equal(tlsctx_new_tunnel_client(trust, pq, &ctx, &reason), 0);
	assert_null(reason);
	struct pair p = { .client = SSL_new(ctx), .server = SSL_new(server) };
	SSL_CTX_free(ctx);
	assert_non_null(p.client);
	assert_non_null(p.server);
	return p;
}

/* The verdict of a client with this trust on this server. */
static bool is_trusted(const struct tls_trust *trust, const char *chain, const char *key,
		       const char *name)
{
	SSL_CTX *server = server_ctx(chain, key);
	struct pair p = pair_new(trust, TLS_PQ_PREFER, server);
	SSL_CTX_free(server);
	assert_int_equal(tlsctx_setup_client(p.client, trust, name), 0);
	pair_connect(&p);
	bool is_up = pair_is_up(&p);
	if (is_up) {
		assert_int_equal(SSL_get_verify_result(p.client), X509_V_OK);
		assert_string_equal(SSL_get_servername(p.server, TLSEXT_NAMETYPE_host_name), name);
	}
	pair_free(&p);
	return is_up;
}

/* ---- trust ------------------------------------------------------------------------------------
 */

static void test_ca_file(void **state)
{
	(void)state;
	struct tls_trust t = { .ca_file = "ca.pem" };
	assert_true(is_trusted(&t, "chain.pem", "key.pem", NAME));
	assert_true(is_trusted(&t, "alone.pem", "key.pem", NAME));
	assert_false(is_trusted(&t, "chain.pem", "key.pem", "h2.cftunnel.com"));
	assert_false(is_trusted(&t, "forged.pem", "forged-key.pem", NAME));
	t.ca_file = "foreign-ca.pem";
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
}

static void test_pin(void **state)
{
	(void)state;
	struct tls_trust t = { .has_pin = true };
	test_cert_pin(&ca, t.pin);
	assert_true(is_trusted(&t, "chain.pem", "key.pem", NAME));
	assert_false(is_trusted(&t, "chain.pem", "key.pem", "h2.cftunnel.com"));
	/* The CA must be in the chain: a pin says which key, not which certificate. */
	assert_false(is_trusted(&t, "alone.pem", "key.pem", NAME));
	assert_false(is_trusted(&t, "forged.pem", "forged-key.pem", NAME));

	test_cert_pin(&leaf, t.pin); /* of the leaf: not an anchor */
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
	test_cert_pin(&ca, t.pin);
	t.pin[31] ^= 1;
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
}

static void test_ca_file_and_pin(void **state)
{
	(void)state;
	struct tls_trust t = { .ca_file = "ca.pem", .has_pin = true };
	test_cert_pin(&ca, t.pin);
	assert_true(is_trusted(&t, "chain.pem", "key.pem", NAME));
	assert_false(is_trusted(&t, "chain.pem", "key.pem", "h2.cftunnel.com"));
	assert_false(is_trusted(&t, "forged.pem", "forged-key.pem", NAME));

	t.ca_file = "foreign-ca.pem"; /* pin holds, file doesn't */
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
	assert_false(is_trusted(&t, "forged.pem", "forged-key.pem", NAME));

	t.ca_file = "ca.pem"; /* file holds, pin doesn't */
	test_cert_pin(&foreign_ca, t.pin);
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
}

static void test_system_and_ca_dir(void **state)
{
	(void)state;
	assert_int_equal(mkdir("ca.d", 0700), 0);
	struct tls_trust t = { .ca_dir = "ca.d" };
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
	test_cert_write("ca.d/x.pem", &ca, NULL, false);
	assert_true(is_trusted(&t, "chain.pem", "key.pem", NAME));
	t.ca_dir = "no-such-folder";
	assert_false(is_trusted(&t, "chain.pem", "key.pem", NAME));
}

static void test_bad_files(void **state)
{
	(void)state;
	FILE *f = fopen("bad.pem", "we");
	assert_non_null(f);
	assert_true(fputs("-----BEGIN CERTIFICATE-----\nAAAA\n", f) >= 0);
	assert_int_equal(fclose(f), 0);

	static const char *const names[] = { "bad.pem", "none.pem", "key.pem" };
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		SSL_CTX *ctx = NULL;
		const char *reason = NULL;
		struct tls_trust t = { .ca_file = names[i] };
		assert_int_equal(tlsctx_new_tunnel_client(&t, TLS_PQ_PREFER, &ctx, &reason),
				 -EINVAL);
		assert_non_null(reason);
		assert_int_equal(tlsctx_new_tunnel_server(names[i], "key.pem", &ctx, &reason),
				 -EINVAL);
		assert_null(ctx);
	}
	SSL_CTX *ctx = NULL;
	const char *reason = NULL;
	assert_int_equal(tlsctx_new_tunnel_server("chain.pem", "forged-key.pem", &ctx, &reason),
			 -EINVAL);
	assert_non_null(reason);
	ERR_clear_error();
}

/* ---- groups, ciphers, ALPN --------------------------------------------------------------------
 */

/* The group that a client of this mode gets from a server with these groups; NULL: none. */
static const char *group_with(enum tls_pq pq, const char *server_groups)
{
	struct tls_trust t = { .ca_file = "ca.pem" };
	SSL_CTX *server = server_ctx("chain.pem", "key.pem");
	struct pair p = pair_new(&t, pq, server);
	SSL_CTX_free(server);
	assert_int_equal(tlsctx_setup_client(p.client, &t, NAME), 0);
	if (server_groups) {
		char list[64];
		(void)snprintf(list, sizeof(list), "%s", server_groups);
		assert_int_equal(SSL_ctrl(p.server, SSL_CTRL_SET_GROUPS_LIST, 0, list), 1);
	}
	pair_connect(&p);
	static char name[64];
	bool is_up = pair_is_up(&p);
	if (is_up) {
		(void)snprintf(name, sizeof(name), "%s", SSL_get0_group_name(p.client));
		assert_string_equal(SSL_get_version(p.client), "TLSv1.3");
		assert_string_equal(SSL_get_cipher_name(p.client), "TLS_AES_128_GCM_SHA256");
	}
	pair_free(&p);
	return is_up ? name : NULL;
}

static void test_groups(void **state)
{
	(void)state;
	assert_string_equal(group_with(TLS_PQ_PREFER, NULL), "X25519MLKEM768");
	assert_string_equal(group_with(TLS_PQ_REQUIRE, NULL), "X25519MLKEM768");
	assert_string_equal(group_with(TLS_PQ_OFF, NULL), "secp256r1");
	assert_string_equal(group_with(TLS_PQ_PREFER, "P-256"), "secp256r1");
	assert_null(group_with(TLS_PQ_REQUIRE, "P-256:X25519"));
	assert_null(group_with(TLS_PQ_PREFER, "X25519"));
}

static const char *alpn_between(const char *offered, const char *accepted)
{
	struct tls_trust t = { .ca_file = "ca.pem" };
	SSL_CTX *server = server_ctx("chain.pem", "key.pem");
	assert_int_equal(tlsctx_set_alpn(server, accepted, true), 0);
	struct pair p = pair_new(&t, TLS_PQ_PREFER, server);
	SSL_CTX_free(server);
	assert_int_equal(tlsctx_set_alpn(SSL_get_SSL_CTX(p.client), offered, false), 0);
	SSL *client = SSL_new(SSL_get_SSL_CTX(p.client));
	SSL_free(p.client);
	p.client = client;
	assert_int_equal(tlsctx_setup_client(p.client, &t, NAME), 0);
	pair_connect(&p);

	static char name[64];
	const unsigned char *got = NULL;
	unsigned int len = 0;
	SSL_get0_alpn_selected(p.client, &got, &len);
	bool is_up = pair_is_up(&p);
	(void)snprintf(name, sizeof(name), "%.*s", (int)len, (const char *)got);
	pair_free(&p);
	return is_up ? name : NULL;
}

static void test_alpn(void **state)
{
	(void)state;
	assert_string_equal(alpn_between("argotunnel", "argotunnel"), "argotunnel");
	assert_string_equal(alpn_between("http/1.1,h2", "h2,http/1.1"), "h2");
	assert_string_equal(alpn_between("http/1.1", "h2,http/1.1"), "http/1.1");
	assert_null(alpn_between("h2", "argotunnel"));
	assert_null(alpn_between("argotunnelx", "argotunnel"));

	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char longest[300];
	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	assert_int_equal(tlsctx_set_alpn(ctx, longest, false), -EINVAL);
	assert_int_equal(tlsctx_set_alpn(ctx, "a,,b", false), -EINVAL);
	longest[255] = '\0';
	assert_int_equal(tlsctx_set_alpn(ctx, longest, false), 0);
	SSL_CTX_free(ctx);
}

static void test_keylog(void **state)
{
	(void)state;
	struct tls_trust t = { .ca_file = "ca.pem" };
	SSL_CTX *server = server_ctx("chain.pem", "key.pem");
	FILE *f = fopen("keylog", "w+e");
	assert_non_null(f);
	tlsctx_set_keylog(server, fileno(f));
	struct pair p = pair_new(&t, TLS_PQ_PREFER, server);
	SSL_CTX_free(server);
	assert_int_equal(tlsctx_setup_client(p.client, &t, NAME), 0);
	pair_connect(&p);
	assert_true(pair_is_up(&p));
	pair_free(&p);

	char line[512];
	bool found = false;
	assert_int_equal(fseek(f, 0, SEEK_SET), 0);
	while (fgets(line, sizeof(line), f))
		found = found || strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0;
	assert_true(found);
	assert_int_equal(fclose(f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ca_file),
		cmocka_unit_test(test_pin),
		cmocka_unit_test(test_ca_file_and_pin),
		cmocka_unit_test(test_system_and_ca_dir),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_keylog),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
