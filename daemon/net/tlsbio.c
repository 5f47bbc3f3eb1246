/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's way to a socket. The method table is made once for the process and never freed.
 */
#include "daemon/net/tlsbio.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method; /* NULL when there was no memory for it */

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
	struct tlsbio *t = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n = send(t->fd, data, len, MSG_NOSIGNAL);
	if (n >= 0) {
		*ret_len = (size_t)n;
		return 1;
	}
	if (errno == EAGAIN || errno == EINTR)
		BIO_set_retry_write(bio);
	else
		t->error = -errno;
	return 0;
}

static int bio_read(BIO *bio, char *data, size_t len, size_t *ret_len)
{
	struct tlsbio *t = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n = recv(t->fd, data, len, 0);
	if (n > 0) {
		*ret_len = (size_t)n;
		return 1;
	}
	if (n == 0)
		t->is_eof = true;
	else if (errno == EAGAIN || errno == EINTR)
		BIO_set_retry_read(bio);
	else
		t->error = -errno;
	return 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *arg)
{
	(void)number;
	(void)arg;
	const struct tlsbio *t = BIO_get_data(bio);
	if (command == BIO_CTRL_EOF)
		return t->is_eof;
	return command == BIO_CTRL_FLUSH;
}

static void make_method(void)
{
	int index = BIO_get_new_index();
	BIO_METHOD *m = BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "socket without signals");
	if (m && BIO_meth_set_write_ex(m, bio_write) && BIO_meth_set_read_ex(m, bio_read) &&
	    BIO_meth_set_ctrl(m, bio_ctrl))
		method = m;
	else
		BIO_meth_free(m);
}

int tlsbio_attach(struct tlsbio *t, int fd, SSL *ssl)
{
	(void)pthread_once(&method_once, make_method);
	BIO *bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return -ENOMEM;
	*t = (struct tlsbio){ .fd = fd };
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}
