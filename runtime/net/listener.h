/* listener.h - accepts connections on one loop, limits them, and stops without losing any. */
#ifndef MG_NET_LISTENER_H
#define MG_NET_LISTENER_H

#include "net/loop.h"

typedef struct mg_listener mg_listener;

typedef struct mg_listener_conf {
    mg_addr addr;
    int backlog;     /* 0: 1024 */
    bool reuse_port; /* one listener a worker on the same address */
} mg_listener_conf;

/* Called with an accepted, non-blocking descriptor that is the receiver's to close. */
typedef void mg_accepted(void *self, int fd, const mg_addr *peer);

/* Binds and listens; accepts nothing before mg_listener_start. */
mg_listener *mg_listener_new(mg_loop *loop, const mg_listener_conf *conf, mg_accepted *accepted, void *self,
                             mg_error *err);
/* Who is told of accepted connections; before start. */
void mg_listener_set_self(mg_listener *listener, void *self);
void mg_listener_start(mg_listener *listener);
/* Accepts what is queued, then closes (drain). */
void mg_listener_stop(mg_listener *listener);
void mg_listener_free(mg_listener *listener);
bool mg_listener_addr(const mg_listener *listener, mg_addr *addr); /* what was bound, port 0 resolved */
/* Binds without SO_REUSEPORT and closes again: fails where another process listens there already. */
MG_MUST_USE mg_result mg_listener_probe(mg_loop *loop, const mg_addr *addr, mg_error *err);

#endif
