/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the QUIC transport share; nobody else includes it.
 */
#ifndef DAEMON_LINK_QUIC_PRIV_H
#define DAEMON_LINK_QUIC_PRIV_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_ossl.h>

#include "daemon/flow/rx.h"
#include "daemon/link/quic.h"
#include "daemon/link/quic_cid.h"
#include "daemon/link/quic_mtu.h"
#include "daemon/link/quic_silence.h"
#include "daemon/link/strangers.h"

struct quic_accept;
struct quic_link;

enum {
	QUIC_CID_LEN_CLIENT = 8,
	QUIC_OUT_LEN = UDP_GSO_SEGMENTS * 1472, /* one send */
	QUIC_MTU_MAX = 1472,
	QUIC_DGRAM_FRAME_MAX = 16383, /* what we accept; the reference's value */
	QUIC_DGRAM_PAYLOADS = 1024,   /* of flows, waiting to be sent */
	QUIC_DGRAM_OTHERS = 256,      /* of each other kind */
	QUIC_DGRAM_QUEUE = QUIC_DGRAM_PAYLOADS + 2 * QUIC_DGRAM_OTHERS,
	QUIC_DGRAM_QUEUE_BYTES = 512 * 1024, /* for payloads */
};

/* A UDP socket and what its packets are for. */
struct quic_sock {
	struct udp_socket udp;
	struct loop_io io;
	struct quic_worker *qw;
	struct quic_link *link;     /* whose socket it is; NULL for a listening one */
	struct quic_accept *accept; /* set at the server: packets go by connection id */
	unsigned int listen;        /* server: which of the listening addresses */
	struct ip_port local;       /* complete (address known) unless listening on a wildcard */
	struct ip_port peer;        /* when connected */
	struct list waiting;        /* links with packets that the kernel didn't take */
	struct timer linger;        /* a socket that was migrated away from closes then */
	struct loop_garbage garbage;
};

/* A datagram that came in, and from where; all borrowed. */
struct quic_packet {
	struct quic_sock *sock;
	const ngtcp2_path *path;
	struct span bytes;
	enum udp_ecn ecn;
};

struct quic_worker {
	struct worker *worker;
	const struct quic_settings *settings;
	struct udp_batch *batch;
	struct udp_stats udp;
	struct quic_cid_table cids; /* server links by every id that they answer to */
	struct list links;
	unsigned int link_count;
	uint8_t *out;               /* QUIC_OUT_LEN bytes: packets on their way to the kernel */
	uint8_t client_secret[32];  /* reset tokens of dialled connections */
	struct quic_accept *accept; /* this worker's part of the server, or NULL */
	struct timer watch;         /* runs while memory is short or somebody waits for it */
	uint64_t stream_windows;    /* sum of the windows of all streams */
	uint64_t overloads;         /* streams reset because memory was short */
	bool has_told_of_qlog;      /* that it can't be written */
};

/* Packets that the kernel had no room for, until EPOLLOUT. */
struct quic_held {
	uint8_t *data;
	size_t len, segment_len;
	struct ip_port peer;
	struct ip_addr local;
	enum udp_ecn ecn;
	struct quic_sock *sock;
	struct list node; /* on sock->waiting */
};

struct quic_dgram_queue {
	struct bufq bytes;
	uint16_t lens[QUIC_DGRAM_QUEUE]; /* ring */
	enum datagram_kind kinds[QUIC_DGRAM_QUEUE];
	unsigned int first, count, waiting[DATAGRAM_KIND_MAX_];
	uint64_t next_id; /* for acknowledgements */
	bool is_turn;     /* the next packet begins with a datagram */
};

struct quic_link {
	struct link base; /* first */
	struct quic_worker *qw;
	struct list node; /* on qw->links */
	ngtcp2_conn *conn;
	SSL *ssl;
	ngtcp2_crypto_ossl_ctx *octx;
	ngtcp2_crypto_conn_ref ref;
	struct loop_task flush, events; /* writes packets, once a turn; tells users */
	struct timer timer, silence_timer, register_timer, tickle;
	struct loop_garbage garbage;
	unsigned int depth; /* inside a call of ngtcp2 */
	bool is_handshake_done, has_event_up, has_event_drain, has_event_end;
	bool is_draining, is_closing, is_freed, has_peer_reset, is_announced;
	bool is_peer_gone, is_shrunk, is_path_new, wants_ping; /* path MTU; validated */

	struct quic_sock *sock;     /* client's; server: connected one or NULL */
	struct quic_sock *old_sock; /* client: lingers after a migration */
	struct quic_sock *listener; /* server: where the first packet came */
	struct quic_held held;
	struct quic_dial dial; /* client; its pointers are void after quic_dial() */
	struct ip_addr local;  /* client: the address asked for, or family NONE */
	char *interface;       /* client: owned, or NULL */

	struct list streams;         /* all */
	struct list arrivals, ready; /* opened by the peer, not yet announced; with bytes to send */
	struct quic_stream *control;
	unsigned int stream_count;
	unsigned int blocked; /* streams that ran out of credit since blocked_tried, about */
	nsec_t blocked_tried;
	/* Packets came since then; the one being read brings data of streams, datagrams; no
	 * link-level credit. */
	bool has_news, has_payload, has_dgram, is_stalled;
	/* Packets that came since the last write: with data of streams, with nothing but datagrams.
	 */
	unsigned int unanswered, unanswered_dgrams;
	nsec_t answer_by; /* a lone packet's answer waits for company until then; 0: none does */
	unsigned int senders;                  /* streams with bytes that aren't acknowledged */
	uint64_t streams_total, stream_window; /* so far; of each at first, as announced */
	struct rx_window window;               /* of what comes in (spec §13) */
	uint64_t reserved;                     /* granted to the peer, not yet received */
	uint64_t counted;                      /* of it, by the worker's budget */
	uint64_t unpaid; /* credit that waits until streams' users take what arrived */
	struct quic_dgram_queue dgrams;
	struct quic_mtu mtu;
	struct quic_silence silence;
	nsec_t keep_alive; /* 0: none */
	uint64_t close_code;
	char close_reason[128];
	int qlog_fd, ledger_slot;          /* server: -1 when not written down */
	struct stranger stranger;          /* server: counts against the limits */
	ngtcp2_cid client_dcid, first_cid; /* server: the client's first choice, and ours */
	uint64_t ecn_sent, ecn_gap;        /* packets with ECT; without since the last with */
	unsigned int tickles_left; /* packets that ask a silent peer for a stateless reset */
	struct link_stats stats;   /* what the library doesn't count; final after the end */
};

#endif
