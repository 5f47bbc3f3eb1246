/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers: a thread each with loop, mailbox, buffers and counters. Threads are placed by the
 * kernel; pinning them is the administrator's (CPUAffinity=), whose mask also gives their number.
 */
#include "daemon/base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/base/cgroup.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	TRIM_INTERVAL_SEC = 1,
	CPUS_MAX = 1 << 16, /* what we ask the kernel about at most */
};

struct worker_thread {
	struct worker worker; /* first: what others see */
	pthread_t thread;
	bool is_running;
	struct loop_io mailbox_io;
	struct timer trim;
	void (*on_start)(struct worker *worker);
	void (*on_stop)(struct worker *worker);
};

struct worker_set {
	unsigned int count;
	struct worker_thread threads[];
};

DEFINE_CLEANUP(struct worker_set *, worker_set_free)

static void on_mailbox(struct loop_io *io, uint32_t revents UNUSED)
{
	mailbox_deliver(CONTAINER_OF(io, struct worker_thread, mailbox_io)->worker.mailbox);
}

static void arm_trim(struct worker_thread *t)
{
	if (!timer_is_armed(&t->trim))
		timer_start(t->worker.loop, &t->trim,
			    loop_now(t->worker.loop) + TRIM_INTERVAL_SEC * NSEC_PER_SEC);
}

static void on_trim(struct timer *timer)
{
	struct worker_thread *t = CONTAINER_OF(timer, struct worker_thread, trim);
	bool is_any_left = slab_trim(t->worker.slab);
	is_any_left |= slab_trim(t->worker.pages);
	if (is_any_left)
		arm_trim(t);
}

static void on_slab_grow(void *arg)
{
	arm_trim(arg);
}

static int thread_init(struct worker_thread *t, const struct worker_params *params)
{
	struct worker *w = &t->worker;
	int r = loop_new(&w->loop);
	if (r < 0)
		return r;
	r = mailbox_new(w, &w->mailbox);
	if (r < 0)
		return r;
	t->mailbox_io.on_ready = on_mailbox;
	r = loop_io_start(w->loop, &t->mailbox_io, mailbox_fd(w->mailbox), EPOLLIN);
	if (r < 0)
		return r;
	loop_io_set_first(&t->mailbox_io);
	r = slab_new(params->memory, &w->slab);
	if (r == 0)
		r = slab_new(WORKER_PAGES_MEMORY, &w->pages);
	if (r < 0)
		return r;
	t->trim.on_expire = on_trim;
	slab_on_grow(w->slab, on_slab_grow, t);
	slab_on_grow(w->pages, on_slab_grow, t);
	w->log = params->log;
	if (params->metrics) {
		w->metrics = metric_shard_new(params->metrics);
		if (!w->metrics)
			return -ENOMEM;
	}
	return 0;
}

