/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nftables messages (nfnetlink): a table that goes with our socket, chains at hooks, rules from a
 * few expressions; and what base chains a host has. No I/O.
 */
#ifndef NETLINK_NFT_H
#define NETLINK_NFT_H

#include "netlink/builder.h"
#include "util/addr.h"

enum nft_hook : uint8_t { /* of the kernel's netfilter */
			  NFT_HOOK_PREROUTING = 0,
			  NFT_HOOK_INPUT = 1,
			  NFT_HOOK_FORWARD = 2,
			  NFT_HOOK_OUTPUT = 3,
			  NFT_HOOK_POSTROUTING = 4,
};

/* A base chain as the kernel lists it. */
struct nft_chain {
	enum ip_family family; /* NONE: both (inet) */
	enum nft_hook hook;
	bool is_drop;      /* its policy */
	struct span table; /* names, without NUL; borrowed */
	struct span name;
};

/* Between these stand all messages of a batch, which is applied whole or not at all. */
void nft_batch_begin(struct nl_builder *b);
void nft_batch_end(struct nl_builder *b);

/* A new table of the family inet, which nobody else may change and which ends with the socket. */
void nft_table_make(struct nl_builder *b, const char *table);
/* A base chain to make. */
struct nft_base {
	const char *table;
	const char *chain;
	const char *type; /* "filter", "route", "nat" */
	enum nft_hook hook;
	int priority;
};
void nft_chain_make(struct nl_builder *b, const struct nft_base *base);

/* A rule: nft_rule_begin(), expressions in order, nft_rule_end(). */
struct nft_rule {
	struct nl_builder *b;
	struct nlattr *expressions;
};
void nft_rule_begin(struct nft_rule *r, struct nl_builder *b, const char *table, const char *chain);
void nft_rule_end(struct nft_rule *r);
/* Only packets of this family, of this protocol behind IP, to this network, from it. */
void nft_match_family(struct nft_rule *r, enum ip_family family);
void nft_match_protocol(struct nft_rule *r, uint8_t protocol);
void nft_match_destination(struct nft_rule *r, const struct ip_addr *net, uint8_t bits);
void nft_match_source(struct nft_rule *r, const struct ip_addr *net, uint8_t bits);
/* … that leave by any other device than this. */
void nft_match_output_but(struct nft_rule *r, const char *device);
/* … and they get the address of the one that they leave by. */
void nft_masquerade(struct nft_rule *r);
/* To this socket of ours, if it is there; what follows isn't done else. */
void nft_tproxy(struct nft_rule *r, const struct ip_port *to);
void nft_set_mark(struct nft_rule *r, uint32_t mark);
void nft_accept(struct nft_rule *r);

/* Appends the request for a dump of all chains (nl_dump()). */
void nft_chains_ask(struct nl_builder *b);
/* One answer. 0, -ENOMSG for what is no base chain of IP, -EBADMSG. */
[[nodiscard]] int nft_chain_parse(struct span message, struct nft_chain *ret);

#endif
