/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope of a pushed configuration. Lenient where the reference's reader is, so that an edge
 * meets the same answers.
 */
#include "daemon/conf/push.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <systemd/sd-json.h>

#include "util/cleanup.h"

static void variant_unrefp(sd_json_variant **v)
{
	sd_json_variant_unref(*v);
}

/* The last member of this name, whatever its case. */
static sd_json_variant *find(sd_json_variant *object, const char *name)
{
	sd_json_variant *found = NULL;
	for (size_t i = 0; i + 1 < sd_json_variant_elements(object); i += 2) {
		const char *key = sd_json_variant_string(sd_json_variant_by_index(object, i));
		if (key && strcasecmp(key, name) == 0)
			found = sd_json_variant_by_index(object, i + 1);
	}
	return found;
}

int conf_push_version(char *text, size_t len, int32_t *ret)
{
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	const char *at = text;
	if (memchr(text, 0, len))
		return -EBADMSG;
	text[len] = '\0';
	int r = sd_json_parse_continue(&at, 0, &v, NULL, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	int32_t version = 0;
	if (!sd_json_variant_is_null(v)) {
		if (!sd_json_variant_is_object(v))
			return -EBADMSG;
		sd_json_variant *number = find(v, "version");
		if (number && !sd_json_variant_is_null(number)) {
			if (!sd_json_variant_is_integer(number))
				return -EBADMSG;
			int64_t n = sd_json_variant_integer(number);
			if (n < INT32_MIN || n > INT32_MAX)
				return -EBADMSG;
			version = (int32_t)n;
		}
	}
	*ret = version;
	return 0;
}

void conf_push_answer(struct packer *p, int32_t version, const char *error)
{
	char number[16];
	(void)snprintf(number, sizeof(number), "%d", version);
	packer_str(p, "{\"lastAppliedVersion\":");
	packer_str(p, number);
	packer_str(p, ",\"err\":");
	if (error) {
		packer_str(p, "{\"message\":\"");
		packer_str(p, error);
		packer_str(p, "\"}}");
	} else {
		packer_str(p, "null}");
	}
}
