/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry as text. A family's HELP and TYPE lines come once, before its first sample: samples
 * of a family follow one another in the registry's walk.
 */
#include "daemon/admin/promtext.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/macro.h"

struct writer {
	FILE *out;
	const struct metric_family *family; /* of the last sample */
};

static void write_help(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\')
			(void)fputs("\\\\", out);
		else if (*text == '\n')
			(void)fputs("\\n", out);
		else
			(void)fputc(*text, out);
	}
}

static void write_value(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			(void)fputc('\\', out);
		if (*text == '\n')
			(void)fputs("\\n", out);
		else
			(void)fputc(*text, out);
	}
}

/* {a="x",b="y",le="0.1"}; extra may be NULL. Nothing at all without labels. */
static void write_labels(FILE *out, const struct metric_sample *s, const char *extra_value)
{
	const char *sep = "{";
	for (unsigned int i = 0; i < ARRAY_SIZE(s->family->labels) && s->family->labels[i]; i++) {
		(void)fprintf(out, "%s%s=\"", sep, s->family->labels[i]);
		write_value(out, s->values[i] ? s->values[i] : "");
		(void)fputc('"', out);
		sep = ",";
	}
	if (extra_value) {
		(void)fprintf(out, "%sle=\"%s\"", sep, extra_value);
		sep = ",";
	}
	if (*sep == ',')
		(void)fputc('}', out);
}

static void write_number(FILE *out, int64_t value, double scale)
{
	if (scale == 0 || scale == 1)
		(void)fprintf(out, " %" PRId64 "\n", value);
	else
		(void)fprintf(out, " %.9g\n", (double)value * scale);
}

static void write_histogram(FILE *out, const struct metric_sample *s)
{
	const struct metric_family *f = s->family;
	uint64_t total = 0;
	char bound[32];
	for (unsigned int i = 0; i <= f->bucket_count; i++) {
		total += s->counts[i];
		if (i < f->bucket_count)
			(void)snprintf(bound, sizeof(bound), "%g", f->buckets[i]);
		else
			(void)snprintf(bound, sizeof(bound), "+Inf");
		(void)fprintf(out, "%s_bucket", f->name);
		write_labels(out, s, bound);
		(void)fprintf(out, " %" PRIu64 "\n", total);
	}
	(void)fprintf(out, "%s_sum", f->name);
	write_labels(out, s, NULL);
	write_number(out, s->value, f->scale);
	(void)fprintf(out, "%s_count", f->name);
	write_labels(out, s, NULL);
	(void)fprintf(out, " %" PRIu64 "\n", total);
}

static void on_sample(const struct metric_sample *s, void *arg)
{
	static const char *const types[] = {
		[METRIC_TYPE_COUNTER] = "counter",
		[METRIC_TYPE_GAUGE] = "gauge",
		[METRIC_TYPE_HISTOGRAM] = "histogram",
	};
	struct writer *w = arg;
	if (s->family != w->family) {
		w->family = s->family;
		(void)fprintf(w->out, "# HELP %s ", s->family->name);
		write_help(w->out, s->family->help);
		(void)fprintf(w->out, "\n# TYPE %s %s\n", s->family->name, types[s->family->type]);
	}
	if (s->family->type == METRIC_TYPE_HISTOGRAM) {
		write_histogram(w->out, s);
		return;
	}
	(void)fputs(s->family->name, w->out);
	write_labels(w->out, s, NULL);
	write_number(w->out, s->value, s->family->scale);
}

static void write_plain(FILE *out, const char *name, const char *type, const char *help,
			double value)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name,
		      value);
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;
	if (!dir)
		return 0;
	while (readdir(dir)) /* NOLINT(concurrency-mt-unsafe): the stream is this call's own */
		n++;
	(void)closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

/* When the process began: its start in ticks after boot, from /proc/self/stat field 22. */
static double start_time(void)
{
	char text[1024];
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		(void)fclose(f);
	text[n] = '\0';
	char *p = strrchr(text, ')');
	for (unsigned int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	struct timespec boot, now;
	if (!p || clock_gettime(CLOCK_BOOTTIME, &boot) < 0 ||
	    clock_gettime(CLOCK_REALTIME, &now) < 0)
		return 0;
	double since_boot = (double)strtoull(p + 1, NULL, 10) / (double)sysconf(_SC_CLK_TCK);
	return (double)now.tv_sec - (double)boot.tv_sec + since_boot;
}

static void write_process(FILE *out)
{
	struct rusage usage = {};
	struct rlimit limit = {};
	unsigned long pages = 0, resident = 0;
	(void)getrusage(RUSAGE_SELF, &usage);
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	FILE *f = fopen("/proc/self/statm", "re");
	if (f) {
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers */
		if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
			pages = resident = 0;
		(void)fclose(f);
	}
	double page = (double)sysconf(_SC_PAGESIZE);
	double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	write_plain(out, "process_cpu_seconds_total", "counter", "User and system time used.", cpu);
	write_plain(out, "process_open_fds", "gauge", "Open descriptors.", count_fds());
	write_plain(out, "process_max_fds", "gauge", "Descriptors that may be open.",
		    (double)limit.rlim_cur);
	write_plain(out, "process_virtual_memory_bytes", "gauge", "Address space.",
		    (double)pages * page);
	write_plain(out, "process_resident_memory_bytes", "gauge", "Memory in use.",
		    (double)resident * page);
	write_plain(out, "process_start_time_seconds", "gauge", "When the process began.",
		    start_time());
}

int promtext_write(const struct metric_registry *reg, char **ret, size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	struct writer w = { .out = open_memstream(&text, &len) };
	if (!w.out)
		return -ENOMEM;
	metric_walk(reg, on_sample, &w);
	write_process(w.out);
	if (fclose(w.out) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}
