/* net.c - buffers, read space and exchanges of one loop. */
#include "net/net.h"

#include "base/check.h"
#include "base/mem.h"

struct mg_spare {
    struct mg_spare *next;
};

#ifndef __has_feature
#define __has_feature(name) 0
#endif

/* How many of a kind are kept for the next taker: none under AddressSanitizer, which is to see who uses one
 * behind its end. */
static unsigned spares(unsigned most)
{
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    return most & 0;
#else
    return most;
#endif
}

void mg_net_init(mg_net *net, mg_loop *loop, mg_log *log)
{
    *net = (mg_net){ .loop = loop, .log = log, .pipes = { .max = MG_PIPES_MAX } };
    net->scratch = mg_alloc(MG_NET_SCRATCH);
}

static void free_spares(struct mg_spare *spare)
{
    while (spare) {
        struct mg_spare *next = spare->next;
        mg_free(spare);
        spare = next;
    }
}

void mg_net_fini(mg_net *net)
{
    MG_CHECK(net->live_exchanges == 0 && net->held == 0);
    mg_pipes_fini(&net->pipes, net->loop);
    free_spares(net->buffers);
    free_spares(net->exchanges);
    mg_free(net->scratch);
}

size_t mg_net_hold_open(mg_net *net, mg_text *held)
{
    if (held->p)
        return held->cap;
    if (net->buffers) {
        held->p = (char *)net->buffers;
        net->buffers = net->buffers->next;
        net->buffer_count--;
    } else {
        held->p = mg_alloc(MG_NET_BUFFER);
    }
    held->n = 0;
    held->cap = MG_NET_BUFFER;
    return held->cap;
}

void mg_net_hold(mg_net *net, mg_text *held, const char *bytes, size_t n)
{
    (void)mg_net_hold_open(net, held);
    if (held->cap - held->n < n) {
        net->held += held->n + n - held->cap;
        held->cap = held->n + n;
        held->p = mg_realloc(held->p, held->cap);
    }
    memcpy(held->p + held->n, bytes, n);
    held->n += n;
}

static void close_held(mg_net *net, mg_text *held)
{
    net->held -= held->cap - MG_NET_BUFFER;
    if (held->cap == MG_NET_BUFFER && net->buffer_count < spares(MG_NET_SPARE_BUFFERS)) {
        struct mg_spare *spare = (struct mg_spare *)(void *)held->p;
        spare->next = net->buffers;
        net->buffers = spare;
        net->buffer_count++;
    } else {
        mg_free(held->p);
    }
    *held = (mg_text){ 0 };
}

void mg_net_drop(mg_net *net, mg_text *held, size_t n)
{
    MG_CHECK(n <= held->n);
    if (!held->p)
        return;
    if (n == held->n) {
        close_held(net, held);
        return;
    }
    memmove(held->p, held->p + n, held->n - n);
    held->n -= n;
}

mg_exchange *mg_net_exchange_new(mg_net *net)
{
    mg_exchange *x;

    if (net->exchanges) {
        x = (mg_exchange *)(void *)net->exchanges;
        net->exchanges = net->exchanges->next;
        net->exchange_count--;
    } else {
        x = mg_alloc(MG_NET_EXCHANGE_BYTES);
    }
    memset(x, 0, sizeof *x);
    mg_arena_init(&x->arena, x + 1, MG_NET_EXCHANGE_BYTES - sizeof *x);
    x->times.begin_ns = mg_loop_now(net->loop);
    net->live_exchanges++;
    return x;
}

void mg_net_exchange_free(mg_net *net, mg_exchange *x)
{
    mg_arena_fini(&x->arena);
    net->live_exchanges--;
    if (net->exchange_count >= spares(MG_NET_SPARE_EXCHANGES)) {
        mg_free(x);
        return;
    }
    struct mg_spare *spare = (struct mg_spare *)(void *)x;
    spare->next = net->exchanges;
    net->exchanges = spare;
    net->exchange_count++;
}

static void bytes_resume(mg_body_source *source)
{
    mg_bytes_source *self = mg_container_of(source, mg_bytes_source, source);
    mg_body *body = self->body;

    while (self->left.n) {
        const size_t taken = body->sink->data(body->sink, self->left.p, self->left.n);
        body->bytes += taken;
        self->left.p += taken;
        self->left.n -= taken;
        if (taken == 0 || body->source != source)
            return;
    }
    body->source = NULL;
    body->ended = true;
    body->sink->end(body->sink, NULL);
}

static void bytes_stop(mg_body_source *source)
{
    mg_bytes_source *self = mg_container_of(source, mg_bytes_source, source);
    self->body->source = NULL;
}

void mg_bytes_source_init(mg_bytes_source *self, mg_body *body, mg_str bytes)
{
    self->source = (mg_body_source){ bytes_resume, bytes_stop };
    self->body = body;
    self->left = bytes;
    body->source = &self->source;
    body->ended = false;
}
