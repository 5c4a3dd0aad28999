/* sim_accepted.c - answers of upstreams that are not as they should be, and that every gateway accepts. */
#include "sim_exchange.h"

/* ---- bodies that are announced, and are none ---- */

static const char *const statuses[] = { "204 No Content", "205 Reset Content" };
static const char *const announced[] = { "content-length: 5\r\n\r\n", "content-length: 5\r\n\r\nhello",
                                         "transfer-encoding: chunked\r\n\r\n",
                                         "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                                         "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" };

/* The client has an answer without a body, and nothing that followed it is in the next one. */
static void assert_empty_and_closed(line *l, const char *status, const char *rest)
{
    char answer[256];

    line_ask(l, GET);
    snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nx: y\r\n%s", status, rest);
    (void)say_bytes(&l->w, l->up, answer, strlen(answer));
    hear_status(&l->w, l->client, strncmp(status, "204", 3) == 0 ? "204" : "205");
    assert_has(l->w.heard, "\r\nx: y\r\n");
    assert_ends(l->w.heard, "\r\n\r\n");
    assert_null(strstr(l->w.heard, "transfer-encoding"));
    assert_null(strstr(l->w.heard, "content-length: 5"));
    assert_true(hear(&l->w, l->up) != HEAR_OPEN);
    line_drop(l, &l->up);
    line_ask(l, GET);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    hear_status(&l->w, l->client, "200");
    assert_ends(l->w.heard, "content-length: 4\r\n\r\nfine");
}

static void a_body_that_cannot_be_ends_the_connection_it_was_announced_on(void **state)
{
    static const char *const configs[] = { BASE ROUTE, BASE ROUTE_P };

    (void)state;
    for (size_t i = 0; i < 2 * mg_countof(statuses) * mg_countof(announced); i++) {
        line l;
        line_open(&l, configs[i % 2],
                  i % 2 ? HANDLER("next(ctx) assert(ctx.response:body() == (ctx.response.status == 200 and "
                                  "'fine' or ''))")
                        : NULL);
        assert_empty_and_closed(&l, statuses[i / 2 % 2], announced[i / 4]);
        line_close(&l);
    }
}

static void an_interim_answer_has_no_body_either(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-length: 5\r\n\r\n");
    hear_status(&l.w, l.client, "103");
    assert_null(strstr(l.w.heard, "content-length"));
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "fine");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN); /* somebody may send those five bytes yet */
    line_close(&l);
}

/* Not modified, and to HEAD: what GET would have said. */
static void what_describes_another_answer_changes_nothing(void **state)
{
    static const char *const requests[] = { "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n", GET };
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"
    };

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        line l;
        line_open(&l, BASE ROUTE, NULL);
        for (int again = 0; again < 2; again++) { /* on one connection */
            line_ask(&l, requests[i / 4]);
            say(&l.w, l.up, answers[i < 4 ? i : i - 2]);
            hear_status(&l.w, l.client, i < 2 ? "200" : "304");
            assert_ends(l.w.heard, "\r\n\r\n");
        }
        line_close(&l);
    }
}

static void plugins_requests_and_checks_read_them_too(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("local a = assert(ctx.http:get('http://10.0.0.2:9000/x')) ctx:respond(200, a.status .. "
                      "'(' .. a.body .. ')')"));
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n204()");
    line_close(&l);
}

/* ---- chunks ---- */

#define CHUNKED "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

static void blanks_behind_a_chunks_size_are_passed_over(void **state)
{
    static const char *const bodies[] = { "5  \r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0 \t \r\n\r\n",
                                          "5     ;x=1\r\nhello\r\n0\r\n\r\n",
                                          "5 ; x\r\nhello\r\n0;y \r\n\r\n",
                                          "00000005   \r\nhello\r\n000   \r\n\r\n" };

    (void)state;
    for (size_t i = 0; i < mg_countof(bodies); i++) {
        line l;
        line_open(&l, BASE ROUTE, NULL);
        for (int how = 0; how < 2; how++) { /* at once, and byte by byte, on one connection */
            line_ask(&l, GET);
            say(&l.w, l.up, CHUNKED);
            if (how == 0)
                say(&l.w, l.up, bodies[i]);
            for (const char *c = bodies[i]; how && *c; c++)
                say_all(&l.w, l.up, c, 1);
            hear_status(&l.w, l.client, "200");
            assert_has(l.w.heard, how ? "\r\n1\r\nl\r\n1\r\no\r\n0\r\n" : "\r\n5\r\nhello\r\n");
            assert_ends(l.w.heard, "\r\n0\r\n\r\n");
        }
        line_close(&l);
    }
}

/* No client may pad: what stands before us may read it in another way. */
static void clients_may_not_pad_chunks(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&l.w, l.client,
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n");
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 400 ");
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_that_cannot_be_ends_the_connection_it_was_announced_on),
        cmocka_unit_test(an_interim_answer_has_no_body_either),
        cmocka_unit_test(what_describes_another_answer_changes_nothing),
        cmocka_unit_test(plugins_requests_and_checks_read_them_too),
        cmocka_unit_test(blanks_behind_a_chunks_size_are_passed_over),
        cmocka_unit_test(clients_may_not_pad_chunks),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
