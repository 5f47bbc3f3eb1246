/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds and checks the tunnel's credential. The texts that hold a secret (base64, JSON) are only
 * ever in locked pages that core dumps leave out; the JSON library, which copies what it parses to
 * the heap, gets the text with the secret cut out of it.
 */
#include "daemon/conf/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-json.h>

#include "daemon/wire/base64.h"
#include "util/macro.h"

/* ---- memory for secrets ---- */

/* Zeroed pages, locked if the limit allows, never in a core dump. */
static void *secret_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, size, MADV_DONTDUMP);
	(void)mlock(p, size);
	return p;
}

static void secret_release(void *p, size_t size)
{
	if (!p)
		return;
	explicit_bzero(p, size);
	(void)munmap(p, size);
}

struct tunnel_credential *credential_copy(const struct tunnel_credential *c)
{
	struct tunnel_credential *copy = secret_alloc(sizeof(*copy));
	if (copy)
		*copy = *c;
	return copy;
}

void credential_free(struct tunnel_credential *c)
{
	secret_release(c, sizeof(*c));
}

/* A text with a secret in it, and room to decode it. */
struct secret_text {
	size_t len;
	size_t decoded_len;
	uint8_t text[CREDENTIAL_TEXT_MAX + 1];
	uint8_t decoded[CREDENTIAL_TEXT_MAX + 1];
	uint8_t secret[CREDENTIAL_TEXT_MAX]; /* the value cut out of the JSON, still base64 */
	size_t secret_len;
};

/* Offsets in a text: from, and the first behind. */
struct range {
	size_t from;
	size_t to;
};

static void secret_text_freep(struct secret_text **s)
{
	secret_release(*s, sizeof(**s));
}

/* ---- cutting the secret out ---- */

/* Index behind the string that begins at text[at] (a quote), or len. */
static size_t string_end(const uint8_t *text, size_t len, size_t at)
{
	for (at++; at < len && text[at] != '"'; at++)
		if (text[at] == '\\')
			at++;
	return at < len ? at + 1 : len;
}

