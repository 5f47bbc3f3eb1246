/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control stream, client side: registers a connection, uploads the local configuration, and
 * unregisters (docs/protocol.md §7). Failures become one typed cause here, at the RPC border.
 */
#ifndef DAEMON_LINK_CONTROL_H
#define DAEMON_LINK_CONTROL_H

#include "daemon/link/link.h"
#include "daemon/wire/uuid.h"

struct control;
struct rpc_metrics;
struct tunnel_credential;

enum control_cause : uint8_t {
	CONTROL_CAUSE_NONE,
	CONTROL_CAUSE_RETRY,     /* the edge says: later (retry_after may be set) */
	CONTROL_CAUSE_PERMANENT, /* the edge says: not like this */
	CONTROL_CAUSE_DUPLICATE, /* EDUPCONN */
	CONTROL_CAUSE_EXCEPTION, /* the call failed, or its answer made no sense */
	CONTROL_CAUSE_TIMEOUT,
	CONTROL_CAUSE_LOST, /* stream or connection ended */
};
const char *control_cause_name(enum control_cause cause);

enum { CONTROL_TEXT_MAX = 256, CONTROL_LOCATION_MAX = 64 };

/* What became of a registration. Texts are printable ASCII with a NUL, cut to fit. */
struct control_result {
	enum control_cause cause;
	nsec_t retry_after; /* 0: not said */
	char text[CONTROL_TEXT_MAX];
	char location[CONTROL_LOCATION_MAX];
	struct uuid connection_id;
	bool is_remotely_managed;
};

struct control_events {
	/* cause NONE: registered. Else nothing more comes but on_end may not be awaited. */
	void (*on_registered)(struct control *c, const struct control_result *result, void *user);
	/* The edge has ended the control stream: is_fin means going away, else it was reset (spec
	 * §4, §6). */
	void (*on_end)(struct control *c, bool is_fin, void *user);
	/* Unregistration is answered (or failed). */
	void (*on_unregistered)(struct control *c, void *user);
	/* The upload of the local configuration has ended; ok or not. */
	void (*on_config_sent)(struct control *c, bool ok, void *user);
};

struct control_params {
	const struct tunnel_credential *credential; /* borrowed during control_new() */
	uint8_t index;
	struct uuid connector_id;
	const char *const *features; /* borrowed during control_new() */
	unsigned int feature_count;
	const char *version;
	struct ip_addr local;
	uint8_t previous_attempts;
	nsec_t timeout;           /* 5 s */
	struct span local_config; /* JSON, borrowed until another is set or free; empty: not sent */
	const struct rpc_metrics *metrics; /* borrowed until free; NULL: not counted */
	const struct control_events *events;
	void *user;
};

/*
 * Opens the first stream of an UP link and registers. 0, or a negative errno (then nothing
 * remains).
 */
[[nodiscard]] int control_new(struct link *link, const struct control_params *params,
			      struct control **ret);
/*
 * The local configuration has changed (borrowed as above). Where one was to be sent (connection 0,
 * not remotely managed) and it is another text, it is sent; several while a call waits for its
 * answer become one.
 */
void control_set_local_config(struct control *c, struct span json);
/* Calls unregisterConnection; on_unregistered follows within timeout. */
void control_unregister(struct control *c, nsec_t timeout);
/* Says goodbye on the stream and frees; no callback comes after. Accepts NULL. */
void control_free(struct control *c);

#endif
