/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of a directory, chosen by SNI. A reload builds a new table and swaps it; whoever is
 * in a handshake holds references of OpenSSL's own. The choice goes by the names in the
 * certificate, not by the file's, so that one file serves all its names and wildcards.
 */
#include "daemon/net/tlscerts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "daemon/net/tlsctx.h"
#include "util/cleanup.h"
#include "util/macro.h"
#include "util/span.h"

/* One certificate with its key and the chain behind it; references of OpenSSL's objects. */
struct entry {
	char *name; /* the file's or folder's, without .pem */
	X509 *leaf;
	EVP_PKEY *key;
	STACK_OF(X509) * chain;
};

struct table {
	struct entry *entries; /* by name */
	size_t count;
};

struct tls_certs {
	char *directory;
	SSL_CTX *ctx;
	struct table table;
	uint64_t fingerprint; /* of the directory when it was read */
	int bad;
};

/* ---- one entry ----------------------------------------------------------------------------- */

static void entry_done(struct entry *e)
{
	free(e->name);
	X509_free(e->leaf);
	EVP_PKEY_free(e->key);
	OSSL_STACK_OF_X509_free(e->chain);
	*e = (struct entry){};
}

/* A key with a passphrase is a bad file, not a question on the terminal. */
/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)user;
	return -1;
}

static int load_chain(BIO *in, struct entry *e)
{
	e->leaf = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
	if (!e->leaf)
		return -EBADMSG;
	e->chain = sk_X509_new_null();
	if (!e->chain)
		return -ENOMEM;
	X509 *next;
	while ((next = PEM_read_bio_X509(in, NULL, no_passphrase, NULL))) {
		if (!sk_X509_push(e->chain, next)) {
			X509_free(next);
			return -ENOMEM;
		}
	}
	ERR_clear_error(); /* the end of the file counts as an error there */
	return 0;
}

static int load_files(const char *chain_file, const char *key_file, struct entry *e)
{
	BIO *in = BIO_new_file(chain_file, "r");
	int r = in ? load_chain(in, e) : -ENOENT;
	BIO_free(in);
	if (r < 0)
		return r;

	in = BIO_new_file(key_file, "r");
	e->key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
	BIO_free(in);
	return e->key && X509_check_private_key(e->leaf, e->key) == 1 ? 0 : -EBADMSG;
}

/* ---- the table ----------------------------------------------------------------------------- */

static void table_done(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		entry_done(&t->entries[i]);
	free(t->entries);
	*t = (struct table){};
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static const struct entry *table_find(const struct table *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->entries[i].name, name) == 0)
			return &t->entries[i];
	return NULL;
}

static const struct entry *match_name(const struct table *t, const char *sni, unsigned int flags)
{
	for (size_t i = 0; i < t->count; i++)
		if (X509_check_host(t->entries[i].leaf, sni, 0, flags, NULL) == 1)
			return &t->entries[i];
	return NULL;
}

static const struct entry *table_choose(const struct table *t, const char *sni)
{
	const struct entry *e = NULL;
	if (sni) {
		e = match_name(t, sni, X509_CHECK_FLAG_NO_WILDCARDS);
		if (!e)
			e = match_name(t, sni, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	}
	if (!e)
		e = table_find(t, "default");
	return e || !t->count ? e : &t->entries[0];
}

/* ---- the directory ------------------------------------------------------------------------- */

/* A candidate of the directory: where its chain and key are. */
struct candidate {
	char name[NAME_MAX + 1];
	char chain[PATH_MAX];
	char key[PATH_MAX];
};

static bool path_join(char *to, const char *directory, const char *name, const char *file)
{
	int n = snprintf(to, PATH_MAX, "%s/%s%s", directory, name, file);
	return n > 0 && n < PATH_MAX;
}

/* False for what is not meant as a certificate at all. */
static bool candidate_from(const char *directory, const char *name, struct candidate *ret)
{
	struct stat st;
	if (name[0] == '.' || !path_join(ret->chain, directory, name, "") ||
	    stat(ret->chain, &st) < 0)
		return false;

	size_t len = strlen(name);
	if (S_ISDIR(st.st_mode)) {
		memcpy(ret->name, name, len + 1);
		return path_join(ret->chain, directory, name, "/fullchain.pem") &&
		       path_join(ret->key, directory, name, "/privkey.pem");
	}
	if (!S_ISREG(st.st_mode) || len <= 4 || strcmp(name + len - 4, ".pem") != 0)
		return false;
	memcpy(ret->name, name, len - 4);
	ret->name[len - 4] = '\0';
	memcpy(ret->key, ret->chain, sizeof(ret->key));
	return true;
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return hash;
}

static uint64_t hash_file(uint64_t hash, const char *path)
{
	struct stat st = {};
	(void)stat(path, &st); /* absent counts as all zero */
	hash = hash_bytes(hash, path, strlen(path));
	hash = hash_bytes(hash, &st.st_mtim, sizeof(st.st_mtim));
	hash = hash_bytes(hash, &st.st_size, sizeof(st.st_size));
	return hash_bytes(hash, &st.st_ino, sizeof(st.st_ino));
}

/* Calls visit for each candidate until it fails. */
static int walk_directory(const char *directory, int (*visit)(const struct candidate *c, void *arg),
			  void *arg)
{
	DIR *dir = opendir(directory);
	if (!dir)
		return -errno;
	int r = 0;
	struct dirent *d;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): dir is ours alone */
	while (r == 0 && (d = readdir(dir))) {
		struct candidate c;
		if (candidate_from(directory, d->d_name, &c))
			r = visit(&c, arg);
	}
	(void)closedir(dir);
	return r;
}

