/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vendor says in TXT records. A record that makes no sense is as good as none: what was
 * known before stays.
 */
#include "daemon/aditd/discovery_record.h"

#include <errno.h>

#include <systemd/sd-json.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum {
	RECORD_MAX = 4096, /* bytes; a TXT record isn't longer here */
	ENTRIES_MAX = 64,
	PERCENT_ALL = 100,
};

static void variant_unrefp(sd_json_variant **v)
{
	sd_json_variant_unref(*v);
}

static int parse(struct span json, sd_json_variant **ret)
{
	char text[RECORD_MAX + 1];
	if (json.len == 0 || json.len > RECORD_MAX || span_find(json, 0) < json.len)
		return -EBADMSG;
	memcpy(text, json.ptr, json.len);
	text[json.len] = '\0';
	int r = sd_json_parse(text, 0, ret, NULL, NULL);
	return r < 0 && r != -ENOMEM ? -EBADMSG : r;
}

/* An integer as a percentage; more than all is all. A missing one (NULL) is 0. */
static int read_percent(sd_json_variant *v, bool may_be_negative, uint8_t *ret)
{
	*ret = 0;
	if (!v || sd_json_variant_is_null(v))
		return 0;
	if (sd_json_variant_is_unsigned(v))
		*ret = (uint8_t)MIN(sd_json_variant_unsigned(v), (uint64_t)PERCENT_ALL);
	else if (!sd_json_variant_is_integer(v) || !may_be_negative)
		return -EBADMSG;
	return 0;
}

/* The share of one transport: the first entry of that name. */
static int read_share(sd_json_variant *list, const char *name, uint8_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < sd_json_variant_elements(list); i++) {
		sd_json_variant *entry = sd_json_variant_by_index(list, i);
		if (!sd_json_variant_is_object(entry))
			return -EBADMSG;
		sd_json_variant *protocol = sd_json_variant_by_key(entry, "protocol");
		if (!protocol || !sd_json_variant_is_string(protocol) ||
		    !span_eq_nocase(span_str(sd_json_variant_string(protocol)), span_str(name)))
			continue;
		return read_percent(sd_json_variant_by_key(entry, "percentage"), true, ret);
	}
	return 0;
}

int discovery_read_protocols(struct span json, struct discovery_records *to)
{
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	uint8_t quic, http2;
	int r = parse(json, &v);
	if (r < 0)
		return r;
	if (!sd_json_variant_is_array(v) || sd_json_variant_elements(v) > ENTRIES_MAX)
		return -EBADMSG;
	r = read_share(v, "quic", &quic);
	if (r == 0)
		r = read_share(v, "http2", &http2);
	if (r < 0)
		return r;
	to->has_protocols = true;
	to->quic_percent = quic;
	to->http2_percent = http2;
	return 0;
}

int discovery_read_features(struct span json, struct discovery_records *to)
{
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	uint8_t dv3_2;
	int r = parse(json, &v);
	if (r < 0)
		return r;
	if (!sd_json_variant_is_object(v))
		return -EBADMSG;
	r = read_percent(sd_json_variant_by_key(v, "dv3_2"), false, &dv3_2);
	if (r < 0)
		return r;
	to->has_features = true;
	to->dv3_2_percent = dv3_2;
	return 0;
}
