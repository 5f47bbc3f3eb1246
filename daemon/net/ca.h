/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's own certificate authority: one CA for the tunnel listener, made once, and server
 * certificates that the running edge renews (spec §3).
 */
#ifndef DAEMON_NET_CA_H
#define DAEMON_NET_CA_H

#include "util/span.h"

/* Names of the files in the state directory. */
#define CA_FILE       "ca.pem"
#define CA_KEY_FILE   "ca.key"
#define LEAF_FILE     "tunnel.pem" /* server certificate with the CA behind it */
#define LEAF_KEY_FILE "tunnel.key"

enum {
	CA_YEARS = 10,
	LEAF_DAYS = 398,
	LEAF_RENEW_DAYS = 30,
};

/*
 * Writes a new CA (ECDSA P-256, name constraints for cftunnel.com and domain) into folder. Refuses
 * to overwrite. Returns 0, -EEXIST, -ENOMEM, -EINVAL (domain), or what writing said.
 */
[[nodiscard]] int ca_create(const char *folder, const char *domain);

/*
 * Issues the server certificate for the protocol names and server_name (NULL: none) with the CA in
 * folder, replacing an older one. Returns 0, -EINVAL (server_name), -ENOENT without a CA, -EBADMSG
 * (unusable files), -ENOMEM, I/O errors.
 */
[[nodiscard]] int ca_issue(const char *folder, const char *server_name);

/*
 * Whether the CA may certify name: clients refuse a certificate with any name outside its
 * constraints (RFC 5280 §4.2.1.10). True too when there is no readable CA: issuing says that.
 */
bool ca_permits(const char *folder, const char *name);

/* SHA-256 of the CA's SubjectPublicKeyInfo, which join tokens carry. Errors as above. */
[[nodiscard]] int ca_pin(const char *folder, uint8_t ret[32]);

/* Days until the server certificate ends (may be negative), or -ENOENT/-EBADMSG with *ret_days
 * untouched. */
[[nodiscard]] int ca_leaf_days(const char *folder, int *ret_days);

/* Is the server certificate good for this name too? NULL: yes. */
bool ca_leaf_has_name(const char *folder, const char *server_name);

#endif
