/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one configuration of the edge to the next: which tunnels stay what they are to their links,
 * which don't; names, hostnames, secrets in files.
 */
#include "daemon/edge/roster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "util/macro.h"

#define ID_HOME  "6ff42ae2-765d-4adf-8112-31c55c1551ef"
#define ID_OTHER "6ff42ae2-765d-4adf-8112-31c55c155100"
#define SHA_ZERO "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
#define SHA_ONES "af9613760f72635fbdb44a5a0a63c39f12af30f950a6ee5c971be188e89c4051"
#define B64_ZERO "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define B64_ONES "//////////////////////////////////////////8="

#define TUNNEL(name, id, account, secret)                                                        \
	"tunnel." name ".id=" id, "tunnel." name ".account=" account, "tunnel." name "." secret, \
		"tunnel." name ".hostname=" name ".test"

static const char *const first[] = { TUNNEL("home", ID_HOME, "a", "secret-sha256=" SHA_ZERO) };
static const char *const both[] = { TUNNEL("other", ID_OTHER, "b", "secret-sha256=" SHA_ONES),
				    TUNNEL("home", ID_HOME, "a", "secret-sha256=" SHA_ZERO) };
static const char *const renamed[] = { TUNNEL("casa", ID_HOME, "a", "secret-sha256=" SHA_ZERO) };
static const char *const resecret[] = { TUNNEL("home", ID_HOME, "a", "secret-sha256=" SHA_ONES) };
static const char *const reaccount[] = { TUNNEL("home", ID_HOME, "b", "secret-sha256=" SHA_ZERO) };
static const char *const none[] = { "log.level=info" };

static const struct {
	const char *const *settings;
	size_t count;
	bool has_home, is_same;
	const char *name;
} steps[] = {
	{ first, ARRAY_SIZE(first), true, true, "home" },
	{ both, ARRAY_SIZE(both), true, true, "home" },
	{ renamed, ARRAY_SIZE(renamed), true, true, "casa" },
	{ resecret, ARRAY_SIZE(resecret), true, false, "home" },
	{ reaccount, ARRAY_SIZE(reaccount), true, false, "home" },
	{ none, ARRAY_SIZE(none), false, false, "home" }, /* the name that it had */
};

struct fixture {
	struct metric_registry *reg;
	struct front_families front;
	struct tunnel_families links;
	struct uuid home;
};

static int start(void **state)
{
	static struct fixture fx;
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	assert_int_equal(front_families_define(&fx.front, fx.reg), 0);
	assert_int_equal(tunnel_families_define(&fx.links, fx.reg), 0);
	assert_int_equal(uuid_parse(SPAN_LIT(ID_HOME), &fx.home), 0);
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	metric_registry_free(((struct fixture *)*state)->reg);
	return 0;
}

static int make(struct fixture *fx, const char *const *settings, size_t count,
		const struct roster *old, struct roster **ret)
{
	struct conf_source src = { .set = settings, .set_count = count };
	struct conf_report report = {};
	struct edge_conf *conf = NULL;
	const char *reason = NULL;
	int r = edge_conf_load(&src, &report, &conf);
	for (size_t i = 0; r < 0 && i < report.count; i++)
		print_message("%s\n", report.messages[i].text);
	conf_report_done(&report);
	assert_int_equal(r, 0);
	struct roster_params params = { .conf = conf,
					.old = old,
					.front = &fx->front,
					.links = &fx->links,
					.worker_count = 2 };
	r = roster_new(&params, &reason, ret);
	edge_conf_unref(conf);
	return r;
}

/* A link of the first configuration looks at each that may follow it. */
static void test_identity(void **state)
{
	struct fixture *fx = *state;
	struct roster *old = NULL;
	assert_int_equal(make(fx, first, ARRAY_SIZE(first), NULL, &old), 0);
	struct edge_tunnel *held = edge_tunnel_ref(old->tunnels[0].shared);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct roster *now = NULL;
		assert_int_equal(make(fx, steps[i].settings, steps[i].count, old, &now), 0);
		const struct roster_tunnel *t = roster_find(now, &fx->home);
		assert_int_equal(t != NULL, steps[i].has_home);
		if (t)
			assert_int_equal(t->shared == held, steps[i].is_same);
		assert_string_equal(roster_name_of(now, held), steps[i].name);
		assert_ptr_equal(roster_tunnel_named(now, steps[i].name), t ? t->shared : NULL);
		roster_unref(now);
	}
	assert_int_equal(atomic_load(&held->refs), 2);
	roster_unref(old);
	edge_tunnel_unref(held);
	roster_unref(NULL);
}

static void test_hosts(void **state)
{
	struct fixture *fx = *state;
	struct roster *r = NULL;
	uint32_t index = 99;
	assert_int_equal(make(fx, both, ARRAY_SIZE(both), NULL, &r), 0);
	assert_int_equal(hosts_find(r->hosts, SPAN_LIT("home.test"), &index), 0);
	assert_string_equal(r->tunnels[r->front.hosts[index].tunnel].conf->name, "home");
	assert_int_equal(roster_nobody(r)->tunnel, 2);
	roster_unref(r);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

/* The texts are the same; the file's content isn't. */
static void test_secret_file(void **state)
{
	struct fixture *fx = *state;
	char path[] = "/tmp/adit-secret-XXXXXX", set[64];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)close(fd);
	put(path, B64_ZERO "\n");
	(void)snprintf(set, sizeof(set), "tunnel.home.secret-file=%s", path);
	const char *const settings[] = { "tunnel.home.id=" ID_HOME, "tunnel.home.account=a", set };
	struct roster *old = NULL, *same = NULL, *now = NULL, *missing = NULL;
	assert_int_equal(make(fx, settings, ARRAY_SIZE(settings), NULL, &old), 0);
	assert_int_equal(make(fx, settings, ARRAY_SIZE(settings), old, &same), 0);
	assert_ptr_equal(old->tunnels[0].shared, same->tunnels[0].shared);
	put(path, B64_ONES "\n");
	assert_int_equal(make(fx, settings, ARRAY_SIZE(settings), old, &now), 0);
	assert_ptr_not_equal(old->tunnels[0].shared, now->tunnels[0].shared);
	/* It goes between the check and the reading. */
	struct edge_conf *conf = now->conf;
	const char *reason = NULL;
	assert_int_equal(unlink(path), 0);
	struct roster_params params = { .conf = conf,
					.old = now,
					.front = &fx->front,
					.links = &fx->links,
					.worker_count = 2 };
	assert_int_equal(roster_new(&params, &reason, &missing), -ENOENT);
	assert_null(missing);
	roster_unref(old);
	roster_unref(same);
	roster_unref(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, start, end),
		cmocka_unit_test_setup_teardown(test_hosts, start, end),
		cmocka_unit_test_setup_teardown(test_secret_file, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
