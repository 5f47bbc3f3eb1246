/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of the options that are more than a word or a number (schema_parse_fn). A list field is a
 * pointer with its size_t count right behind it; each call adds one element.
 */
#ifndef DAEMON_CONF_PARSE_H
#define DAEMON_CONF_PARSE_H

#include "daemon/conf/schema.h"

struct conf_arena;

struct schema_context {
	struct conf_arena *arena;
	bool is_environment; /* the value comes from an environment variable: its words are legal
				too */
};

#define PARSER(name)                                                              \
	int parse_##name(struct schema_context *x, struct span text, void *field, \
			 const char **ret_reason)

/* Adds a zeroed element of size bytes to a list field; NULL: no memory. */
void *parse_list_add(struct schema_context *x, void *field, size_t size);
/* Copies text into a const char * field. 0 or -ENOMEM. */
int parse_keep_text(struct schema_context *x, struct span text, void *field);

/* One address, a name or a literal one. 0, -EINVAL with *ret_reason, -ENOMEM. */
int parse_addr_into(struct schema_context *x, struct span text, struct conf_addr *ret,
		    const char **ret_reason);

/* struct conf_addr list. */
PARSER(addr_list);   /* names and literal addresses */
PARSER(listen_list); /* literal addresses */
/* const struct conf_addr *. */
PARSER(addr);
/* struct conf_metrics. */
PARSER(metrics_listen);
/* struct conf_prefix list. */
PARSER(prefix_list);
/* const struct conf_proxy *. */
PARSER(proxy_url);
/* const char *, NULL when empty. */
PARSER(host_name);
PARSER(region);
PARSER(https_url);
PARSER(interface);
PARSER(dot_server);
PARSER(prefix_path);
PARSER(proxy_type);
PARSER(account);
PARSER(policy);
PARSER(tun_prefix_list);
/* const char * list. */
PARSER(string_list);
PARSER(interface_list);
PARSER(header_name_list);
/* Checked only. */
PARSER(member);
PARSER(check);
/* Lists of their own. */
PARSER(header_list);
PARSER(ip_rule_list);
/* The whole struct of the section. */
PARSER(pin);         /* struct conf_edge */
PARSER(log_level);   /* struct conf_log */
PARSER(rule_host);   /* struct conf_rule */
PARSER(rule_path);   /* struct conf_rule */
PARSER(tunnel_id);   /* struct conf_edge_tunnel */
PARSER(secret_hash); /* struct conf_edge_tunnel */
PARSER(tunnel_host); /* struct conf_edge_tunnel */

#endif
