/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery's hands on a worker. The agent belongs to the worker's thread from its first message
 * on; its last message frees it, and is one that it has had from the start, so that ending needs no
 * memory. When the worker has stopped before it got to a message, the message is discarded by the
 * control thread, and does the same there.
 */
#include "daemon/aditd/discovery_agent.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/random.h"
#include "daemon/base/worker.h"
#include "util/cleanup.h"
#include "util/macro.h"

/* One kind of search by one path. */
struct slot {
	struct discovery_agent *agent;
	struct discovery_round *round; /* NULL while nothing runs */
	struct discovery_report *early, *last;
};

struct discovery_agent {
	struct discovery_agent_params params;
	struct slot slots[ROUND_KIND_MAX_][DISCOVERY_PATH_MAX_];
	uint64_t seed;
	struct message end;
	struct discovery_report *gone;
};

struct command {
	struct message message;
	struct discovery_agent *agent;
	enum round_kind kind;
	enum discovery_path path;
	bool wants_early;
	struct discovery_report *early, *last; /* NULL: a search ends */
};

/* ---- reports ------------------------------------------------------------------------------- */

static void on_report_deliver(struct message *message, void *owner)
{
	(void)owner;
	struct discovery_report *r = CONTAINER_OF(message, struct discovery_report, message);
	r->on_report(r, false);
}

static void on_report_discard(struct message *message)
{
	struct discovery_report *r = CONTAINER_OF(message, struct discovery_report, message);
	r->on_report(r, true);
}

static struct discovery_report *report_new(const struct discovery_agent *a)
{
	struct discovery_report *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->message.on_deliver = on_report_deliver;
	r->message.on_discard = on_report_discard;
	r->on_report = a->params.on_report;
	r->owner = a->params.owner;
	return r;
}

static void post(struct discovery_agent *a, struct discovery_report *report_take)
{
	mailbox_post(a->params.main, &report_take->message);
}

/* ---- on the worker ------------------------------------------------------------------------- */

static void slot_clear(struct slot *s)
{
	discovery_round_free(TAKE_PTR(s->round));
	free(TAKE_PTR(s->early));
	free(TAKE_PTR(s->last));
}

static void on_result(const struct round_result *result, void *user)
{
	struct slot *s = user;
	struct discovery_report *r = result->is_early ? TAKE_PTR(s->early) : TAKE_PTR(s->last);
	if (!r)
		return;
	r->result = *result;
	post(s->agent, r);
	if (!result->is_early)
		slot_clear(s);
}

static void start(struct slot *s, const struct command *c)
{
	const struct discovery_agent_params *p = &s->agent->params;
	struct round_params params = {
		.loop = p->worker->loop,
		.slab = p->worker->slab,
		.kind = c->kind,
		.wants_early = c->wants_early,
		.names = p->names,
		.resolver = p->resolver,
		.seed = s->agent->seed,
		.on_result = on_result,
		.user = s,
	};
	if (c->path == DISCOVERY_PATH_TLS) {
		params.tls = p->tls;
		params.server = p->server;
	}
	int error = discovery_round_new(&params, &s->round);
	if (error == 0)
		return;
	struct round_result failed = { .error = error, .text = "the resolver can't start" };
	on_result(&failed, s);
}

static void on_command(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	struct slot *s = &c->agent->slots[c->kind][c->path];
	slot_clear(s);
	s->agent = c->agent;
	s->early = c->early;
	s->last = c->last;
	if (c->last)
		start(s, c);
	free(c);
}

static void agent_free(struct discovery_agent *a)
{
	for (int kind = 0; kind < ROUND_KIND_MAX_; kind++)
		for (int path = 0; path < DISCOVERY_PATH_MAX_; path++)
			slot_clear(&a->slots[kind][path]);
	free(a);
}

static void on_end(struct message *message, void *owner)
{
	(void)owner;
	struct discovery_agent *a = CONTAINER_OF(message, struct discovery_agent, end);
	post(a, a->gone);
	agent_free(a);
}

/* ---- the worker has stopped ---------------------------------------------------------------- */

static void on_command_discard(struct message *message)
{
	struct command *c = CONTAINER_OF(message, struct command, message);
	free(c->early);
	free(c->last);
	free(c);
}

static void on_end_discard(struct message *message)
{
	struct discovery_agent *a = CONTAINER_OF(message, struct discovery_agent, end);
	a->gone->on_report(a->gone, true);
	agent_free(a);
}

/* ---- on the control thread ----------------------------------------------------------------- */

static struct command *command_new(struct discovery_agent *a, enum round_kind kind,
				   enum discovery_path path)
{
	struct command *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->message.on_deliver = on_command;
	c->message.on_discard = on_command_discard;
	c->agent = a;
	c->kind = kind;
	c->path = path;
	return c;
}

int discovery_agent_ask(struct discovery_agent *a, enum round_kind kind, enum discovery_path path,
			uint64_t serial, bool wants_early)
{
	struct command *c = command_new(a, kind, path);
	if (!c)
		return -ENOMEM;
	c->wants_early = wants_early;
	c->early = report_new(a);
	c->last = report_new(a);
	if (!c->early || !c->last) {
		on_command_discard(&c->message);
		return -ENOMEM;
	}
	c->early->kind = c->last->kind = kind;
	c->early->path = c->last->path = path;
	c->early->serial = c->last->serial = serial;
	mailbox_post(a->params.worker->mailbox, &c->message);
	/* cppcheck-suppress memleak ; the mailbox has it */
	return 0;
}

/* Without memory the search goes on, and its report has an old serial. */
void discovery_agent_cancel(struct discovery_agent *a, enum round_kind kind,
			    enum discovery_path path)
{
	struct command *c = command_new(a, kind, path);
	if (c)
		mailbox_post(a->params.worker->mailbox, &c->message);
	/* cppcheck-suppress memleak ; the mailbox has it */
}

int discovery_agent_new(const struct discovery_agent_params *params, struct discovery_agent **ret)
{
	struct discovery_agent *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->params = *params;
	a->seed = random_u64();
	a->end.on_deliver = on_end;
	a->end.on_discard = on_end_discard;
	a->gone = report_new(a);
	if (!a->gone) {
		free(a);
		return -ENOMEM;
	}
	a->gone->is_gone = true;
	*ret = a;
	return 0;
}

void discovery_agent_end(struct discovery_agent *a)
{
	mailbox_post(a->params.worker->mailbox, &a->end);
}
