/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wanted state, made one by one: at a start there are a few dozen objects, and a reply takes
 * microseconds.
 */
#include "netlink/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/netlink.h>

enum { MESSAGE_MAX = 512 };

int plan_add(struct plan *p, const struct netlink_object *o)
{
	if (p->count == PLAN_MAX)
		return -E2BIG;
	if ((p->count & (p->count - 1)) == 0) { /* full at each power of two */
		struct netlink_object *objects =
			reallocarray(p->objects, p->count ? p->count * 2 : 1, sizeof(*objects));
		if (!objects)
			return -ENOMEM;
		p->objects = objects;
	}
	p->objects[p->count++] = *o;
	return 0;
}

void plan_done(struct plan *p)
{
	free(p->objects);
	*p = (struct plan){};
}

static int request(const struct netlink_object *o, struct nl *n, bool is_new)
{
	alignas(struct nlmsghdr) uint8_t buf[MESSAGE_MAX];
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	if (is_new)
		netlink_object_make(&b, o);
	else
		netlink_object_remove(&b, o);
	return nl_request(n, &b);
}

int plan_remove(const struct netlink_object *o, struct nl *n)
{
	int r = request(o, n, false);
	bool has_gone = r == -ENOENT || r == -ESRCH || r == -ENODEV || r == -EADDRNOTAVAIL;
	return has_gone ? 0 : r;
}

int plan_undo(struct plan *p, struct nl *n)
{
	int first = 0;
	while (p->made > 0) {
		int r = plan_remove(&p->objects[--p->made], n);
		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

int plan_make(struct plan *p, struct nl *n, const struct netlink_object **ret_failed)
{
	while (p->made < p->count) {
		const struct netlink_object *o = &p->objects[p->made];
		int r = request(o, n, true);
		if (r < 0) {
			*ret_failed = o;
			(void)snprintf(p->text, sizeof(p->text), "%s", nl_text(n));
			(void)plan_undo(p, n);
			return r;
		}
		p->made++;
	}
	return 0;
}

void plan_print(struct packer *packer, const struct plan *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (netlink_object_outlives(&p->objects[i]))
			netlink_object_print(packer, &p->objects[i]);
}

int plan_read(struct plan *p, struct span text)
{
	int r = 0;
	while (r == 0) {
		struct netlink_object o;
		r = netlink_object_read(&text, &o);
		if (r == 0)
			r = plan_add(p, &o);
	}
	if (r != -ENODATA)
		return r;
	p->made = p->count;
	return 0;
}
