/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list. The head is a node of its own; an unlinked node points to nothing.
 */
#ifndef INCLUDE_UTIL_LIST_H
#define INCLUDE_UTIL_LIST_H

#include <stddef.h>

#include "util/macro.h"

struct list {
	struct list *next;
	struct list *prev;
};

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

/* True for an empty head. */
static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

/* True while the node is on a list; a zeroed node is not. */
static inline bool list_is_linked(const struct list *node)
{
	return node->next != NULL;
}

static inline void list_insert_after(struct list *at, struct list *node)
{
	node->prev = at;
	node->next = at->next;
	at->next->prev = node;
	at->next = node;
}

static inline void list_prepend(struct list *head, struct list *node)
{
	list_insert_after(head, node);
}

static inline void list_append(struct list *head, struct list *node)
{
	list_insert_after(head->prev, node);
}

/* Takes the node off its list; harmless on one that is on none. */
static inline void list_remove(struct list *node)
{
	if (!node->next)
		return;
	node->next->prev = node->prev;
	node->prev->next = node->next;
	node->next = node->prev = NULL;
}

/* Takes the first node off, or gives NULL. */
static inline struct list *list_pop(struct list *head)
{
	if (list_is_empty(head))
		return NULL;
	struct list *node = head->next;
	list_remove(node);
	return node;
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* Walks a list; the current node may be removed in the body. */
/* NOLINTBEGIN(bugprone-macro-parentheses): node is a name that the loop declares */
#define LIST_FOREACH(node, head)                                                           \
	for (struct list *node = (head)->next, *node##_next_ = node->next; node != (head); \
	     node = node##_next_, node##_next_ = node->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
