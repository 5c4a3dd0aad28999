/* sim_head_limits.c - how large the head of an upstream's answer may be: what its service says. */
#include "sim_exchange.h"

#define LIMITED(limits) WEB "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }]" limits " } }\n"
#define PASSING         HANDLER("next(ctx)")

/* A head of exactly so many bytes, with so many fields. */
static char *head_of(size_t bytes, unsigned fields, const char *status)
{
    mg_text text = { 0 };

    mg_text_addf(&text, "HTTP/1.1 %s\r\ncontent-length: 0\r\n", status);
    for (unsigned i = 1; i + 1 < fields; i++)
        mg_text_addf(&text, "set-cookie: %u\r\n", i);
    mg_text_add_c(&text, "x: ");
    while (text.n + 4 < bytes)
        mg_text_add_char(&text, 'v');
    mg_text_add_c(&text, "\r\n\r\n");
    assert_int_equal(text.n, bytes);
    return text.p;
}

static void answer_with(line *l, size_t bytes, unsigned fields)
{
    char *head = head_of(bytes, fields, "200 OK");

    line_ask(l, GET);
    for (size_t said = 0, some = 1; some && said < bytes; said += some)
        some = say_bytes(&l->w, l->up, head + said, bytes - said);
    mg_free(head);
    assert_int_equal(hear(&l->w, l->client), HEAR_OPEN);
}

typedef struct limit_case {
    const char *config;
    size_t bytes;
    unsigned fields;
    const char *detail; /* of the 502; NULL: it passes */
} limit_case;

#define LONG "is longer than max_head_bytes."
#define MANY "more fields than max_fields."

static const limit_case cases[] = {
    { LIMITED("") ROUTE, 16384, 3, NULL },
    { LIMITED("") ROUTE, 16385, 3, LONG },
    { LIMITED("") ROUTE, 20000, 3, LONG },
    { LIMITED("") ROUTE, 8000, 100, NULL },
    { LIMITED("") ROUTE, 8000, 101, MANY },
    { LIMITED(", max_head_bytes: 32KiB") ROUTE, 20480, 3, NULL },
    { LIMITED(", max_head_bytes: 32KiB") ROUTE, 32768, 3, NULL },
    { LIMITED(", max_head_bytes: 32KiB") ROUTE, 32769, 3, LONG },
    { LIMITED(", max_head_bytes: 64KiB, max_fields: 1000") ROUTE, 65536, 1000, NULL },
    { LIMITED(", max_head_bytes: 64KiB, max_fields: 1000") ROUTE, 65537, 1000, LONG },
    { LIMITED(", max_head_bytes: 64KiB, max_fields: 1000") ROUTE, 65536, 1001, MANY },
    { LIMITED(", max_fields: 120") ROUTE, 8000, 120, NULL },
    { LIMITED(", max_fields: 120") ROUTE, 8000, 121, MANY },
    { LIMITED(", max_fields: 2") ROUTE, 1000, 3, MANY },
    { LIMITED(", max_head_bytes: 1KiB") ROUTE, 1025, 3, LONG },
    { LIMITED(", max_head_bytes: 32KiB, max_fields: 120") ROUTE_P, 20480, 120, NULL },
};

static void a_head_may_be_as_large_as_its_service_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        const limit_case *c = &cases[i];
        line l;
        line_open(&l, c->config, strstr(c->config, "plugins:") ? PASSING : NULL);
        answer_with(&l, c->bytes, c->fields);
        if (c->detail) {
            assert_starts(l.w.heard, "HTTP/1.1 502 ");
            assert_has(l.w.heard, c->detail);
            assert_has(l.w.logged.p, c->detail == (const char *)LONG ? "longer than max_head_bytes, "
                                                                     : "more fields than max_fields, ");
        } else {
            assert_starts(l.w.heard, "HTTP/1.1 200 ");
            assert_true(strlen(l.w.heard) > c->bytes); /* Via and Date came with it */
            assert_ends(l.w.heard, "\r\n\r\n");
        }
        line_close(&l);
    }
}

static void interim_heads_and_trailers_have_the_same_bounds(void **state)
{
    static const char *const configs[] = { LIMITED("") ROUTE, LIMITED(", max_head_bytes: 32KiB") ROUTE };

    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        line l;
        char *interim = head_of(20480, 3, "103 Early Hints");
        line_open(&l, configs[wide], NULL);
        line_ask(&l, GET);
        for (size_t said = 0, some = 1; some && said < 20480; said += some)
            some = say_bytes(&l.w, l.up, interim + said, 20480 - said);
        hear_status(&l.w, l.client, wide ? "103" : "502");
        mg_free(interim);
        line_close(&l);

        line_open(&l, configs[wide], NULL);
        line_ask(&l, GET);
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: ");
        for (int i = 0; i < 2000; i++)
            (void)say_bytes(&l.w, l.up, "0123456789", 10);
        (void)say_bytes(&l.w, l.up, "\r\n\r\n", 4);
        (void)hear(&l.w, l.client);
        assert_int_equal(ends_with(l.w.heard, "0123456789\r\n\r\n"), wide);
        line_close(&l);
    }
}

#define ASKING                                                                                               \
    HANDLER(                                                                                                 \
        "local a, why = ctx.http:get('http://10.0.0.2:9000/x') ctx:respond(200, a and #a.headers.x .. '' "   \
        "or why)")

static void a_plugins_own_requests_take_any_head_that_can_be_set(void **state)
{
    static const struct {
        size_t bytes;
        unsigned fields;
        const char *said;
    } rows[] = { { 40000, 500, NULL },
                 { 65536, 1000, NULL },
                 { 65537, 3, "\r\n\r\nupstream_max_head_bytes" },
                 { 60000, 1001, "\r\n\r\nupstream_max_fields" } };

    (void)state;
    for (size_t i = 0; i < mg_countof(rows); i++) {
        line l;
        line_open(&l, LIMITED(", max_head_bytes: 1KiB") ROUTE_P, ASKING);
        answer_with(&l, rows[i].bytes, rows[i].fields);
        assert_starts(l.w.heard, "HTTP/1.1 200 ");
        if (rows[i].said)
            assert_ends(l.w.heard, rows[i].said);
        else
            assert_true(atoi(strstr(l.w.heard, "\r\n\r\n") + 4) > 1000);
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_may_be_as_large_as_its_service_says),
        cmocka_unit_test(interim_heads_and_trailers_have_the_same_bounds),
        cmocka_unit_test(a_plugins_own_requests_take_any_head_that_can_be_set),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
