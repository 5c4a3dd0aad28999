/* resolver.c - names asked of a scripted server on loopback, over UDP and TCP. */
#include "resolver_fixture.h"

static void both_families_come_together_with_the_shorter_ttl(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 2, .aaaa = 1, .ttl_a = 300, .ttl_aaaa = 60 },
                                      { "four.internal", .a = 1, .ttl_a = 90000 },
                                      { "six.internal", .aaaa = 1, .ttl_aaaa = 0 } };
    world w;
    asked a[3];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "API.internal");
    ask(&w, &a[1], "four.internal.");
    ask(&w, &a[2], "six.internal");
    run_until(&w, 3);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2 fd00::1");
    assert_int_equal(a[0].answer.ttl_s, 60);
    assert_addrs(&a[1], "10.0.0.1");
    assert_int_equal(a[1].answer.ttl_s, 3600); /* the ceiling */
    assert_addrs(&a[2], "fd00::1");
    assert_int_equal(a[2].answer.ttl_s, 1); /* the floor */
    close_world(&w);
}

static void more_addresses_than_are_kept_are_cut(void **state)
{
    static const script scripts[] = { { "many.internal", .a = 30, .aaaa = 10, .ttl_a = 9, .ttl_aaaa = 9 } };
    world w;
    asked a;

    (void)state;
    open_world(&w, scripts, 1);
    ask(&w, &a, "many.internal");
    run_until(&w, 1);
    assert_int_equal(a.answer.count, MG_RESOLVE_MAX);
    assert_int_equal(a.answer.dropped, 8);
    close_world(&w);
}

static void what_is_cut_short_over_udp_is_asked_again_over_tcp(void **state)
{
    static const script scripts[] = {
        { "some.internal", .a = 3, .aaaa = 1, .ttl_a = 7, .ttl_aaaa = 9, .cut = true },
        { "many.internal", .a = 200, .ttl_a = 9, .cut = true },
        { "half.internal", .a = 2, .aaaa = 1, .ttl_a = 9, .ttl_aaaa = 9, .cut = true, .tcp = CLOSES },
        { "silent.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = IS_SILENT },
        { "other.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = ANSWERS_ANOTHER },
        { "again.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = IS_CUT_TOO },
    };
    world w;
    asked a[6];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "some.internal");
    run_until(&w, 1);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2 10.0.0.3 fd00::1");
    assert_int_equal(a[0].answer.ttl_s, 7);
    assert_int_equal(w.tcp_queries, 2);
    ask(&w, &a[1], "many.internal");
    run_until(&w, 2);
    assert_int_equal(a[1].answer.count, MG_RESOLVE_MAX);
    assert_int_equal(a[1].answer.dropped, 200 - MG_RESOLVE_MAX);
    for (size_t i = 2; i < mg_countof(a); i++) {
        ask(&w, &a[i], scripts[i].name);
        run_until(&w, (unsigned)i + 1);
        assert_int_equal(a[i].result, scripts[i].tcp == IS_SILENT ? MG_ERR_TIMEOUT : MG_ERR_IO);
    }
    close_world(&w);
}

static void a_question_over_tcp_can_be_cancelled_and_dropped(void **state)
{
    static const script scripts[] = {
        { "silent.internal", .a = 2, .aaaa = 2, .ttl_a = 9, .cut = true, .tcp = IS_SILENT },
        { "fast.internal", .a = 1, .ttl_a = 9 },
    };
    world w;
    asked a[3];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "silent.internal");
    ask(&w, &a[1], "silent.internal");
    ask(&w, &a[2], "fast.internal");
    run_until(&w, 1);
    mg_resolver_cancel(&a[0].question);
    close_world(&w);
    assert_int_equal(a[0].calls + a[1].calls, 0);
}

static void what_does_not_exist_is_not_found_and_silence_is_a_timeout(void **state)
{
    static const script scripts[] = { { .name = "empty.internal" },
                                      { "broken.internal", .rcode = 5 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "nobody.internal");
    ask(&w, &a[1], "empty.internal");
    run_until(&w, 2);
    assert_int_equal(a[0].result, MG_ERR_NOT_FOUND);
    assert_int_equal(a[1].result, MG_ERR_NOT_FOUND);
    ask(&w, &a[2], "silent.internal");
    run_until(&w, 3);
    assert_int_equal(a[2].result, MG_ERR_TIMEOUT);
    ask(&w, &a[3], "broken.internal");
    run_until(&w, 4);
    assert_true(a[3].result == MG_ERR_IO || a[3].result == MG_ERR_TIMEOUT); /* the server is no good */
    close_world(&w);
}

static void a_cancelled_question_is_never_answered(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 1, .ttl_a = 9 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "192.0.2.7");
    mg_resolver_cancel(&a[0].question);
    mg_resolver_cancel(&a[0].question);
    ask(&w, &a[1], "api.internal");
    mg_resolver_cancel(&a[1].question);
    ask(&w, &a[2], "silent.internal");
    mg_resolver_cancel(&a[2].question);
    ask(&w, &a[2], "api.internal"); /* the same memory, another question */
    ask(&w, &a[3], "api.internal");
    run_until(&w, 2);
    assert_int_equal(a[0].calls + a[1].calls, 0);
    assert_addrs(&a[2], "10.0.0.1");
    assert_addrs(&a[3], "10.0.0.1");
    close_world(&w);
}

static void a_freed_resolver_drops_what_is_open(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 1, .ttl_a = 9 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    w.free_in_done = true; /* in the middle of its own answer */
    ask(&w, &a[0], "api.internal");
    ask(&w, &a[1], "silent.internal");
    ask(&w, &a[2], "silent.internal");
    mg_resolver_cancel(&a[2].question);
    run_until(&w, 1);
    assert_addrs(&a[0], "10.0.0.1");
    assert_int_equal(a[1].calls, 0);
    mg_resolver_cancel(&a[1].question); /* harmless */
    close_world(&w);

    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "api.internal");
    ask(&w, &a[1], "localhost");
    close_world(&w);
    assert_int_equal(a[0].calls + a[1].calls, 0);
}

static void a_nameserver_that_is_none_is_refused(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_loop *loop = mg_loop_new(&mg_clock_real, 1, &err);
    const mg_resolver_options bad = { .nameserver = "dns.example" },
                              missing = { .resolv_conf = "/nonexistent/resolv.conf" };

    (void)state;
    assert_null(mg_resolver_new(loop, &bad, &err));
    assert_non_null(strstr(err.message, "\"dns.example\" is not a nameserver"));
    assert_null(mg_resolver_new(loop, &missing, &err));
    assert_non_null(strstr(err.message, "/nonexistent/resolv.conf: cannot be read"));
    mg_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_come_together_with_the_shorter_ttl),
        cmocka_unit_test(more_addresses_than_are_kept_are_cut),
        cmocka_unit_test(what_is_cut_short_over_udp_is_asked_again_over_tcp),
        cmocka_unit_test(a_question_over_tcp_can_be_cancelled_and_dropped),
        cmocka_unit_test(what_does_not_exist_is_not_found_and_silence_is_a_timeout),
        cmocka_unit_test(a_cancelled_question_is_never_answered),
        cmocka_unit_test(a_freed_resolver_drops_what_is_open),
        cmocka_unit_test(a_nameserver_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
