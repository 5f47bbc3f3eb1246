/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every case of selftests/data/config-errors, without a process: the marked lines are reported with
 * what their marks say, and no other line is (the folder's README says how a case is written).
 */
#include <dirent.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "selftests/unit/conf/conf_files.h"

#define FOLDER "selftests/data/config-errors"

/* One "WORD | WORD" of a mark, taken off the front. */
static bool word_next(char **rest, char *word, size_t size)
{
	if (!*rest)
		return false;
	char *end = strstr(*rest, " | ");
	size_t len = end ? (size_t)(end - *rest) : strlen(*rest);
	(void)snprintf(word, size, "%.*s", (int)len, *rest + (**rest == ' '));
	if (word[0] && word[strlen(word) - 1] == ' ')
		word[strlen(word) - 1] = '\0';
	*rest = end ? end + 3 : NULL;
	return true;
}

static bool message_matches(const struct conf_message *m, char *words)
{
	char buf[2048], word[256];
	(void)conf_message_print(m, buf, sizeof(buf));
	while (word_next(&words, word, sizeof(word))) {
		regex_t re;
		assert_int_equal(regcomp(&re, word, REG_EXTENDED | REG_ICASE | REG_NOSUB), 0);
		bool fits = regexec(&re, buf, 0, NULL, 0) == 0;
		regfree(&re);
		if (!fits)
			return false;
	}
	return true;
}

static bool is_reported(const struct conf_report *r, unsigned int line, char *words)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->messages[i].severity == CONF_SEVERITY_ERROR && r->messages[i].file &&
		    (!line || r->messages[i].line == line) &&
		    message_matches(&r->messages[i], words))
			return true;
	return false;
}

/* Replaces @NAME@ by the files that stand behind it. Returns a new text. */
static char *fill_in(const char *text, size_t len, size_t *ret_len)
{
	static const struct {
		const char *mark;
		const char *file;
	} files[] = { { "@TOKEN@", "token" },
		      { "@LOOSE@", "loose" },
		      { "@GARBAGE@", "garbage" },
		      { "@EMPTY@", "empty" } };
	char *out = malloc(len + 4096 + 1);
	size_t n = 0;
	assert_non_null(out);
	for (size_t i = 0; i < len;) {
		size_t k = 0;
		while (k < 4 && strncmp(text + i, files[k].mark, strlen(files[k].mark)) != 0)
			k++;
		if (k == 4) {
			out[n++] = text[i++];
			continue;
		}
		n += (size_t)snprintf(out + n, len + 4096 + 1 - n, "%s/%s", conf_files_folder(),
				      files[k].file);
		i += strlen(files[k].mark);
	}
	out[n] = '\0';
	*ret_len = n;
	return out;
}

static unsigned int check_case(const char *name)
{
	char path[512];
	size_t len, filled_len;
	(void)snprintf(path, sizeof(path), "%s/%s", FOLDER, name);
	char *text = conf_files_slurp(path, &len);
	char *filled = fill_in(text, len, &filled_len);
	const char *file = conf_files_write_bytes("case.conf", filled, filled_len, 0600);

	struct conf_report report = {};
	struct conf_source src = { .path = file, .check = true };
	if (strncmp(name, "edge-", 5) == 0) {
		struct edge_conf *c = NULL;
		if (edge_conf_load(&src, &report, &c) != -EINVAL)
			edge_conf_unref(c);
	} else {
		struct conf *c = NULL;
		if (conf_load(&src, &report, &c) != -EINVAL)
			conf_unref(c);
	}

	unsigned int line = 0, last = 0, failed = 0;
	bool any_line = false;
	bool *expected = calloc(filled_len + 2, sizeof(*expected));
	char *rest = text;
	for (char *l = strsep(&rest, "\n"); l; l = strsep(&rest, "\n")) {
		line++;
		bool is_mark = l[0] == ';' && (l[1] == '^' || l[1] == '~');
		if (!is_mark) {
			last = line;
			continue;
		}
		any_line = any_line || l[1] == '~';
		expected[last] = true;
		char words[512];
		(void)snprintf(words, sizeof(words), "%s", l + 2);
		if (!is_reported(&report, l[1] == '^' ? last : 0, words)) {
			print_error("%s:%u: not reported: %s\n", name, last, l + 2);
			failed++;
		}
	}
	for (size_t i = 0; i < report.count; i++) {
		const struct conf_message *m = &report.messages[i];
		if (m->severity == CONF_SEVERITY_ERROR && m->line && !any_line &&
		    !expected[m->line]) {
			print_error("%s:%u: blamed as well\n", name, m->line);
			failed++;
		}
	}
	for (size_t i = 0; failed && i < report.count; i++) {
		char buf[2048];
		print_error("  %s\n", conf_message_print(&report.messages[i], buf, sizeof(buf)));
	}
	free(expected);
	free(text);
	free(filled);
	conf_report_done(&report);
	return failed;
}

static void test_cases(void **state)
{
	(void)state;
	struct dirent **names;
	unsigned int cases = 0;
	unsigned int failed = 0;
	int n = scandir(FOLDER, &names, NULL, alphasort);
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		size_t len = strlen(names[i]->d_name);
		if (len > 5 && strcmp(names[i]->d_name + len - 5, ".conf") == 0) {
			failed += check_case(names[i]->d_name);
			cases++;
		}
		free(names[i]);
	}
	free(names);
	assert_true(cases >= 40);
	assert_int_equal(failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };
	conf_global_init();
	return cmocka_run_group_tests(tests, conf_files_setup, conf_files_teardown);
}
