/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload library that lets a program write one DATAGRAM frame into a packet, as peers do that
 * don't pack. Compiled and used by selftests/bench/datapath.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include <ngtcp2/ngtcp2.h>

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
ngtcp2_ssize ngtcp2_conn_writev_datagram_versioned(ngtcp2_conn *conn, ngtcp2_path *path,
						   int pkt_info_version, ngtcp2_pkt_info *pi,
						   uint8_t *dest, size_t destlen, int *paccepted,
						   uint32_t flags, uint64_t dgram_id,
						   const ngtcp2_vec *datav, size_t datavcnt,
						   ngtcp2_tstamp ts)
{
	static __typeof__(&ngtcp2_conn_writev_datagram_versioned) next;
	if (!next)
		next = (__typeof__(next))dlsym(RTLD_NEXT, __func__);
	if (!next)
		abort();
	(void)flags; /* that more may follow, and padding where it doesn't */
	return next(conn, path, pkt_info_version, pi, dest, destlen, paccepted,
		    NGTCP2_WRITE_DATAGRAM_FLAG_NONE, dgram_id, datav, datavcnt, ts);
}
