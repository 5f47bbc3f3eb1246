/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of links: every worker learns of one and forgets it, who is picked, what an older
 * link is. Workers without threads: the test delivers their mail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/edge/directory.h"
#include "util/macro.h"

enum { WORKERS = 2, TUNNELS = 3 };

struct fixture {
	struct worker_set *set;
	struct directory *dirs[WORKERS];
	struct edge_tunnel *tunnels[TUNNELS];
};

static int start(void **state)
{
	static struct fixture fx;
	struct worker_params params = { .count = WORKERS, .memory = 1 << 20 };
	assert_int_equal(worker_set_new(&params, &fx.set), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(directory_new(worker_set_get(fx.set, i), &fx.dirs[i]), 0);
	for (unsigned int i = 0; i < TUNNELS; i++) {
		fx.tunnels[i] = edge_tunnel_new();
		assert_non_null(fx.tunnels[i]);
	}
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	for (unsigned int i = 0; i < WORKERS; i++)
		directory_free(fx->dirs[i]);
	directory_free(NULL);
	for (unsigned int i = 0; i < TUNNELS; i++) {
		assert_int_equal(atomic_load(&fx->tunnels[i]->refs), 1);
		edge_tunnel_unref(fx->tunnels[i]);
	}
	worker_set_free(fx->set);
	return 0;
}

static void deliver(struct fixture *fx)
{
	for (unsigned int i = 0; i < WORKERS; i++)
		mailbox_deliver(worker_set_get(fx->set, i)->mailbox);
}

static struct edge_link *make(struct fixture *fx, unsigned int worker, unsigned int tunnel,
			      unsigned int load)
{
	struct edge_link *el = edge_link_new(fx->tunnels[tunnel]);
	assert_non_null(el);
	el->worker = worker_set_get(fx->set, worker);
	atomic_store(&el->streams, load);
	atomic_store(&el->is_usable, true);
	assert_int_equal(directory_announce(fx->set, fx->dirs, el), 0);
	deliver(fx);
	return el;
}

/* Takes a link out as its owner does when it closes. */
static void drop(struct fixture *fx, struct edge_link *el)
{
	atomic_store(&el->is_usable, false);
	directory_withdraw(fx->set, fx->dirs, el);
	edge_link_unref(el);
	deliver(fx);
}

static void test_announce_and_withdraw(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *el = make(fx, 0, 1, 0);
	for (unsigned int i = 0; i < WORKERS; i++) {
		assert_int_equal(directory_count(fx->dirs[i], fx->tunnels[1]), 1);
		assert_int_equal(directory_count(fx->dirs[i], fx->tunnels[0]), 0);
		assert_ptr_equal(directory_pick(fx->dirs[i], fx->tunnels[1], NULL), el);
		assert_null(directory_pick(fx->dirs[i], fx->tunnels[2], NULL));
	}
	assert_int_equal(atomic_load(&el->refs), 1 + WORKERS);
	/* Unusable at once, before the mail is there. */
	atomic_store(&el->is_usable, false);
	assert_int_equal(directory_count(fx->dirs[1], fx->tunnels[1]), 0);
	assert_null(directory_pick(fx->dirs[1], fx->tunnels[1], NULL));
	directory_withdraw(fx->set, fx->dirs, el);
	deliver(fx);
	assert_int_equal(atomic_load(&el->refs), 1);
	edge_link_unref(el);
	edge_link_unref(NULL);
}

static void test_many(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *links[40];
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++)
		links[i] = make(fx, i % WORKERS, 0, 100 + i);
	assert_int_equal(directory_count(fx->dirs[1], fx->tunnels[0]), ARRAY_SIZE(links));
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++) {
		/* The least loaded of the own worker. */
		assert_ptr_equal(directory_pick(fx->dirs[i % WORKERS], fx->tunnels[0], NULL),
				 links[i]);
		drop(fx, links[i]);
	}
	assert_int_equal(directory_count(fx->dirs[0], fx->tunnels[0]), 0);
}

