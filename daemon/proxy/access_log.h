/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per finished exchange, when the configuration asks for it.
 */
#ifndef DAEMON_PROXY_ACCESS_LOG_H
#define DAEMON_PROXY_ACCESS_LOG_H

#include "daemon/base/log.h"
#include "daemon/conf/conf_common.h"
#include "daemon/http/head.h"
#include "daemon/proxy/reason.h"

/* Borrowed for the call. */
struct access_record {
	const char *rule;
	struct span method;
	struct span host;
	struct span target; /* its query is not logged: it may hold secrets */
	struct span ray;    /* request id */
	unsigned int status;
	enum proxy_reason reason;
	nsec_t took;
	uint64_t bytes_in;
	uint64_t bytes_out;
};

/*
 * For what outlives its head: puts what a line needs of it, and ray (may be NULL), into one block
 * of memory, which the caller frees, and lets the rest go. NULL, and nothing is left, when no line
 * will be written or there is no memory.
 */
void *access_log_keep(enum conf_access_log mode, struct http_head *head, struct span *ray);

void access_log_write(const struct log *log, enum conf_access_log mode,
		      const struct access_record *record);

#endif
