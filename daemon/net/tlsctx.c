/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts: trust, groups, ciphers, ALPN. Trust is left to OpenSSL's own chain building, pin
 * included (DANE records without DNS): comparing the digest of some certificate of the chain by
 * hand would accept a foreign leaf with our CA appended.
 */
#include "daemon/net/tlsctx.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "util/cleanup.h"
#include "util/macro.h"

/* OpenSSL's control macros cast const away; clang sees it through the macro. */
#pragma GCC diagnostic ignored "-Wcast-qual"

enum { CA_DIR_MAX = 100 }; /* files of ca.d that are read */

static const char ciphersuites[] =
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/* A star asks for a key share; without one only the first of the list has it. */
static const char *const client_groups[] = {
	[TLS_PQ_PREFER] = "*X25519MLKEM768/*P-256",
	[TLS_PQ_REQUIRE] = "X25519MLKEM768",
	[TLS_PQ_OFF] = "P-256",
};

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)

static void dir_closep(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

int tlsctx_ref(SSL_CTX *ctx, SSL_CTX **ret)
{
	if (!SSL_CTX_up_ref(ctx))
		return -ENOMEM;
	*ret = ctx;
	return 0;
}

void tlsctx_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}

void tlsctx_setup_common(SSL_CTX *ctx, int min_version)
{
	(void)SSL_CTX_set_min_proto_version(ctx, min_version);
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
}

void tlsctx_setup_stream(SSL *ssl)
{
	(void)SSL_set_mode(ssl,
			   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

/* TLS 1.3 without resumption: a tunnel lives for days, and a ticket would outlive a reload. */
static int new_tunnel_ctx(const SSL_METHOD *method, const char *groups, SSL_CTX **ret)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = SSL_CTX_new(method);
	if (!ctx)
		return -ENOMEM;

	tlsctx_setup_common(ctx, TLS1_3_VERSION);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (!SSL_CTX_set_num_tickets(ctx, 0) || !SSL_CTX_set_ciphersuites(ctx, ciphersuites) ||
	    !SSL_CTX_set1_groups_list(ctx, groups))
		return -ENOMEM;
	*ret = TAKE_PTR(ctx);
	return 0;
}

/* ---- trust --------------------------------------------------------------------------------- */

static bool is_pem_name(const char *name)
{
	struct span s = span_str(name);
	return name[0] != '.' &&
	       (span_ends_with(s, SPAN_LIT(".pem")) || span_ends_with(s, SPAN_LIT(".crt")));
}

static int load_ca_dir(SSL_CTX *ctx, const char *path, const char **ret_reason)
{
	_cleanup_(dir_closep) DIR *dir = opendir(path);
	if (!dir)
		return 0; /* absent is the normal case */

	unsigned int count = 0;
	struct dirent *e;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): dir is ours alone */
	while ((e = readdir(dir))) {
		if (!is_pem_name(e->d_name))
			continue;
		char file[PATH_MAX];
		int n = snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		if (++count > CA_DIR_MAX || n < 0 || (size_t)n >= sizeof(file)) {
			*ret_reason = "too many files in ca.d, or a name that is too long";
			return -E2BIG;
		}
		if (!SSL_CTX_load_verify_file(ctx, file)) {
			*ret_reason = "a file in ca.d holds no usable certificate";
			return -EINVAL;
		}
	}
	return 0;
}

static int load_trust(SSL_CTX *ctx, const struct tls_trust *trust, const char **ret_reason)
{
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (trust->has_pin && SSL_CTX_dane_enable(ctx) <= 0)
		return -ENOMEM;
	if (trust->ca_file) {
		if (SSL_CTX_load_verify_file(ctx, trust->ca_file))
			return 0;
		*ret_reason = "ca-file can't be read or holds no certificate";
		return -EINVAL;
	}
	if (trust->has_pin)
		return 0; /* the pin alone is the anchor */
	if (!SSL_CTX_set_default_verify_paths(ctx))
		return -ENOMEM;
	return trust->ca_dir ? load_ca_dir(ctx, trust->ca_dir, ret_reason) : 0;
}

int tlsctx_new_tunnel_client(const struct tls_trust *trust, enum tls_pq pq, SSL_CTX **ret,
			     const char **ret_reason)
{
	const char *reason = "out of memory";
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	int r = new_tunnel_ctx(TLS_client_method(), client_groups[pq], &ctx);
	if (r == 0)
		r = load_trust(ctx, trust, &reason);
	if (r < 0) {
		*ret_reason = reason;
		return r;
	}
	*ret = TAKE_PTR(ctx);
	return 0;
}

