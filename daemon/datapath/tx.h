/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker's paths send in a turn. Private to datapath/; flow_path_send() is here.
 */
#ifndef DAEMON_DATAPATH_TX_H
#define DAEMON_DATAPATH_TX_H

#include "daemon/datapath/sock.h"

struct path_tx;

[[nodiscard]] int path_tx_new(struct datapath *d, struct path_tx **ret);
/* Nothing may wait in it. Accepts NULL. */
void path_tx_free(struct path_tx *tx);
/* Sends everything now, if the path has something among it. */
void path_tx_flush_path(struct flow_path *path);

#endif
