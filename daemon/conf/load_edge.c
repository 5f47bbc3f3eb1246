/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot of adit-edge: listeners and declared tunnels, and what these must agree on.
 */
#include "daemon/conf/credential.h"
#include "daemon/conf/load_priv.h"

/* ---- tunnels ---- */

/* The secret is known by its hash or by a file that can be read and holds one. */
static int check_secret(struct loader *l, const struct conf_section *s,
			const struct conf_edge_tunnel *t)
{
	const struct conf_value *file = load_value(s, "secret-file");
	if (load_value(s, "secret-sha256") && file) {
		load_error(l, s, "secret-file", &file->items[0],
			   "together with secret-sha256; accepted: one of both");
		return 0;
	}
	if (!load_value(s, "secret-sha256") && !file) {
		load_error(l, s, "secret-sha256", NULL,
			   "missing; accepted: 64 hexadecimal digits, or secret-file");
		return 0;
	}
	if (!file || !t->secret_file)
		return 0;
	uint8_t secret[TUNNEL_SECRET_MAX];
	const char *reason = "";
	int r = credential_read_secret(t->secret_file, secret, &reason);
	explicit_bzero(secret, sizeof(secret));
	if (r == -EBADMSG || r == -E2BIG || r == -EACCES)
		load_error(l, s, "secret-file", &file->items[0],
			   "%s: %s; accepted: a file with the secret in base64", t->secret_file,
			   reason);
	return r == -ENOMEM ? r : 0;
}

/* A hostname or id, and the tunnel that has it. */
struct claim {
	struct span key;
	const struct conf_section *section;
	const struct conf_item *at;
};

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a;
	const struct claim *y = b;
	int r = memcmp(x->key.ptr, y->key.ptr, MIN(x->key.len, y->key.len));
	if (r == 0)
		r = (x->key.len > y->key.len) - (x->key.len < y->key.len);
	if (r == 0)
		r = (x->section > y->section) - (x->section < y->section);
	return r ? r : (x->at > y->at) - (x->at < y->at);
}

/* Two claims of the same thing are an error at the later tunnel. */
static void check_claims(struct loader *l, struct claim *claims, size_t count, const char *key)
{
	qsort(claims, count, sizeof(*claims), compare_claims);
	for (size_t i = 1; i < count; i++)
		if (span_eq(claims[i].key, claims[i - 1].key))
			load_error(l, claims[i].section, key, claims[i].at,
				   "%s is in [tunnel %s] in line %u as well; accepted: once",
				   claims[i].at->text, claims[i - 1].section->name,
				   claims[i - 1].section->line);
}

