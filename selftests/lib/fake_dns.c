/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name server for unit tests.
 */
#include "selftests/lib/fake_dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ares.h>
#include <openssl/ssl.h>

#include "daemon/base/bufq.h"
#include "daemon/net/iostream.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/endian.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- answers ------------------------------------------------------------------------------- */

static void add_record(ares_dns_record_t *answer, const struct fake_record *r)
{
	ares_dns_rr_t *rr = NULL;
	must(ares_dns_record_rr_add(&rr, answer, ARES_SECTION_ANSWER, r->name,
				    (ares_dns_rec_type_t)dns_type_to_ares(r->type), ARES_CLASS_IN,
				    r->ttl) == ARES_SUCCESS);
	struct in_addr v4;
	struct ares_in6_addr v6;
	switch (r->type) {
	case DNS_TYPE_A:
		must(inet_pton(AF_INET, r->value, &v4) == 1);
		must(ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, &v4) == ARES_SUCCESS);
		break;
	case DNS_TYPE_AAAA:
		must(inet_pton(AF_INET6, r->value, &v6) == 1);
		must(ares_dns_rr_set_addr6(rr, ARES_RR_AAAA_ADDR, &v6) == ARES_SUCCESS);
		break;
	case DNS_TYPE_SRV:
		must(ares_dns_rr_set_u16(rr, ARES_RR_SRV_PRIORITY, r->priority) == ARES_SUCCESS);
		must(ares_dns_rr_set_u16(rr, ARES_RR_SRV_WEIGHT, r->weight) == ARES_SUCCESS);
		must(ares_dns_rr_set_u16(rr, ARES_RR_SRV_PORT, r->port) == ARES_SUCCESS);
		must(ares_dns_rr_set_str(rr, ARES_RR_SRV_TARGET, r->value) == ARES_SUCCESS);
		break;
	case DNS_TYPE_TXT:
		/* In two strings where there is room for two. */
		if (strlen(r->value) > 1)
			must(ares_dns_rr_add_abin(rr, ARES_RR_TXT_DATA,
						  (const unsigned char *)r->value,
						  1) == ARES_SUCCESS);
		must(ares_dns_rr_add_abin(rr, ARES_RR_TXT_DATA,
					  (const unsigned char *)r->value + (strlen(r->value) > 1),
					  strlen(r->value) - (strlen(r->value) > 1)) ==
		     ARES_SUCCESS);
		break;
	case DNS_TYPE_MAX_:
		abort();
	}
}

/* The records of one name and type; false: silence. */
static bool fill_answer(const struct fake_dns *f, const char *name, int type,
			ares_dns_record_t *answer, int *ret_rcode)
{
	*ret_rcode = ARES_RCODE_NXDOMAIN;
	for (const struct fake_record *r = f->records; r && r->name; r++) {
		if (strcasecmp(r->name, name) != 0)
			continue;
		if (*ret_rcode == ARES_RCODE_NXDOMAIN)
			*ret_rcode = ARES_RCODE_NOERROR;
		if (dns_type_to_ares(r->type) != type)
			continue;
		if (r->is_mute)
			return false;
		if (r->rcode)
			*ret_rcode = r->rcode;
		else if (r->value)
			add_record(answer, r);
	}
	if (f->rcode)
		*ret_rcode = f->rcode;
	return true;
}

/* In wire format; to be freed with ares_free_string(). NULL: none. */
static unsigned char *answer_for(const struct fake_dns *f, const uint8_t *query, size_t len,
				 size_t *ret_len)
{
	ares_dns_record_t *q = NULL, *a = NULL;
	const char *name = NULL;
	ares_dns_rec_type_t type;
	ares_dns_class_t class;
	unsigned char *wire = NULL;
	must(ares_dns_parse(query, len, 0, &q) == ARES_SUCCESS);
	must(ares_dns_record_query_get(q, 0, &name, &type, &class) == ARES_SUCCESS);
	/* The code comes last, and a record's can't be changed: made twice. */
	int rcode = 0;
	for (int i = 0; i < 2; i++) {
		ares_dns_record_destroy(a);
		must(ares_dns_record_create(&a, ares_dns_record_get_id(q),
					    ARES_FLAG_QR | ARES_FLAG_RA, ARES_OPCODE_QUERY,
					    (ares_dns_rcode_t)rcode) == ARES_SUCCESS);
		must(ares_dns_record_query_add(a, name, type, class) == ARES_SUCCESS);
		if (!fill_answer(f, name, (int)type, a, &rcode))
			rcode = -1;
		if (rcode < 0)
			break;
	}
	if (rcode >= 0)
		must(ares_dns_write(a, &wire, ret_len) == ARES_SUCCESS);
	ares_dns_record_destroy(a);
	ares_dns_record_destroy(q);
	return wire;
}

