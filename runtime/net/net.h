/* net.h - what the connections of one loop share: buffers, read space, exchanges. Belongs to the loop's
 * thread. */
#ifndef MG_NET_NET_H
#define MG_NET_NET_H

#include "base/log.h"
#include "base/stat.h"
#include "http/exchange.h"
#include "net/loop.h"
#include "net/pipe.h"

enum {
    MG_NET_SCRATCH = 256 * 1024,
    MG_NET_READ_SMALL = 32 * 1024,
    MG_NET_HELD_MUCH = 512 * 1024, /* one read */
    MG_NET_BUFFER = 8 * 1024,      /* a held buffer's first size */
    MG_NET_SPARE_BUFFERS = 64,
    MG_NET_SPARE_EXCHANGES = 256,
    MG_NET_EXCHANGE_BYTES = 8 * 1024, /* an exchange with the first part of its arena */
};

typedef struct mg_net {
    mg_loop *loop; /* borrowed */
    mg_log *log;   /* borrowed */
    char *scratch; /* owned: every read goes here first; what must stay is copied to a held buffer */
    bool scratch_busy;
    mg_pipes pipes;
    struct mg_spare *buffers, *exchanges; /* owned free lists */
    unsigned buffer_count, exchange_count;
    size_t live_exchanges;
    size_t held; /* memory of held buffers beyond their first size */
} mg_net;

void mg_net_init(mg_net *net, mg_loop *loop, mg_log *log);
void mg_net_fini(mg_net *net); /* no exchange may live */

/* A held buffer: memory while bytes are in it. Adds behind what is there. */
void mg_net_hold(mg_net *net, mg_text *held, const char *bytes, size_t n);
/* Makes sure that `held` has memory of at least one buffer; returns how much it has, for mg_net_grew. */
size_t mg_net_hold_open(mg_net *net, mg_text *held);
/* Behind a writer that may have grown the memory of a held buffer, which had `cap` bytes. */
static inline void mg_net_grew(mg_net *net, const mg_text *held, size_t cap)
{
    net->held += held->cap - cap;
}
/* How much to read at once: much while little is held, less when peers have stalled, so that memory stays
 * bounded. */
static inline size_t mg_net_read_size(const mg_net *net)
{
    return net->held < MG_NET_HELD_MUCH ? MG_NET_SCRATCH : MG_NET_READ_SMALL;
}
/* Drops the first n bytes; gives the memory back when none are left. */
void mg_net_drop(mg_net *net, mg_text *held, size_t n);

/* Zeroed but for the arena's memory; times.begin_ns is set. */
mg_exchange *mg_net_exchange_new(mg_net *net);
void mg_net_exchange_free(mg_net *net, mg_exchange *x);

/* Bytes in memory as a body: of the gateway's own answers, and of bodies a plugin replaced. */
typedef struct mg_bytes_source {
    mg_body_source source;
    mg_body *body; /* borrowed */
    mg_str left;   /* borrowed */
} mg_bytes_source;

/* Becomes body->source; push with source.resume once the sink is there. */
void mg_bytes_source_init(mg_bytes_source *self, mg_body *body, mg_str bytes);

#endif
