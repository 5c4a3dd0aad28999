/* sim_together.c - what plugins can do, where it meets something else that goes on: a body on its way,
 * requests that wait for the same service, filters behind a body in memory. */
#include "sim_world.h"

#define P(text)                                                                                              \
    "return { name = 'p', version = '1', new = function() return function(ctx, next)\n" text "\nend end }\n"
#define SEND "local res, why = ctx.http:post('/x', ctx.request, { service = 'up' })\n"
#define POST "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nfoo"

/* ---- the client's body is still on its way ---- */

/* Nobody takes the rest: the time of the request goes on, and ends what the plugin waits for. */
static void then_the_time_is_over(line *l)
{
    say(&l->w, l->client, "bar");
    advance(&l->w, 61 * MG_NS_PER_S);
    (void)hear(&l->w, l->client);
    assert_starts(l->w.heard, "HTTP/1.1 504");
    line_close(l);
}

static void the_time_goes_on_when_the_answer_came_before_the_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET SERVICE ROUTE_P, P(SEND "ctx:sleep(3600) ctx:respond(200, 'late')"));
    line_ask(&l, POST);
    say(&l.w, l.up, "HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n");
    then_the_time_is_over(&l);
}

static void the_time_goes_on_when_the_upstream_left_before_the_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET SERVICE ROUTE_P, P(SEND "ctx:sleep(3600) ctx:respond(200, 'late')"));
    line_ask(&l, POST);
    hang_up_hard(&l.w, l.up);
    l.up = -1;
    then_the_time_is_over(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_goes_on_when_the_answer_came_before_the_body),
        cmocka_unit_test(the_time_goes_on_when_the_upstream_left_before_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
