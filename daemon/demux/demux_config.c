/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration pushes. The text is collected up to its bound and answered as one over RPC is
 * (demux_rpc.c): the configuration of this tunnel is its local file.
 */
#include "daemon/demux/demux_config.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/conf/push.h"
#include "util/cleanup.h"

enum { READ_CHUNK = 64 * 1024, AT_ONCE_MAX = 8, ANSWER_MAX = 256 };

struct demux_config {
	struct demux *demux;
	struct stream *stream;
	struct bufq in;
	struct timer deadline;
	struct list node;
	struct loop_garbage garbage;
};

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct demux_config, garbage));
}

static void config_done(struct demux_config *c)
{
	timer_stop(&c->deadline);
	bufq_clear(&c->in);
	stream_close(TAKE_PTR(c->stream));
	list_remove(&c->node);
	c->demux->config_count--;
	loop_defer_free(c->demux->proxy->worker->loop, &c->garbage);
}

static void refuse(struct demux_config *c)
{
	stream_reset(c->stream, STREAM_CODE_NONE);
	config_done(c);
}

static void on_deadline(struct timer *timer)
{
	refuse(CONTAINER_OF(timer, struct demux_config, deadline));
}

/* The text is whole. */
static void answer(struct demux_config *c)
{
	int32_t version = 0;
	size_t len = c->in.len;
	_cleanup_(freep) char *text = malloc(len + 1);
	if (!text || bufq_copy_out(&c->in, text, len) != len ||
	    conf_push_version(text, len, &version) < 0) {
		refuse(c);
		return;
	}
	uint8_t buf[ANSWER_MAX];
	struct packer p = packer_over(buf, sizeof(buf));
	conf_push_answer(
		&p, -1, version > -1 ? "the configuration of this tunnel is its local file" : NULL);
	struct bufq out;
	bufq_init(&out, c->in.slab);
	c->demux->stats.configs_refused++;
	if (bufq_append_copy(&out, packer_span(&p)) == 0 &&
	    stream_write(c->stream, &out, out.len) == (ssize_t)p.len)
		stream_finish(c->stream);
	else
		stream_reset(c->stream, STREAM_CODE_NONE);
	bufq_clear(&out);
	config_done(c);
}

static void on_readable(struct stream *s, void *user)
{
	struct demux_config *c = user;
	for (;;) {
		ssize_t n = stream_read(s, &c->in, READ_CHUNK);
		if (n == -EAGAIN || n == -ENOBUFS)
			return;
		if (n < 0 || c->in.len > CONF_PUSH_MAX) {
			refuse(c);
			return;
		}
		if (n == 0) {
			answer(c);
			return;
		}
	}
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

static const struct stream_user user_ops = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

void demux_config_start(struct demux *d, struct stream *stream)
{
	struct demux_config *c = d->config_count < AT_ONCE_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		stream_reset(stream, STREAM_CODE_NONE);
		stream_close(stream);
		return;
	}
	struct loop *loop = d->proxy->worker->loop;
	c->demux = d;
	c->stream = stream;
	c->garbage.release = release;
	c->deadline.on_expire = on_deadline;
	bufq_init(&c->in, d->proxy->worker->slab);
	list_append(&d->configs, &c->node);
	d->config_count++;
	timer_start(loop, &c->deadline,
		    nsec_add(loop_now(loop), DEMUX_RPC_TIMEOUT_SEC * NSEC_PER_SEC));
	stream_set_user(stream, &user_ops, c);
}

void demux_config_done(struct demux *d)
{
	LIST_FOREACH(node, &d->configs)
	refuse(LIST_ENTRY(node, struct demux_config, node));
}
