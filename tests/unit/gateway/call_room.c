/* What plugins put on an exchange in C: replaced, it counts once; piled up, it is refused. */
#include "call_fixture.h"

#include "http/bounds.h"

static fixture f;
static mg_call call;
static char large[MG_HEAD_BYTES_MAX];

static int begin(void **state)
{
    (void)state;
    fixture_init(&f);
    fixture_request(&f);
    memset(large, 'x', sizeof large);
    call = (mg_call){ .x = &f.x,
                      .host = &f.host,
                      .match = &f.match,
                      .max_path_bytes = 8192,
                      .max_target_bytes = 16384,
                      .phase = MG_PHASE_CHAIN };
    return 0;
}

static int end(void **state)
{
    (void)state;
    mg_gather_fini(&call.bodies[0]);
    mg_gather_fini(&call.bodies[1]);
    mg_arena_fini(&f.x.arena);
    fixture_fini(&f);
    return 0;
}

static const char *put(int which, const char *name, size_t n, bool replace)
{
    return mg_call_set_header(&call, which, name, (uint32_t)strlen(name), large, (uint32_t)n, replace);
}

static void what_is_replaced_counts_once(void **state)
{
    mg_slice value;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        const uint32_t n = (uint32_t)(i % 9 * 7000);

        assert_null(mg_call_respond(&call, 200, "text/plain", large, n));
        assert_null(put(MG_RESPONSE, "x-a", n, false));
        assert_null(put(MG_REQUEST, "x-b", n, true));
        assert_null(mg_call_problem(&call, 400, NULL, 0, large, n / 16));
        assert_null(mg_call_set_text(&call, MG_TEXT_PATH, "/a/../b\"", 8));
        assert_null(mg_call_set_text(&call, MG_TEXT_QUERY, "a=%41\"", 6));
        assert_null(mg_call_set_text(&call, MG_TEXT_METHOD, "PURGE", 5));
        assert_null(mg_call_set_text(&call, MG_TEXT_CONSUMER, large, 256));
        assert_true(mg_call_query(&call, "a", 1, &value));
        assert_true(value.n == 2 && memcmp(value.p, "A\"", 2) == 0);
        if (f.x.arena.used > 1 << 20)
            fail_msg("round %d: %zu bytes", i, f.x.arena.used);
    }
}

static void a_joined_value_is_good_until_the_next_read(void **state)
{
    mg_slice first, second;

    (void)state;
    assert_null(put(MG_REQUEST, "x-a", sizeof large, false));
    assert_null(put(MG_REQUEST, "x-a", 3, false));
    for (int i = 0; i < 2000; i++) {
        assert_true(mg_call_header(&call, MG_REQUEST, "x-a", 3, &first));
        assert_int_equal(first.n, sizeof large + 5);
        assert_memory_equal(first.p + first.n - 5, ", xxx", 5);
        assert_true(mg_call_header(&call, MG_REQUEST, "x-api-key", 9, &second));
        assert_memory_equal(second.p, "k1", 2);
        if (f.x.arena.used > 1 << 20)
            fail_msg("round %d: %zu bytes", i, f.x.arena.used);
    }
}

static void fields_that_pile_up_are_refused(void **state)
{
    int added = 0;
    const char *wrong;

    (void)state;
    while (!(wrong = put(MG_REQUEST, "x-a", sizeof large, false)))
        added++;
    assert_ptr_equal(wrong, mg_call_no_room());
    assert_in_range(added, 480, 512);
    assert_null(put(MG_REQUEST, "x-a", 10, false)); /* a little more still fits */
    assert_null(mg_call_respond(&call, 200, NULL, "", 0));
    assert_ptr_equal(put(MG_RESPONSE, "x-a", sizeof large, false), mg_call_no_room());
    uint32_t removed;
    assert_null(mg_call_remove_header(&call, MG_REQUEST, "x-a", 3, &removed));
    assert_null(put(MG_RESPONSE, "x-a", sizeof large, false));
}

static void a_body_has_its_own_bound(void **state)
{
    char *body = mg_calloc(1, MG_BODY_BYTES_MAX);

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_null(mg_call_respond(&call, 200, NULL, body, MG_BODY_BYTES_MAX));
        assert_null(put(MG_RESPONSE, "x-a", sizeof large, true));
        assert_null(mg_call_set_body(&call, MG_RESPONSE, body, MG_BODY_BYTES_MAX - 1));
        assert_int_equal(f.x.own_body.n, MG_BODY_BYTES_MAX - 1);
        assert_in_range(f.x.arena.used, MG_BODY_BYTES_MAX, MG_BODY_BYTES_MAX + (1 << 20));
    }
    assert_null(mg_call_respond(&call, 204, NULL, "", 0));
    assert_true(f.x.arena.used < 1 << 20);
    mg_free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_replaced_counts_once, begin, end),
        cmocka_unit_test_setup_teardown(a_joined_value_is_good_until_the_next_read, begin, end),
        cmocka_unit_test_setup_teardown(fields_that_pile_up_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_body_has_its_own_bound, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
