/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the option table share: short forms of rows, and the tables of each section.
 */
#ifndef DAEMON_CONF_SCHEMA_PRIV_H
#define DAEMON_CONF_SCHEMA_PRIV_H

#include "daemon/conf/conf.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/conf/parse.h"
#include "daemon/conf/schema.h"
#include "util/macro.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SEC NSEC_PER_SEC

/* The offset of a field, refused by the compiler when the field has another size than its type. */
#define FIELD_OF(t, f, c_type) \
	(offsetof(t, f) + 0 * sizeof(char[sizeof(((t *)0)->f) == sizeof(c_type) ? 1 : -1]))

#define BOOL(t, f) .type = SCHEMA_TYPE_BOOL, .offset = FIELD_OF(t, f, bool)
#define UINT(t, f, low, high)                                                           \
	.type = SCHEMA_TYPE_UINT, .offset = FIELD_OF(t, f, unsigned int), .min = (low), \
	.max = (high)
#define U16(t, f, low, high) \
	.type = SCHEMA_TYPE_U16, .offset = FIELD_OF(t, f, uint16_t), .min = (low), .max = (high)
#define SIZE(t, f, low, high) \
	.type = SCHEMA_TYPE_SIZE, .offset = FIELD_OF(t, f, uint64_t), .min = (low), .max = (high)
#define DURATION(t, f, low, high) \
	.type = SCHEMA_TYPE_DURATION, .offset = FIELD_OF(t, f, nsec_t), .min = (low), .max = (high)
#define WORD(list, t, f) \
	.type = SCHEMA_TYPE_WORD, .words = (list), .offset = FIELD_OF(t, f, uint8_t)
#define STRING(t, f)     .type = SCHEMA_TYPE_STRING, .offset = FIELD_OF(t, f, char *)
#define PATH(t, f)       .type = SCHEMA_TYPE_PATH, .offset = FIELD_OF(t, f, char *)
#define PARSED(fn, t, f) .type = SCHEMA_TYPE_PARSED, .parse = (fn), .offset = offsetof(t, f)

/* A word of an option; one that is only accepted from the environment. */
#define W(text, number)     { .word = (text), .value = (number) }
#define ALIAS(text, number) { .word = (text), .value = (number), .is_alias = true }

/* Rows whose values are checked and kept as text only. */
#define CHECKED(schema_type) .type = (schema_type), .flags = SCHEMA_UNSTORED | SCHEMA_LATER

/* "auto" for 0. */
extern const struct schema_word schema_auto[];

/* Each ends with an empty row. */
#define TABLE(name) extern const struct schema_option name[];
TABLE(schema_log)
TABLE(schema_metrics)
TABLE(schema_process)
TABLE(schema_debug)
TABLE(schema_limits)
TABLE(schema_edge_limits)
TABLE(schema_tunnel)
TABLE(schema_edge)
TABLE(schema_ingress)
TABLE(schema_origin_defaults)
TABLE(schema_origins)
TABLE(schema_access)
TABLE(schema_network)
TABLE(schema_datapath)
TABLE(schema_gateway)
TABLE(schema_forward)
TABLE(schema_edge_edge)
TABLE(schema_edge_http)
TABLE(schema_edge_https)
TABLE(schema_edge_front)
TABLE(schema_edge_tunnel)
TABLE(schema_edge_tcp)
TABLE(schema_edge_udp)
TABLE(schema_edge_network)
#undef TABLE

#endif
