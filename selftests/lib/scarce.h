/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out when a test says so: malloc() and its kin, buffers and slice nodes of a
 * slab. The test names what is to come here in its line test-MODULE_wraps (selftests.mk): calls of
 * those names in our own objects are linked to __wrap_NAME.
 */
#ifndef SELFTESTS_LIB_SCARCE_H
#define SELFTESTS_LIB_SCARCE_H

#include <stddef.h>
#include <stdint.h>

struct slab;
struct slab_buf;
struct slice;

/* What fails. Counting begins at 1. */
struct scarce {
	uint64_t allocation; /* this one; 0: none */
	uint64_t run;        /* and so many after it */
	uint64_t nodes;      /* slice nodes that can be had besides those given back; 0: all */
};

/* From now on. What was counted is forgotten. */
void scarce_begin(const struct scarce *plan);
/* Memory is there again; counting goes on. */
void scarce_relent(void);
/* How many were asked for since the beginning. */
uint64_t scarce_allocations(void);
uint64_t scarce_nodes(void);
/* Whether something has failed since the beginning. */
bool scarce_has_failed(void);

/* For other allocators: whether this allocation is to fail. */
bool scarce_fails(void);

/* ---- the linker's names ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
struct slab_buf *__real_slab_buf_get(struct slab *slab, size_t want);
struct slice *__real_slice_get(struct slab *slab);
void __real_slice_put(struct slab *slab, struct slice *slice);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
struct slab_buf *__wrap_slab_buf_get(struct slab *slab, size_t want);
struct slice *__wrap_slice_get(struct slab *slab);
void __wrap_slice_put(struct slab *slab, struct slice *slice);

#endif
