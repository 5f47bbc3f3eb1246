/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that make and end sessions of version 2. An idle time of some nanoseconds, or less than
 * none, ends the process of the reference; here it is clamped.
 */
#include "daemon/wire/dgram_v2_call.h"

#include <errno.h>

#include "util/macro.h"

static const char bad_id[] = "session id is not 16 bytes";

/* IPv4-mapped addresses are folded. */
static int read_address(struct span bytes, struct ip_addr *ret)
{
	if (bytes.len != 4 && bytes.len != 16)
		return -EINVAL;
	enum ip_family family = bytes.len == 4 ? IP_FAMILY_V4 : IP_FAMILY_V6;
	*ret = ip_addr_unmap(ip_addr_from(family, bytes.ptr));
	return 0;
}

static nsec_t idle_of(int64_t hint_ns)
{
	return hint_ns <= 0 ? DGRAM_IDLE_DEFAULT : MAX((nsec_t)hint_ns, NSEC_PER_SEC);
}

int dgram2_register_read(const struct tunnel_udp_register *in, struct dgram2_register *ret,
			 const char **ret_reason)
{
	struct dgram2_register r = { .dest.port = in->dst_port, .idle = idle_of(in->idle_hint_ns) };
	if (dgram_id_read(in->session_id, &r.id) < 0) {
		*ret_reason = bad_id;
		return -EBADMSG;
	}
	if (in->dst_ip.len == 0) {
		*ret_reason = "no destination address";
		return -EBADMSG;
	}
	if (read_address(in->dst_ip, &r.dest.ip) < 0) {
		*ret_reason = "unable to parse destination IP";
		return -EINVAL;
	}
	r.is_traced = trace_parse(in->trace, &r.trace) == 0;
	*ret = r;
	return 0;
}

void dgram2_register_params(const struct dgram2_register *r, struct dgram2_register_room *room,
			    struct tunnel_udp_register *ret)
{
	struct packer p = packer_over(room->trace, sizeof(room->trace));
	if (r->is_traced)
		trace_print(&p, &r->trace);
	ip_addr_to_mapped(&r->dest.ip, room->address);
	*ret = (struct tunnel_udp_register){
		.session_id = dgram_id_span(&r->id),
		.dst_ip = span_of(room->address, sizeof(room->address)),
		.dst_port = r->dest.port,
		.idle_hint_ns = (int64_t)MIN(r->idle, (nsec_t)INT64_MAX),
		.trace = packer_span(&p),
	};
}

int dgram2_unregister_read(const struct tunnel_udp_unregister *in, struct dgram_id *ret,
			   const char **ret_reason)
{
	int r = dgram_id_read(in->session_id, ret);
	if (r < 0)
		*ret_reason = bad_id;
	return r;
}