int worker_set_new(const struct worker_params *params, struct worker_set **ret)
{
	if (params->count == 0 || params->count > WORKER_MAX)
		return -EINVAL;
	_cleanup_(worker_set_freep) struct worker_set *set =
		calloc(1, sizeof(*set) + params->count * sizeof(set->threads[0]));
	if (!set)
		return -ENOMEM;
	set->count = params->count;
	for (unsigned int i = 0; i < set->count; i++) {
		set->threads[i].worker.index = i;
		set->threads[i].worker.set = set;
		int r = thread_init(&set->threads[i], params);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(set);
	return 0;
}

unsigned int worker_set_count(const struct worker_set *set)
{
	return set->count;
}

struct worker *worker_set_get(struct worker_set *set, unsigned int index)
{
	return index < set->count ? &set->threads[index].worker : NULL;
}

/* ---- threads ------------------------------------------------------------------------------- */

static void adopt_slabs(const struct worker *w)
{
	slab_adopt(w->slab);
	slab_adopt(w->pages);
}

static void *thread_main(void *arg)
{
	struct worker_thread *t = arg;
	struct worker *w = &t->worker;

	adopt_slabs(w);
	if (t->on_start)
		t->on_start(w);
	int r = loop_run(w->loop);
	if (r < 0)
		log_error(w->log, "worker", "event loop failed", KV_U64("worker", w->index),
			  KV_ERR(r));
	if (t->on_stop)
		t->on_stop(w);
	return NULL;
}

static int thread_start(struct worker_thread *t)
{
	char name[16];
	int r = pthread_create(&t->thread, NULL, thread_main, t);
	if (r != 0)
		return -r;
	t->is_running = true;
	(void)snprintf(name, sizeof(name), "adit-w%u", t->worker.index);
	(void)pthread_setname_np(t->thread, name);
	return 0;
}

int worker_set_start(struct worker_set *set, void (*on_start)(struct worker *worker),
		     void (*on_stop)(struct worker *worker))
{
	/* Threads inherit the mask: signals are the control thread's from the first instruction. */
	sigset_t all;
	sigset_t before;
	sigfillset(&all);
	int r = -pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned int i = 0; r == 0 && i < set->count; i++) {
		set->threads[i].on_start = on_start;
		set->threads[i].on_stop = on_stop;
		r = thread_start(&set->threads[i]);
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		worker_set_stop(set);
	return r;
}

void worker_set_stop(struct worker_set *set)
{
	for (unsigned int i = 0; i < set->count; i++)
		if (set->threads[i].is_running)
			loop_quit(set->threads[i].worker.loop);
	for (unsigned int i = 0; i < set->count; i++) {
		struct worker_thread *t = &set->threads[i];
		if (!t->is_running)
			continue;
		(void)pthread_join(t->thread, NULL);
		t->is_running = false;
		adopt_slabs(&t->worker); /* what is taken down now is taken down here */
	}
}

void worker_set_free(struct worker_set *set)
{
	if (!set)
		return;
	/* Messages and garbage may hold buffers of any worker: slabs go last. */
	for (unsigned int i = 0; i < set->count; i++)
		if (set->threads[i].worker.mailbox)
			mailbox_discard(set->threads[i].worker.mailbox);
	for (unsigned int i = 0; i < set->count; i++) {
		loop_io_stop(&set->threads[i].mailbox_io);
		timer_stop(&set->threads[i].trim);
		loop_free(set->threads[i].worker.loop);
	}
	for (unsigned int i = 0; i < set->count; i++)
		mailbox_free(set->threads[i].worker.mailbox);
	for (unsigned int i = 0; i < set->count; i++) {
		slab_free(set->threads[i].worker.slab);
		slab_free(set->threads[i].worker.pages);
	}
	free(set);
}

/* ---- calls --------------------------------------------------------------------------------- */

struct call {
	struct message message;
	void (*fn)(struct worker *worker, void *arg);
	void *arg;
};

static void on_call(struct message *message, void *owner)
{
	struct call *c = CONTAINER_OF(message, struct call, message);
	c->fn(owner, c->arg);
	free(c);
}

static void on_call_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct call, message));
}

int worker_call(struct worker *worker, void (*fn)(struct worker *worker, void *arg), void *arg)
{
	struct call *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->message.on_deliver = on_call;
	c->message.on_discard = on_call_discard;
	c->fn = fn;
	c->arg = arg;
	mailbox_post(worker->mailbox, &c->message);
	/* cppcheck-suppress memleak ; the mailbox has it */
	return 0;
}

/* ---- how many ------------------------------------------------------------------------------ */

/* The kernel refuses a mask that is shorter than its own: we double until it fits. */
static unsigned int affinity_count(void)
{
	for (unsigned int cpus = CPU_SETSIZE; cpus <= CPUS_MAX; cpus *= 2) {
		cpu_set_t *mask = CPU_ALLOC(cpus);
		if (!mask)
			break;
		size_t len = CPU_ALLOC_SIZE(cpus);
		bool is_known = sched_getaffinity(0, len, mask) == 0;
		int n = is_known ? CPU_COUNT_S(len, mask) : 0;
		bool is_short = !is_known && errno == EINVAL;
		CPU_FREE(mask);
		if (!is_short)
			return (unsigned int)MAX(n, 1);
	}
	return 1;
}

unsigned int worker_default_count(void)
{
	unsigned int count = affinity_count();
	unsigned int quota = cgroup_cpu_quota("");
	if (quota)
		count = MIN(count, quota);
	return MIN(count, (unsigned int)WORKER_MAX);
}
