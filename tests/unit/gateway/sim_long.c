/* sim_long.c - long requests that the gateway takes: no plugin makes a 500 of them. */
#include "sim_exchange.h"

#define WIDE "listeners: { web: { bind: \"10.0.0.1:80\", max_head_bytes: 64KiB } }\n" QUIET SERVICE
#define KEY_AUTH                                                                                             \
    "plugins: { p: { use: key_auth, config: { header: x-key, query: key, keys: { k1: anna } } } }\n"
#define ROUTE_LONG                                                                                           \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up, max_path: 60KiB "   \
    "}]\n"

static char *repeated(const char *text, size_t n)
{
    mg_text all = { 0 };

    while (all.n < n)
        mg_text_add_c(&all, text);
    return all.p;
}

/* GET for that target, whose upstream is asked for `wanted`. */
static void ask_long(line *l, const char *target, const char *fields, const char *wanted)
{
    mg_text text = { 0 };

    mg_text_addf(&text, "GET %s HTTP/1.1\r\nhost: a\r\n%s\r\n", target, fields);
    say_all(&l->w, l->client, text.p, text.n);
    l->up = l->up < 0 ? take(&l->w, l->upstream) : l->up;
    if (l->up < 0) {
        (void)hear(&l->w, l->client);
        fail_msg("%s", l->w.heard);
    }
    assert_int_equal(hear(&l->w, l->up), HEAR_OPEN);
    mg_text_clear(&text);
    mg_text_addf(&text, "GET %s HTTP/1.1\r\n", wanted);
    assert_starts(l->w.heard, text.p);
    mg_text_fini(&text);
    say(&l->w, l->up, OK_EMPTY);
    hear_status(&l->w, l->client, "200");
}

static void a_key_is_taken_out_of_a_query_of_any_length(void **state)
{
    static const char *const parts[] = { "aaaaaaaaa=1&", "b%20c=%2b&", "key2=x&" };

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        line l;
        const bool in_query = i < 3;
        char *rest = repeated(parts[i % 3], 9 << 10);
        mg_text target = { 0 }, wanted = { 0 };
        line_open(&l, BASE KEY_AUTH ROUTE_LONG, NULL);
        mg_text_addf(&target, "/a?%s%s", rest, in_query ? "key=k1" : "z");
        rest[strlen(rest) - 1] = '\0'; /* the last & */
        mg_text_addf(&wanted, "/a?%s%s", rest, in_query ? "" : "&z");
        ask_long(&l, target.p, in_query ? "" : "x-key: k1\r\n", wanted.p);
        mg_text_fini(&target);
        mg_text_fini(&wanted);
        mg_free(rest);
        line_close(&l);
    }
}

/* What is a normal form already is set again as it is, at each bound of the route and of the listener. */
static void a_path_can_be_set_to_itself(void **state)
{
    static const size_t sizes[] = { 4000, 4097, 8000, 16384, 61440 };

    (void)state;
    for (size_t i = 0; i < mg_countof(sizes); i++) {
        line l;
        char *path = repeated("/abcdefghi", sizes[i]);
        path[sizes[i]] = '\0';
        line_open(&l, WIDE "plugins: { p: { use: ./plugins/p } }\n" ROUTE_LONG,
                  HANDLER("local r = ctx.request r:set_path(r.path) if r.query then r:set_query(r.query) end "
                          "next(ctx)"));
        mg_text target = { 0 };
        mg_text_add_c(&target, path);
        ask_long(&l, target.p, "", target.p);
        mg_text_addf(&target, "?%.*s", (int)mg_min_u64(3000, 65536 - sizes[i]), path);
        ask_long(&l, target.p, "", target.p);
        mg_text_fini(&target);
        mg_free(path);
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_taken_out_of_a_query_of_any_length),
        cmocka_unit_test(a_path_can_be_set_to_itself),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
