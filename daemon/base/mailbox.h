/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to another thread: a multi-producer, single-consumer list and an eventfd that is written
 * only when the list was empty (style C1). A message owns its payload; on_deliver frees it.
 */
#ifndef DAEMON_BASE_MAILBOX_H
#define DAEMON_BASE_MAILBOX_H

struct mailbox;

struct message {
	struct message *next;
	/* Runs on the receiving thread; owner is what mailbox_new() was given. */
	void (*on_deliver)(struct message *message, void *owner);
	/* Instead of on_deliver when the mailbox is closed with the message in it; may be NULL. */
	void (*on_discard)(struct message *message);
};

/* Returns 0, -ENOMEM or what eventfd said. */
[[nodiscard]] int mailbox_new(void *owner, struct mailbox **ret);
/* Discards what is left. No thread may post any more. Accepts NULL. */
void mailbox_free(struct mailbox *mailbox);

/* Discards what is there; for a receiver that has stopped while others may still post. */
void mailbox_discard(struct mailbox *mailbox);

/* Any thread. Takes the message; order per sender is kept. Never fails. */
void mailbox_post(struct mailbox *mailbox, struct message *message);

/* The descriptor to watch for reading, and what to call then: delivers everything that is there. */
int mailbox_fd(const struct mailbox *mailbox);
void mailbox_deliver(struct mailbox *mailbox);

#endif
