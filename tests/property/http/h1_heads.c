/* Heads of any content, written and read back: the same message, the same bytes. And heads that were spoiled:
 * refused, or as clean as any other. */
#include "support/check.h"
#include "support/h1_rules.h"

#include "base/rand.h"
#include "base/time.h"

static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;

static mg_str pick(mg_rand *rand, mg_arena *arena, const char *bytes, size_t from, size_t to)
{
    size_t n = from + mg_rand_below(rand, to - from + 1), set = strlen(bytes);
    char *text = mg_arena_bytes(arena, n + 1);

    for (size_t i = 0; i < n; i++)
        text[i] = bytes[mg_rand_below(rand, set)];
    return mg_str_make(text, n);
}

static void make_fields(mg_rand *rand, mg_arena *arena, mg_fields *fields)
{
    for (uint64_t n = mg_rand_below(rand, 30); n; n--) {
        mg_str name = mg_rand_below(rand, 4)
                          ? pick(rand, arena, "!#$%&'*+-.^_`|~aAzZ09", 1, 20)
                          : mg_name_text((mg_name)(1 + mg_rand_below(rand, MG_NAME_COUNT - 1)));
        mg_str value = pick(rand, arena, " \t!\"a:,;=\\\x80\xff~", 0, 40);

        if (!mg_name_is_framing(mg_name_find(name)))
            assert_null(mg_fields_put(fields, arena, name, value, mg_rand_below(rand, 8) == 0));
    }
}

static mg_request make_request(mg_rand *rand, mg_arena *arena)
{
    mg_request r = { .scheme = MG_STR("http"), .minor = 1, .authority = MG_STR("a.example:81") };

    r.method = (mg_method)mg_rand_below(rand, MG_METHOD_COUNT);
    if (r.method == MG_METHOD_CONNECT)
        r.method = MG_METHOD_OTHER;
    r.method_text = r.method ? mg_method_text(r.method) : MG_STR("BREW!");
    if (!mg_uri_normalise_path(
            arena, mg_arena_printf(arena, "/%.*s", MG_STR_ARGS(pick(rand, arena, "/a.b|@[\"{\xe9", 0, 30))),
            0, &r.path))
        r.path = MG_STR("/"); /* it climbed */
    if (mg_rand_below(rand, 2))
        r.query = mg_uri_normalise_query(arena, pick(rand, arena, "?a=&%{\\}/\"\x80", 0, 30));
    if (r.method != MG_METHOD_TRACE)
        r.body = (mg_body_kind)mg_rand_below(rand, 3);
    if (r.body == MG_BODY_LENGTH)
        r.length = mg_rand_below(rand, 4) ? mg_rand_next(rand) >> (1 + mg_rand_below(rand, 63)) : 0;
    if (r.body == MG_BODY_NONE && mg_rand_below(rand, 4) == 0)
        r.upgrade = MG_STR("WebSocket/13");
    r.te_trailers = mg_rand_below(rand, 4) == 0;
    r.expect_continue = (r.body == MG_BODY_STREAM || r.length > 0) && mg_rand_below(rand, 4) == 0;
    make_fields(rand, arena, &r.fields);
    return r;
}

static void a_request_that_was_written_is_read_the_same(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(3));
    for (unsigned run = 0; run < 20000; run++) {
        mg_arena arena;
        mg_request request;

        mg_arena_init(&arena, NULL, 0);
        request = make_request(&rand, &arena);
        h1_check_request(&arena, &request, mg_rand_below(&rand, 2));
        mg_arena_fini(&arena);
    }
}

static mg_response make_response(mg_rand *rand, mg_arena *arena, mg_method method)
{
    static const uint16_t statuses[] = { 100, 101, 103, 200, 200, 200, 204, 205, 206, 304, 404, 500, 599 };
    mg_response r = { .status = statuses[mg_rand_below(rand, mg_countof(statuses))] };
    bool bodiless = r.status < 200 || r.status == 204 || r.status == 205;

    if (r.status == 101) {
        r.body = MG_BODY_TUNNEL;
        r.upgrade = MG_STR("websocket");
    } else if (!bodiless && (method == MG_METHOD_HEAD || r.status == 304)) {
        r.has_length = mg_rand_below(rand, 2);
        r.length = r.has_length ? mg_rand_below(rand, 1000) : 0;
    } else if (!bodiless) {
        r.body = mg_rand_below(rand, 2) ? MG_BODY_LENGTH : MG_BODY_STREAM;
        r.length = r.body == MG_BODY_LENGTH ? mg_rand_below(rand, 1000) : 0;
    }
    make_fields(rand, arena, &r.fields);
    return r;
}

