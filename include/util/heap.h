/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive pairing heap: the smallest element first. Inserting is O(1), removing any element
 * O(log n) amortised; nothing recurses, so that a million timers don't cost stack. Elements that
 * compare equal come out in no particular order.
 */
#ifndef INCLUDE_UTIL_HEAP_H
#define INCLUDE_UTIL_HEAP_H

#include <stddef.h>

#include "util/macro.h"

/* Embedded in the element. Needs no initialisation; the owner knows whether it is in a heap. */
struct heap_node {
	struct heap_node *child; /* the first one */
	struct heap_node *next;  /* sibling */
	struct heap_node *prev;  /* sibling; of a first child its parent; of the root NULL */
};

struct heap {
	struct heap_node *root;
	bool (*is_before)(const struct heap_node *a, const struct heap_node *b);
};

static inline void heap_init(struct heap *h, bool (*is_before)(const struct heap_node *a,
							       const struct heap_node *b))
{
	*h = (struct heap){ .is_before = is_before };
}

/* The smallest element; NULL for an empty heap. */
static inline struct heap_node *heap_first(const struct heap *h)
{
	return h->root;
}

/* Joins two trees whose roots have no siblings: the later one becomes the first child. */
static inline struct heap_node *heap_meld(const struct heap *h, struct heap_node *a,
					  struct heap_node *b)
{
	if (h->is_before(b, a)) {
		struct heap_node *t = a;
		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Joins a list of siblings (or NULL) into one tree: in pairs from the left, then from the right. */
static inline struct heap_node *heap_meld_siblings(const struct heap *h, struct heap_node *first)
{
	struct heap_node *pairs = NULL; /* linked by next, the last pair first */

	while (first) {
		struct heap_node *a = first;
		struct heap_node *b = a->next;
		first = b ? b->next : NULL;
		a->next = NULL;
		if (b) {
			b->next = NULL;
			a = heap_meld(h, a, b);
		}
		a->next = pairs;
		pairs = a;
	}

	struct heap_node *root = NULL;
	while (pairs) {
		struct heap_node *tree = pairs;
		pairs = tree->next;
		tree->next = NULL;
		root = root ? heap_meld(h, root, tree) : tree;
	}
	if (root)
		root->prev = NULL;
	return root;
}

/* Adds an element that is in no heap. */
static inline void heap_insert(struct heap *h, struct heap_node *node)
{
	*node = (struct heap_node){};
	h->root = h->root ? heap_meld(h, h->root, node) : node;
}

/* Takes out an element of this heap. */
static inline void heap_remove(struct heap *h, struct heap_node *node)
{
	struct heap_node *orphans = heap_meld_siblings(h, node->child);

	if (node == h->root) {
		h->root = orphans;
	} else {
		if (node->prev->child == node)
			node->prev->child = node->next;
		else
			node->prev->next = node->next;
		if (node->next)
			node->next->prev = node->prev;
		if (orphans)
			h->root = heap_meld(h, h->root, orphans);
	}
	*node = (struct heap_node){};
}

#define HEAP_ENTRY(node, type, member) CONTAINER_OF(node, type, member)
/* The same for a comparison. */
#define HEAP_ENTRY_CONST(node, type, member) \
	((const type *)(const void *)((const char *)(node) - offsetof(type, member)))

#endif
