/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the files of a corpus through a fuzz target, without libFuzzer: every input that was ever
 * interesting stays a test. Each input lies in a heap block of its exact size, so that a sanitizer
 * sees one byte too far.
 *
 * usage: fuzz-NAME FILE-OR-FOLDER...
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count;

static int replay_bytes(FILE *file, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	if (!data)
		return -ENOMEM;

	int r = fread(data, 1, size, file) == size ? 0 : -EIO;
	if (r == 0) {
		(void)LLVMFuzzerTestOneInput(data, size);
		count++;
	}
	free(data);
	return r;
}

static int replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rbe");
	if (!file)
		return -errno;

	int r = replay_bytes(file, size);
	(void)fclose(file);
	return r;
}

/* A file, or the files of a folder; folders in it are not looked at. */
static int replay(const char *path, bool in_folder)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	if (in_folder)
		return 0;

	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);
	if (n < 0)
		return -errno;

	int r = 0;
	for (int i = 0; i < n; i++) {
		char name[4096];
		int len = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (r == 0 && len > 0 && (size_t)len < sizeof(name))
			r = replay(name, true);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int r = replay(argv[i], false);
		if (r < 0) {
			(void)fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
			return 1;
		}
	}
	(void)printf("%zu inputs\n", count);
	return 0;
}
