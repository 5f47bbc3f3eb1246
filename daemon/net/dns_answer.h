/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS questions and their answers as plain values, wherever they came from (net/resolve, net/dot).
 */
#ifndef DAEMON_NET_DNS_ANSWER_H
#define DAEMON_NET_DNS_ANSWER_H

#include "util/addr.h"

struct ares_dns_record;

enum dns_type : uint8_t {
	DNS_TYPE_A,
	DNS_TYPE_AAAA,
	DNS_TYPE_SRV,
	DNS_TYPE_TXT,
	DNS_TYPE_MAX_,
};

/* Of one answer; what goes beyond is left out, a longer text is an error. */
enum {
	DNS_NAME_MAX = 254, /* with a dot at the end (RFC 1035 §2.3.4) */
	DNS_ADDRS_MAX = 16,
	DNS_SRV_MAX = 16,
	DNS_TEXT_MAX = 4096,
};

struct dns_srv {
	uint16_t priority; /* the lowest first */
	uint16_t weight;
	uint16_t port;
	char target[DNS_NAME_MAX + 1];
};

struct dns_answer {
	enum dns_type type;
	unsigned int ttl_sec; /* the shortest of all its records */
	unsigned int count;   /* records; of texts only the first is kept */
	union {
		struct ip_addr addrs[DNS_ADDRS_MAX];
		struct dns_srv srv[DNS_SRV_MAX]; /* as they came: dns_srv_sort() */
		struct {
			size_t len;
			uint8_t bytes[DNS_TEXT_MAX];
		} text; /* the strings of the record, joined */
	};
};

/* What is asked, and who wants to know. */
struct dns_question {
	const char *name; /* borrowed for the call */
	enum dns_type type;
	/* Once, from the loop. answer is valid during the call, NULL with an error. */
	void (*on_done)(int error, const struct dns_answer *answer, void *user);
	void *user;
};

/*
 * Reads the records of a type out of a parsed message.
 * Returns 0; -ENOENT (no such name, no such record, or a service that is said not to be there);
 * -EAGAIN (the server failed or refused); -EMSGSIZE for a text over DNS_TEXT_MAX.
 */
[[nodiscard]] int dns_answer_read(const struct ares_dns_record *message, enum dns_type type,
				  struct dns_answer *ret);
/* c-ares' status as an error of ours: 0, -ENOENT, -ETIMEDOUT, -ENOMEM, else -EAGAIN. */
int dns_error_from_ares(int status);
/* c-ares' number of a type. */
int dns_type_to_ares(enum dns_type type);

/*
 * Puts targets into the order in which they are to be tried (RFC 2782): by priority, among equals
 * by weighted lot. The same records and seed give the same order, however they were sorted.
 */
void dns_srv_sort(struct dns_srv *srv, unsigned int count, uint64_t seed);

#endif
