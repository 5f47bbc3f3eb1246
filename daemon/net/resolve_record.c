/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single records with their time to live, for who keeps them himself: no cache. The library can't
 * take a question back, so one that is cancelled stays until its answer comes.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/net/resolve_priv.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum { DELIVER_BUDGET = 16 }; /* answers of one task run (style L2) */

struct resolve_record {
	struct list node; /* on resolver.records_ready when there is an answer */
	struct resolver *resolver;
	void (*on_done)(int error, const struct dns_answer *answer, void *user);
	void *user;
	bool is_cancelled;
	int error;
	struct dns_answer answer;
};

static void record_free(struct resolve_record *q)
{
	q->resolver->records--;
	list_remove(&q->node);
	free(q);
}

/* From the library, perhaps from inside the call that asks. */
static void finish(struct resolve_record *q, int error)
{
	struct resolver *r = q->resolver;
	if (q->is_cancelled || r->is_closing) {
		record_free(q);
		return;
	}
	q->error = error;
	if (error)
		r->stats.failures++;
	list_append(&r->records_ready, &q->node);
	loop_task_post(r->loop, &r->deliver_records, LOOP_PHASE_WORK);
}

static void on_message(void *arg, ares_status_t status, size_t timeouts,
		       const ares_dns_record_t *message)
{
	(void)timeouts;
	struct resolve_record *q = arg;
	int error = dns_error_from_ares((int)status);
	if (error == 0 && message)
		error = dns_answer_read(message, q->answer.type, &q->answer);
	finish(q, error);
}

/* The family asked for is the only one that comes. */
static int read_addrinfo(const struct ares_addrinfo *info, struct dns_answer *ret)
{
	ret->ttl_sec = UINT32_MAX;
	for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
		ret->ttl_sec = MIN(ret->ttl_sec, (unsigned int)MAX(c->ttl, 0));
	for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
		struct ip_port at;
		if (ret->count == DNS_ADDRS_MAX)
			break;
		if (sockaddr_to_ip_port(n->ai_addr, n->ai_addrlen, &at) < 0)
			continue;
		ret->addrs[ret->count++] = at.ip;
		ret->ttl_sec = MIN(ret->ttl_sec, (unsigned int)MAX(n->ai_ttl, 0));
	}
	return ret->count ? 0 : -ENOENT;
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	(void)timeouts;
	struct resolve_record *q = arg;
	int error = dns_error_from_ares(status);
	if (error == 0 && info)
		error = read_addrinfo(info, &q->answer);
	ares_freeaddrinfo(info);
	finish(q, error);
}

/* Addresses by way of the hosts file. */
static void ask(struct resolve_record *q, const char *name)
{
	enum dns_type type = q->answer.type;
	ares_channel_t *channel = q->resolver->channel;
	if (type == DNS_TYPE_A || type == DNS_TYPE_AAAA) {
		struct ares_addrinfo_hints hints = {
			.ai_flags = ARES_AI_NOSORT,
			.ai_family = type == DNS_TYPE_A ? AF_INET : AF_INET6,
			.ai_socktype = SOCK_STREAM,
		};
		ares_getaddrinfo(channel, name, NULL, &hints, on_addrinfo, q);
	} else {
		(void)ares_query_dnsrec(channel, name, ARES_CLASS_IN,
					(ares_dns_rec_type_t)dns_type_to_ares(type), on_message, q,
					NULL);
	}
}

/* A callback may ask again and cancel others, but not free the resolver. */
static void on_deliver(struct loop_task *task)
{
	struct resolver *r = CONTAINER_OF(task, struct resolver, deliver_records);
	struct list *node = NULL;
	for (int i = 0; i < DELIVER_BUDGET && (node = list_pop(&r->records_ready)); i++) {
		struct resolve_record *q = LIST_ENTRY(node, struct resolve_record, node);
		q->on_done(q->error, q->error ? NULL : &q->answer, q->user);
		record_free(q);
	}
	if (!list_is_empty(&r->records_ready))
		loop_task_post(r->loop, &r->deliver_records, LOOP_PHASE_WORK);
}

int resolve_record(struct resolver *r, const struct dns_question *question,
		   struct resolve_record **ret)
{
	size_t len = strlen(question->name);
	if (len == 0 || len > DNS_NAME_MAX)
		return -EINVAL;
	if (r->records == RESOLVE_RECORDS_MAX) {
		r->stats.refused++;
		return -E2BIG;
	}
	struct resolve_record *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->resolver = r;
	q->on_done = question->on_done;
	q->user = question->user;
	q->answer.type = question->type;
	r->records++;
	r->stats.queries++;
	r->stats.lookups++;
	resolver_follow_system(r);
	ask(q, question->name);
	resolver_arm_timer(r);
	*ret = q;
	return 0;
}

void resolve_record_cancel(struct resolve_record *q)
{
	if (!q)
		return;
	if (list_is_linked(&q->node))
		record_free(q);
	else
		q->is_cancelled = true;
}

void resolver_records_init(struct resolver *r)
{
	list_init(&r->records_ready);
	r->deliver_records.run = on_deliver;
}

void resolver_records_done(struct resolver *r)
{
	LIST_FOREACH(node, &r->records_ready)
	record_free(LIST_ENTRY(node, struct resolve_record, node));
	loop_task_cancel(&r->deliver_records);
}
