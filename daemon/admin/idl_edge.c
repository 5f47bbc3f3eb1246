/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.adit.Edge as sd-varlink wants it: a file of its own because its types are called as the
 * daemon's.
 */
#include <systemd/sd-varlink-idl.h>

#include "daemon/admin/idl.h"

#define OPT               SD_VARLINK_NULLABLE
#define INT(name)         SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_INT, 0)
#define INT_OPT(name)     SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_INT, OPT)
#define STRING(name)      SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, 0)
#define STRING_OPT(name)  SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, OPT)
#define OUT_INT(name)     SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_INT, 0)
#define OUT_STRING(name)  SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_STRING, 0)
#define OUT_STRINGS(name) SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_STRING, SD_VARLINK_ARRAY)

static SD_VARLINK_DEFINE_STRUCT_TYPE(Tunnel, STRING(name), STRING(id),
				     SD_VARLINK_DEFINE_FIELD(hostnames, SD_VARLINK_STRING,
							     SD_VARLINK_ARRAY),
				     INT(connections));

static SD_VARLINK_DEFINE_STRUCT_TYPE(Connection, STRING(tunnel), INT(index), STRING(protocol),
				     STRING(peer), INT(since_usec), INT_OPT(rtt_usec),
				     INT_OPT(loss_ppm), INT(streams), INT(rx_bytes), INT(tx_bytes),
				     INT(worker), STRING_OPT(group), INT_OPT(mtu), STRING_OPT(ecn));

static SD_VARLINK_DEFINE_METHOD(Status, OUT_STRING(version), OUT_STRING(state), OUT_INT(since_usec),
				OUT_INT(pid), OUT_STRING(config), OUT_INT(config_version),
				OUT_STRINGS(need_restart), OUT_STRING(metrics),
				OUT_STRING(steering), OUT_INT(memory), OUT_INT(memory_limit),
				SD_VARLINK_DEFINE_OUTPUT(refusing, SD_VARLINK_STRING, OPT),
				SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(tunnels, Tunnel, SD_VARLINK_ARRAY),
				SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(connections, Connection,
								 SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_METHOD(Reload, OUT_STRINGS(changed), OUT_STRINGS(need_restart));
static SD_VARLINK_DEFINE_ERROR(BadConfig, SD_VARLINK_DEFINE_FIELD(errors, SD_VARLINK_STRING,
								  SD_VARLINK_ARRAY));
static SD_VARLINK_DEFINE_METHOD(Drain);
static SD_VARLINK_DEFINE_METHOD(Refuse, SD_VARLINK_DEFINE_INPUT(kind, SD_VARLINK_STRING, 0),
				SD_VARLINK_DEFINE_INPUT(tunnel, SD_VARLINK_STRING, OPT),
				SD_VARLINK_DEFINE_INPUT(count, SD_VARLINK_INT, OPT),
				SD_VARLINK_DEFINE_INPUT(retry_after_usec, SD_VARLINK_INT, OPT));
static SD_VARLINK_DEFINE_ERROR(NoSuchTunnel, SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, 0));

static SD_VARLINK_DEFINE_INTERFACE(
	io_adit_Edge, "io.adit.Edge",
	SD_VARLINK_INTERFACE_COMMENT("The control interface of adit-edge"),
	SD_VARLINK_SYMBOL_COMMENT("One declared tunnel and how many connections it has"),
	&vl_type_Tunnel, SD_VARLINK_SYMBOL_COMMENT("One connection of a daemon"),
	&vl_type_Connection, SD_VARLINK_SYMBOL_COMMENT("What the edge is doing"), &vl_method_Status,
	SD_VARLINK_SYMBOL_COMMENT("Reads the configuration again: what has taken effect, and what "
				  "waits for a restart"),
	&vl_method_Reload,
	SD_VARLINK_SYMBOL_COMMENT("The configuration has faults: the old one stays"),
	&vl_error_BadConfig,
	SD_VARLINK_SYMBOL_COMMENT("Sends every daemon away, lets requests end, exits"),
	&vl_method_Drain,
	SD_VARLINK_SYMBOL_COMMENT("For tests of daemons: the next registrations are refused"),
	&vl_method_Refuse, &vl_error_NoSuchTunnel);

const struct sd_varlink_interface *const idl_edge = &vl_interface_io_adit_Edge;
