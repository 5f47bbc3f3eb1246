/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services that need no connection: http_status:N and hello_world. The answer is made at the start
 * and told from the loop; the request's body is not wanted (spec ingress-and-origins §4.3).
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/origin/origin_hello.h"
#include "daemon/origin/origin_priv.h"

struct origin_fixed {
	struct origin_call call; /* first */
	struct stream body;
	struct bufq page;
	struct http_head head;
	struct http_field type;
	struct loop_task answer;
	bool is_stopped;
};

static struct origin_fixed *fixed_of(struct origin_call *call)
{
	return CONTAINER_OF(call, struct origin_fixed, call);
}

static struct origin_fixed *fixed_of_body(struct stream *s)
{
	return CONTAINER_OF(s, struct origin_fixed, body);
}

/* ---- the body ---- */

static ssize_t body_read(struct stream *s, struct bufq *to, size_t max)
{
	struct origin_fixed *of = fixed_of_body(s);
	if (of->is_stopped)
		return -ECANCELED;
	if (!of->call.is_told || !max)
		return -EAGAIN;
	size_t n = bufq_move(to, &of->page, max);
	if (n == 0 && !bufq_is_empty(&of->page)) {
		stream_tell(s, true, false); /* no slice for a part: that isn't the end */
		return -ENOBUFS;
	}
	return (ssize_t)n;
}

static ssize_t body_write(struct stream *s, struct bufq *from, size_t max)
{
	(void)s;
	(void)from;
	(void)max;
	return -EPIPE;
}

static size_t body_credit(const struct stream *s)
{
	(void)s;
	return 0;
}

static void body_finish(struct stream *s)
{
	(void)s;
}

static void body_reset(struct stream *s, uint64_t code)
{
	(void)s;
	(void)code;
}

static void body_stop(struct stream *s, uint64_t code)
{
	(void)code;
	struct origin_fixed *of = fixed_of_body(s);
	of->is_stopped = true;
	bufq_clear(&of->page);
}

/* The call owns it. */
static void body_close(struct stream *s)
{
	body_stop(s, STREAM_CODE_NONE);
}

static const struct stream_ops body_ops = {
	.read = body_read,
	.write = body_write,
	.credit = body_credit,
	.finish = body_finish,
	.reset = body_reset,
	.stop = body_stop,
	.close = body_close,
};

/* ---- the answer ---- */

static void run_answer(struct loop_task *task)
{
	struct origin_fixed *of = CONTAINER_OF(task, struct origin_fixed, answer);
	stream_tell(&of->body, true, true);
	origin_call_tell_response(&of->call, &of->head);
}

static int make_hello(struct origin_fixed *of)
{
	const struct origin_worker *ow = of->call.ow;
	const struct http_head *request = &of->call.request;
	const struct hello_times times = {
		.started_clock = ow->started_clock,
		.uptime = nsec_sub(loop_now(ow->params.loop), ow->started_at),
	};
	const char *type = NULL;
	int r = hello_write_page(request, &times, &of->page, &type);
	if (r < 0)
		return r;
	of->type = (struct http_field){ .name = SPAN_LIT("Content-Type"), .value = span_str(type) };
	of->head.fields = &of->type;
	of->head.field_count = 1;
	of->head.content_length = of->page.len;
	of->head.body = HTTP_BODY_LENGTH;
	if (span_eq_str(request->method, "HEAD")) {
		bufq_clear(&of->page);
		of->head.body = HTTP_BODY_NONE;
	}
	return 0;
}

/* ---- life ---- */

static void fixed_end(struct origin_call *call)
{
	struct origin_fixed *of = fixed_of(call);
	loop_task_cancel(&of->answer);
	bufq_clear(&of->page);
}

static void fixed_release(struct origin_call *call)
{
	free(fixed_of(call));
}

static const struct origin_call_ops fixed_ops = { .end = fixed_end, .release = fixed_release };

int origin_fixed_start(struct origin_worker *ow, const struct origin_call_params *params,
		       struct origin_call **ret)
{
	const struct origin_worker_params *p = &ow->params;
	const struct conf_service *service = &params->rule->service;
	struct origin_fixed *of = calloc(1, sizeof(*of));
	if (!of)
		return -ENOMEM;
	origin_call_init(&of->call, &fixed_ops, ow, params);
	of->body = (struct stream){ .ops = &body_ops, .loop = p->loop, .slab = p->slab };
	of->call.body = &of->body;
	of->answer.run = run_answer;
	bufq_init(&of->page, p->slab);
	of->head = (struct http_head){ .status = 200, .minor = 1, .has_length = true };
	int r = 0;
	if (service->kind == SERVICE_KIND_STATUS)
		of->head.status = service->status;
	else
		r = make_hello(of);
	if (r < 0) {
		origin_call_end(&of->call);
		return r;
	}
	loop_task_post(p->loop, &of->answer, LOOP_PHASE_WORK);
	*ret = &of->call;
	return 0;
}
