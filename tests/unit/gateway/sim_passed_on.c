/* sim_passed_on.c - ctx.http: answers passed on to the client. */
#include "sim_outgoing.h"

static void an_answer_is_passed_on_as_it_comes(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up,
        "HTTP/1.1 201 Made\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-b: 3\r\ncontent-length: 6\r\n\r\nfoo");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_starts(l.w.heard, "HTTP/1.1 201 ");
    assert_has(l.w.heard, "set-cookie: a=1\r\nset-cookie: b=2\r\nx-b: 3\r\n");
    assert_has(l.w.heard, "content-length: 6\r\n");
    assert_ends(l.w.heard, "\r\n\r\nfoo");
    say(&l.w, l.up, "bar");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "bar");
    line_ask(&l, GET_A); /* both connections go on */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_ends(l.w.heard, "3\r\none\r\n");
    say(&l.w, l.up, "0\r\nx-t: 1\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "0\r\nx-t: 1\r\n\r\n");
    line_ask(&l, "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n"); /* the client wants no body */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfoobar");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n");
    line_close(&l);
}

static void a_client_that_reads_slowly_holds_the_upstream_back(void **state)
{
    static char much[1 << 20];
    size_t taken = 0, heard = 0;
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 33554432\r\n\r\n");
    for (size_t more = 1; more; taken += more)
        more = say_bytes(&l.w, l.up, much, sizeof much);
    assert_true(taken < 8 << 20);
    while (heard < 32 << 20) {
        const ssize_t got = l.w.outside->ops->recv(l.w.outside, l.client, l.w.heard, HEARD_BYTES);
        heard += got > 0 ? (size_t)got : 0;
        settle(&l.w);
        if (taken < 32 << 20)
            taken += say_bytes(&l.w, l.up, much, mg_min_u64(sizeof much, (32 << 20) - taken));
    }
    line_close(&l);
}

static void what_is_read_first_does_not_go_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM "res:read() ctx:respond(200, res, { ['x-own'] = 'yes' })"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\nx-b: 3\r\ncontent-length: 6\r\n\r\nfoo");
    say(&l.w, l.up, "bar");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_has(l.w.heard, "x-own: yes\r\n");
    assert_null(strstr(l.w.heard, "x-b"));
    assert_ends(l.w.heard, "\r\n\r\n3\r\nbar\r\n0\r\n\r\n");
    line_close(&l);
}

static void an_upstream_that_is_cut_cuts_what_is_passed_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    line_drop(&l, &l.up);
    client_is_cut(&l);
    assert_ends(l.w.heard, "\r\n\r\nfive!");
    line_close(&l);
}

static void a_client_that_leaves_ends_what_is_passed_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    hang_up_hard(&l.w, l.client);
    l.client = -1;
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

static void another_answer_takes_the_place_of_one_that_is_passed_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS " ctx:respond(418, 'own')"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    hear_status(&l.w, l.client, "418");
    assert_ends(l.w.heard, "own");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
    line_open(&l, CONFIG, P(STREAM PASS " error('no')"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    hear_status(&l.w, l.client, "500");
    line_close(&l);
}

/* What becomes of the one that was passed on is nothing to the answer in its place. */
static void an_answer_that_was_replaced_is_not_heard_of_again(void **state)
{
    static const char *const replaced[] = { "ctx:respond(418, 'own')", "ctx:respond(418, { title = 'own' })",
                                            "ctx.response:set_status(418) ctx.response:set_body('own')" };
    char source[512];
    line l;

    (void)state;
    for (int i = 0; i < 3; i++)
        for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
            snprintf(source, sizeof source, P(STREAM PASS " %s ctx:sleep(1)"), replaced[i]);
            line_open(&l, WEB "observability: { access_log: { to: stdout } }\n" ONE ROUTE_P, source);
            line_ask(&l, GET_A);
            say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
            if (hangs_up)
                line_drop(&l, &l.up);
            else
                (void)say_bytes(&l.w, l.up, "more!", 5);
            advance(&l.w, MG_NS_PER_S);
            hear_status(&l.w, l.client, "418");
            assert_has(l.w.heard, "own");
            assert_null(strstr(l.w.heard, "five!"));
            line_close(&l);
        }
}

/* The other side is let go at once, and not when the answer in its place has been read. */
static void what_was_replaced_is_let_go(void **state)
{
    size_t heard = 0;
    line l;

    (void)state;
    line_open(&l, CONFIG, P(STREAM PASS " ctx:respond(418, ('x'):rep(8388608))"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    while (heard < 8388608) {
        const ssize_t got = l.w.outside->ops->recv(l.w.outside, l.client, l.w.heard, HEARD_BYTES);
        heard += got > 0 ? (size_t)got : 0;
        settle(&l.w);
    }
    line_close(&l);
}

static void one_that_is_cut_before_its_head_went_is_a_502(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, HANDLER(STREAM PASS " ctx.response:body()"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    line_drop(&l, &l.up);
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void it_takes_the_place_of_what_next_brought(void **state)
{
    int asked;
    line l;

    (void)state;
    line_open(&l, CONFIG, P("next(ctx) " STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\nx-old: 1\r\ncontent-length: 10\r\n\r\nfive!");
    asked = take(&l.w, l.upstream);
    assert_int_equal(hear(&l.w, asked), HEAR_OPEN);
    say(&l.w, asked, "HTTP/1.1 203 Other\r\ncontent-length: 3\r\n\r\nnew");
    hear_status(&l.w, l.client, "203");
    assert_ends(l.w.heard, "\r\n\r\nnew");
    assert_null(strstr(l.w.heard, "x-old"));
    line_drop(&l, &asked);
    line_close(&l);
}

/* Nor of its body, when a plugin has read that. */
static void it_has_nothing_of_what_was_read_before(void **state)
{
    int asked;
    line l;

    (void)state;
    line_open(&l, CONFIG, HANDLER("next(ctx) ctx.response:body() " STREAM PASS));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfive!");
    line_drop(&l, &l.up);
    asked = take(&l.w, l.upstream);
    assert_int_equal(hear(&l.w, asked), HEAR_OPEN);
    say(&l.w, asked, "HTTP/1.1 203 Other\r\ncontent-length: 3\r\n\r\nnew");
    hear_status(&l.w, l.client, "203");
    assert_ends(l.w.heard, "\r\n\r\nnew");
    line_drop(&l, &asked);
    line_close(&l);
}

/* The outer handler has it all in memory, changes it, and it is one answer. */
static void a_handler_further_out_reads_and_replaces_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, HANDLER(STREAM PASS " ctx.response:set_body(ctx.response:body():upper())"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfoo");
    say(&l.w, l.up, "bar");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "content-length: 6\r\n\r\nFOOBAR");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_passed_on_as_it_comes),
        cmocka_unit_test(a_client_that_reads_slowly_holds_the_upstream_back),
        cmocka_unit_test(what_is_read_first_does_not_go_on),
        cmocka_unit_test(an_upstream_that_is_cut_cuts_what_is_passed_on),
        cmocka_unit_test(a_client_that_leaves_ends_what_is_passed_on),
        cmocka_unit_test(another_answer_takes_the_place_of_one_that_is_passed_on),
        cmocka_unit_test(an_answer_that_was_replaced_is_not_heard_of_again),
        cmocka_unit_test(what_was_replaced_is_let_go),
        cmocka_unit_test(one_that_is_cut_before_its_head_went_is_a_502),
        cmocka_unit_test(it_takes_the_place_of_what_next_brought),
        cmocka_unit_test(it_has_nothing_of_what_was_read_before),
        cmocka_unit_test(a_handler_further_out_reads_and_replaces_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
