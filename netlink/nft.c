/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nftables by hand: the handful of expressions that send TCP to a socket of ours are fewer lines
 * than a library is dependencies. Numbers of nfnetlink are big-endian; data that packets are
 * compared with is as the packet, or the kernel, has it.
 */
#include "netlink/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <libmnl/libmnl.h>

#include "netlink/event.h"

enum {
	IP4_SRC_AT = 12, /* in the header */
	IP4_DST_AT = 16,
	IP6_SRC_AT = 8,
	IP6_DST_AT = 24,
};

static uint16_t type_of(uint16_t message)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message);
}

static void begin(struct nl_builder *b, uint16_t message, uint16_t flags, uint8_t family)
{
	const struct nfgenmsg fixed = { .nfgen_family = family, .version = NFNETLINK_V0 };
	nl_begin(b, type_of(message), NLM_F_REQUEST | flags, span_of(&fixed, sizeof(fixed)));
}

static void batch_mark(struct nl_builder *b, uint16_t type)
{
	const struct nfgenmsg fixed = { .nfgen_family = AF_UNSPEC,
					.version = NFNETLINK_V0,
					.res_id = htons(NFNL_SUBSYS_NFTABLES) };
	nl_begin(b, type, NLM_F_REQUEST, span_of(&fixed, sizeof(fixed)));
}

void nft_batch_begin(struct nl_builder *b)
{
	batch_mark(b, NFNL_MSG_BATCH_BEGIN);
}

void nft_batch_end(struct nl_builder *b)
{
	batch_mark(b, NFNL_MSG_BATCH_END);
}

