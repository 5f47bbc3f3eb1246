/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log event as bytes: text for people, a JSON object, or a datagram of the journal's native
 * protocol. No I/O and no allocation; what doesn't fit in a line is cut and marked.
 */
#ifndef DAEMON_BASE_LOG_FORMAT_H
#define DAEMON_BASE_LOG_FORMAT_H

#include "daemon/base/log.h"

enum {
	LOG_LINE_LEN = 4096,        /* a line with its end of line */
	LOG_VALUE_LEN = 1024,       /* a value, escaped */
	LOG_JOURNAL_LEN = 3 * 4096, /* a datagram: the line and the fields once more */
};

/* Name like "warning"; never NULL. */
const char *log_level_name(enum log_level level);
/* Returns false for a name that is no level. */
bool log_level_parse(struct span name, enum log_level *ret);

/* realtime: nanoseconds since 1970 (CLOCK_REALTIME). All return the bytes written to buf. */
size_t log_format_text(char buf[LOG_LINE_LEN], const struct log_event *event, nsec_t realtime,
		       bool color);
size_t log_format_json(char buf[LOG_LINE_LEN], const struct log_event *event, nsec_t realtime);
/* systemd: docs/JOURNAL_NATIVE_PROTOCOL. MESSAGE has the fields, too, for who reads only that. */
size_t log_format_journal(char buf[LOG_JOURNAL_LEN], const struct log_event *event,
			  const char *ident);

#endif
