/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log: one event a line, a lower-case message and key=value fields, to the journal, as
 *text or as JSON (style A2). Threads may share one struct log; writing never blocks: a line that
 *the sink doesn't take is counted and dropped.
 *
 *	log_info(log, "link", "registered", KV_U64("index", i), KV_STR("location", name));
 */
#ifndef DAEMON_BASE_LOG_H
#define DAEMON_BASE_LOG_H

#include <stdint.h>

#include "util/addr.h"
#include "util/span.h"
#include "util/time.h"

enum log_level : uint8_t {
	LOG_LEVEL_ERROR = 3,   /* the operator must act */
	LOG_LEVEL_WARNING = 4, /* degraded */
	LOG_LEVEL_NOTICE = 5,  /* life cycle */
	LOG_LEVEL_INFO = 6,    /* per connection */
	LOG_LEVEL_DEBUG = 7,   /* per stream */
};

enum log_format : uint8_t {
	LOG_FORMAT_AUTO,
	LOG_FORMAT_JOURNAL,
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

struct log;

struct log_field {
	const char *key;
	enum : uint8_t {
		LOG_FIELD_STR,
		LOG_FIELD_U64,
		LOG_FIELD_I64,
		LOG_FIELD_ERRNO,
		LOG_FIELD_ADDR
	} kind;
	union {
		struct span str; /* control characters and bad UTF-8 are escaped */
		uint64_t u64;
		int64_t i64;
		int err;                    /* negative errno, printed as text */
		const struct ip_port *addr; /* printed as host:port */
	};
};

#define KV_STR(k, v)  ((struct log_field){ .key = (k), .kind = LOG_FIELD_STR, .str = span_str(v) })
#define KV_SPAN(k, v) ((struct log_field){ .key = (k), .kind = LOG_FIELD_STR, .str = (v) })
#define KV_U64(k, v)  ((struct log_field){ .key = (k), .kind = LOG_FIELD_U64, .u64 = (v) })
#define KV_I64(k, v)  ((struct log_field){ .key = (k), .kind = LOG_FIELD_I64, .i64 = (v) })
#define KV_ERR(v)     ((struct log_field){ .key = "error", .kind = LOG_FIELD_ERRNO, .err = (v) })
#define KV_ADDR(k, v) ((struct log_field){ .key = (k), .kind = LOG_FIELD_ADDR, .addr = (v) })

struct log_params {
	enum log_format format;
	enum log_level level; /* default of all areas */
	const char *areas;    /* "link:debug, origin:info" or NULL */
	const char *ident;    /* program name */
	bool color;           /* text on a terminal */
};

/* Returns 0, -ENOMEM, -EINVAL or -E2BIG for areas (32 at most), or why the sink can't be opened. */
[[nodiscard]] int log_new(const struct log_params *params, struct log **ret);
void log_free(struct log *log);
/* Changes levels while threads write (after a reload). Returns 0, -EINVAL or -E2BIG: then nothing
 * changed. */
[[nodiscard]] int log_set_levels(struct log *log, enum log_level level, const char *areas);
/* False for a NULL log. */
bool log_is_enabled(const struct log *log, enum log_level level, const char *area);
uint64_t log_dropped(const struct log *log);

/*
 * Events are also offered to an observer (live events of the control interface); it runs on the
 * writing thread, one event at a time, and must not block. NULL removes it.
 */
struct log_event {
	enum log_level level;
	const char *area;
	const char *message;
	const struct log_field *fields;
	unsigned int field_count;
};
void log_set_observer(struct log *log, void (*observe)(const struct log_event *event, void *arg),
		      void *arg);

/* log may be NULL (unit tests): nothing happens. */
void log_write(const struct log *log, const struct log_event *event);

#define LOG_EVENT(log, lvl, ar, msg, ...)                                                 \
	do {                                                                              \
		if (log_is_enabled((log), (lvl), (ar))) {                                 \
			const struct log_field log_fields_[] = { __VA_ARGS__ };           \
			log_write((log), &(struct log_event){                             \
						 .level = (lvl),                          \
						 .area = (ar),                            \
						 .message = (msg),                        \
						 .fields = log_fields_,                   \
						 .field_count = sizeof(log_fields_) /     \
								sizeof(struct log_field), \
					 });                                              \
		}                                                                         \
	} while (0)

#define log_error(log, area, msg, ...)   LOG_EVENT(log, LOG_LEVEL_ERROR, area, msg, __VA_ARGS__)
#define log_warning(log, area, msg, ...) LOG_EVENT(log, LOG_LEVEL_WARNING, area, msg, __VA_ARGS__)
#define log_notice(log, area, msg, ...)  LOG_EVENT(log, LOG_LEVEL_NOTICE, area, msg, __VA_ARGS__)
#define log_info(log, area, msg, ...)    LOG_EVENT(log, LOG_LEVEL_INFO, area, msg, __VA_ARGS__)
#define log_debug(log, area, msg, ...)   LOG_EVENT(log, LOG_LEVEL_DEBUG, area, msg, __VA_ARGS__)

/* For what a peer can repeat: one token bucket per call site or object; suppressed lines are
 * counted. */
struct log_limit {
	nsec_t since;
	uint32_t count;
	uint32_t suppressed;
};
/* True when a line may be written now (at most burst a second). */
bool log_limit_pass(struct log_limit *limit, nsec_t now, uint32_t burst);

#endif
