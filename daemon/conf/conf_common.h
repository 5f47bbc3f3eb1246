/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configurations of aditd and adit-edge have in common: log, metrics, process, limits, and
 * the texts that they were made of (for --dump-config and for comparing two snapshots).
 */
#ifndef DAEMON_CONF_CONF_COMMON_H
#define DAEMON_CONF_CONF_COMMON_H

#include "daemon/base/log.h"
#include "daemon/conf/value.h"
#include "util/cleanup.h"

struct conf_arena;
struct conf_section;

enum conf_program : uint8_t {
	CONF_PROGRAM_ADITD = 1U << 0,
	CONF_PROGRAM_EDGE = 1U << 1,
};

enum conf_access_log : uint8_t {
	CONF_ACCESS_LOG_OFF,
	CONF_ACCESS_LOG_ON,
	CONF_ACCESS_LOG_ERRORS,
};

enum conf_switch : uint8_t {
	CONF_SWITCH_AUTO,
	CONF_SWITCH_OFF,
	CONF_SWITCH_ON,
};

struct conf_log {
	enum log_level level; /* of all areas but those in areas */
	const char *areas;    /* "link:debug, origin:info" or NULL, as struct log_params wants it */
	enum log_format format;
	enum conf_access_log access;
	enum conf_switch color; /* OFF also by NO_COLOR */
};

/* AUTO: the usual ports one after the other; OFF; ON: address. */
struct conf_metrics {
	enum conf_switch listen;
	struct conf_addr address;
};

struct conf_process {
	unsigned int workers; /* 0: auto */
	bool watch_config;
	uint64_t memory; /* budget of buffers in bytes; 0: auto (64 MiB per worker) */
};

/* For debugging builds; both unset otherwise. */
struct conf_debug {
	const char *qlog;        /* directory for one qlog file per connection, or NULL */
	const char *tls_key_log; /* file for TLS secrets, or NULL */
};

/* adit.md §13. Bytes unless the name says otherwise. */
struct conf_limits {
	unsigned int streams_per_link;
	unsigned int streams;
	uint64_t send_queue;
	uint64_t stream_window;
	uint64_t stream_window_max;
	uint64_t link_window;
	uint64_t link_window_max;
	uint64_t head_size;
	unsigned int head_fields;
	uint64_t head_line;
	uint64_t trailers_size;
	unsigned int trailers_fields;
	uint64_t rpc_message;
	uint64_t configuration; /* in either direction */
	uint64_t connect_message;
	unsigned int flows;
	unsigned int flow_registrations; /* a second */
	uint64_t flow_queue;
	unsigned int icmp_answers; /* a second */
	unsigned int metric_series;
	/* adit-edge only */
	unsigned int unregistered;
	unsigned int unregistered_per_address;
	nsec_t register_timeout;
	unsigned int retry_unregistered;
	unsigned int retry_initials; /* a second */
	unsigned int visitors;
	unsigned int handshakes;
};

struct conf_common {
	_Atomic unsigned int refs;
	enum conf_program program;
	struct conf_arena *arena; /* everything that the snapshot points to */
	const char *file;         /* path of the configuration file, NULL: none */

	/* Every section instance in order, with the text and origin of each value (schema.h). */
	const struct conf_section *sections;
	size_t section_count;

	struct conf_log log;
	struct conf_metrics metrics;
	struct conf_process process;
	struct conf_debug debug;
	struct conf_limits limits;
};

/*
 * Cuts a limit on what takes a descriptor each to those that the process may have, less an eighth
 * for everything else (spec §13). key: its name in [limits], for the log line.
 */
void conf_cut_to_descriptors(unsigned int *limit, const char *key, struct log *log);
/*
 * Opens the log as [log] wants it. program: its name in every line. Returns 0 or what log_new()
 * said, which then has been told on stderr.
 */
[[nodiscard]] int conf_log_open(const struct conf_log *c, const char *program, struct log **ret);
/*
 * Opens the file of tls-key-log with a warning in the log; *ret_fd is -EBADF when none is wanted.
 * Returns 0 or what open() said, which then has been logged.
 */
[[nodiscard]] int conf_key_log_open(const struct conf_debug *c, struct log *log, int *ret_fd);

#endif