static int check_ids(struct loader *l, const struct edge_conf *c,
		     const struct conf_section *const *sections)
{
	_cleanup_(freep) struct claim *claims = calloc(c->tunnel_count, sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	size_t count = 0;
	for (size_t i = 0; i < c->tunnel_count; i++) {
		const struct conf_value *v = load_value(sections[i], "id");
		if (v)
			claims[count++] = (struct claim){
				.key = uuid_span(&c->tunnels[i].id),
				.section = sections[i],
				.at = &v->items[0],
			};
	}
	check_claims(l, claims, count, "id");
	return 0;
}

static int check_hosts(struct loader *l, const struct edge_conf *c,
		       const struct conf_section *const *sections)
{
	size_t count = 0;
	for (size_t i = 0; i < c->tunnel_count; i++)
		count += c->tunnels[i].host_count;
	_cleanup_(freep) struct claim *claims = calloc(count ? count : 1, sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	size_t n = 0;
	for (size_t i = 0; i < c->tunnel_count; i++) {
		const struct conf_value *v = load_value(sections[i], "hostname");
		/* One that was refused has been told; then the others can wait. */
		if (!v || v->item_count != c->tunnels[i].host_count)
			continue;
		for (size_t k = 0; k < v->item_count; k++)
			claims[n++] = (struct claim){
				.key = c->tunnels[i].hosts[k].host.text,
				.section = sections[i],
				.at = &v->items[k],
			};
	}
	check_claims(l, claims, n, "hostname");
	return 0;
}

static int tunnels_build(struct loader *l, struct edge_conf *c)
{
	size_t count = load_count(l, "tunnel");
	struct conf_edge_tunnel *tunnels = conf_alloc(l->arena, count * sizeof(*tunnels));
	const struct conf_section **sections =
		(const struct conf_section **)conf_alloc(l->arena, (count + 1) * sizeof(*sections));
	if (!tunnels || !sections)
		return -ENOMEM;
	for (size_t i = 0; i < l->section_count; i++) {
		const struct conf_section *s = &l->sections[i];
		if (strcmp(s->schema->kind, "tunnel") != 0)
			continue;
		struct conf_edge_tunnel *t = &tunnels[c->tunnel_count];
		sections[c->tunnel_count++] = s;
		t->name = s->name;
		t->line = s->line;
		int r = load_apply_defaults(l, s->schema, t);
		if (r == 0)
			r = load_apply_values(l, s, t);
		if (r == 0)
			r = check_secret(l, s, t);
		if (r < 0)
			return r;
	}
	c->tunnels = tunnels;
	int r = check_ids(l, c, sections);
	return r < 0 ? r : check_hosts(l, c, sections);
}

/* ---- ports and networks ---- */

/* [tcp] or [udp]. */
struct ports {
	const char *kind;
	const struct conf_edge_port *items;
	size_t count;
};

static const struct conf_section *port_section(const struct loader *l, const char *kind,
					       size_t index)
{
	for (size_t i = 0; i < l->section_count; i++)
		if (strcmp(l->sections[i].schema->kind, kind) == 0 && index-- == 0)
			return &l->sections[i];
	return NULL;
}

static bool has_listener(const struct conf_addr *listens, size_t count, const struct ip_port *addr)
{
	for (size_t i = 0; i < count; i++)
		if (ip_port_eq(&listens[i].addr, addr))
			return true;
	return false;
}

/* Who listens at this address before the port of this index; NULL: nobody. */
static const char *listener_before(const struct edge_conf *c, const struct ports *p, size_t index,
				   const struct ip_port *addr)
{
	bool is_udp = p->items == c->udp_ports;
	if (!is_udp && has_listener(c->front.http.listens, c->front.http.listen_count, addr))
		return "[http]";
	if (!is_udp && has_listener(c->front.https.listens, c->front.https.listen_count, addr))
		return "[https]";
	if (is_udp && has_listener(c->edge.listens, c->edge.listen_count, addr))
		return "[edge]";
	for (size_t i = 0; i < index; i++)
		if (has_listener(p->items[i].listens, p->items[i].listen_count, addr))
			return is_udp ? "another [udp]" : "another [tcp]";
	return NULL;
}

/* Two listeners at one address would share its visitors by chance (SO_REUSEPORT). */
static void check_port_listeners(struct loader *l, const struct edge_conf *c,
				 const struct ports *ports, size_t index)
{
	const struct conf_edge_port *p = &ports->items[index];
	const struct conf_section *s = port_section(l, ports->kind, index);
	const struct conf_value *v = load_value(s, "listen");
	for (size_t i = 0; v && i < p->listen_count && i < v->item_count; i++) {
		const char *other = listener_before(c, ports, index, &p->listens[i].addr);
		if (other)
			load_error(l, s, "listen", &v->items[i],
				   "%s listens at %s already; accepted: an address of its own",
				   other, v->items[i].text);
	}
}

static void check_port(struct loader *l, const struct edge_conf *c, const struct ports *ports,
		       size_t index)
{
	const struct conf_edge_port *p = &ports->items[index];
	const struct conf_section *s = port_section(l, ports->kind, index);
	const struct conf_item *at = load_item(s, "dest");
	char found[128];
	/* The daemon gets an address; names are not looked up for an edge. */
	if (p->dest && at && (p->dest->addr.ip.family == IP_FAMILY_NONE || p->dest->addr.port == 0))
		load_error(l, s, "dest", at, "%s is no address with a port; accepted: %s",
			   load_quote(at->text, false, found, sizeof(found)),
			   "ADDRESS:PORT or [IPV6]:PORT");
	check_port_listeners(l, c, ports, index);
}

static int ports_build(struct loader *l, const char *kind, const struct conf_edge_port **ret,
		       size_t *ret_count)
{
	size_t count = load_count(l, kind);
	struct conf_edge_port *ports = conf_alloc(l->arena, count * sizeof(*ports));
	if (!ports)
		return -ENOMEM;
	*ret = ports;
	for (size_t i = 0; i < count; i++) {
		const struct conf_section *s = port_section(l, kind, i);
		struct conf_edge_port *p = &ports[(*ret_count)++];
		p->name = s->name;
		int r = load_apply_defaults(l, s->schema, p);
		if (r == 0)
			r = load_apply_values(l, s, p);
		if (r < 0)
			return r;
	}
	return 0;
}

static int networks_build(struct loader *l, struct edge_conf *c)
{
	size_t count = load_count(l, "network");
	struct conf_edge_network *networks = conf_alloc(l->arena, count * sizeof(*networks));
	if (!networks)
		return -ENOMEM;
	c->networks = networks;
	for (size_t i = 0; i < count; i++) {
		const struct conf_section *s = port_section(l, "network", i);
		struct conf_edge_network *n = &networks[c->network_count++];
		n->name = s->name;
		int r = load_apply_defaults(l, s->schema, n);
		if (r == 0)
			r = load_apply_values(l, s, n);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The section that has this very prefix before, or NULL. index: of the network that p is in. */
static const char *prefix_before(const struct edge_conf *c, size_t index,
				 const struct conf_prefix *p)
{
	for (size_t i = 0; i <= index; i++)
		for (size_t k = 0; k < c->networks[i].prefix_count; k++) {
			const struct conf_prefix *other = &c->networks[i].prefixes[k];
			if (other == p)
				return NULL;
			if (other->bits == p->bits && ip_addr_eq(&other->ip, &p->ip))
				return c->networks[i].name;
		}
	return NULL;
}

static void check_networks(struct loader *l, const struct edge_conf *c)
{
	for (size_t i = 0; i < c->network_count; i++) {
		const struct conf_edge_network *n = &c->networks[i];
		const struct conf_section *s = port_section(l, "network", i);
		const struct conf_value *v = load_value(s, "prefix");
		for (size_t k = 0; v && k < n->prefix_count && k < v->item_count; k++) {
			const char *other = prefix_before(c, i, &n->prefixes[k]);
			if (other)
				load_error(l, s, "prefix", &v->items[k],
					   "%s is in [network %s] as well; accepted: once",
					   v->items[k].text, other);
			if (!conf_prefix_is_routable(&n->prefixes[k]))
				load_error(
					l, s, "prefix", &v->items[k],
					"%s holds addresses that no network behind a tunnel can have "
					"(loopback, link-local, multicast); accepted: PREFIX/BITS",
					v->items[k].text);
		}
	}
	if (edge_conf_prefixes(c) > EDGE_CONF_PREFIXES_MAX)
		load_error(l, load_find(l, "network"), "prefix", NULL,
			   "%zu prefixes in all [network] sections; accepted: at most %zu",
			   edge_conf_prefixes(c), EDGE_CONF_PREFIXES_MAX);
}

/* "home, lab": what a port may lead to; cut at the end. */
static const char *tunnel_names(const struct edge_conf *c, char *buf, size_t size)
{
	size_t len = 0;
	buf[0] = '\0';
	for (size_t i = 0; i < c->tunnel_count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? ", " : "",
					c->tunnels[i].name);
	return buf;
}

/* [tcp], [udp] and [network] lead to a tunnel of this file. */
static void check_references(struct loader *l, const struct edge_conf *c)
{
	static const char *const kinds[] = { "tcp", "udp", "network" };
	char names[400], found[128];
	for (size_t i = 0; i < l->section_count; i++) {
		const struct conf_section *s = &l->sections[i];
		const struct conf_item *at = load_item(s, "tunnel");
		bool is_reference = false;
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
			is_reference = is_reference || strcmp(s->schema->kind, kinds[k]) == 0;
		if (!is_reference || !at || edge_conf_find_tunnel(c, at->text) < c->tunnel_count)
			continue;
		load_error(l, s, "tunnel", at, "there is no [tunnel %s]; accepted: %s",
			   load_quote(at->text, false, found, sizeof(found)),
			   c->tunnel_count ? tunnel_names(c, names, sizeof(names))
					   : "the name of a [tunnel NAME] section");
	}
}

/* ---- the rest ---- */

/* A front is on when its section was written down, even an empty one. */
static void check_listeners(struct loader *l, struct edge_conf *c)
{
	if (!load_find(l, "http"))
		c->front.http = (struct conf_front_listener){};
	if (!load_find(l, "https"))
		c->front.https = (struct conf_front_listener){};
	if (!c->front.http.listen_count && !c->front.https.listen_count && !c->tcp_port_count &&
	    !c->udp_port_count && !c->network_count)
		conf_report_add(
			l->report, CONF_SEVERITY_WARNING, c->common.file, 0,
			"neither [http] nor [https] nor [tcp] nor [udp] nor [network]: there is no public listener");
	const struct ports all[] = { { "tcp", c->tcp_ports, c->tcp_port_count },
				     { "udp", c->udp_ports, c->udp_port_count } };
	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		for (size_t i = 0; i < all[k].count; i++)
			check_port(l, c, &all[k], i);
	if (edge_conf_tcp_listeners(c) > EDGE_CONF_TCP_LISTENERS_MAX)
		load_error(l, load_find(l, "tcp"), "listen", NULL,
			   "%zu addresses in all [tcp] sections; accepted: at most %zu",
			   edge_conf_tcp_listeners(c), EDGE_CONF_TCP_LISTENERS_MAX);
	if (edge_conf_udp_listeners(c) > EDGE_CONF_UDP_LISTENERS_MAX)
		load_error(l, load_find(l, "udp"), "listen", NULL,
			   "%zu addresses in all [udp] sections; accepted: at most %zu",
			   edge_conf_udp_listeners(c), EDGE_CONF_UDP_LISTENERS_MAX);
}

int edge_conf_load(const struct conf_source *src, struct conf_report *report,
		   struct edge_conf **ret)
{
	_cleanup_(conf_arena_freep) struct conf_arena *arena = conf_arena_new();
	struct edge_conf *c = arena ? conf_alloc(arena, sizeof(*c)) : NULL;
	if (!c)
		return -ENOMEM;
	struct loader l = {
		.src = src,
		.program = CONF_PROGRAM_EDGE,
		.report = report,
		.arena = arena,
		.errors_before = report->errors,
	};
	int r = load_gather(&l);
	if (r == 0)
		r = load_apply_unnamed(&l, c);
	if (r < 0)
		return r;
	load_finish_common(&l, &c->common);
	r = tunnels_build(&l, c);
	if (r == 0)
		r = ports_build(&l, "tcp", &c->tcp_ports, &c->tcp_port_count);
	if (r == 0)
		r = ports_build(&l, "udp", &c->udp_ports, &c->udp_port_count);
	if (r == 0)
		r = networks_build(&l, c);
	if (r == 0)
		r = load_check_unstored(&l);
	if (r < 0)
		return r;
	check_references(&l, c);
	check_listeners(&l, c);
	check_networks(&l, c);
	load_check_common(&l, &c->common);
	if (report->errors != l.errors_before)
		return -EINVAL;
	(void)TAKE_PTR(arena); /* the snapshot's own now */
	*ret = c;
	return 0;
}
