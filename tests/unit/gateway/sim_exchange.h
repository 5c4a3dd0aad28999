/* sim_exchange.h - an exchange on a line, and how far both of its ends have come. */
#ifndef TEST_SIM_EXCHANGE_H
#define TEST_SIM_EXCHANGE_H

#include "sim_world.h"

#define BASE     WEB QUIET SERVICE
#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define POST(n)  "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

#define WAITING   HANDLER("ctx:sleep(1) next(ctx) ctx:sleep(1)")
#define BUFFERING HANDLER("ctx.request:body() ctx:sleep(1) next(ctx) ctx:sleep(1) ctx.response:body()")

enum { STEPS = 11 };

/* What both ends have done by each step, with a plugin that waits on the way in and on the way out. */
static inline void play(line *l, int steps)
{
    static const char *const client[] = { "POST /a HTTP/1.1\r\nhost: a\r\n", "content-length: 8\r\n\r\n",
                                          "1234", "5678" };
    int step = 0;

    for (int i = 0; i < 4 && step < steps; i++, step++)
        say(&l->w, l->client, client[i]);
    if (step++ < steps)
        advance(&l->w, 1001 * MS); /* the way in has slept */
    if (step++ < steps) {
        l->up = take(&l->w, l->upstream);
        assert_true(l->up >= 0);
        (void)hear(&l->w, l->up);
    }
    if (step++ < steps)
        say(&l->w, l->up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
    if (step++ < steps)
        say(&l->w, l->up, "\r\n");
    if (step++ < steps)
        say(&l->w, l->up, "2\r\nab\r\n");
    if (step++ < steps)
        advance(&l->w, 1001 * MS); /* the way out has slept */
    if (step++ < steps)
        say(&l->w, l->up, "2\r\nab\r\n");
}

#endif