static const struct {
	unsigned int own, other;
	bool picks_own;
} balances[] = {
	{ 0, 0, true },  { 1, 0, true },    { 2, 0, false },    { 5, 2, true },
	{ 6, 2, false }, { 10, 100, true }, { 201, 100, true }, { 202, 100, false },
};

/* One of the own worker unless it is more than twice as loaded as the best. */
static void test_pick(void **state)
{
	struct fixture *fx = *state;
	for (size_t i = 0; i < ARRAY_SIZE(balances); i++) {
		struct edge_link *own = make(fx, 0, 0, balances[i].own);
		struct edge_link *other = make(fx, 1, 0, balances[i].other);
		assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], NULL),
				 balances[i].picks_own ? own : other);
		drop(fx, own);
		drop(fx, other);
	}
}

static void test_avoid(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *own = make(fx, 0, 0, 0);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], own),
			 own); /* there is no other */
	struct edge_link *other = make(fx, 1, 0, 1000);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], own), other);
	atomic_store(&other->is_usable, false);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], own), own);
	atomic_store(&own->is_usable, false);
	assert_null(directory_pick(fx->dirs[0], fx->tunnels[0], own));
	drop(fx, own);
	drop(fx, other);
}

/* Where one link of a process has failed its others may have, too. */
static void test_avoid_the_process(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *lost = make(fx, 0, 0, 0), *sibling = make(fx, 0, 0, 0),
			 *other = make(fx, 1, 0, 1000);
	other->connector_id.bytes[0] = 1;
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], lost), other);
	atomic_store(&other->suspicion, LINK_SUSPICION_SILENT);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], lost), sibling);
	atomic_store(&sibling->suspicion, LINK_SUSPICION_SILENT);
	assert_ptr_not_equal(directory_pick(fx->dirs[0], fx->tunnels[0], lost), lost);
	drop(fx, lost);
	drop(fx, sibling);
	drop(fx, other);
}

/* A suspect link is better than none and than the one to avoid. */
static void test_suspect(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *own = make(fx, 0, 0, 0), *other = make(fx, 1, 0, 1000);
	atomic_store(&own->suspicion, LINK_SUSPICION_SILENT);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], NULL), other);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], other), own);
	atomic_store(&other->suspicion, LINK_SUSPICION_REFUSED);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], NULL), own);
	assert_int_equal(directory_count(fx->dirs[0], fx->tunnels[0]), 2);
	atomic_store(&own->suspicion, LINK_SUSPICION_NONE);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[0], NULL), own);
	drop(fx, own);
	drop(fx, other);
}

static unsigned int probes, doubts;

static void probe(struct link *link)
{
	(void)link;
	probes++;
}

static void on_doubt(struct edge_link *el, void *user)
{
	assert_ptr_equal(el, user);
	doubts++;
}

/* All workers hear of it, and each asks its own links of the same connector. */
static void test_doubt(void **state)
{
	struct fixture *fx = *state;
	static const struct link_ops ops = { .probe = probe };
	struct link link = { .ops = &ops };
	struct edge_link *links[5];
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++) {
		links[i] = make(fx, i % WORKERS, 0, 0);
		links[i]->link = &link;
	}
	links[3]->connector_id.bytes[0] = 1; /* another process */
	links[4]->link = NULL;               /* closed */
	directory_watch(fx->dirs[0], on_doubt, links[0]);
	directory_watch(fx->dirs[1], on_doubt, links[0]);
	probes = doubts = 0;
	directory_doubt(fx->set, fx->dirs, links[0]);
	assert_int_equal(probes, 0);
	deliver(fx);
	assert_int_equal(probes, 3);
	assert_int_equal(doubts, WORKERS);
	directory_watch(fx->dirs[1], NULL, NULL);
	directory_doubt(fx->set, fx->dirs, links[0]);
	deliver(fx);
	assert_int_equal(doubts, 2 * WORKERS - 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++)
		drop(fx, links[i]);
}