/* ---- UDP ----------------------------------------------------------------------------------- */

static void on_udp(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	struct fake_dns *f = CONTAINER_OF(io, struct fake_dns, udp);
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	uint8_t query[1500];
	ssize_t n;
	while ((n = recvfrom(io->fd, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from,
			     &from_len)) > 0) {
		f->udp_questions++;
		size_t len = 0;
		unsigned char *wire = f->is_mute ? NULL : answer_for(f, query, (size_t)n, &len);
		if (wire)
			(void)sendto(io->fd, wire, len, 0, (struct sockaddr *)&from, from_len);
		ares_free_string(wire);
		from_len = sizeof(from);
	}
}

/* ---- TLS ----------------------------------------------------------------------------------- */

static void connection_end(struct fake_dns_connection *c)
{
	iostream_free(TAKE_PTR(c->io), false);
	bufq_clear(&c->rx);
	bufq_clear(&c->tx);
}

static void answer_tls(struct fake_dns_connection *c, const uint8_t *query, size_t len)
{
	struct fake_dns *f = c->dns;
	size_t wire_len = 0;
	uint8_t head[2];
	f->tls_questions++;
	if (f->raw.len) {
		must(bufq_append_copy(&c->tx, f->raw) == 0);
		return;
	}
	unsigned char *wire = f->is_mute ? NULL : answer_for(f, query, len, &wire_len);
	if (!wire)
		return;
	store_be16(head, (uint16_t)wire_len);
	must(bufq_append_copy(&c->tx, span_of(head, 2)) == 0);
	must(bufq_append_copy(&c->tx, span_of(wire, wire_len)) == 0);
	ares_free_string(wire);
}

static bool take_question(struct fake_dns_connection *c)
{
	uint8_t bytes[2 + 512];
	size_t got = bufq_copy_out(&c->rx, bytes, sizeof(bytes));
	size_t len = got >= 2 ? load_be16(bytes) : 0;
	if (got < 2 || got < 2 + len)
		return false;
	bufq_consume(&c->rx, 2 + len);
	answer_tls(c, bytes + 2, len);
	return true;
}

static void on_stream(struct iostream *io, bool readable, bool writable, void *user)
{
	(void)readable;
	(void)writable;
	struct fake_dns_connection *c = user;
	ssize_t n;
	while ((n = iostream_read(io, &c->rx, 4096)) > 0)
		;
	while (c->dns->closes_first ? n > 0 : take_question(c))
		;
	bool has_question = c->rx.len > 0;
	while (c->tx.len && iostream_write(io, &c->tx, c->tx.len) > 0)
		;
	if ((n != -EAGAIN && n <= 0) || (c->dns->closes_first && has_question))
		connection_end(c);
}

static const struct iostream_events stream_events = { .on_ready = on_stream };

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	(void)peer;
	(void)local;
	struct fake_dns *f = CONTAINER_OF(l, struct fake_dns, listener);
	f->connections++;
	for (int i = 0; i < FAKE_DNS_CONNECTIONS; i++) {
		struct fake_dns_connection *c = &f->live[i];
		if (c->io)
			continue;
		SSL *ssl = SSL_new(f->tls);
		must(ssl);
		SSL_set_accept_state(ssl);
		c->dns = f;
		bufq_init(&c->rx, f->slab);
		bufq_init(&c->tx, f->slab);
		must(iostream_new(f->loop, f->slab, fd, ssl, &c->io) == 0);
		iostream_set_events(c->io, &stream_events, c);
		return;
	}
	abort();
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ip_port at;
	must(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	must(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &at) == 0);
	return at.port;
}

void fake_dns_start(struct fake_dns *f, struct loop *loop, struct slab *slab, SSL_CTX *tls)
{
	struct ip_port at = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(&at, &sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0);
	f->loop = loop;
	f->slab = slab;
	f->tls = tls;
	f->port = port_of(fd);
	f->udp.on_ready = on_udp;
	must(loop_io_start(loop, &f->udp, fd, EPOLLIN) == 0);
	f->listener.fd = -EBADF;
	if (!tls)
		return;
	int listener = tcp_listen(&at, false, 8);
	must(listener >= 0);
	f->tls_port = port_of(listener);
	f->listener.on_accept = on_accept;
	must(tcp_listener_start(&f->listener, loop, listener) == 0);
}

void fake_dns_stop(struct fake_dns *f)
{
	int fd = f->udp.fd;
	loop_io_stop(&f->udp);
	close(fd);
	if (f->tls)
		tcp_listener_stop(&f->listener);
	for (int i = 0; i < FAKE_DNS_CONNECTIONS; i++)
		if (f->live[i].io)
			connection_end(&f->live[i]);
}
