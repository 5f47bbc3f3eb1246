/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo requests on their way: a ring in the order of their numbers, which is that of their age.
 * Those that were answered stay as gaps until the oldest has gone, so nothing is ever searched for.
 */
#include "daemon/session/echo_map.h"

#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

enum { FIRST_SIZE = 64 };

static struct echo *at(const struct echo_map *m, uint32_t number)
{
	return &m->ring[number & (m->size - 1)];
}

static bool is_over(const struct echo *e, nsec_t now)
{
	return now >= nsec_add(e->sent, ECHO_LIFE_SEC * NSEC_PER_SEC);
}

void echo_map_remove(struct echo_map *m, struct echo *e)
{
	if (!e->port)
		return;
	e->port = NULL;
	m->count--;
}

/* Takes the oldest off the ring as long as they are answered or their time is over. */
static void trim(struct echo_map *m, nsec_t now)
{
	while (m->first != m->next) {
		struct echo *oldest = at(m, m->first);
		if (oldest->port && !is_over(oldest, now))
			return;
		echo_map_remove(m, oldest);
		m->first++;
	}
}

/* False: it stays as it is. */
static bool grow(struct echo_map *m)
{
	struct echo_map bigger = *m;
	if (m->size == ECHO_MAP_MAX)
		return false;
	bigger.size = m->size ? 2 * m->size : FIRST_SIZE;
	bigger.ring = calloc(bigger.size, sizeof(*bigger.ring));
	if (!bigger.ring)
		return false;
	for (uint32_t i = m->first; i != m->next; i++)
		*at(&bigger, i) = *at(m, i);
	free(m->ring);
	*m = bigger;
	return true;
}

int echo_map_add(struct echo_map *m, nsec_t now, const struct echo *e, uint16_t *ret_seq)
{
	trim(m, now);
	if (m->next - m->first == m->size && !grow(m)) {
		if (m->size == 0)
			return -ENOMEM;
		struct echo *oldest = at(m, m->first++);
		m->forgotten += oldest->port != NULL;
		echo_map_remove(m, oldest);
	}
	struct echo *room = at(m, m->next);
	*room = *e;
	room->sent = now;
	m->count++;
	*ret_seq = (uint16_t)m->next++;
	return 0;
}

struct echo *echo_map_find(const struct echo_map *m, uint16_t seq, nsec_t now)
{
	uint32_t behind = (uint16_t)(seq - (uint16_t)m->first);
	if (behind >= m->next - m->first)
		return NULL;
	struct echo *e = at(m, m->first + behind);
	return e->port && !is_over(e, now) ? e : NULL;
}

void echo_map_remove_port(struct echo_map *m, const struct icmp_port *port)
{
	for (uint32_t i = m->first; i != m->next; i++)
		if (at(m, i)->port == port)
			echo_map_remove(m, at(m, i));
}

void echo_map_expire(struct echo_map *m, nsec_t now)
{
	trim(m, now);
	if (m->first == m->next)
		echo_map_done(m);
}

void echo_map_done(struct echo_map *m)
{
	free(m->ring);
	m->ring = NULL;
	m->size = 0;
	m->first = m->next; /* numbers go on where they were */
	m->count = 0;
}
