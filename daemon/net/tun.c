/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TUN queues with the header of virtio-net before each packet (IFF_VNET_HDR): it says whether the
 * checksum is still to be completed, and that a packet is a burst. TCP isn't announced, so the
 * kernel cuts what it segments of that itself.
 */
#include "daemon/net/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#include "util/endian.h"
#include "util/macro.h"

enum {
	UDP_HEAD = 8,
	UDP_CHECKSUM_AT = 6,
	IP4_PROTOCOL_AT = 9,
	IP6_NEXT_AT = 6,
};

static int open_queue(struct ifreq *ifr)
{
	static const int header = sizeof(struct virtio_net_hdr);
	_cleanup_(fd_closep) int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Offloads are the device's, whichever queue says it. */
static int set_offloads(int fd, bool *ret_has_bursts)
{
	*ret_has_bursts = ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0;
	if (!*ret_has_bursts && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM) < 0)
		return -errno;
	return 0;
}

int tun_open(const char *name, unsigned int count, int *ret_fds, struct tun_device *ret)
{
	struct ifreq ifr = {
		.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
	};
	if (strlen(name) >= sizeof(ifr.ifr_name))
		return -EINVAL;
	memcpy(ifr.ifr_name, name, strlen(name));
	int r = 0;
	unsigned int made = 0;
	struct tun_device device = {};
	for (; made < count && r >= 0; made += r >= 0) {
		/* The first writes the name that the others join; it joins nobody else's. */
		if (made == 0)
			ifr.ifr_flags |= (short)IFF_TUN_EXCL;
		else
			ifr.ifr_flags &= (short)~IFF_TUN_EXCL;
		r = open_queue(&ifr);
		if (r >= 0)
			ret_fds[made] = r;
	}
	if (r >= 0)
		r = set_offloads(ret_fds[0], &device.has_bursts);
	if (r < 0) {
		while (made > 0)
			(void)fd_close(ret_fds[--made]);
		return r;
	}
	static_assert(sizeof(device.name) == sizeof(ifr.ifr_name));
	memcpy(device.name, ifr.ifr_name, sizeof(device.name));
	*ret = device;
	return 0;
}

static bool is_udp(const uint8_t *packet, size_t len)
{
	if (len > IP6_NEXT_AT && packet[0] >> 4 == 6)
		return packet[IP6_NEXT_AT] == IPPROTO_UDP;
	return len > IP4_PROTOCOL_AT && packet[IP4_PROTOCOL_AT] == IPPROTO_UDP;
}

/* Writes the checksum that the header promises, over the sum of the pseudo-header. */
static int complete(uint8_t *packet, size_t len, const struct virtio_net_hdr *h)
{
	size_t at = (size_t)h->csum_start + h->csum_offset;
	if (h->csum_start >= len || at + 2 > len)
		return -EBADMSG;
	uint64_t sum = 0;
	size_t i = h->csum_start;
	for (; i + 1 < len; i += 2)
		sum += load_be16(packet + i);
	if (i < len)
		sum += (uint64_t)packet[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	store_be16(packet + at, (uint16_t)~sum);
	return 0;
}

int tun_read(int fd, uint8_t *buf, struct tun_packet *ret)
{
	struct virtio_net_hdr h = {};
	struct iovec iov[] = { { &h, sizeof(h) }, { buf, TUN_PACKET_MAX } };
	ssize_t n = readv(fd, iov, ARRAY_SIZE(iov));
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(h))
		return -EBADMSG;
	struct tun_packet p = { .bytes = span_of(buf, (size_t)n - sizeof(h)) };
	bool is_burst = h.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
	if (h.gso_type != VIRTIO_NET_HDR_GSO_NONE && (!is_burst || h.gso_size == 0))
		return -EBADMSG;
	if (is_burst)
		p.segment_len = h.gso_size;
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !is_udp(buf, p.bytes.len)) {
		int r = complete(buf, p.bytes.len, &h);
		if (r < 0)
			return r;
	}
	*ret = p;
	return 0;
}

int tun_write(int fd, const struct tun_send *s)
{
	struct virtio_net_hdr h = {};
	struct iovec iov[1 + TUN_PIECES_MAX + TUN_SEGMENTS_MAX];
	iov[0] = (struct iovec){ &h, sizeof(h) };
	if (s->udp_at) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = (uint16_t)s->udp_at;
		h.csum_offset = UDP_CHECKSUM_AT;
	}
	if (s->segment_len) {
		h.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		h.gso_size = (uint16_t)s->segment_len;
		h.hdr_len = (uint16_t)(s->udp_at + UDP_HEAD);
	}
	/* writev() doesn't write through iov_base, which is not const. */
	for (unsigned int i = 0; i < s->piece_count; i++) {
		iov[i + 1].iov_len = s->pieces[i].len;
		memcpy((void *)&iov[i + 1].iov_base, (const void *)&s->pieces[i].ptr,
		       sizeof(s->pieces[i].ptr));
	}
	unsigned int count = 1 + s->piece_count;
	if (s->more_count)
		memcpy(iov + count, s->more, s->more_count * sizeof(*iov));
	return writev(fd, iov, (int)(count + s->more_count)) < 0 ? -errno : 0;
}
