/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets that came by command line or environment. The kernel shows the original memory of both,
 * so it is that memory which is overwritten; the NULs stay, or the next argument would be shown
 * with it.
 */
#include "daemon/base/argv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/secret.h"
#include "util/span.h"

static void overwrite(char *text)
{
	volatile char *p = text;
	while (*p)
		*p++ = '*';
}

int argv_take_secret(char *arg, struct secret **ret)
{
	int r = secret_new(span_str(arg), ret);
	overwrite(arg);
	return r;
}

int argv_take_env(const char *name, struct secret **ret)
{
	char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): before any thread */
	if (!value)
		return -ENOENT;
	int r = argv_take_secret(value, ret);
	(void)unsetenv(name); /* NOLINT(concurrency-mt-unsafe): before any thread */
	return r;
}
