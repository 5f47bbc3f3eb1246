/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out. Slice nodes are a pool: one that has been given back can be had again, and
 * the code relies on that; so not the n-th is refused, but whatever is more than there are.
 */
#include "selftests/lib/scarce.h"

static struct {
	struct scarce plan;
	uint64_t allocations, nodes;
	uint64_t left; /* nodes that can still be had */
	bool is_on, has_failed;
} now;

void scarce_begin(const struct scarce *plan)
{
	now = (typeof(now)){ .plan = *plan, .left = plan->nodes, .is_on = true };
}

void scarce_relent(void)
{
	now.plan = (struct scarce){};
}

uint64_t scarce_allocations(void)
{
	return now.allocations;
}

uint64_t scarce_nodes(void)
{
	return now.nodes;
}

bool scarce_has_failed(void)
{
	return now.has_failed;
}

bool scarce_fails(void)
{
	const struct scarce *p = &now.plan;
	uint64_t number = now.is_on ? ++now.allocations : 0;
	bool fails = p->allocation && number >= p->allocation && number - p->allocation <= p->run;
	now.has_failed |= fails;
	return fails;
}

void *__wrap_malloc(size_t size)
{
	return scarce_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return scarce_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return scarce_fails() ? NULL : __real_realloc(p, size);
}

struct slab_buf *__wrap_slab_buf_get(struct slab *slab, size_t want)
{
	return scarce_fails() ? NULL : __real_slab_buf_get(slab, want);
}

struct slice *__wrap_slice_get(struct slab *slab)
{
	now.nodes++;
	if (now.plan.nodes && !now.left) {
		now.has_failed = true;
		return NULL;
	}
	now.left -= now.left > 0;
	return __real_slice_get(slab);
}

void __wrap_slice_put(struct slab *slab, struct slice *slice)
{
	now.left++;
	__real_slice_put(slab, slice);
}
