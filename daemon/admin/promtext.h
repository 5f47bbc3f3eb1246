/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry as Prometheus' text exposition format 0.0.4, and what the kernel knows of this
 * process.
 */
#ifndef DAEMON_ADMIN_PROMTEXT_H
#define DAEMON_ADMIN_PROMTEXT_H

#include <stddef.h>

#include "daemon/base/metric.h"

#define PROMTEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/*
 * Writes everything into a buffer that the caller frees. Any thread. Returns 0 or -ENOMEM.
 */
[[nodiscard]] int promtext_write(const struct metric_registry *reg, char **ret, size_t *ret_len);

#endif