int tlsctx_setup_client(SSL *ssl, const struct tls_trust *trust, const char *name)
{
	enum { USAGE_PKIX_TA = 0, USAGE_DANE_TA = 2, SELECTOR_SPKI = 1, MATCH_SHA256 = 1 };

	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
				       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (!SSL_set_tlsext_host_name(ssl, name))
		return -EINVAL;
	if (!trust->has_pin)
		return SSL_set1_host(ssl, name) ? 0 : -ENOMEM;

	/* Also sets the host to check. */
	if (SSL_dane_enable(ssl, name) <= 0)
		return -ENOMEM;
	uint8_t usage = trust->ca_file ? USAGE_PKIX_TA : USAGE_DANE_TA;
	int added = SSL_dane_tlsa_add(ssl, usage, SELECTOR_SPKI, MATCH_SHA256, trust->pin,
				      sizeof(trust->pin));
	return added > 0 ? 0 : -ENOMEM;
}

/* ---- server -------------------------------------------------------------------------------- */

int tlsctx_new_tunnel_server(const char *chain_file, const char *key_file, SSL_CTX **ret,
			     const char **ret_reason)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	int r = new_tunnel_ctx(TLS_server_method(), "X25519MLKEM768:P-256:X25519", &ctx);
	if (r < 0) {
		*ret_reason = "out of memory";
		return r;
	}
	if (SSL_CTX_use_certificate_chain_file(ctx, chain_file) <= 0) {
		*ret_reason = "the certificate can't be read";
		return -EINVAL;
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) <= 0) {
		*ret_reason = "the key can't be read or isn't the certificate's";
		return -EINVAL;
	}
	*ret = TAKE_PTR(ctx);
	return 0;
}

/* ---- origins ------------------------------------------------------------------------------- */

int tlsctx_new_origin_client(const char *ca_file, bool verify, SSL_CTX **ret,
			     const char **ret_reason)
{
	*ret_reason = "out of memory";
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		return -ENOMEM;
	tlsctx_setup_common(ctx, TLS1_2_VERSION);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (verify && !SSL_CTX_set_default_verify_paths(ctx))
		return -ENOMEM;
	if (ca_file && !SSL_CTX_load_verify_file(ctx, ca_file)) {
		*ret_reason = "can't be read or holds no certificate";
		return -EINVAL;
	}
	*ret = TAKE_PTR(ctx);
	return 0;
}

int tlsctx_open_origin(SSL_CTX *ctx, const char *name, SSL **ret)
{
	SSL *ssl = SSL_new(ctx);
	if (!ssl)
		return -ENOMEM;
	SSL_set_connect_state(ssl);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
				       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	bool is_address = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	if (name[0] && (is_address ||
			(SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name)))) {
		*ret = ssl;
		return 0;
	}
	SSL_free(ssl);
	return -EINVAL;
}

/* ---- ALPN ---------------------------------------------------------------------------------- */

/* The next protocol of a comma-separated list; empty at its end. */
static struct span next_protocol(struct span *list)
{
	size_t len = span_find(*list, ',');
	struct span name = span_first(*list, len);
	*list = span_skip(*list, len + 1);
	return name;
}

/* Where name stands in a list of length-prefixed names (RFC 7301 §3.1), or NULL. */
static const uint8_t *find_offered(struct span offered, struct span name)
{
	while (offered.len > 1) {
		size_t len = offered.ptr[0];
		struct span one = span_first(span_skip(offered, 1), len);
		if (span_eq(one, name))
			return one.ptr;
		offered = span_skip(offered, 1 + len);
	}
	return NULL;
}

/* NOLINTNEXTLINE(readability-function-size): OpenSSL's type */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned int in_len, void *arg)
{
	(void)ssl;
	struct span accepted = span_str(arg);
	while (accepted.len) {
		struct span name = next_protocol(&accepted);
		const uint8_t *found = find_offered(span_of(in, in_len), name);
		if (found && name.len) {
			*out = found;
			*out_len = (unsigned char)name.len;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

int tlsctx_set_alpn(SSL_CTX *ctx, const char *protocols, bool is_server)
{
	if (is_server) {
		SSL_CTX_set_alpn_select_cb(ctx, select_protocol, (void *)protocols);
		return 0;
	}

	uint8_t wire[256];
	unsigned int len = 0;
	struct span list = span_str(protocols);
	while (list.len) {
		struct span name = next_protocol(&list);
		if (!name.len || name.len > 255 || name.len + 1 > sizeof(wire) - len)
			return -EINVAL;
		wire[len++] = (uint8_t)name.len;
		memcpy(wire + len, name.ptr, name.len);
		len += (unsigned int)name.len;
	}
	return SSL_CTX_set_alpn_protos(ctx, wire, len) == 0 ? 0 : -ENOMEM;
}

/* ---- key log ------------------------------------------------------------------------------- */

/* The descriptor is kept as the context's application data, plus one so that NULL means none. */
static void write_keylog(const SSL *ssl, const char *line)
{
	intptr_t fd = (intptr_t)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)) - 1;
	if (fd >= 0)
		(void)dprintf((int)fd, "%s\n", line);
}

void tlsctx_set_keylog(SSL_CTX *ctx, int fd)
{
	if (SSL_CTX_set_app_data(ctx, (intptr_t)fd + 1))
		SSL_CTX_set_keylog_callback(ctx, write_keylog);
}
