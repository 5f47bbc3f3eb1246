/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram of rtnetlink messages, or of a list of nftables chains; notes of what is to be undone.
 */
#include <stdlib.h>

#include "netlink/change.h"
#include "netlink/event.h"
#include "netlink/nft.h"
#include "netlink/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Aligned, and of exactly this length. */
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	struct netlink_event e;
	struct change_event change;
	struct nft_chain chain;
	struct plan plan = {};
	struct span left = span_of(copy, size);
	for (struct span message; (message = netlink_next_message(&left)).len > 0;)
		if (netlink_event_parse(message, &e) == 0 && e.is_up && !e.is_new)
			abort();
	(void)netlink_event_parse(span_of(copy, size), &e);
	left = span_of(copy, size);
	for (struct span message; (message = netlink_next_message(&left)).len > 0;)
		(void)nft_chain_parse(message, &chain);
	left = span_of(copy, size);
	for (struct span message; (message = netlink_next_message(&left)).len > 0;)
		if (change_parse(message, &change) == 0 && change.is_known &&
		    change.kind != CHANGE_KIND_NEIGHBOUR)
			abort();
	(void)plan_read(&plan, span_of(copy, size));
	plan_done(&plan);
	free(copy);
	return 0;
}
