/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TLS (RFC 7858): questions to one server by name and address, for when the system's
 * resolver doesn't work or isn't to be asked.
 */
#ifndef DAEMON_NET_DOT_H
#define DAEMON_NET_DOT_H

#include <openssl/types.h>

#include "daemon/base/loop.h"
#include "daemon/net/dns_answer.h"

struct dot;
struct dot_query;
struct slab;

enum {
	DOT_TIMEOUT_SEC = 5,         /* of a question, connecting included */
	DOT_QUERIES_MAX = 64,        /* at once */
	DOT_MESSAGE_MAX = 16 * 1024, /* bytes of an answer; a longer one ends the connection */
};

struct dot_server {
	struct ip_port addr;
	char name[DNS_NAME_MAX + 1]; /* asked for and verified */
	nsec_t timeout;              /* of a question; 0: DOT_TIMEOUT_SEC */
};

/*
 * One client; connects when there is something to ask, and again when the server has closed. tls: a
 * context for clients that verify (tlsctx_new_origin_client()), which is given another owner.
 * Returns 0 or -ENOMEM.
 */
[[nodiscard]] int dot_new(struct loop *loop, struct slab *slab, SSL_CTX *tls,
			  const struct dot_server *server, struct dot **ret);
/* No callback comes after it, and queries of it must not be used. Accepts NULL. */
void dot_free(struct dot *d);

/*
 * on_done of the question comes once from the loop: with the answer, an error of dns_answer_read(),
 * -ETIMEDOUT, -EPERM (the certificate isn't the server's), -EBADMSG or -EMSGSIZE (no answer that we
 * can read), -EPROTO and what connecting and the connection said. One broken connection fails all
 * questions on it. The query ends with the callback. Not from inside the callback may d be freed.
 * Returns 0, -EINVAL for what can't be a name, -E2BIG, -ENOMEM.
 */
[[nodiscard]] int dot_ask(struct dot *d, const struct dns_question *question,
			  struct dot_query **ret);
/* No callback comes after it. Accepts NULL; not to be used once on_done has been called. */
void dot_cancel(struct dot_query *q);

/* TLS's words for the last failure, "" when there are none. Static. */
const char *dot_reason(const struct dot *d);

#endif
