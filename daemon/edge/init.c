/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit-edge init`. Each file is made once and left alone afterwards, so the command can be run
 * again to add a tunnel. The token goes to a file of mode 0600; only --print-token shows it.
 */
#include "daemon/edge/init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/drop_priv.h"
#include "daemon/base/exit.h"
#include "daemon/base/file.h"
#include "daemon/base/paths.h"
#include "daemon/base/random.h"
#include "daemon/base/secret.h"
#include "daemon/conf/load.h"
#include "daemon/conf/rule.h"
#include "daemon/net/ca.h"
#include "daemon/net/digest.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/hex.h"
#include "daemon/wire/token.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	PATH_LEN = 4096,
	SECRET_LEN = 32,
	ACCOUNT_LEN = 16,
	CONFIG_MAX = 16 * 1024 * 1024,
};

static int complain(const char *what, const char *path, int error)
{
	(void)fprintf(stderr, "adit-edge: %s %s: %s\n", what, path, strerrordesc_np(-error));
	return EXIT_FAILED;
}

static bool exists(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0;
}

static int make_quic_key(const char *state_dir)
{
	char path[PATH_LEN];
	(void)snprintf(path, sizeof(path), "%s/quic-key", state_dir);
	if (exists(path))
		return EXIT_OK;
	uint8_t key[32];
	random_bytes(key, sizeof(key));
	int r = file_replace(path, span_of(key, sizeof(key)), 0600);
	secret_wipe(key, sizeof(key));
	if (r < 0)
		return complain("cannot write", path, r);
	(void)printf("made %s\n", path);
	return EXIT_OK;
}

static int make_certificates(const struct init_params *p)
{
	int r = ca_create(p->state_dir, p->domain);
	if (r == -EINVAL) {
		(void)fprintf(stderr, "adit-edge init: --domain: '%s' is not a DNS name\n",
			      p->domain);
		return EXIT_USAGE;
	}
	if (r < 0 && r != -EEXIST)
		return complain("cannot make a certificate authority in", p->state_dir, r);
	if (r == 0)
		(void)printf("made %s/" CA_FILE " and its key\n", p->state_dir);
	int days = 0;
	if (ca_leaf_days(p->state_dir, &days) == 0)
		return EXIT_OK;
	r = ca_issue(p->state_dir, NULL);
	if (r < 0)
		return complain("cannot issue a certificate in", p->state_dir, r);
	(void)printf("made %s/" LEAF_FILE " and its key\n", p->state_dir);
	return EXIT_OK;
}

/* Made by root it is root's, and the service user may read it: a reload has no other rights. */
static void give_config(const char *path)
{
	uid_t uid;
	gid_t gid;
	if (geteuid() == 0 && drop_priv_find_user(EDGE_SERVICE_USER, &uid, &gid) == 0 &&
	    lchown(path, (uid_t)-1, gid) < 0)
		(void)complain("cannot give its group to", path, -errno);
}

static int make_config(const struct init_params *p)
{
	if (exists(p->config))
		return EXIT_OK;
	char text[2048];
	int n = snprintf(text, sizeof(text),
			 "; adit-edge: the other end of the tunnels. All keys: docs/config.md.\n"
			 "[edge]\n"
			 "domain = %s\n"
			 "advertise = %s\n"
			 "\n"
			 "[http]\n"
			 "listen = 0.0.0.0:80, [::]:80\n"
			 "\n"
			 "; Certificates for visitors: NAME.pem in the directory, chosen by name.\n"
			 ";[https]\n"
			 ";listen = 0.0.0.0:443, [::]:443\n"
			 ";certificates = %s/certs\n",
			 p->domain, p->advertise, p->state_dir);
	if (n < 0 || (size_t)n >= sizeof(text))
		return complain("cannot write", p->config, -ENAMETOOLONG);
	int r = file_replace(p->config, span_of(text, (size_t)n), 0640);
	if (r < 0)
		return complain("cannot write", p->config, r);
	give_config(p->config);
	(void)printf("made %s\n", p->config);
	return EXIT_OK;
}

/* A name without a dot lives below the edge's domain (spec §2.3). */
static void pack_hostname(struct packer *w, const struct init_params *p, const char *name)
{
	packer_str(w, "hostname = ");
	packer_str(w, name);
	if (!strchr(name, '.')) {
		packer_str(w, ".");
		packer_str(w, p->domain);
	}
	packer_str(w, "\n");
}

static int replace_config(const struct init_params *p, struct span text)
{
	struct stat st;
	bool is_there = stat(p->config, &st) == 0;
	int r = file_replace(p->config, text, is_there ? st.st_mode & 07777 : 0640);
	if (r == 0 && is_there && geteuid() == 0 && lchown(p->config, st.st_uid, st.st_gid) < 0)
		return -errno;
	return r;
}

/* The section of a tunnel, appended to the configuration old as one write. */
static int write_section(const struct init_params *p, const struct tunnel_credential *c,
			 const uint8_t digest[32], struct span old)
{
	size_t cap = old.len + 1024 + p->hostname_count * 2 * (ENDPOINT_HOST_MAX + 8);
	_cleanup_(freep) char *text = malloc(cap);
	if (!text)
		return -ENOMEM;
	char id[UUID_TEXT_LEN + 1];
	uuid_format(&c->tunnel_id, id);
	struct packer w = packer_over(text, cap);
	packer_bytes(&w, old);
	packer_str(&w, old.len && old.ptr[old.len - 1] != '\n' ? "\n\n[tunnel " : "\n[tunnel ");
	packer_str(&w, p->tunnel);
	packer_str(&w, "]\nid = ");
	packer_str(&w, id);
	packer_str(&w, "\naccount = ");
	packer_bytes(&w, tunnel_credential_account(c));
	packer_str(&w, "\nsecret-sha256 = ");
	hex_encode(&w, span_of(digest, 32));
	packer_str(&w, "\n");
	for (size_t i = 0; i < p->hostname_count; i++)
		pack_hostname(&w, p, p->hostnames[i]);
	int r = packer_finish(&w);
	return r < 0 ? r : replace_config(p, packer_span(&w));
}

static int write_token(const struct init_params *p, const struct tunnel_credential *c,
		       char path[PATH_LEN])
{
	_cleanup_(secret_freep) struct secret *scratch = NULL, *text = NULL;
	int r = secret_new_empty(TOKEN_TEXT_MAX, &scratch);
	if (r == 0)
		r = secret_new_empty(TOKEN_TEXT_MAX, &text);
	if (r < 0)
		return r;
	struct packer s = packer_over(secret_data(scratch), TOKEN_TEXT_MAX);
	struct packer t = packer_over(secret_data(text), TOKEN_TEXT_MAX);
	r = token_encode(c, &s, &t);
	packer_str(&t, "\n");
	if (r == 0)
		r = packer_finish(&t);
	(void)snprintf(path, PATH_LEN, "%s/%s.token", p->state_dir, p->tunnel);
	if (r == 0)
		r = file_replace(path, packer_span(&t), 0600);
	if (r == 0 && p->print_token)
		(void)fwrite(t.buf, 1, t.len, stdout);
	return r;
}

/* Fills in a fresh credential: ids, secret, where the edge is and how it is known. */
static int make_credential(const struct init_params *p, struct tunnel_credential *c,
			   uint8_t digest[32])
{
	uint8_t account[ACCOUNT_LEN];
	random_bytes(account, sizeof(account));
	struct packer a = packer_over(c->account, sizeof(c->account));
	hex_encode(&a, span_of(account, sizeof(account)));
	c->account_len = (uint8_t)a.len;
	random_bytes(c->tunnel_id.bytes, UUID_LEN);
	uuid_make_v4(&c->tunnel_id);
	random_bytes(c->secret, SECRET_LEN);
	c->secret_len = SECRET_LEN;
	c->edge_count = 1;
	c->edges[0].len = (uint16_t)strlen(p->advertise);
	memcpy(c->edges[0].text, p->advertise, c->edges[0].len);
	c->has_pin = true;
	int r = digest_sha256(span_of(c->secret, c->secret_len), digest);
	return r < 0 ? r : ca_pin(p->state_dir, c->pin);
}

/* Is the name taken already? Read by the same loader that the edge starts with. */
static int check_config(const struct init_params *p, bool *ret_taken)
{
	struct conf_report report = {};
	struct conf_source src = { .path = p->config, .check = true };
	struct edge_conf *conf = NULL;
	int r = edge_conf_load(&src, &report, &conf);
	char line[1024];
	for (size_t i = 0; r < 0 && i < report.count; i++)
		if (report.messages[i].severity == CONF_SEVERITY_ERROR)
			(void)fprintf(stderr, "%s\n",
				      conf_message_print(&report.messages[i], line, sizeof(line)));
	conf_report_done(&report);
	*ret_taken =
		r == 0 && p->tunnel && edge_conf_find_tunnel(conf, p->tunnel) < conf->tunnel_count;
	edge_conf_unref(conf);
	return r < 0 ? EXIT_CONFIG : EXIT_OK;
}

/* How the edge is started with what was made. */
static void print_start(const struct init_params *p)
{
	(void)printf("adit-edge --config %s", p->config);
	if (p->state_option)
		(void)printf(" --state-dir %s", p->state_option);
}

static int make_tunnel(const struct init_params *p)
{
	bool taken = false;
	int code = check_config(p, &taken);
	if (code)
		return code;
	if (taken) {
		(void)printf("tunnel %s is there already\n", p->tunnel);
		return EXIT_OK;
	}
	_cleanup_(secret_freep) struct secret *room = NULL;
	_cleanup_(freep) char *old = NULL;
	size_t old_len = 0;
	uint8_t digest[32];
	char path[PATH_LEN];
	int r = secret_new_empty(sizeof(struct tunnel_credential), &room);
	if (r < 0)
		return complain("cannot make a token in", p->state_dir, r);
	struct tunnel_credential *c = (void *)secret_data(room);
	r = make_credential(p, c, digest);
	if (r < 0)
		return complain("cannot make a token in", p->state_dir, r);
	r = file_read(p->config, CONFIG_MAX, &old, &old_len);
	if (r == 0)
		r = write_section(p, c, digest, span_of(old, old_len));
	if (r < 0)
		return complain("cannot add the tunnel to", p->config, r);
	/* A name that the loader refuses leaves no trace, nor is it a file's name before that. */
	code = check_config(p, &taken);
	if (!code) {
		r = write_token(p, c, path);
		code = r < 0 ? complain("cannot make a token in", p->state_dir, r) : EXIT_OK;
	}
	if (code) {
		(void)replace_config(p, span_of(old, old_len));
		return code;
	}
	(void)printf("made tunnel %s\njoin token in %s\nnext: ", p->tunnel, path);
	print_start(p);
	(void)printf(", and on the other host: aditd --token-file %s.token --url "
		     "http://localhost:8080\n"
		     "(cloudflared takes the same token with --edge %s --cacert %s/" CA_FILE ")\n",
		     p->tunnel, p->advertise, p->state_dir);
	return EXIT_OK;
}

static int check_params(const struct init_params *p)
{
	struct endpoint e;
	const char *reason = "";
	if (!p->domain || !p->advertise) {
		(void)fprintf(stderr, "adit-edge init: --domain and --advertise are required\n");
		return EXIT_USAGE;
	}
	if (strlen(p->advertise) > TUNNEL_EDGE_MAX ||
	    endpoint_parse(span_str(p->advertise), &e, &reason) < 0 ||
	    e.kind == ENDPOINT_KIND_UNIX) {
		(void)fprintf(stderr, "adit-edge init: --advertise: '%s' is not HOST:PORT\n",
			      p->advertise);
		return EXIT_USAGE;
	}
	if (p->hostname_count > 0 && !p->tunnel) {
		(void)fprintf(stderr, "adit-edge init: --hostname needs --tunnel\n");
		return EXIT_USAGE;
	}
	return EXIT_OK;
}

int init_run(const struct init_params *p)
{
	int code = check_params(p);
	if (code)
		return code;
	int r = paths_make(p->state_dir, 0700);
	if (r < 0)
		return complain("cannot make", p->state_dir, r);
	char folder[PATH_LEN];
	(void)snprintf(folder, sizeof(folder), "%s", p->config);
	char *slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = '\0';
		struct stat st;
		r = stat(folder, &st) < 0 ? paths_make(folder, 0755) : 0;
		if (r < 0)
			return complain("cannot make", folder, r);
	}
	code = make_certificates(p);
	if (!code)
		code = make_quic_key(p->state_dir);
	if (!code)
		code = make_config(p);
	if (!code && p->tunnel)
		return make_tunnel(p);
	if (code)
		return code;
	(void)fputs("next: adit-edge init … --tunnel NAME --hostname HOST, or start it: ", stdout);
	print_start(p);
	(void)putchar('\n');
	return EXIT_OK;
}