static size_t skip_blanks(const uint8_t *text, size_t len, size_t at)
{
	while (at < len &&
	       (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n'))
		at++;
	return at;
}

/* True if the string at text[at] is a member of this name with a string value; that without its
 * quotes. */
static bool string_member(struct span text, size_t at, const char *name, struct range *ret)
{
	size_t end = string_end(text.ptr, text.len, at);
	if (!span_eq_str(span_of(text.ptr + at + 1, end - at - 2), name))
		return false;
	size_t colon = skip_blanks(text.ptr, text.len, end);
	size_t value = text.len;
	if (colon < text.len && text.ptr[colon] == ':')
		value = skip_blanks(text.ptr, text.len, colon + 1);
	if (value >= text.len || text.ptr[value] != '"')
		return false;
	size_t value_end = string_end(text.ptr, text.len, value);
	*ret = (struct range){ .from = value + 1, .to = MAX(value_end - 1, value + 1) };
	return value_end < text.len;
}

/*
 * Moves the value of the member of the outermost object to s->secret and leaves "-" in its place.
 * The JSON parser looks at the rest; a secret that was hidden from us by an escape in its name
 * isn't "-…-" there and is refused.
 */
static void secret_cut(struct secret_text *s, uint8_t *text, size_t len, const char *name)
{
	unsigned int depth = 0;
	for (size_t at = 0; at < len; at++) {
		struct range r;
		depth += text[at] == '{' || text[at] == '[';
		depth -= (text[at] == '}' || text[at] == ']') && depth > 0;
		if (text[at] != '"')
			continue;
		if (depth == 1 && string_member(span_of(text, len), at, name, &r)) {
			s->secret_len = r.to - r.from;
			memcpy(s->secret, text + r.from, s->secret_len);
			memset(text + r.from, '-', s->secret_len);
		}
		at = string_end(text, len, at) - 1;
	}
}

/* ---- JSON ---- */

/* One member that a credential may have. */
struct member {
	const char *name;
	int (*take)(sd_json_variant *v, struct secret_text *s, struct tunnel_credential *c,
		    const char **ret_reason);
	bool is_required;
};

static int refuse(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EBADMSG;
}

static int take_account(sd_json_variant *v, struct secret_text *s, struct tunnel_credential *c,
			const char **ret_reason)
{
	(void)s;
	const char *text = sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "";
	size_t len = strlen(text);
	if (len == 0 || len > TUNNEL_ACCOUNT_MAX)
		return refuse(ret_reason, "its account is no text of 1 to 64 bytes");
	memcpy(c->account, text, len);
	c->account_len = (uint8_t)len;
	return 0;
}

static int take_id(sd_json_variant *v, struct secret_text *s, struct tunnel_credential *c,
		   const char **ret_reason)
{
	(void)s;
	if (!sd_json_variant_is_string(v) ||
	    uuid_parse(span_str(sd_json_variant_string(v)), &c->tunnel_id) < 0)
		return refuse(ret_reason, "its tunnel id is no UUID");
	return 0;
}

static int take_secret(sd_json_variant *v, struct secret_text *s, struct tunnel_credential *c,
		       const char **ret_reason)
{
	static const char bad[] = "its secret is no base64 of 1 to 256 bytes";
	const char *text = sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "";
	if (s->secret_len == 0 || strspn(text, "-") != s->secret_len || text[s->secret_len])
		return refuse(ret_reason, bad);
	struct packer p = packer_over(c->secret, sizeof(c->secret));
	if (base64_decode(span_of(s->secret, s->secret_len), &p) < 0 || p.len == 0)
		return refuse(ret_reason, bad);
	c->secret_len = (uint16_t)p.len;
	return 0;
}

static int take_edges(sd_json_variant *list, struct tunnel_credential *c, const char **ret_reason)
{
	if (!sd_json_variant_is_array(list) || sd_json_variant_elements(list) > TUNNEL_EDGES_MAX)
		return refuse(ret_reason, "x.edge is no list of at most 16 edges");
	for (size_t i = 0; i < sd_json_variant_elements(list); i++) {
		sd_json_variant *v = sd_json_variant_by_index(list, i);
		const char *text = sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "";
		size_t len = strlen(text);
		if (len == 0 || len > TUNNEL_EDGE_MAX)
			return refuse(ret_reason, "x.edge holds something that is no address");
		memcpy(c->edges[i].text, text, len);
		c->edges[i].len = (uint16_t)len;
		c->edge_count++;
	}
	return 0;
}

static int take_pin(sd_json_variant *v, struct tunnel_credential *c, const char **ret_reason)
{
	static const struct span prefix = SPAN_LIT("sha256/");
	struct span text = span_str(sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "");
	uint8_t pin[TUNNEL_PIN_LEN + 3];
	struct packer p = packer_over(pin, sizeof(pin));
	if (!span_starts_with(text, prefix) || base64_decode(span_skip(text, prefix.len), &p) < 0 ||
	    p.len != TUNNEL_PIN_LEN)
		return refuse(ret_reason, "x.pin is not sha256/BASE64");
	memcpy(c->pin, pin, TUNNEL_PIN_LEN);
	c->has_pin = true;
	return 0;
}

/* The reference's "endpoint" becomes a part of a name in DNS. */
static int take_region(sd_json_variant *v, struct secret_text *s, struct tunnel_credential *c,
		       const char **ret_reason)
{
	(void)s;
	const char *text = sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "-";
	size_t len = strlen(text);
	static const char label[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	if (len > TUNNEL_REGION_MAX || strspn(text, label) != len)
		return refuse(ret_reason, "its endpoint is no region");
	memcpy(c->region, text, len);
	return 0;
}

/* No name twice: sd-json would take the first, a Go reader the last. */
static bool has_repeated_name(sd_json_variant *object)
{
	size_t n = sd_json_variant_elements(object);
	for (size_t i = 0; i + 1 < n; i += 2)
		for (size_t k = i + 2; k + 1 < n; k += 2)
			if (strcmp(sd_json_variant_string(sd_json_variant_by_index(object, i)),
				   sd_json_variant_string(sd_json_variant_by_index(object, k))) ==
			    0)
				return true;
	return false;
}

static int take_extension(sd_json_variant *x, struct secret_text *s, struct tunnel_credential *c,
			  const char **ret_reason)
{
	(void)s;
	if (!sd_json_variant_is_object(x))
		return refuse(ret_reason, "x is no object");
	if (has_repeated_name(x))
		return refuse(ret_reason, "a member of x twice");
	sd_json_variant *v = sd_json_variant_by_key(x, "v");
	if (!sd_json_variant_is_unsigned(v) || sd_json_variant_unsigned(v) != 1)
		return refuse(ret_reason, "x.v is not 1: made for another version");
	sd_json_variant *edges = sd_json_variant_by_key(x, "edge");
	sd_json_variant *pin = sd_json_variant_by_key(x, "pin");
	int r = edges ? take_edges(edges, c, ret_reason) : 0;
	return r == 0 && pin ? take_pin(pin, c, ret_reason) : r;
}

/* The table ends with an empty row. */
static int object_take(sd_json_variant *object, const struct member *members, struct secret_text *s,
		       struct tunnel_credential *c, const char **ret_reason)
{
	if (!sd_json_variant_is_object(object))
		return refuse(ret_reason, "no JSON object");
	if (has_repeated_name(object))
		return refuse(ret_reason, "a member twice");
	for (; members->name; members++) {
		sd_json_variant *v = sd_json_variant_by_key(object, members->name);
		if (!v && members->is_required)
			return refuse(ret_reason, "account, tunnel id or secret is missing");
		int r = v ? members->take(v, s, c, ret_reason) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static void variant_unrefp(sd_json_variant **v)
{
	sd_json_variant_unref(*v);
}

static const struct member token_members[] = {
	{ "a", take_account, true }, { "t", take_id, true },      { "x", take_extension, false },
	{ "s", take_secret, true },  { "e", take_region, false }, { NULL, NULL, false },
};

static const struct member file_members[] = {
	{ "AccountTag", take_account, true },
	{ "TunnelID", take_id, true },
	{ "TunnelSecret", take_secret, true },
	{ "Endpoint", take_region, false },
	{ NULL, NULL, false },
};

/* Reads a token's JSON from s->decoded or a file's from s->text; both have room for a NUL. */
static int json_take(struct secret_text *s, bool is_token, struct tunnel_credential **ret,
		     const char **ret_reason)
{
	_cleanup_(credential_freep) struct tunnel_credential *c = secret_alloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	uint8_t *text = is_token ? s->decoded : s->text;
	size_t len = is_token ? s->decoded_len : s->len;
	secret_cut(s, text, len, is_token ? "s" : "TunnelSecret");
	text[len] = '\0';
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	int r = memchr(text, 0, len) ? -EINVAL
				     : sd_json_parse((const char *)text, SD_JSON_PARSE_SENSITIVE,
						     &v, NULL, NULL);
	if (r < 0)
		return r == -ENOMEM ? r : refuse(ret_reason, "no JSON");
	r = object_take(v, is_token ? token_members : file_members, s, c, ret_reason);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

/* ---- texts ---- */

static struct span trim_lines(struct span s)
{
	while (s.len && s.ptr[0] <= ' ')
		s = span_skip(s, 1);
	while (s.len && s.ptr[s.len - 1] <= ' ')
		s.len--;
	return s;
}

static int token_take(struct secret_text *s, struct span text, struct tunnel_credential **ret,
		      const char **ret_reason)
{
	struct packer p = packer_over(s->decoded, CREDENTIAL_TEXT_MAX);
	text = trim_lines(text);
	if (text.len == 0 || base64_decode(text, &p) < 0)
		return refuse(ret_reason, "not a token: no base64");
	s->decoded_len = p.len;
	return json_take(s, true, ret, ret_reason);
}

int credential_from_token(struct span text, struct tunnel_credential **ret, const char **ret_reason)
{
	_cleanup_(secret_text_freep) struct secret_text *s = secret_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (text.len > CREDENTIAL_TEXT_MAX)
		return refuse(ret_reason, "too long for a token");
	return token_take(s, text, ret, ret_reason);
}

int credential_from_json(struct span text, struct tunnel_credential **ret, const char **ret_reason)
{
	_cleanup_(secret_text_freep) struct secret_text *s = secret_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (text.len > CREDENTIAL_TEXT_MAX)
		return refuse(ret_reason, "too long for a credentials file");
	if (text.len)
		memcpy(s->text, text.ptr, text.len);
	s->len = text.len;
	return json_take(s, false, ret, ret_reason);
}

/* ---- files ---- */

static int mode_check(const struct stat *st, const char **ret_reason)
{
	if (!S_ISREG(st->st_mode)) {
		*ret_reason = "not a regular file";
		return -EPERM;
	}
	if (st->st_mode & (S_IRGRP | S_IROTH)) {
		*ret_reason = "readable by group or others";
		return -EPERM;
	}
	return 0;
}

int secret_file_check(const char *path, const char **ret_reason)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		int r = -errno;
		*ret_reason = "can't be looked at";
		return r;
	}
	return mode_check(&st, ret_reason);
}

/* Reads a secret file into s->text. The mode is that of what was opened, not of what the path is
 * now. */
static int secret_read(const char *path, bool is_handed_over, struct secret_text *s,
		       const char **ret_reason)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;
		*ret_reason = "can't be opened";
		return r;
	}
	int r = is_handed_over ? 0 : mode_check(&st, ret_reason);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = read(fd, s->text + s->len, CREDENTIAL_TEXT_MAX + 1 - s->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			*ret_reason = "can't be read";
			return r;
		}
		s->len += (size_t)n;
		if (n == 0 || s->len > CREDENTIAL_TEXT_MAX)
			break;
	}
	if (s->len > CREDENTIAL_TEXT_MAX) {
		*ret_reason = "over 16 KiB";
		return -E2BIG;
	}
	return 0;
}

int credential_read(const char *path, bool is_json, bool is_handed_over,
		    struct tunnel_credential **ret, const char **ret_reason)
{
	_cleanup_(secret_text_freep) struct secret_text *s = secret_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = secret_read(path, is_handed_over, s, ret_reason);
	if (r < 0)
		return r;
	if (!is_json)
		return token_take(s, span_of(s->text, s->len), ret, ret_reason);
	return json_take(s, false, ret, ret_reason);
}

int credential_read_secret(const char *path, uint8_t out[TUNNEL_SECRET_MAX],
			   const char **ret_reason)
{
	_cleanup_(secret_text_freep) struct secret_text *s = secret_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = secret_read(path, false, s, ret_reason);
	if (r < 0)
		return r;
	struct packer p = packer_over(out, TUNNEL_SECRET_MAX);
	if (base64_decode(trim_lines(span_of(s->text, s->len)), &p) < 0 || p.len == 0)
		return refuse(ret_reason, "no base64 of 1 to 256 bytes");
	return (int)p.len;
}
