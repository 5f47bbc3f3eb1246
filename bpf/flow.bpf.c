/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * XDP: frames of flows that user space has entered go straight to a worker's AF_XDP socket, with
 * the header of the datagram that carries them on already before the payload, so that nothing is
 * copied again. Everything else passes, and the flow's own socket behind it receives what we leave.
 *
 * Whatever can be refused is asked for before the frame is changed: what passes is what came.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "abi/flow_abi.h"
#include "bpf/lib/frame.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* User space sets the sizes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct adit_flow_key);
	__type(value, struct adit_flow_val);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} probes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, FLOW_SOCKET_WORKERS *FLOW_SOCKET_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOW_VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int verdict(__u32 what, int action)
{
	__u64 *count = bpf_map_lookup_elem(&verdicts, &what);
	if (count)
		*count += 1;
	return action;
}

/* The header and the payload, and nothing before and behind them; the metadata before that. */
static __always_inline int hand_over(struct xdp_md *ctx, const struct frame *f,
				     const struct adit_flow_val *val)
{
	__u32 index = FLOW_SOCKET(val->worker, ctx->rx_queue_index);
	if (ctx->rx_queue_index >= FLOW_SOCKET_QUEUES || !bpf_map_lookup_elem(&xsks, &index))
		return verdict(FLOW_VERDICT_NO_SOCKET, XDP_PASS);
	__u32 frame_len = ctx->data_end - ctx->data;
	int head = (int)f->payload - FLOW_HDR_LEN;
	int padding = (int)frame_len - (int)(f->payload + f->len); /* Ethernet's, when it's short */
	if (bpf_xdp_adjust_meta(ctx, 0) < 0)
		return verdict(FLOW_VERDICT_REFUSED, XDP_PASS);
	if (padding > 0 && bpf_xdp_adjust_tail(ctx, -padding) < 0)
		return verdict(FLOW_VERDICT_REFUSED, XDP_PASS);
	if (bpf_xdp_adjust_head(ctx, head) < 0)
		return verdict(FLOW_VERDICT_REFUSED, XDP_PASS);
	/* Where the headers were there is room for it. Before, it would have been moved along. */
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct adit_rx_meta)) < 0)
		return verdict(FLOW_VERDICT_LOST, XDP_DROP);

	__u8 *data = (void *)(long)ctx->data;
	struct adit_rx_meta *meta = (void *)(long)ctx->data_meta;
	if ((void *)(data + FLOW_HDR_LEN) > (void *)(long)ctx->data_end ||
	    (void *)(meta + 1) > (void *)data)
		return verdict(FLOW_VERDICT_LOST, XDP_DROP);
	/* In words, for these processors read and write them at any address. */
	*(__u64 *)data = *(const __u64 *)val->hdr;
	*(__u64 *)(data + 8) = *(const __u64 *)(val->hdr + 8);
	data[16] = val->hdr[16];
	meta->slot = val->slot;
	meta->kind = FLOW_RX_UDP;
	meta->len = FLOW_HDR_LEN + f->len;

	return verdict(FLOW_VERDICT_TAKEN, (int)bpf_redirect_map(&xsks, index, XDP_DROP));
}

static __always_inline int flow(struct xdp_md *ctx)
{
	struct frame f = {};
	int found = frame_parse(ctx, &f);
	if (found == FRAME_OTHER)
		return XDP_PASS;
	if (found != FRAME_UDP)
		return verdict(found, XDP_PASS);
	struct adit_flow_val *val = bpf_map_lookup_elem(&flows, &f.key);
	if (!val)
		return verdict(FLOW_VERDICT_MISS, XDP_PASS);
	if (val->state == FLOW_STATE_HIT)
		return hand_over(ctx, &f, val);
	__u64 *count = bpf_map_lookup_elem(&probes, &val->slot);
	if (count)
		*count += 1;
	return verdict(FLOW_VERDICT_PROBE, XDP_PASS);
}

SEC("xdp")
int adit_flow(struct xdp_md *ctx)
{
	return flow(ctx);
}

SEC("xdp.frags")
int adit_flow_mult(struct xdp_md *ctx)
{
	if (bpf_xdp_get_buff_len(ctx) != ctx->data_end - ctx->data)
		return verdict(FLOW_VERDICT_BUFFERS, XDP_PASS);
	return flow(ctx);
}
