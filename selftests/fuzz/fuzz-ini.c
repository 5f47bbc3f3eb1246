/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files: the INI reader, then the whole loader of both programs, dump and JSON of
 * what it accepts.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/conf/dump.h"
#include "daemon/conf/ini.h"
#include "daemon/conf/load.h"

#define TOKEN                                                                                             \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MWVmIiwicyI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ0Il19fQ=="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

static bool is_list(void *userdata, const char *kind, const char *key)
{
	(void)userdata;
	(void)kind;
	return key[0] == 'l';
}

/* Lines are within the text, and every entry has a section, a key and a value. */
static void run_ini(struct span in)
{
	struct conf_report report = {};
	struct ini_file f = {};
	struct ini_source source = { .file = "f", .is_list = is_list };
	unsigned int lines = 1;
	for (size_t i = 0; i < in.len; i++)
		lines += in.ptr[i] == '\n';
	check(ini_parse_text(in, &source, &report, &f) == 0);
	for (size_t i = 0; i < f.section_count; i++) {
		check(f.sections[i].kind[0] && f.sections[i].line <= lines);
		for (size_t k = 0; k < f.sections[i].entry_count; k++)
			check(f.sections[i].entries[k].key && f.sections[i].entries[k].value &&
			      f.sections[i].entries[k].line <= lines);
	}
	for (size_t i = 0; i < report.count; i++)
		check(report.messages[i].line >= 1 && report.messages[i].line <= lines);
	ini_file_done(&f);
	conf_report_done(&report);
}

static void run_dump(const struct conf_common *c)
{
	FILE *to = fopen("/dev/null", "we");
	check(to && conf_dump(c, to) == 0);
	(void)fclose(to);
}

static void run_load(const char *path)
{
	struct conf_source src = { .path = path, .token = SPAN_LIT(TOKEN), .check = true };
	struct conf_report report = {};
	struct conf *c = NULL;
	struct edge_conf *e = NULL;
	int r = conf_load(&src, &report, &c);
	check((r == 0) == (report.errors == 0));
	if (r == 0) {
		char *json = NULL;
		size_t len;
		run_dump(&c->common);
		check(conf_dump_local_json(c, &json, &len) == 0);
		free(json);
		conf_unref(c);
	}
	conf_report_done(&report);
	if (edge_conf_load(&src, &report, &e) == 0) {
		run_dump(&e->common);
		edge_conf_unref(e);
	}
	conf_report_done(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_set_up;
	if (!is_set_up)
		conf_global_init();
	is_set_up = true;
	run_ini(span_of(data, size));

	char path[64];
	int fd = memfd_create("conf", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	run_load(path);
	(void)close(fd);
	return 0;
}
