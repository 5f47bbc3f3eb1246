/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Join tokens and credentials files: members, repeated and hidden ones, modes, every truncation;
 * and that no copy of a secret stays behind in memory that a core dump would hold.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/conf/credential.h"
#include "daemon/wire/base64.h"
#include "selftests/unit/conf/conf_files.h"
#include "util/macro.h"

#define UUID  "6ff42ae2-765d-4adf-8112-31c55c1551ef"
#define START "{\"a\":\"acc\",\"t\":\"" UUID "\",\"s\":\"c2VjcmV0\""

static int from_token_json(const char *json, struct tunnel_credential **ret,
			   const char **ret_reason)
{
	char text[4096];
	struct packer p = packer_over(text, sizeof(text));
	base64_encode(&p, span_str(json));
	assert_int_equal(packer_finish(&p), 0);
	return credential_from_token(packer_span(&p), ret, ret_reason);
}

static void test_token(void **state)
{
	(void)state;
	struct tunnel_credential *c = NULL;
	const char *reason = NULL;
	assert_int_equal(
		from_token_json(START ",\"e\":\"us\",\"more\":[1,{\"s\":\"x\"}]}", &c, &reason), 0);
	assert_true(span_eq_str(tunnel_credential_secret(c), "secret"));
	assert_true(span_eq_str(tunnel_credential_account(c), "acc"));
	assert_int_equal(c->tunnel_id.bytes[0], 0x6f);
	assert_int_equal(c->edge_count, 0);
	assert_false(c->has_pin);
	credential_free(c);

	assert_int_equal(
		from_token_json(START
				",\"x\":{\"v\":1,\"edge\":[\"a:1\",\"[::1]:2\"],\"pin\":\"sha256/"
				"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=\"}}",
				&c, &reason),
		0);
	assert_int_equal(c->edge_count, 2);
	assert_memory_equal(c->edges[1].text, "[::1]:2", 7);
	assert_true(c->has_pin);
	assert_int_equal(c->pin[31], 2);

	/* What the writer makes, the reader reads. */
	char scratch[TOKEN_TEXT_MAX], text[TOKEN_TEXT_MAX];
	struct packer s = packer_over(scratch, sizeof(scratch));
	struct packer p = packer_over(text, sizeof(text));
	struct tunnel_credential *again = NULL;
	assert_int_equal(token_encode(c, &s, &p), 0);
	assert_int_equal(credential_from_token(packer_span(&p), &again, &reason), 0);
	assert_memory_equal(again, c, sizeof(*c));
	credential_free(again);
	credential_free(c);
	credential_free(NULL);
}

static void test_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"x",
		"[]",
		"{}",
		"null",
		"{\"a\":\"acc\"}",
		START,
		START "} x",
		START ",\"a\":\"other\"}", /* repeated */
		START ",\"s\":\"AAAA\"}",  /* repeated secret */
		"{\"a\":\"acc\",\"t\":\"" UUID
		"\",\"\\u0073\":\"c2VjcmV0\"}", /* hidden by an escape */
		"{\"a\":\"acc\",\"t\":\"" UUID "\",\"s\":\"c2Vj\\/\"}",
		"{\"a\":\"acc\",\"t\":\"" UUID "\",\"s\":\"\"}",
		"{\"a\":\"acc\",\"t\":\"" UUID "\",\"s\":7}",
		"{\"a\":\"acc\",\"t\":\"" UUID "\",\"s\":\"c2VjcmV\"}",
		"{\"a\":\"acc\",\"t\":\"x\",\"s\":\"c2VjcmV0\"}",
		"{\"a\":\"\",\"t\":\"" UUID "\",\"s\":\"c2VjcmV0\"}",
		"{\"a\":1,\"t\":\"" UUID "\",\"s\":\"c2VjcmV0\"}",
		START ",\"x\":1}",
		START ",\"x\":{}}",
		START ",\"x\":{\"v\":2}}",
		START ",\"x\":{\"v\":1,\"v\":1}}",
		START ",\"x\":{\"v\":1,\"edge\":\"a\"}}",
		START ",\"x\":{\"v\":1,\"edge\":[1]}}",
		START ",\"x\":{\"v\":1,\"edge\":[\"\"]}}",
		START ",\"x\":{\"v\":1,\"pin\":\"sha256/AA==\"}}",
		START ",\"x\":{\"v\":1,\"pin\":7}}",
		START
		",\"x\":{\"v\":1,\"edge\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\","
		"\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct tunnel_credential *c = NULL;
		const char *reason = NULL;
		if (from_token_json(bad[i], &c, &reason) != -EBADMSG || !reason)
			fail_msg("accepted: %s", bad[i]);
	}
	struct tunnel_credential *c = NULL;
	const char *reason = NULL;
	assert_int_equal(credential_from_token(SPAN_LIT("no base64"), &c, &reason), -EBADMSG);
	char *big = calloc(1, CREDENTIAL_TEXT_MAX + 1);
	assert_non_null(big);
	assert_int_equal(credential_from_token(span_of(big, CREDENTIAL_TEXT_MAX + 1), &c, &reason),
			 -EBADMSG);
	assert_int_equal(credential_from_json(span_of(big, CREDENTIAL_TEXT_MAX + 1), &c, &reason),
			 -EBADMSG);
	assert_int_equal(credential_from_json(span_of(big, 1), &c, &reason), -EBADMSG);
	free(big);
}

