/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of adit-edge as a roster, that of the start and, by admin/reload, later ones.
 */
#ifndef DAEMON_EDGE_CONFIG_H
#define DAEMON_EDGE_CONFIG_H

struct edge;

/* Makes e->roster and e->reload, before the workers are wired. An exit code. */
int edge_config_start(struct edge *e);
void edge_config_stop(struct edge *e);

#endif
