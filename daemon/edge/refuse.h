/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An order to refuse the next registrations that would have been accepted: for tests of daemons
 * (spec §10, `adit edge refuse`). Made by the control thread, shared by the workers.
 */
#ifndef DAEMON_EDGE_REFUSE_H
#define DAEMON_EDGE_REFUSE_H

#include "daemon/wire/rpc_tunnel.h"
#include "daemon/wire/uuid.h"

struct refuse;

/* How a registration is refused. */
enum refuse_manner : uint8_t {
	REFUSE_MANNER_ANSWER,    /* with the answer that refuse_answer() gives */
	REFUSE_MANNER_EXCEPTION, /* an RPC exception */
	REFUSE_MANNER_SILENT,    /* never answered */
	REFUSE_MANNER_CLOSE,     /* the connection is closed instead */
};

struct refuse_params {
	const char *kind; /* unauthorized, too-many … (docs/man/adit.1); borrowed for the call */
	const struct uuid *tunnel; /* NULL: of every tunnel */
	uint64_t count;            /* so many; 0: until there is another order */
	int64_t retry_after_ns;    /* instead of the kind's own; negative: the kind's own */
};

/* Returns 0 with one reference, -EINVAL for a kind that there isn't, or -ENOMEM. */
[[nodiscard]] int refuse_new(const struct refuse_params *params, struct refuse **ret);
/* Both accept NULL. Any thread. */
struct refuse *refuse_ref(struct refuse *r);
void refuse_unref(struct refuse *r);

/*
 * True when a registration of this tunnel falls under the order, and counts it. Accepts NULL, which
 * refuses nothing. Any worker's thread.
 */
bool refuse_take(struct refuse *r, const struct uuid *tunnel);
/* For MANNER_ANSWER fills in *ret, whose cause is static; else leaves it alone. */
enum refuse_manner refuse_answer(const struct refuse *r, struct tunnel_registered *ret);
/* The kind's name while the order has something left to refuse; NULL afterwards, and for NULL. */
const char *refuse_kind(const struct refuse *r);

#endif
