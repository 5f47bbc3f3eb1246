/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to another thread. Senders push on an atomic stack; the receiver takes the whole stack
 * and turns it round, so the order of each sender is kept and no sender ever waits for another.
 */
#include "daemon/base/mailbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "util/cleanup.h"

struct mailbox {
	_Atomic(struct message *) newest;
	int fd;
	void *owner;
};

int mailbox_new(void *owner, struct mailbox **ret)
{
	_cleanup_(fd_closep) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	struct mailbox *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->owner = owner;
	m->fd = TAKE_FD(fd);
	*ret = m;
	return 0;
}

/* Everything that is there, the oldest first. */
static struct message *take_all(struct mailbox *m)
{
	struct message *newest = atomic_exchange_explicit(&m->newest, NULL, memory_order_acquire);
	struct message *oldest = NULL;
	while (newest) {
		struct message *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

void mailbox_discard(struct mailbox *m)
{
	for (struct message *msg = take_all(m), *next = NULL; msg; msg = next) {
		next = msg->next;
		if (msg->on_discard)
			msg->on_discard(msg);
	}
}

void mailbox_free(struct mailbox *m)
{
	if (!m)
		return;
	mailbox_discard(m);
	(void)fd_close(m->fd);
	free(m);
}

void mailbox_post(struct mailbox *m, struct message *message)
{
	struct message *newest = atomic_load_explicit(&m->newest, memory_order_relaxed);
	do {
		message->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(
		&m->newest, &newest, message, memory_order_release, memory_order_relaxed));
	/* From here on message belongs to the receiver. */
	if (!newest)
		(void)eventfd_write(m->fd, 1);
}

int mailbox_fd(const struct mailbox *m)
{
	return m->fd;
}

void mailbox_deliver(struct mailbox *m)
{
	/*
	 * The descriptor first: who finds the list empty after we have taken it writes again and is
	 * not forgotten.
	 */
	eventfd_t count;
	(void)eventfd_read(m->fd, &count);
	for (struct message *msg = take_all(m), *next = NULL; msg; msg = next) {
		next = msg->next;
		msg->on_deliver(msg, m->owner);
	}
}
