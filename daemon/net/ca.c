/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's own certificate authority. Name constraints keep a stolen CA key from speaking for
 * anybody else's names, also at clients that trust the CA as a file.
 */
#include "daemon/net/ca.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "daemon/base/file.h"
#include "util/cleanup.h"
#include "util/macro.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)

enum { CERT_FILE_MAX = 64 * 1024, PATH_LEN = 4096 };

static int path_of(const char *folder, const char *name, char ret[PATH_LEN])
{
	int n = snprintf(ret, PATH_LEN, "%s/%s", folder, name);
	return n < 0 || n >= PATH_LEN ? -ENAMETOOLONG : 0;
}

static int write_bio(const char *folder, const char *name, BIO *bio, mode_t mode)
{
	char path[PATH_LEN];
	char *text = NULL;
	int r = path_of(folder, name, path);
	long len = BIO_get_mem_data(bio, &text);
	if (r < 0 || len <= 0)
		return r < 0 ? r : -ENOMEM;
	return file_replace(path, span_of(text, (size_t)len), mode);
}

static int write_key(const char *folder, const char *name, EVP_PKEY *key)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_secmem());
	if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return -ENOMEM;
	return write_bio(folder, name, bio, 0600);
}

/* The certificate, with another behind it when that is given. */
static int write_chain(const char *folder, const char *name, X509 *cert, X509 *issuer)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());
	if (!bio || PEM_write_bio_X509(bio, cert) != 1 ||
	    (issuer && PEM_write_bio_X509(bio, issuer) != 1))
		return -ENOMEM;
	return write_bio(folder, name, bio, 0644);
}

/* Opens a PEM file as a BIO. */
static int read_bio(const char *folder, const char *name, BIO **ret)
{
	char path[PATH_LEN];
	int r = path_of(folder, name, path);
	if (r < 0)
		return r;
	BIO *bio = BIO_new_file(path, "re");
	if (!bio)
		return errno ? -errno : -ENOENT;
	*ret = bio;
	return 0;
}

static int read_cert(const char *folder, const char *name, X509 **ret)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	int r = read_bio(folder, name, &bio);
	if (r < 0)
		return r;
	*ret = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	return *ret ? 0 : -EBADMSG;
}

static int read_key(const char *folder, const char *name, EVP_PKEY **ret)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	int r = read_bio(folder, name, &bio);
	if (r < 0)
		return r;
	*ret = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	return *ret ? 0 : -EBADMSG;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	X509_EXTENSION *ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return -EINVAL;
	int ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok == 1 ? 0 : -ENOMEM;
}

/* A certificate with subject, serial, key and validity; valid from a day ago, clocks differ. */
static int cert_begin(const char *name, EVP_PKEY *key, int days, X509 **ret)
{
	_cleanup_(X509_freep) X509 *cert = X509_new();
	uint8_t serial[16];
	if (!cert || RAND_bytes(serial, sizeof(serial)) != 1)
		return -ENOMEM;
	serial[0] &= 0x7f;
	serial[0] |= 0x40;
	BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
	X509_NAME *subject = X509_get_subject_name(cert);
	bool ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) &&
		  X509_set_version(cert, X509_VERSION_3) == 1 &&
		  X509_time_adj_ex(X509_getm_notBefore(cert), -1, 0, NULL) &&
		  X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) &&
		  X509_set_pubkey(cert, key) == 1 &&
		  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					     (const unsigned char *)name, -1, -1, 0) == 1;
	BN_free(bn);
	if (!ok)
		return -ENOMEM;
	*ret = TAKE_PTR(cert);
	return 0;
}

static int cert_sign(X509 *cert, X509 *issuer, EVP_PKEY *issuer_key)
{
	if (X509_set_issuer_name(cert, X509_get_subject_name(issuer)) != 1 ||
	    X509_sign(cert, issuer_key, EVP_sha256()) == 0)
		return -ENOMEM;
	return 0;
}

/* Names go into texts with a grammar of their own: nothing but what a DNS name has. */
static bool is_dns_name(const char *name)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strlen(name);
	return len > 0 && name[0] != '.' && strspn(name, characters) == len;
}

