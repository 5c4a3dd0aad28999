/* dns_tcp.c - one question over TCP. */
#include "net/dns_tcp.h"

#include "base/mem.h"
#include "net/dns_message.h"
#include "net/stream.h"

struct mg_dns_tcp {
    mg_loop *loop; /* borrowed */
    mg_dns_servers servers;
    unsigned next; /* the server to ask then */
    char name[MG_DNS_NAME_MAX + 1];
    unsigned type;
    uint16_t id;
    uint64_t timeout_ns;
    void (*done)(void *self, mg_result result, const mg_resolved *answer);
    void *self;
    mg_stream stream;
    mg_timer timer;
    mg_later later; /* it is over */
    uint8_t question[2 + MG_DNS_QUESTION_MAX];
    size_t question_n, sent;
    mg_text in; /* owned: the answer's length, and the answer */
    mg_result result;
    mg_resolved answer;
};

static void ask_free(mg_dns_tcp *ask)
{
    mg_stream_close(&ask->stream, false);
    mg_timer_stop(&ask->timer);
    mg_later_cancel(&ask->later);
    mg_text_fini(&ask->in);
    mg_free(ask);
}

void mg_dns_tcp_cancel(mg_dns_tcp *ask)
{
    if (ask)
        ask_free(ask);
}

/* Nobody else is on the stack. */
static void on_later(mg_later *later)
{
    mg_dns_tcp *ask = mg_container_of(later, mg_dns_tcp, later);

    ask->done(ask->self, ask->result, ask->result == MG_OK ? &ask->answer : NULL);
    ask_free(ask);
}

static void on_ready(mg_stream *stream);

/* What a server said last counts when no other is left to ask. */
static void ask_next(mg_dns_tcp *ask)
{
    mg_stream_close(&ask->stream, false);
    mg_timer_stop(&ask->timer);
    while (ask->next < ask->servers.count) {
        const mg_addr *addr = &ask->servers.addrs[ask->next++];
        if (!mg_stream_connect(&ask->stream, ask->loop, addr, &mg_transport_socket, on_ready))
            continue;
        ask->sent = 0;
        mg_text_clear(&ask->in);
        mg_timer_set(ask->loop, &ask->timer, mg_loop_now(ask->loop) + ask->timeout_ns);
        return;
    }
    mg_later_add(ask->loop, &ask->later);
}

static void fail(mg_dns_tcp *ask, mg_result result)
{
    ask->result = result;
    ask_next(ask);
}

static void on_timer(mg_timer *timer)
{
    fail(mg_container_of(timer, mg_dns_tcp, timer), MG_ERR_TIMEOUT);
}

static bool send_question(mg_dns_tcp *ask)
{
    if (ask->sent == ask->question_n || !mg_stream_can_write(&ask->stream))
        return true;
    const struct iovec part = { ask->question + ask->sent, ask->question_n - ask->sent };
    const ssize_t sent = mg_stream_send(&ask->stream, &part, 1);
    ask->sent += sent > 0 ? (size_t)sent : 0;
    return sent >= 0;
}

static void take_answer(mg_dns_tcp *ask, size_t n)
{
    ask->answer = (mg_resolved){ 0 };
    ask->result = mg_dns_read_answer((const uint8_t *)ask->in.p + 2, n, ask->id, mg_str_of(ask->name),
                                     ask->type, &ask->answer);
    if (ask->result == MG_OK || ask->result == MG_ERR_NOT_FOUND) {
        ask->next = ask->servers.count;
    } else {
        ask->result = MG_ERR_IO;
    }
    ask_next(ask);
}

static void read_answer(mg_dns_tcp *ask)
{
    char part[4096];

    while (mg_stream_can_read(&ask->stream)) {
        const ssize_t got = mg_stream_recv(&ask->stream, part, sizeof part);
        if (got == MG_STREAM_WAIT)
            return;
        if (got <= 0) {
            fail(ask, MG_ERR_IO);
            return;
        }
        mg_text_add(&ask->in, mg_str_make(part, (size_t)got));
        if (ask->in.n < 2)
            continue;
        const size_t n = (size_t)(uint8_t)ask->in.p[0] << 8 | (uint8_t)ask->in.p[1];
        if (ask->in.n - 2 >= n) {
            take_answer(ask, n);
            return;
        }
    }
}

static void on_ready(mg_stream *stream)
{
    mg_dns_tcp *ask = mg_container_of(stream, mg_dns_tcp, stream);
    const int greeted = mg_stream_greet(stream);

    if (greeted == MG_STREAM_WAIT)
        return;
    if (greeted || !send_question(ask))
        fail(ask, MG_ERR_IO);
    else
        read_answer(ask);
}

mg_dns_tcp *mg_dns_tcp_ask(mg_loop *loop, const mg_dns_servers *servers, mg_str name, unsigned type,
                           uint64_t timeout_ns,
                           void (*done)(void *self, mg_result result, const mg_resolved *answer), void *self)
{
    mg_dns_tcp *ask = MG_NEW(mg_dns_tcp);

    *ask = (mg_dns_tcp){ .loop = loop, .servers = *servers, .type = type, .timeout_ns = timeout_ns };
    ask->done = done;
    ask->self = self;
    memcpy(ask->name, name.p, name.n);
    ask->id = (uint16_t)mg_rand_next(&loop->rand);
    ask->question_n = 2 + mg_dns_write_question(ask->question + 2, ask->id, name, type);
    ask->question[0] = (uint8_t)((ask->question_n - 2) >> 8);
    ask->question[1] = (uint8_t)(ask->question_n - 2);
    ask->later.run = on_later;
    ask->result = MG_ERR_IO;
    mg_timer_init(&ask->timer, on_timer);
    ask_next(ask);
    return ask;
}
