/* SPDX-License-Identifier: Apache-2.0 */
/* The mailbox: order per sender, wake-ups, nothing lost among racing senders, discarding. */
#include "daemon/base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"

enum { SENDERS = 4, MESSAGES = 20000 };

struct letter {
	struct message message;
	unsigned int sender;
	unsigned int number;
};

struct receiver {
	struct mailbox *mailbox;
	unsigned int next[SENDERS];
	unsigned int count;
};

static unsigned int discarded;

static void on_deliver(struct message *message, void *owner)
{
	struct letter *l = CONTAINER_OF(message, struct letter, message);
	struct receiver *r = owner;
	assert_int_equal(l->number, r->next[l->sender]);
	r->next[l->sender]++;
	r->count++;
	free(l);
}

static void on_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct letter, message));
	discarded++;
}

static void post(struct mailbox *m, unsigned int sender, unsigned int number)
{
	struct letter *l = calloc(1, sizeof(*l));
	assert_non_null(l);
	*l = (struct letter){ .message = { .on_deliver = on_deliver, .on_discard = on_discard },
			      .sender = sender,
			      .number = number };
	mailbox_post(m, &l->message);
}

static bool is_ready(const struct mailbox *m, int timeout_msec)
{
	struct pollfd p = { .fd = mailbox_fd(m), .events = POLLIN };
	return poll(&p, 1, timeout_msec) == 1;
}

static void test_order_and_wake(void **state UNUSED)
{
	struct receiver r = {};
	assert_int_equal(mailbox_new(&r, &r.mailbox), 0);
	assert_false(is_ready(r.mailbox, 0));
	mailbox_deliver(r.mailbox);
	for (unsigned int i = 0; i < 10; i++)
		post(r.mailbox, 0, i);
	assert_true(is_ready(r.mailbox, 0));
	mailbox_deliver(r.mailbox);
	assert_int_equal(r.count, 10);
	assert_false(is_ready(r.mailbox, 0));
	mailbox_free(r.mailbox);
	mailbox_free(NULL);
}

static void test_discard(void **state UNUSED)
{
	struct receiver r = {};
	struct message plain = { .on_deliver = on_deliver };
	assert_int_equal(mailbox_new(&r, &r.mailbox), 0);
	discarded = 0;
	post(r.mailbox, 0, 0);
	mailbox_post(r.mailbox, &plain);
	mailbox_discard(r.mailbox);
	assert_int_equal(discarded, 1);
	post(r.mailbox, 0, 0);
	mailbox_free(r.mailbox);
	assert_int_equal(discarded, 2);
	assert_int_equal(r.count, 0);
}

struct sender {
	struct mailbox *mailbox;
	unsigned int index;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;
	for (unsigned int i = 0; i < MESSAGES; i++)
		post(s->mailbox, s->index, i);
	return NULL;
}

static void test_racing_senders(void **state UNUSED)
{
	struct receiver r = {};
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	assert_int_equal(mailbox_new(&r, &r.mailbox), 0);
	for (unsigned int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .mailbox = r.mailbox, .index = i };
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	while (r.count < SENDERS * MESSAGES) {
		assert_true(is_ready(r.mailbox, 10000)); /* a lost wake-up would end here */
		mailbox_deliver(r.mailbox);
	}
	for (unsigned int i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	mailbox_free(r.mailbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_wake),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_racing_senders),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
