/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of QUIC links. The library wants its own context, not the SSL, as native handle, and an SSL
 * that knows nothing of the connection any more when that is freed.
 */
#include "daemon/link/quic_tls.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#include "util/span.h"

static const uint8_t alpn[] = "\x0a"
			      "argotunnel"; /* docs/protocol.md §2.3 */

static ngtcp2_conn *conn_of(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct quic_link *)ref->user_data)->conn;
}

static int start(struct quic_link *link, SSL_CTX *ctx)
{
	link->ssl = SSL_new(ctx);
	if (!link->ssl || ngtcp2_crypto_ossl_ctx_new(&link->octx, NULL) != 0)
		return -ENOMEM;
	ngtcp2_crypto_ossl_ctx_set_ssl(link->octx, link->ssl);
	link->ref = (ngtcp2_crypto_conn_ref){ .get_conn = conn_of, .user_data = link };
	if (SSL_set_app_data(link->ssl, &link->ref) != 1)
		return -ENOMEM;
	ngtcp2_conn_set_tls_native_handle(link->conn, link->octx);
	return 0;
}

int quic_tls_start_client(struct quic_link *link, const struct quic_dial *dial)
{
	int r = start(link, dial->tls);
	if (r < 0)
		return r;
	if (ngtcp2_crypto_ossl_configure_client_session(link->ssl) != 0)
		return -ENOMEM;
	SSL_set_connect_state(link->ssl);
	r = tlsctx_setup_client(link->ssl, dial->trust, dial->server_name);
	if (r < 0)
		return r;
	return SSL_set_alpn_protos(link->ssl, alpn, sizeof(alpn) - 1) == 0 ? 0 : -ENOMEM;
}

int quic_tls_start_server(struct quic_link *link, SSL_CTX *ctx)
{
	int r = start(link, ctx);
	if (r < 0)
		return r;
	if (ngtcp2_crypto_ossl_configure_server_session(link->ssl) != 0)
		return -ENOMEM;
	SSL_set_accept_state(link->ssl);
	return 0;
}

void quic_tls_free_conn(struct quic_link *link)
{
	if (link->ssl)
		(void)SSL_set_app_data(link->ssl, NULL);
	ngtcp2_conn_del(link->conn);
	ngtcp2_crypto_ossl_ctx_del(link->octx);
	SSL_free(link->ssl);
	link->conn = NULL;
	link->octx = NULL;
	link->ssl = NULL;
}

static void copy_name(char *to, size_t cap, const char *name)
{
	(void)snprintf(to, cap, "%s", name ? name : "");
}

void quic_tls_describe(struct quic_link *link)
{
	copy_name(link->stats.group, sizeof(link->stats.group), SSL_get0_group_name(link->ssl));
	copy_name(link->stats.cipher, sizeof(link->stats.cipher),
		  SSL_CIPHER_get_name(SSL_get_current_cipher(link->ssl)));
}

const char *quic_tls_certificate_error(const struct quic_link *link)
{
	long r = link->ssl ? SSL_get_verify_result(link->ssl) : X509_V_OK;
	return r == X509_V_OK ? NULL : X509_verify_cert_error_string(r);
}

int quic_tls_derive(const uint8_t *secret, const char *purpose, uint8_t ret[QUIC_KEY_LEN])
{
	ngtcp2_crypto_md md;
	struct span salt = SPAN_LIT("adit quic-key"); /* an empty one is refused */
	struct span info = span_str(purpose);
	/* The type of the native handle isn't const; nothing is written through it. */
	const EVP_MD *sha256 = EVP_sha256();
	void *handle;
	memcpy((void *)&handle, (const void *)&sha256, sizeof(handle));
	ngtcp2_crypto_md_init(&md, handle);
	if (ngtcp2_crypto_hkdf(ret, QUIC_KEY_LEN, &md, secret, QUIC_KEY_LEN, salt.ptr, salt.len,
			       info.ptr, info.len) != 0)
		return -EIO;
	return 0;
}