void nft_table_make(struct nl_builder *b, const char *table)
{
	begin(b, NFT_MSG_NEWTABLE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, NFPROTO_INET);
	nl_put_str(b, NFTA_TABLE_NAME, table);
	nl_put_be32(b, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
}

void nft_chain_make(struct nl_builder *b, const struct nft_base *base)
{
	begin(b, NFT_MSG_NEWCHAIN, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, NFPROTO_INET);
	nl_put_str(b, NFTA_CHAIN_TABLE, base->table);
	nl_put_str(b, NFTA_CHAIN_NAME, base->chain);
	nl_put_str(b, NFTA_CHAIN_TYPE, base->type);
	struct nlattr *nest = nl_nest(b, NFTA_CHAIN_HOOK);
	nl_put_be32(b, NFTA_HOOK_HOOKNUM, base->hook);
	nl_put_be32(b, NFTA_HOOK_PRIORITY, (uint32_t)base->priority);
	nl_nest_end(b, nest);
}

/* ---- rules ---- */

void nft_rule_begin(struct nft_rule *r, struct nl_builder *b, const char *table, const char *chain)
{
	begin(b, NFT_MSG_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET);
	nl_put_str(b, NFTA_RULE_TABLE, table);
	nl_put_str(b, NFTA_RULE_CHAIN, chain);
	*r = (struct nft_rule){ .b = b, .expressions = nl_nest(b, NFTA_RULE_EXPRESSIONS) };
}

void nft_rule_end(struct nft_rule *r)
{
	nl_nest_end(r->b, r->expressions);
}

struct expression {
	struct nlattr *item;
	struct nlattr *data;
};

static struct expression open_expression(struct nft_rule *r, const char *name)
{
	struct expression e = { .item = nl_nest(r->b, NFTA_LIST_ELEM) };
	nl_put_str(r->b, NFTA_EXPR_NAME, name);
	e.data = nl_nest(r->b, NFTA_EXPR_DATA);
	return e;
}

static void close_expression(struct nft_rule *r, struct expression e)
{
	nl_nest_end(r->b, e.data);
	nl_nest_end(r->b, e.item);
}

static void put_value(struct nft_rule *r, uint16_t type, struct span value)
{
	struct nlattr *nest = nl_nest(r->b, type);
	nl_put(r->b, NFTA_DATA_VALUE, value);
	nl_nest_end(r->b, nest);
}

/* What a packet is known by, into the first register. */
static void load_meta(struct nft_rule *r, enum nft_meta_keys key)
{
	struct expression e = open_expression(r, "meta");
	nl_put_be32(r->b, NFTA_META_DREG, NFT_REG_1);
	nl_put_be32(r->b, NFTA_META_KEY, key);
	close_expression(r, e);
}

static void compare_by(struct nft_rule *r, enum nft_cmp_ops op, struct span value)
{
	struct expression e = open_expression(r, "cmp");
	nl_put_be32(r->b, NFTA_CMP_SREG, NFT_REG_1);
	nl_put_be32(r->b, NFTA_CMP_OP, op);
	put_value(r, NFTA_CMP_DATA, value);
	close_expression(r, e);
}

/* The first register has to be this. */
static void compare(struct nft_rule *r, struct span value)
{
	compare_by(r, NFT_CMP_EQ, value);
}

static void load_value(struct nft_rule *r, enum nft_registers reg, struct span value)
{
	struct expression e = open_expression(r, "immediate");
	nl_put_be32(r->b, NFTA_IMMEDIATE_DREG, reg);
	put_value(r, NFTA_IMMEDIATE_DATA, value);
	close_expression(r, e);
}

void nft_match_family(struct nft_rule *r, enum ip_family family)
{
	const uint8_t proto = family == IP_FAMILY_V6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	load_meta(r, NFT_META_NFPROTO);
	compare(r, span_of(&proto, sizeof(proto)));
}

void nft_match_protocol(struct nft_rule *r, uint8_t protocol)
{
	load_meta(r, NFT_META_L4PROTO);
	compare(r, span_of(&protocol, sizeof(protocol)));
}

static void match_network(struct nft_rule *r, uint32_t at, const struct ip_addr *net, uint8_t bits)
{
	static const uint8_t zero[16] = {};
	uint32_t len = (uint32_t)ip_family_len(net->family);
	uint8_t mask[16] = {};
	for (unsigned int i = 0; i < bits; i++)
		mask[i / 8] |= (uint8_t)(0x80U >> i % 8);

	struct expression e = open_expression(r, "payload");
	nl_put_be32(r->b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	nl_put_be32(r->b, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	nl_put_be32(r->b, NFTA_PAYLOAD_OFFSET, at);
	nl_put_be32(r->b, NFTA_PAYLOAD_LEN, len);
	close_expression(r, e);

	e = open_expression(r, "bitwise");
	nl_put_be32(r->b, NFTA_BITWISE_SREG, NFT_REG_1);
	nl_put_be32(r->b, NFTA_BITWISE_DREG, NFT_REG_1);
	nl_put_be32(r->b, NFTA_BITWISE_LEN, len);
	put_value(r, NFTA_BITWISE_MASK, span_of(mask, len));
	put_value(r, NFTA_BITWISE_XOR, span_of(zero, len));
	close_expression(r, e);
	compare(r, span_of(net->bytes, len));
}

void nft_match_destination(struct nft_rule *r, const struct ip_addr *net, uint8_t bits)
{
	match_network(r, net->family == IP_FAMILY_V6 ? IP6_DST_AT : IP4_DST_AT, net, bits);
}

void nft_match_source(struct nft_rule *r, const struct ip_addr *net, uint8_t bits)
{
	match_network(r, net->family == IP_FAMILY_V6 ? IP6_SRC_AT : IP4_SRC_AT, net, bits);
}

void nft_match_output_but(struct nft_rule *r, const char *device)
{
	char name[IFNAMSIZ] = {};
	memcpy(name, device, strnlen(device, sizeof(name) - 1));
	load_meta(r, NFT_META_OIFNAME);
	compare_by(r, NFT_CMP_NEQ, span_of(name, sizeof(name)));
}

void nft_masquerade(struct nft_rule *r)
{
	close_expression(r, open_expression(r, "masq"));
}

void nft_tproxy(struct nft_rule *r, const struct ip_port *to)
{
	const uint16_t port = htons(to->port);
	load_value(r, NFT_REG_1, span_of(to->ip.bytes, ip_family_len(to->ip.family)));
	load_value(r, NFT_REG_2, span_of(&port, sizeof(port)));
	struct expression e = open_expression(r, "tproxy");
	nl_put_be32(r->b, NFTA_TPROXY_FAMILY,
		    to->ip.family == IP_FAMILY_V6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	nl_put_be32(r->b, NFTA_TPROXY_REG_ADDR, NFT_REG_1);
	nl_put_be32(r->b, NFTA_TPROXY_REG_PORT, NFT_REG_2);
	close_expression(r, e);
}

void nft_set_mark(struct nft_rule *r, uint32_t mark)
{
	load_value(r, NFT_REG_1, span_of(&mark, sizeof(mark)));
	struct expression e = open_expression(r, "meta");
	nl_put_be32(r->b, NFTA_META_KEY, NFT_META_MARK);
	nl_put_be32(r->b, NFTA_META_SREG, NFT_REG_1);
	close_expression(r, e);
}

void nft_accept(struct nft_rule *r)
{
	struct expression e = open_expression(r, "immediate");
	nl_put_be32(r->b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	struct nlattr *data = nl_nest(r->b, NFTA_IMMEDIATE_DATA);
	struct nlattr *verdict = nl_nest(r->b, NFTA_DATA_VERDICT);
	nl_put_be32(r->b, NFTA_VERDICT_CODE, NF_ACCEPT);
	nl_nest_end(r->b, verdict);
	nl_nest_end(r->b, data);
	close_expression(r, e);
}

/* ---- what a host has ---- */

void nft_chains_ask(struct nl_builder *b)
{
	begin(b, NFT_MSG_GETCHAIN, NLM_F_DUMP, NFPROTO_UNSPEC);
}

static struct span payload_of(const struct nlattr *attr)
{
	return span_of(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
}

static bool read_be32(const struct nlattr *attr, uint32_t *ret)
{
	uint32_t v = 0;
	if (mnl_attr_get_payload_len(attr) != sizeof(v))
		return false;
	memcpy(&v, mnl_attr_get_payload(attr), sizeof(v));
	*ret = ntohl(v);
	return true;
}

static struct span name_of(const struct nlattr *attr)
{
	struct span s = payload_of(attr);
	return span_first(s, span_find(s, '\0'));
}

/* What the attributes of a chain say; false: malformed. */
static bool read_chain(struct span left, struct nft_chain *c, uint32_t *ret_hook)
{
	uint32_t policy = NF_ACCEPT;
	for (const struct nlattr *attr; (attr = netlink_next_attr(&left));) {
		struct span inner = payload_of(attr);
		switch (mnl_attr_get_type(attr)) {
		case NFTA_CHAIN_TABLE:
			c->table = name_of(attr);
			break;
		case NFTA_CHAIN_NAME:
			c->name = name_of(attr);
			break;
		case NFTA_CHAIN_POLICY:
			if (!read_be32(attr, &policy))
				return false;
			break;
		case NFTA_CHAIN_HOOK:
			for (const struct nlattr *h; (h = netlink_next_attr(&inner));)
				if (mnl_attr_get_type(h) == NFTA_HOOK_HOOKNUM &&
				    !read_be32(h, ret_hook))
					return false;
			break;
		default:
			break;
		}
	}
	c->is_drop = policy == NF_DROP;
	return true;
}

int nft_chain_parse(struct span message, struct nft_chain *ret)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)message.ptr;
	if (message.len < sizeof(*nlh) || nlh->nlmsg_len != message.len)
		return -EBADMSG;
	if (nlh->nlmsg_type != type_of(NFT_MSG_NEWCHAIN))
		return -ENOMSG;
	if (message.len < MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg))
		return -EBADMSG;
	const struct nfgenmsg *fixed = mnl_nlmsg_get_payload(nlh);
	struct nft_chain c = {};
	uint32_t hook = UINT32_MAX;
	if (!read_chain(span_skip(message, MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(*fixed))), &c,
			&hook))
		return -EBADMSG;
	bool is_v4 = fixed->nfgen_family == NFPROTO_IPV4;
	bool is_v6 = fixed->nfgen_family == NFPROTO_IPV6;
	if (hook > NFT_HOOK_OUTPUT || (!is_v4 && !is_v6 && fixed->nfgen_family != NFPROTO_INET))
		return -ENOMSG;
	c.family = is_v4 ? IP_FAMILY_V4 : is_v6 ? IP_FAMILY_V6 : IP_FAMILY_NONE;
	c.hook = (enum nft_hook)hook;
	*ret = c;
	return 0;
}