/* Every beginning of a good file is refused; each lies in a block of its exact size. */
static void test_truncated(void **state)
{
	(void)state;
	static const char good[] =
		"{\"AccountTag\":\"acc\",\"TunnelSecret\" : \"c2VjcmV0\",\"TunnelID\":\"" UUID
		"\"}";
	struct tunnel_credential *c = NULL;
	const char *reason = NULL;
	assert_int_equal(credential_from_json(span_str(good), &c, &reason), 0);
	credential_free(c);
	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		char *part = malloc(len ? len : 1);
		assert_non_null(part);
		memcpy(part, good, len);
		assert_int_equal(credential_from_json(span_of(part, len), &c, &reason), -EBADMSG);
		free(part);
	}
}

static void test_files(void **state)
{
	(void)state;
	struct tunnel_credential *c = NULL;
	const char *reason = NULL;
	char path[300];
	uint8_t secret[TUNNEL_SECRET_MAX];
	(void)snprintf(path, sizeof(path), "%s/token", conf_files_folder());
	assert_int_equal(credential_read(path, false, false, &c, &reason), 0);
	credential_free(c);
	assert_int_equal(credential_read(path, true, false, &c, &reason), -EBADMSG);
	assert_int_equal(secret_file_check(path, &reason), 0);

	(void)snprintf(path, sizeof(path), "%s/loose", conf_files_folder());
	assert_int_equal(credential_read(path, false, false, &c, &reason), -EPERM);
	assert_int_equal(secret_file_check(path, &reason), -EPERM);
	assert_int_equal(credential_read(path, false, true, &c, &reason), 0);
	credential_free(c);

	assert_int_equal(credential_read("/nonexistent", false, false, &c, &reason), -ENOENT);
	assert_int_equal(secret_file_check("/nonexistent", &reason), -ENOENT);
	assert_int_equal(secret_file_check(conf_files_folder(), &reason), -EPERM);
	assert_int_equal(credential_read(conf_files_folder(), false, false, &c, &reason), -EPERM);

	char *big = malloc(CREDENTIAL_TEXT_MAX + 2);
	assert_non_null(big);
	memset(big, 'A', CREDENTIAL_TEXT_MAX + 2);
	const char *file = conf_files_write_bytes("big", big, CREDENTIAL_TEXT_MAX + 1, 0600);
	assert_int_equal(credential_read(file, false, false, &c, &reason), -E2BIG);
	free(big);

	file = conf_files_write("secret", "c2VjcmV0\n", 0600);
	assert_int_equal(credential_read_secret(file, secret, &reason), 6);
	assert_memory_equal(secret, "secret", 6);
	assert_int_equal(
		credential_read_secret(conf_files_write("secret", "", 0600), secret, &reason),
		-EBADMSG);
	assert_int_equal(credential_read_secret("/nonexistent", secret, &reason), -ENOENT);
}

/* Counts a needle in the heap and the stack of this process, as a core dump would show them. */
static size_t count_in_memory(const char *needle_xored, size_t len)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	FILE *mem = fopen("/proc/self/mem", "re");
	size_t found = 0;
	char line[512];
	assert_true(maps && mem);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		char mode[8];
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 ||
		    strncmp(mode, "rw", 2) != 0 || to - from > 64UL * 1024 * 1024 ||
		    !strstr(line, "[heap]"))
			continue;
		unsigned char *copy = malloc(to - from);
		assert_non_null(copy);
		if (fseek(mem, (long)from, SEEK_SET) == 0 && fread(copy, 1, to - from, mem) > len)
			for (size_t i = 0; i + len < to - from; i++) {
				size_t k = 0;
				while (k < len &&
				       copy[i + k] == (unsigned char)(needle_xored[k] ^ 0x55))
					k++;
				found += k == len;
			}
		free(copy);
	}
	(void)fclose(maps);
	(void)fclose(mem);
	return found;
}

/* No copy of the secret, decoded or not, stays on the heap. */
static void test_nothing_left(void **state)
{
	(void)state;
	static const char plain[] = "swordfish-swordfish-swordfish-sw";
	static const char coded[] = "c3dvcmRmaXNoLXN3b3JkZmlzaC1zd29yZGZpc2gtc3c=";
	char plain_xored[32], coded_xored[32];
	for (size_t i = 0; i < 32; i++) {
		plain_xored[i] = (char)(plain[i] ^ 0x55);
		coded_xored[i] = (char)(coded[i] ^ 0x55);
	}
	char json[400];
	(void)snprintf(json, sizeof(json),
		       "{\"AccountTag\":\"acc\",\"TunnelSecret\":\"%s\",\"TunnelID\":\"" UUID "\"}",
		       coded);
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/sword.json", conf_files_folder());
	/* Not by stdio, whose buffer is on the heap. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && write(fd, json, strlen(json)) == (ssize_t)strlen(json));
	(void)close(fd);
	assert_int_equal(count_in_memory(coded_xored, 32), 0);
	struct tunnel_credential *c = NULL;
	const char *reason = NULL;
	assert_int_equal(credential_read(path, true, false, &c, &reason), 0);
	assert_memory_equal(c->secret, plain, 32);
	assert_int_equal(count_in_memory(plain_xored, 32), 0);
	assert_int_equal(count_in_memory(coded_xored, 32), 0);
	credential_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token),        cmocka_unit_test(test_refused),
		cmocka_unit_test(test_truncated),    cmocka_unit_test(test_files),
		cmocka_unit_test(test_nothing_left),
	};
	return cmocka_run_group_tests(tests, conf_files_setup, conf_files_teardown);
}