static void a_response_that_was_written_is_read_the_same(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(4));
    for (unsigned run = 0; run < 20000; run++) {
        const mg_method method = mg_rand_below(&rand, 3) ? MG_METHOD_GET : MG_METHOD_HEAD;
        mg_arena arena;
        mg_response response;

        mg_arena_init(&arena, NULL, 0);
        response = make_response(&rand, &arena, method);
        h1_check_response(&arena, &response, method, MG_STR("websocket"), mg_rand_below(&rand, 2));
        mg_arena_fini(&arena);
    }
}

/* Bytes that matter to a parser, put where they should not be. */
static void spoil(mg_text *text, mg_rand *rand)
{
    static const char bytes[] = "\r\n\0 \t:,;\x0b\x7f\x80#%/?0aX";

    for (uint64_t n = 1 + mg_rand_below(rand, 3); n; n--) {
        size_t at = mg_rand_below(rand, text->n);

        if (mg_rand_below(rand, 2)) {
            text->p[at] = bytes[mg_rand_below(rand, sizeof(bytes) - 1)];
        } else {
            memmove(text->p + at, text->p + at + 1, text->n - at - 1);
            text->n--;
        }
    }
}

static void a_spoiled_request_is_refused_or_clean(void **state)
{
    unsigned accepted = 0;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(5));
    for (unsigned run = 0; run < 20000; run++) {
        mg_text text = { 0 };
        mg_h1_fault fault = { 0 };
        mg_h1_info info;
        mg_request request;
        mg_arena arena;
        char *head;

        mg_arena_init(&arena, NULL, 0);
        request = make_request(&rand, &arena);
        request.fields.count = request.fields.count < 3 ? request.fields.count : 3;
        mg_h1_write_request(&text, &request, request.authority, true);
        spoil(&text, &rand);
        head = mg_memdup0(text.p, text.n);
        if (mg_h1_parse_request(&arena, &limits, head, text.n, MG_STR("http"), &request, &info, &fault)) {
            h1_check_request(&arena, &request, info.keep_alive);
            accepted++;
        } else {
            assert_in_range(fault.status, 400, 505);
        }
        mg_free(head);
        mg_text_fini(&text);
        mg_arena_fini(&arena);
    }
    assert_in_range(accepted, 500, 15000);
}

/* The first blank line by looking at every position. */
static size_t model_head_end(mg_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        mg_str rest = mg_str_sub(text, i, text.n);

        if (mg_str_starts(rest, MG_STR("\n\n")))
            return i + 2;
        if (mg_str_starts(rest, MG_STR("\n\r\n")))
            return i + 3;
    }
    return 0;
}

static void the_end_of_a_head_is_found_however_it_arrives(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(6));
    for (unsigned run = 0; run < 50000; run++) {
        size_t scanned = 0, end = 0, n = 0, expected;
        mg_arena arena;
        mg_str text;

        mg_arena_init(&arena, NULL, 0);
        text = pick(&rand, &arena, "\r\naaa", 0, 20);
        expected = model_head_end(text);
        while (!end && n < text.n) {
            n = (size_t)mg_min_u64(n + 1 + mg_rand_below(&rand, 5), text.n);
            end = mg_h1_head_end(text.p, n, &scanned);
            assert_true(scanned <= n);
        }
        assert_int_equal(end, expected);
        mg_arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_was_written_is_read_the_same),
        cmocka_unit_test(a_response_that_was_written_is_read_the_same),
        cmocka_unit_test(a_spoiled_request_is_refused_or_clean),
        cmocka_unit_test(the_end_of_a_head_is_found_however_it_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
