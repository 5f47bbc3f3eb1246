/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control interfaces as sd-varlink wants them. sd-varlink checks every call and answer against
 * these.
 */
#include "daemon/admin/idl.h"

#include <systemd/sd-varlink-idl.h>

#define OPT               SD_VARLINK_NULLABLE
#define INT(name)         SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_INT, 0)
#define INT_OPT(name)     SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_INT, OPT)
#define STRING(name)      SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, 0)
#define STRING_OPT(name)  SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, OPT)
#define OUT_INT(name)     SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_INT, 0)
#define OUT_STRING(name)  SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_STRING, 0)
#define OUT_STRINGS(name) SD_VARLINK_DEFINE_OUTPUT(name, SD_VARLINK_STRING, SD_VARLINK_ARRAY)

/* ---- io.adit.Daemon ---- */

static SD_VARLINK_DEFINE_STRUCT_TYPE(Connection, INT(index), STRING(state), STRING(protocol),
				     STRING(edge), STRING_OPT(location), STRING(local),
				     INT(since_usec), INT_OPT(rtt_usec), INT_OPT(loss_ppm),
				     INT(streams), INT(flows), INT(rx_bytes), INT(tx_bytes),
				     INT(worker), STRING_OPT(group), STRING_OPT(last_error),
				     INT_OPT(mtu), STRING_OPT(ecn));

static SD_VARLINK_DEFINE_METHOD(
	Status, OUT_STRING(version), OUT_STRING(instance), OUT_STRING(tunnel), OUT_STRING(state),
	OUT_INT(since_usec), OUT_INT(pid), OUT_STRING(config), OUT_INT(config_version),
	OUT_STRINGS(need_restart), SD_VARLINK_DEFINE_OUTPUT(routed, SD_VARLINK_STRING, OPT),
	SD_VARLINK_DEFINE_OUTPUT(routed_lacks, SD_VARLINK_STRING, SD_VARLINK_ARRAY | OPT),
	OUT_STRING(metrics), OUT_INT(memory), OUT_INT(memory_limit),
	SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(connections, Connection, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_STRUCT_TYPE(Flow, STRING(id), STRING(source), STRING(destination),
				     STRING(path), STRING(why), INT(since_usec), INT_OPT(index),
				     INT(version), INT(tx), INT(rx), INT(idle_sec));
static SD_VARLINK_DEFINE_METHOD_FULL(Flows, SD_VARLINK_REQUIRES_MORE,
				     SD_VARLINK_DEFINE_INPUT(limit, SD_VARLINK_INT, OPT),
				     SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(flow, Flow, 0));

static SD_VARLINK_DEFINE_STRUCT_TYPE(Drop, STRING(where), STRING(reason), INT(count));
static SD_VARLINK_DEFINE_METHOD(Drops,
				SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(drops, Drop, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_METHOD(Explain, SD_VARLINK_DEFINE_INPUT(url, SD_VARLINK_STRING, 0),
				OUT_STRING(rule), OUT_STRING(why), OUT_STRING(service));

static SD_VARLINK_DEFINE_METHOD(Reconnect, SD_VARLINK_DEFINE_INPUT(index, SD_VARLINK_INT, OPT));
static SD_VARLINK_DEFINE_METHOD(Reload, OUT_STRINGS(changed), OUT_STRINGS(need_restart));
static SD_VARLINK_DEFINE_ERROR(BadConfig, SD_VARLINK_DEFINE_FIELD(errors, SD_VARLINK_STRING,
								  SD_VARLINK_ARRAY));
static SD_VARLINK_DEFINE_METHOD(Drain);
static SD_VARLINK_DEFINE_ERROR(NoFlows);
static SD_VARLINK_DEFINE_ERROR(NoSuchIndex, SD_VARLINK_DEFINE_FIELD(index, SD_VARLINK_INT, 0));

static SD_VARLINK_DEFINE_INTERFACE(
	io_adit_Daemon, "io.adit.Daemon",
	SD_VARLINK_INTERFACE_COMMENT("The control interface of aditd"),
	SD_VARLINK_SYMBOL_COMMENT("One connection of the tunnel"), &vl_type_Connection,
	SD_VARLINK_SYMBOL_COMMENT("One UDP flow"), &vl_type_Flow,
	SD_VARLINK_SYMBOL_COMMENT("What went no further, and why"), &vl_type_Drop,
	SD_VARLINK_SYMBOL_COMMENT("What the daemon is doing"), &vl_method_Status,
	SD_VARLINK_SYMBOL_COMMENT("UDP flows, one an answer"), &vl_method_Flows,
	SD_VARLINK_SYMBOL_COMMENT("There is no flow"), &vl_error_NoFlows,
	SD_VARLINK_SYMBOL_COMMENT("Everything that was dropped, by where and why"),
	&vl_method_Drops, SD_VARLINK_SYMBOL_COMMENT("Which rule a URL goes to, and why"),
	&vl_method_Explain,
	SD_VARLINK_SYMBOL_COMMENT("Reads the configuration again: what has taken effect, and what "
				  "waits for a restart"),
	&vl_method_Reload,
	SD_VARLINK_SYMBOL_COMMENT("The configuration has faults: the old one stays"),
	&vl_error_BadConfig, SD_VARLINK_SYMBOL_COMMENT("Dials one connection, or all, anew"),
	&vl_method_Reconnect,
	SD_VARLINK_SYMBOL_COMMENT("Stops serving: unregisters, lets requests end, exits"),
	&vl_method_Drain, &vl_error_NoSuchIndex);

const struct sd_varlink_interface *const idl_daemon = &vl_interface_io_adit_Daemon;
