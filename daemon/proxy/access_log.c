/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per finished exchange. The query of the target is left out: people put tokens there.
 */
#include "daemon/proxy/access_log.h"

#include <stdlib.h>

void *access_log_keep(enum conf_access_log mode, struct span *const texts[], unsigned int count)
{
	size_t len = 0;
	for (unsigned int i = 0; i < count; i++)
		len += texts[i]->len;
	uint8_t *block = mode == CONF_ACCESS_LOG_OFF ? NULL : malloc(len + 1);
	size_t used = 0;
	for (unsigned int i = 0; i < count; i++) {
		size_t n = block ? texts[i]->len : 0;
		if (n)
			memcpy(block + used, texts[i]->ptr, n);
		*texts[i] = span_of(block ? block + used : NULL, n);
		used += n;
	}
	return block;
}

void access_log_write(const struct log *log, enum conf_access_log mode,
		      const struct access_record *record)
{
	bool is_error = record->reason != PROXY_REASON_NONE || record->status >= 500;
	if (mode == CONF_ACCESS_LOG_OFF || (mode == CONF_ACCESS_LOG_ERRORS && !is_error))
		return;
	struct span path = span_first(record->target, span_find(record->target, '?'));
	log_info(log, "access", "request", KV_STR("rule", record->rule),
		 KV_SPAN("method", record->method), KV_SPAN("host", record->host),
		 KV_SPAN("path", path), KV_U64("status", record->status),
		 KV_STR("reason", proxy_reason_info(record->reason)->name),
		 KV_U64("usec", record->took / NSEC_PER_USEC), KV_U64("bytes_in", record->bytes_in),
		 KV_U64("bytes_out", record->bytes_out), KV_SPAN("ray", record->ray));
}
