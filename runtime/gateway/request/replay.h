/* replay.h - a request's body for more than one try. It stands between the body (behind the filters of
 * plugins) and the connection that sends it, and keeps what the connection has taken, up to a bound; for the
 * next try that goes first, and the rest follows from its own source. A body that a plugin holds in memory
 * anyway is sent from there, whatever its size. One exchange, its worker's thread; memory of the exchange,
 * and a held buffer of the worker's net. All but mg_replay_begin may be called on a flight that has none. */
#ifndef MG_GATEWAY_REQUEST_REPLAY_H
#define MG_GATEWAY_REQUEST_REPLAY_H

#include "http/exchange.h"

typedef struct mg_flight mg_flight;
typedef struct mg_replay mg_replay;

enum {
    MG_REPLAY_BYTES = 64 * 1024, /* of one body */
    MG_REPLAY_NET_BYTES =
        16 << 20, /* of memory that all held buffers of a worker have: over it nothing more is kept */
};

/* Before the first try, where the service may retry: from now on the body is kept. Nothing when the request
 * has none. */
void mg_replay_begin(mg_flight *flight);

/* The lease's `sending`: puts the plugins' filters, and us behind them, before the connection's sink. With or
 * without mg_replay_begin. */
void mg_replay_sending(mg_flight *flight);

/* Every body byte that was sent can be sent again. */
bool mg_replay_held(const mg_flight *flight);

/* Another try is decided, and the last one's lease is over: the next one sends the body from its first byte.
 * At once, before any backoff: the client may go on sending meanwhile. Only where mg_replay_held. */
void mg_replay_rewind(mg_flight *flight);

/* No further try: what is kept goes as soon as it was sent. When the response head is passed on, or none will
 * come. */
void mg_replay_end(mg_flight *flight);

/* The exchange is over. */
void mg_replay_fini(mg_flight *flight);

#endif
