/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vendor says in TXT records: the share of accounts for each transport and for datagrams
 * of version 3 (supervisor specification §8.2, §9). Pure.
 */
#ifndef DAEMON_ADITD_DISCOVERY_RECORD_H
#define DAEMON_ADITD_DISCOVERY_RECORD_H

#include "util/span.h"

/* Percentages, 0 to 100. An account has a feature when its threshold is below. */
struct discovery_records {
	bool has_protocols; /* the record was there and could be read */
	bool has_features;
	uint8_t quic_percent;
	uint8_t http2_percent;
	uint8_t dv3_2_percent;
};

/*
 * [{"protocol":"quic","percentage":100}, …]: the first entry of a name counts, whatever its case; a
 * missing one is 0. Sets the two percentages and has_protocols. Returns 0; -EBADMSG (nothing is
 * set) for what isn't that, and for percentages that are no integers; -ENOMEM.
 */
[[nodiscard]] int discovery_read_protocols(struct span json, struct discovery_records *to);
/*
 * {"dv3_2": 10, …}: unknown members are ignored, a missing one is 0. The same results.
 */
[[nodiscard]] int discovery_read_features(struct span json, struct discovery_records *to);

#endif
