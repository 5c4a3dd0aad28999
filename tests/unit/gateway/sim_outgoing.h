/* sim_outgoing.h - a plugin that asks the gateway's own service. */
#ifndef TEST_SIM_OUTGOING_H
#define TEST_SIM_OUTGOING_H

#include "sim_world.h"

#define ONE                                                                                                  \
    "services:\n"                                                                                            \
    "  up:\n"                                                                                                \
    "    endpoints: [{ url: \"http://10.0.0.2:9000\" }]\n"                                                   \
    "    retry: { attempts: 2, on: [503, reset], budget: 100%, backoff: 1ms }\n"                             \
    "    breaker: { consecutive_failures: 3, open_for: 5s }\n"
#define P(text)                                                                                              \
    "return { name = 'p', version = '1', new = function() return function(ctx, next)\n" text "\nend end }\n"
#define GET_A  "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define CONFIG WEB QUIET ONE ROUTE_P
#define ASK                                                                                                  \
    "local res, why = ctx.http:get('/x?y=1', { service = 'up', headers = { ['x-a'] = { '1', '2' } } })\n"
#define STREAM "local res, why = ctx.http:get('/x', { service = 'up', stream = true })\n"

static inline const char *logged_of(line *l)
{
    mg_text_add_char(&l->w.logged, '\0');
    return l->w.logged.p;
}

#define PASS "ctx:respond(res.status, res)"

#endif
