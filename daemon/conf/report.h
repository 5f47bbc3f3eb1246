/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found while a configuration was read: errors and warnings in the order of the file. conf
 * never logs; the program prints or logs the report.
 */
#ifndef DAEMON_CONF_REPORT_H
#define DAEMON_CONF_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "util/cleanup.h"
#include "util/macro.h"

/* Messages that a report holds; more are counted in lost. */
constexpr size_t CONF_REPORT_MAX = 1000;

enum conf_severity : uint8_t {
	CONF_SEVERITY_WARNING = 1,
	CONF_SEVERITY_ERROR,
};

struct conf_message {
	enum conf_severity severity;
	char *file;        /* path, or "environment", "command line", … ; owned by the report */
	unsigned int line; /* from 1; 0: the message belongs to no line */
	char *text;        /* "[section] key: found; accepted"; owned by the report */
};

struct conf_report {
	struct conf_message *messages;
	size_t count;
	size_t errors; /* of them (and of the lost ones) errors */
	size_t lost;   /* not kept: over CONF_REPORT_MAX, or no memory */
};

/* Frees what the report holds; harmless on an empty or already freed one. */
void conf_report_done(struct conf_report *r);

/*
 * Appends one message. file may be NULL (no place), line 0 (no line); the format is printf's. Never
 * fails: what can't be kept is counted.
 */
PRINTF_LIKE(5, 6)
void conf_report_add(struct conf_report *r, enum conf_severity severity, const char *file,
		     unsigned int line, const char *format, ...);

/*
 * Writes "FILE:LINE: error: TEXT" (parts that are absent left out) into buf, cut to size bytes with
 * the NUL. Returns buf.
 */
const char *conf_message_print(const struct conf_message *m, char *buf, size_t size);

/* Writes every message on a line of its own, and how many were lost after the program's name. */
void conf_report_print(const struct conf_report *r, const char *program, FILE *out);

#endif