static void test_older(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *links[4];
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++) {
		links[i] = make(fx, 0, 0, 0);
		links[i]->serial = i + 1;
	}
	links[2]->connector_id.bytes[0] = 1; /* another connector */
	links[3]->index = 1;                 /* another index */
	assert_null(directory_find_older(fx->dirs[0], links[0]));
	assert_ptr_equal(directory_find_older(fx->dirs[0], links[1]), links[0]);
	assert_null(directory_find_older(fx->dirs[0], links[2]));
	assert_null(directory_find_older(fx->dirs[0], links[3]));
	atomic_store(&links[0]->is_usable, false); /* it is on its way out already */
	assert_null(directory_find_older(fx->dirs[0], links[1]));
	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++)
		drop(fx, links[i]);
}

/* A tunnel's entry goes with its last link, and the tunnel with the last who refers to it. */
static void test_tunnel_goes(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *one = make(fx, 0, 2, 0), *two = make(fx, 1, 2, 0);
	assert_int_equal(atomic_load(&fx->tunnels[2]->refs), 3);
	drop(fx, one);
	assert_ptr_equal(directory_pick(fx->dirs[0], fx->tunnels[2], NULL), two);
	drop(fx, two);
	assert_int_equal(atomic_load(&fx->tunnels[2]->refs), 1);
	assert_null(directory_pick(fx->dirs[0], fx->tunnels[2], NULL));
	/* What is still there when the process ends is given back by end(). */
	struct edge_link *left = make(fx, 0, 2, 0);
	edge_link_unref(left);
}

/* For UDP flows: links that carry them, sound ones first, then those of the own worker. */
static void test_pick_flows(void **state)
{
	struct fixture *fx = *state;
	struct directory *d = fx->dirs[0];
	struct edge_link *none = make(fx, 0, 0, 0), *here = make(fx, 0, 0, 9),
			 *there = make(fx, 1, 0, 0);
	assert_null(directory_pick_flows(d, fx->tunnels[0]));
	assert_null(directory_pick_flows(d, fx->tunnels[1]));
	there->has_flows = true;
	for (unsigned int i = 0; i < 4; i++)
		assert_ptr_equal(directory_pick_flows(d, fx->tunnels[0]), there);
	here->has_flows = true;
	for (unsigned int i = 0; i < 4; i++) {
		assert_ptr_equal(directory_pick_flows(d, fx->tunnels[0]), here);
		assert_ptr_equal(directory_pick_flows(fx->dirs[1], fx->tunnels[0]), there);
	}
	atomic_store(&here->suspicion, LINK_SUSPICION_SILENT);
	assert_ptr_equal(directory_pick_flows(d, fx->tunnels[0]), there);
	atomic_store(&there->is_usable, false);
	assert_ptr_equal(directory_pick_flows(d, fx->tunnels[0]), here);
	drop(fx, here);
	assert_null(directory_pick_flows(d, fx->tunnels[0]));
	drop(fx, there);
	drop(fx, none);
}

/* What was announced and never delivered is given back. */
static void test_undelivered(void **state)
{
	struct fixture *fx = *state;
	struct edge_link *el = edge_link_new(fx->tunnels[0]);
	assert_non_null(el);
	assert_int_equal(directory_announce(fx->set, fx->dirs, el), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		mailbox_discard(worker_set_get(fx->set, i)->mailbox);
	assert_int_equal(atomic_load(&el->refs), 1);
	edge_link_unref(el);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_announce_and_withdraw, start, end),
		cmocka_unit_test_setup_teardown(test_many, start, end),
		cmocka_unit_test_setup_teardown(test_pick, start, end),
		cmocka_unit_test_setup_teardown(test_pick_flows, start, end),
		cmocka_unit_test_setup_teardown(test_avoid, start, end),
		cmocka_unit_test_setup_teardown(test_avoid_the_process, start, end),
		cmocka_unit_test_setup_teardown(test_suspect, start, end),
		cmocka_unit_test_setup_teardown(test_doubt, start, end),
		cmocka_unit_test_setup_teardown(test_older, start, end),
		cmocka_unit_test_setup_teardown(test_undelivered, start, end),
		cmocka_unit_test_setup_teardown(test_tunnel_goes, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
