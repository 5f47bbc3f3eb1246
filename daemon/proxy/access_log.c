/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per finished exchange. The query of the target is left out: people put tokens there.
 */
#include "daemon/proxy/access_log.h"

#include <stdlib.h>

#include "util/macro.h"
#include "util/packer.h"

static struct span path_of(struct span target)
{
	return span_first(target, span_find(target, '?'));
}

void *access_log_keep(enum conf_access_log mode, struct http_head *head, struct span *ray)
{
	struct http_head kept = { .method = head->method,
				  .authority = head->authority,
				  .target = path_of(head->target) };
	struct span none = {};
	struct span *texts[] = { &kept.method, &kept.authority, &kept.target, ray ? ray : &none };
	size_t len = 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++)
		len += texts[i]->len;
	uint8_t *block = mode == CONF_ACCESS_LOG_OFF ? NULL : malloc(len);
	struct packer p = packer_over(block, block ? len : 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++) {
		struct span at = span_of(block ? block + p.len : NULL, block ? texts[i]->len : 0);
		packer_bytes(&p, block ? *texts[i] : none);
		*texts[i] = at;
	}
	*head = kept;
	return block;
}

void access_log_write(const struct log *log, enum conf_access_log mode,
		      const struct access_record *record)
{
	bool is_error = record->reason != PROXY_REASON_NONE || record->status >= 500;
	if (mode == CONF_ACCESS_LOG_OFF || (mode == CONF_ACCESS_LOG_ERRORS && !is_error))
		return;
	log_info(log, "access", "request", KV_STR("rule", record->rule),
		 KV_SPAN("method", record->method), KV_SPAN("host", record->host),
		 KV_SPAN("path", path_of(record->target)), KV_U64("status", record->status),
		 KV_STR("reason", proxy_reason_info(record->reason)->name),
		 KV_U64("usec", record->took / NSEC_PER_USEC), KV_U64("bytes_in", record->bytes_in),
		 KV_U64("bytes_out", record->bytes_out), KV_SPAN("ray", record->ray));
}