int ca_create(const char *folder, const char *domain)
{
	char path[PATH_LEN], permitted[512];
	struct stat st;
	if (!is_dns_name(domain)) /* an empty one would permit every name */
		return -EINVAL;
	int r = path_of(folder, CA_KEY_FILE, path);
	if (r < 0)
		return r;
	if (stat(path, &st) == 0)
		return -EEXIST;
	int n = snprintf(permitted, sizeof(permitted),
			 "critical,permitted;DNS:cftunnel.com,permitted;DNS:%s", domain);
	if (n < 0 || (size_t)n >= sizeof(permitted))
		return -EINVAL;

	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(X509_freep) X509 *cert = NULL;
	r = key ? cert_begin("adit edge CA", key, CA_YEARS * 365 + CA_YEARS / 4, &cert) : -ENOMEM;
	if (r == 0)
		r = add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
	if (r == 0)
		r = add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	if (r == 0)
		r = add_extension(cert, cert, NID_subject_key_identifier, "hash");
	if (r == 0)
		r = add_extension(cert, cert, NID_name_constraints, permitted);
	if (r == 0)
		r = cert_sign(cert, cert, key);
	if (r == 0)
		r = write_key(folder, CA_KEY_FILE, key);
	return r < 0 ? r : write_chain(folder, CA_FILE, cert, NULL);
}

int ca_issue(const char *folder, const char *server_name)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *ca_key = NULL, *key = NULL;
	_cleanup_(X509_freep) X509 *ca = NULL, *cert = NULL;
	char names[512];
	if (server_name && !is_dns_name(server_name))
		return -EINVAL;
	int n = snprintf(names, sizeof(names),
			 "DNS:quic.cftunnel.com,DNS:h2.cftunnel.com,DNS:probe.cftunnel.com%s%s",
			 server_name ? ",DNS:" : "", server_name ? server_name : "");
	if (n < 0 || (size_t)n >= sizeof(names))
		return -EINVAL;
	int r = read_cert(folder, CA_FILE, &ca);
	if (r == 0)
		r = read_key(folder, CA_KEY_FILE, &ca_key);
	if (r < 0)
		return r;
	key = EVP_EC_gen("P-256");
	r = key ? cert_begin("adit edge", key, LEAF_DAYS, &cert) : -ENOMEM;
	if (r == 0)
		r = add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE");
	if (r == 0)
		r = add_extension(cert, ca, NID_key_usage, "critical,digitalSignature");
	if (r == 0)
		r = add_extension(cert, ca, NID_ext_key_usage, "serverAuth");
	if (r == 0)
		r = add_extension(cert, ca, NID_subject_alt_name, names);
	if (r == 0)
		r = add_extension(cert, ca, NID_authority_key_identifier, "keyid:always");
	if (r == 0)
		r = cert_sign(cert, ca, ca_key);
	if (r == 0)
		r = write_key(folder, LEAF_KEY_FILE, key);
	return r < 0 ? r : write_chain(folder, LEAF_FILE, cert, ca);
}

bool ca_permits(const char *folder, const char *name)
{
	_cleanup_(X509_freep) X509 *ca = NULL;
	if (read_cert(folder, CA_FILE, &ca) < 0)
		return true;
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(ca, NID_name_constraints, NULL, NULL);
	bool is_permitted = !nc;
	size_t len = strlen(name);
	for (int i = 0; nc && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++) {
		const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i)->base;
		if (base->type != GEN_DNS)
			continue;
		const char *domain = (const char *)ASN1_STRING_get0_data(base->d.dNSName);
		size_t domain_len = (size_t)ASN1_STRING_length(base->d.dNSName);
		if (len < domain_len ||
		    strncasecmp(name + len - domain_len, domain, domain_len) != 0)
			continue;
		is_permitted |= len == domain_len || name[len - domain_len - 1] == '.';
	}
	NAME_CONSTRAINTS_free(nc);
	return is_permitted;
}

int ca_pin(const char *folder, uint8_t ret[32])
{
	_cleanup_(X509_freep) X509 *ca = NULL;
	int r = read_cert(folder, CA_FILE, &ca);
	if (r < 0)
		return r;
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ca), &der);
	unsigned int digest_len = 0;
	bool ok =
		len > 0 && EVP_Digest(der, (size_t)len, ret, &digest_len, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	return ok ? 0 : -ENOMEM;
}

int ca_leaf_days(const char *folder, int *ret_days)
{
	_cleanup_(X509_freep) X509 *cert = NULL;
	int r = read_cert(folder, LEAF_FILE, &cert);
	if (r < 0)
		return r;
	int days = 0, seconds = 0;
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1)
		return -EBADMSG;
	*ret_days = days;
	return 0;
}

bool ca_leaf_has_name(const char *folder, const char *server_name)
{
	_cleanup_(X509_freep) X509 *cert = NULL;
	return !server_name ||
	       (read_cert(folder, LEAF_FILE, &cert) == 0 &&
		X509_check_host(cert, server_name, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) == 1);
}