/* The order of a directory may change from one reading to the next: the sum doesn't. */
static int visit_fingerprint(const struct candidate *c, void *arg)
{
	uint64_t *sum = arg;
	uint64_t hash = hash_file(UINT64_C(0xcbf29ce484222325), c->chain);
	*sum += hash_file(hash, c->key);
	return 0;
}

/* ---- reload -------------------------------------------------------------------------------- */

struct reload {
	const struct table *old;
	struct table fresh;
	int bad;
};

static int keep_old(const struct entry *old, struct entry *e)
{
	*e = (struct entry){ .leaf = old->leaf, .key = old->key };
	(void)X509_up_ref(e->leaf);
	(void)EVP_PKEY_up_ref(e->key);
	e->chain = X509_chain_up_ref(old->chain);
	return e->chain ? 0 : -ENOMEM;
}

static int visit_load(const struct candidate *c, void *arg)
{
	struct reload *l = arg;
	if (l->fresh.count == TLS_CERTS_MAX) {
		l->bad++;
		return 0;
	}

	struct entry e = {};
	int r = load_files(c->chain, c->key, &e);
	ERR_clear_error();
	if (r < 0) {
		entry_done(&e);
		l->bad++;
		const struct entry *old = table_find(l->old, c->name);
		if (!old)
			return 0;
		r = keep_old(old, &e);
	}
	if (r == 0)
		e.name = strdup(c->name);
	if (!e.name) {
		entry_done(&e);
		return -ENOMEM;
	}
	l->fresh.entries[l->fresh.count++] = e;
	return 0;
}

int tls_certs_reload(struct tls_certs *certs)
{
	uint64_t fingerprint = 0;
	int r = walk_directory(certs->directory, visit_fingerprint, &fingerprint);
	if (r < 0)
		return r;
	if (fingerprint == certs->fingerprint)
		return certs->bad;

	struct reload l = { .old = &certs->table };
	l.fresh.entries = calloc(TLS_CERTS_MAX, sizeof(*l.fresh.entries));
	if (!l.fresh.entries)
		return -ENOMEM;
	r = walk_directory(certs->directory, visit_load, &l);
	if (r < 0) {
		table_done(&l.fresh);
		return r;
	}
	qsort(l.fresh.entries, l.fresh.count, sizeof(*l.fresh.entries), compare_entries);
	table_done(&certs->table);
	certs->table = l.fresh;
	certs->fingerprint = fingerprint;
	certs->bad = l.bad;
	return l.bad;
}

/* ---- handshakes ---------------------------------------------------------------------------- */

/* Returns 1 to go on, 0 to fail the handshake. */
static int choose_certificate(SSL *ssl, void *arg)
{
	const struct tls_certs *certs = arg;
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct entry *e = table_choose(&certs->table, sni);
	return e && SSL_use_cert_and_key(ssl, e->leaf, e->key, e->chain, 1) == 1;
}

int tls_certs_new(const char *directory, const char *alpn, struct tls_certs **ret)
{
	struct tls_certs *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->directory = strdup(directory);
	c->ctx = SSL_CTX_new(TLS_server_method());
	int r = c->directory && c->ctx ? 0 : -ENOMEM;
	if (r == 0) {
		tlsctx_setup_common(c->ctx, TLS1_2_VERSION);
		SSL_CTX_set_cert_cb(c->ctx, choose_certificate, c);
		r = alpn ? tlsctx_set_alpn(c->ctx, alpn, true) : 0;
	}
	if (r == 0)
		r = tls_certs_reload(c);
	if (r < 0) {
		tls_certs_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void tls_certs_free(struct tls_certs *certs)
{
	if (!certs)
		return;
	table_done(&certs->table);
	SSL_CTX_free(certs->ctx);
	free(certs->directory);
	free(certs);
}

unsigned int tls_certs_count(const struct tls_certs *certs)
{
	return (unsigned int)certs->table.count;
}

SSL *tls_certs_accept(struct tls_certs *certs)
{
	SSL *ssl = SSL_new(certs->ctx);
	if (ssl)
		SSL_set_accept_state(ssl);
	return ssl;
}
