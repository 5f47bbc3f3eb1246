/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods that tunnel and edge call on each other, and their structs (docs/protocol.md §5).
 *
 * X_body() gives the writer of a struct for rpc_session_call() or rpc_session_return(); it borrows
 * its argument until the frame is built. X_decode() reads it: 0, or -EBADMSG for malformed content;
 * spans are borrowed from the frame. Lengths of ids aren't checked here: uuid_from_span() does
 * that.
 */
#ifndef DAEMON_WIRE_RPC_TUNNEL_H
#define DAEMON_WIRE_RPC_TUNNEL_H

#include "daemon/wire/rpc.h"

#define RPC_IFACE_REGISTRATION  UINT64_C(0xf71695ec7fe85497) /* edge, control stream */
#define RPC_IFACE_SESSION       UINT64_C(0x839445a59fb01686) /* both, RPC streams */
#define RPC_IFACE_CONFIGURATION UINT64_C(0xb48edfbdaa25db04) /* daemon, RPC streams */

enum rpc_registration_method : uint16_t {
	RPC_REGISTER_CONNECTION = 0,
	RPC_UNREGISTER_CONNECTION = 1,
	RPC_UPDATE_LOCAL_CONFIGURATION = 2,
};

enum rpc_session_method : uint16_t {
	RPC_REGISTER_UDP_SESSION = 0,
	RPC_UNREGISTER_UDP_SESSION = 1,
};

enum rpc_configuration_method : uint16_t {
	RPC_UPDATE_CONFIGURATION = 0,
};

#define TUNNEL_FEATURES_MAX 64
/* The cause that says "this connector already has a connection to you"; compared exactly. */
#define TUNNEL_CAUSE_DUPLICATE "EDUPCONN"

/* registerConnection, params */
struct tunnel_register {
	uint8_t conn_index;
	struct span account_tag;
	struct span secret; /* raw bytes: never log */
	struct span tunnel_id;
	struct span client_id; /* connector id */
	struct span features[TUNNEL_FEATURES_MAX];
	unsigned int feature_count;
	struct span version;
	struct span arch;
	struct span origin_local_ip; /* 16 bytes, IPv4 mapped */
	bool replace_existing;
	uint8_t compression_quality;
	uint8_t previous_attempts;
};

enum tunnel_verdict : uint16_t {
	TUNNEL_VERDICT_ERROR = 0,
	TUNNEL_VERDICT_DETAILS = 1,
};

/* registerConnection, results */
struct tunnel_registered {
	enum tunnel_verdict verdict; /* any other value is to be treated as an error */
	struct span cause;           /* ERROR */
	int64_t retry_after_ns;      /* ERROR */
	bool should_retry;           /* ERROR */
	struct span connection_id;   /* DETAILS: must be 16 bytes */
	struct span location;        /* DETAILS */
	bool is_remotely_managed;    /* DETAILS */
};

/* registerUdpSession, params */
struct tunnel_udp_register {
	struct span session_id; /* 16 bytes */
	struct span dst_ip;     /* 4 or 16 bytes */
	uint16_t dst_port;
	int64_t idle_hint_ns; /* 0, negative or tiny: use the default */
	struct span trace;
};

/* registerUdpSession, results */
struct tunnel_udp_registered {
	struct span error; /* empty = success */
	struct span spans;
};

/* unregisterUdpSession, params */
struct tunnel_udp_unregister {
	struct span session_id;
	struct span message;
};

/* updateConfiguration, params and results */
struct tunnel_config {
	int32_t version;
	struct span config; /* JSON */
};

struct tunnel_config_applied {
	int32_t latest_version;
	struct span error; /* empty = success */
};

struct rpc_body tunnel_register_body(const struct tunnel_register *v);
struct rpc_body tunnel_registered_body(const struct tunnel_registered *v);
/* updateLocalConfiguration, params: the JSON document alone. */
struct rpc_body tunnel_local_config_body(const struct span *config);
struct rpc_body tunnel_udp_register_body(const struct tunnel_udp_register *v);
struct rpc_body tunnel_udp_registered_body(const struct tunnel_udp_registered *v);
struct rpc_body tunnel_udp_unregister_body(const struct tunnel_udp_unregister *v);
struct rpc_body tunnel_config_body(const struct tunnel_config *v);
struct rpc_body tunnel_config_applied_body(const struct tunnel_config_applied *v);
/* The empty struct: unregisterConnection's params, results of everything that has none. */
struct rpc_body tunnel_empty_body(void);

/* -E2BIG with more than TUNNEL_FEATURES_MAX features. */
[[nodiscard]] int tunnel_register_decode(const struct capnp_struct *s, struct tunnel_register *ret);
[[nodiscard]] int tunnel_registered_decode(const struct capnp_struct *s,
					   struct tunnel_registered *ret);
[[nodiscard]] int tunnel_local_config_decode(const struct capnp_struct *s, struct span *ret);
[[nodiscard]] int tunnel_udp_register_decode(const struct capnp_struct *s,
					     struct tunnel_udp_register *ret);
[[nodiscard]] int tunnel_udp_registered_decode(const struct capnp_struct *s,
					       struct tunnel_udp_registered *ret);
[[nodiscard]] int tunnel_udp_unregister_decode(const struct capnp_struct *s,
					       struct tunnel_udp_unregister *ret);
[[nodiscard]] int tunnel_config_decode(const struct capnp_struct *s, struct tunnel_config *ret);
[[nodiscard]] int tunnel_config_applied_decode(const struct capnp_struct *s,
					       struct tunnel_config_applied *ret);

#endif
