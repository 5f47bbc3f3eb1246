/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 3. Every length is checked before a field is read: the reference
 * ends its process on a registration that is shorter than its header.
 */
#include "daemon/wire/dgram_v3.h"

#include <errno.h>
#include <string.h>

#include "util/cursor.h"
#include "util/macro.h"

enum {
	FLAG_IPV6 = 0x01,
	FLAG_TRACED = 0x02,
	FLAG_PAYLOAD = 0x04,
};

int dgram3_type(struct span in, enum dgram3_type *ret)
{
	if (in.len == 0)
		return -ENODATA;
	if (in.ptr[0] > DGRAM3_TYPE_RESPONSE)
		return -EBADMSG;
	*ret = (enum dgram3_type)in.ptr[0];
	return 0;
}

/* A cursor behind the type byte; another type is an error of the cursor. */
static struct cursor open_as(struct span in, enum dgram3_type type)
{
	struct cursor c = cursor_over(in);
	if (cursor_u8(&c) != (uint8_t)type)
		cursor_fail(&c, -EBADMSG);
	return c;
}

static struct dgram_id take_id(struct cursor *c)
{
	struct dgram_id id = {};
	const uint8_t *p = cursor_take(c, DGRAM_ID_LEN);
	if (p)
		memcpy(id.bytes, p, DGRAM_ID_LEN);
	return id;
}

static struct ip_addr take_addr(struct cursor *c, enum ip_family family)
{
	const uint8_t *p = cursor_take(c, ip_family_len(family));
	return p ? ip_addr_from(family, p) : (struct ip_addr){};
}

/* ---- registration ---- */

int dgram3_register_read(struct span in, struct dgram3_register *ret)
{
	struct cursor c = open_as(in, DGRAM3_TYPE_REGISTER);
	struct dgram3_register r = {};

	uint8_t flags = cursor_u8(&c);
	r.is_traced = flags & FLAG_TRACED;
	r.dest.port = cursor_be16(&c);
	r.idle_sec = cursor_be16(&c);
	r.id = take_id(&c);
	r.dest.ip = take_addr(&c, flags & FLAG_IPV6 ? IP_FAMILY_V6 : IP_FAMILY_V4);
	if (c.error)
		return c.error;
	if (flags & FLAG_PAYLOAD)
		r.payload = cursor_rest(&c);
	*ret = r;
	return 0;
}

size_t dgram3_bundle_max(enum ip_family family)
{
	return DGRAM3_REGISTER_MAX - DGRAM3_REGISTER_HEAD - ip_family_len(family);
}

int dgram3_register_write(struct packer *p, const struct dgram3_register *r)
{
	size_t addr_len = ip_family_len(r->dest.ip.family);
	if (addr_len == 0)
		return -EINVAL;
	if (r->payload.len > dgram3_bundle_max(r->dest.ip.family))
		return -EMSGSIZE;

	unsigned int flags = (r->dest.ip.family == IP_FAMILY_V6 ? FLAG_IPV6 : 0U) |
			     (r->is_traced ? FLAG_TRACED : 0U) |
			     (r->payload.len ? FLAG_PAYLOAD : 0U);
	packer_u8(p, DGRAM3_TYPE_REGISTER);
	packer_u8(p, (uint8_t)flags);
	packer_be16(p, r->dest.port);
	packer_be16(p, r->idle_sec);
	packer_bytes(p, dgram_id_span(&r->id));
	packer_bytes(p, span_of(r->dest.ip.bytes, addr_len));
	packer_bytes(p, r->payload);
	return packer_finish(p);
}

uint16_t dgram3_idle_sec(nsec_t idle)
{
	if (idle == 0)
		return 0;
	return (uint16_t)MAX(MIN(idle / NSEC_PER_SEC, (nsec_t)UINT16_MAX), (nsec_t)1);
}

nsec_t dgram3_idle(uint16_t idle_sec)
{
	return idle_sec ? idle_sec * NSEC_PER_SEC : DGRAM_IDLE_DEFAULT;
}

/* ---- payload ---- */

/* Of every datagram there is: plain, so that it costs nothing. */
int dgram3_payload_read(struct span in, size_t max, struct dgram3_payload *ret)
{
	if (in.len > 0 && in.ptr[0] != DGRAM3_TYPE_PAYLOAD)
		return -EBADMSG;
	if (in.len < DGRAM3_PAYLOAD_HEAD)
		return -ENODATA;
	if (in.len - DGRAM3_PAYLOAD_HEAD > max)
		return -EMSGSIZE;
	memcpy(ret->id.bytes, in.ptr + 1, DGRAM_ID_LEN);
	ret->payload = span_skip(in, DGRAM3_PAYLOAD_HEAD);
	return 0;
}

int dgram3_payload_write(struct packer *p, const struct dgram3_payload *d, size_t max)
{
	if (d->payload.len > max)
		return -EMSGSIZE;
	packer_u8(p, DGRAM3_TYPE_PAYLOAD);
	packer_bytes(p, dgram_id_span(&d->id));
	packer_bytes(p, d->payload);
	return packer_finish(p);
}

void dgram3_payload_head(const struct dgram_id *id, uint8_t ret[DGRAM3_PAYLOAD_HEAD])
{
	ret[0] = DGRAM3_TYPE_PAYLOAD;
	memcpy(ret + 1, id->bytes, DGRAM_ID_LEN);
}

/* ---- ICMP ---- */

static int check_packet(struct span packet)
{
	if (packet.len == 0)
		return -ENODATA;
	return packet.len > DGRAM3_PACKET_MAX ? -EMSGSIZE : 0;
}

int dgram3_icmp_read(struct span in, struct span *ret_packet)
{
	struct cursor c = open_as(in, DGRAM3_TYPE_ICMP);
	struct span packet = cursor_rest(&c);
	int r = c.error ? c.error : check_packet(packet);
	if (r < 0)
		return r;
	*ret_packet = packet;
	return 0;
}

int dgram3_icmp_write(struct packer *p, struct span packet)
{
	int r = check_packet(packet);
	if (r < 0)
		return r;
	packer_u8(p, DGRAM3_TYPE_ICMP);
	packer_bytes(p, packet);
	return packer_finish(p);
}

/* ---- response ---- */

int dgram3_response_read(struct span in, struct dgram3_response *ret)
{
	struct cursor c = open_as(in, DGRAM3_TYPE_RESPONSE);
	struct dgram3_response r = { .code = (enum dgram3_code)cursor_u8(&c) };

	r.id = take_id(&c);
	uint16_t len = cursor_be16(&c);
	if (!c.error && len > DGRAM3_TEXT_MAX)
		return -EMSGSIZE;
	r.text = cursor_bytes(&c, len);
	if (c.error)
		return c.error;
	*ret = r;
	return 0;
}

int dgram3_response_write(struct packer *p, const struct dgram3_response *r)
{
	if (r->text.len > DGRAM3_TEXT_MAX)
		return -EMSGSIZE;
	packer_u8(p, DGRAM3_TYPE_RESPONSE);
	packer_u8(p, r->code);
	packer_bytes(p, dgram_id_span(&r->id));
	packer_be16(p, (uint16_t)r->text.len);
	packer_bytes(p, r->text);
	return packer_finish(p);
}
