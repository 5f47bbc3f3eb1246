/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A temporary folder with files for tests of the configuration: tokens of every kind, and whatever
 * a test writes.
 */
#ifndef SELFTESTS_UNIT_CONF_CONF_FILES_H
#define SELFTESTS_UNIT_CONF_CONF_FILES_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* {"a":"0…0","t":"6ff42ae2-765d-4adf-8112-31c55c1551ef","s":"AAAA…=","x":{"v":1,"edge":["127.0.0.1:7844"]}}
 */
#define CONF_FILES_TOKEN                                                                                  \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MWVmIiwicyI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ0Il19fQ=="

static char conf_files_path[4096];
static char conf_files_base[256];

static inline const char *conf_files_folder(void)
{
	return conf_files_base;
}

/* Writes a file of this mode; the name is good until the next call. */
static inline const char *conf_files_write_bytes(const char *name, const char *text, size_t len,
						 mode_t mode)
{
	(void)snprintf(conf_files_path, sizeof(conf_files_path), "%s/%s", conf_files_base, name);
	(void)unlink(conf_files_path);
	FILE *f = fopen(conf_files_path, "we");
	if (!f || fwrite(text, 1, len, f) != len || fclose(f) != 0 ||
	    chmod(conf_files_path, mode) < 0)
		abort();
	return conf_files_path;
}

static inline const char *conf_files_write(const char *name, const char *text, mode_t mode)
{
	return conf_files_write_bytes(name, text, strlen(text), mode);
}

static inline char *conf_files_slurp(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "re");
	char *text = malloc(1024 * 1024);
	if (!f || !text)
		abort();
	*ret_len = fread(text, 1, 1024 * 1024 - 1, f);
	text[*ret_len] = '\0';
	(void)fclose(f);
	return text;
}

static inline int conf_files_setup(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(conf_files_base, sizeof(conf_files_base), "%s/adit-conf-XXXXXX",
		       tmp ? tmp : "/tmp");
	if (!mkdtemp(conf_files_base))
		return -1;
	(void)conf_files_write("token", CONF_FILES_TOKEN "\n", 0600);
	(void)conf_files_write("loose", CONF_FILES_TOKEN "\n", 0644);
	(void)conf_files_write("garbage", "this is no token\n", 0600);
	(void)conf_files_write("empty", "", 0600);
	return 0;
}

static inline int conf_files_teardown(void **state)
{
	(void)state;
	DIR *d = opendir(conf_files_base);
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		(void)closedir(d);
	return rmdir(conf_files_base);
}

#endif
