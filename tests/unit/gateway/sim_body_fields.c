/* sim_body_fields.c - what plugins that read, set or filter bodies leave of a message's head. */
#include "sim_exchange.h"

#define HEAD_REQUEST "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define FILTER(text)                                                                                         \
    "local plugin = { name = 'p', version = '1', body = { request = 'stream', response = 'stream' } }\n"     \
    "function plugin.new() return { handler = function(ctx, next) return next(ctx) end,\n"                   \
    "request_body = function(ctx, bytes, last) " text " end,\n"                                              \
    "response_body = function(ctx, bytes, last) " text " end } end\n"                                        \
    "return plugin\n"

#define assert_hasnt(text, part)                                                                             \
    do {                                                                                                     \
        if (strstr(text, part))                                                                              \
            fail_msg("\"%s\" in:\n%s", part, text);                                                          \
    } while (0)

typedef struct empty {
    const char *request, *answer, *status, *length; /* what the client is to read; NULL: no such field */
    const char *why;                                /* as in the log */
} empty;

static const empty empties[] = {
    { HEAD_REQUEST, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"e\"\r\n\r\n", "200",
      "\r\ncontent-length: 1234\r\n", "the answer to HEAD has no body" },
    { HEAD_REQUEST, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\netag: \"e\"\r\n\r\n", "200", NULL,
      "the answer to HEAD has no body" },
    { HEAD_REQUEST, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\netag: \"e\"\r\n\r\n", "404",
      "\r\ncontent-length: 0\r\n", "the answer to HEAD has no body" },
    { HEAD_REQUEST, "HTTP/1.1 206 Partial\r\ncontent-length: 5\r\netag: \"e\"\r\n\r\n", "206",
      "\r\ncontent-length: 5\r\n", "the answer to HEAD has no body" },
    { HEAD_REQUEST, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"e\"\r\n\r\n", "304",
      "\r\ncontent-length: 7\r\n", "a 304 has no body" },
    { GET, "HTTP/1.1 204 No Content\r\netag: \"e\"\r\n\r\n", "204", NULL, "a 204 has no body" },
    { GET, "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\netag: \"e\"\r\n\r\n", "204", NULL,
      "a 204 has no body" },
    { GET, "HTTP/1.1 205 Reset\r\ncontent-length: 0\r\netag: \"e\"\r\n\r\n", "205",
      "\r\ncontent-length: 0\r\n", "a 205 has no body" },
    { GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"e\"\r\n\r\n", "304",
      "\r\ncontent-length: 1234\r\n", "a 304 has no body" },
    { GET, "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\n\r\n", "304", NULL, "a 304 has no body" },
    { POST(0), "HTTP/1.1 204 No Content\r\netag: \"e\"\r\n\r\n", "204", NULL, "a 204 has no body" },
};

/* The client reads what it would read without a plugin, and a second request is answered behind it. */
static void assert_untouched(const empty *e, const char *plugin, const char *logged, const char *etag)
{
    line l;

    line_open(&l, BASE ROUTE_P, plugin);
    for (int i = 0; i < 2; i++) {
        line_drop(&l, &l.up);
        line_ask(&l, e->request);
        say(&l.w, l.up, e->answer);
        hear_status(&l.w, l.client, e->status);
        assert_ends(l.w.heard, "\r\n\r\n");
        assert_has(l.w.heard, etag);
        if (e->length)
            assert_has(l.w.heard, e->length);
        else
            assert_hasnt(l.w.heard, "content-length");
        assert_hasnt(l.w.heard, "transfer-encoding");
    }
    if (logged) {
        assert_has(l.w.logged.p, logged);
        assert_has(l.w.logged.p, e->why);
        assert_has(l.w.logged.p, "plugin=p");
        assert_has(l.w.logged.p, "\"plugin\":\"p\",\"version\":\"");
        assert_has(l.w.logged.p, "\"request_id\":\"");
        assert_has(l.w.logged.p, "\"trace_id\":\"");
        assert_has(l.w.logged.p, "\"level\":\"warn\"");
    } else {
        assert_hasnt(l.w.logged.p, "set_body");
    }
    line_close(&l);
}

static void an_answer_without_a_body_is_left_as_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(empties); i++) {
        const empty *e = &empties[i];
        const bool never = strncmp(e->status, "204", 3) == 0 || strncmp(e->status, "205", 3) == 0;
        assert_untouched(e, HANDLER("next(ctx) assert(ctx.response:body() == '')"), NULL, "etag: \"e\"");
        assert_untouched(e, HANDLER("next(ctx)\nctx.response:set_body('another')"),
                         "plugins/p/plugin.lua:5: set_body has no effect", "etag: \"e\"");
        assert_untouched(e,
                         HANDLER("next(ctx)\npcall(ctx.response.set_body, ctx.response, 'another') assert("
                                 "ctx.response:body() == '')"),
                         "plugins/p/plugin.lua:5: set_body has no effect", "etag: \"e\"");
        assert_untouched(e, HANDLER("next(ctx)\nctx.response:set_body('')"),
                         never ? NULL : "plugins/p/plugin.lua:5: set_body has no effect", "etag: \"e\"");
        assert_untouched(e, FILTER("return bytes .. 'more'"), NULL, "etag: W/\"e\"");
        assert_untouched(e, FILTER(""), NULL, "etag: W/\"e\"");
    }
}

/* It has a body, which GET would have brought. */
static void an_answer_of_a_plugin_to_head_has_the_length_of_its_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("ctx:respond(200, 'one') assert(ctx.response:body() == 'one') "
                      "ctx.response:set_body('three')"));
    say(&l.w, l.client, HEAD_REQUEST);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "content-length: 5\r\n\r\n");
    assert_hasnt(l.w.logged.p, "no effect");
    line_close(&l);
}

/* ---- fields of the old bytes ---- */

#define OF_BODY                                                                                              \
    "content-encoding: gzip\r\netag: \"e\"\r\ncontent-md5: m\r\ndigest: sha-256=d\r\n"                       \
    "content-digest: sha-256=:c:\r\nrepr-digest: sha-256=:r:\r\ncontent-range: bytes 0-3/9\r\n"              \
    "accept-ranges: bytes\r\n"
#define KEPT "content-type: text/plain\r\nlast-modified: then\r\ncache-control: no-cache\r\n"

static const char *const names[] = {
    "content-encoding:", "etag:",        "content-md5:",   "\r\ndigest:",
    "content-digest:",   "repr-digest:", "content-range:", "accept-ranges:"
};

/* The answer to GET, of a plugin whose handler is this behind next. */
static void hear_with(line *l, const char *plugin, const char *answer)
{
    line_open(l, BASE ROUTE_P, plugin);
    line_ask(l, GET);
    say(&l->w, l->up, answer);
    assert_int_equal(hear(&l->w, l->client), HEAR_OPEN);
}

static void a_body_that_is_set_takes_the_fields_of_the_old_one_along(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\n" OF_BODY KEPT "content-length: 4\r\n\r\nfull",
        "HTTP/1.1 206 Partial\r\n" OF_BODY KEPT "transfer-encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n",
    };
    static const char *const handlers[] = {
        HANDLER("next(ctx) ctx.response:set_body('new')"),
        HANDLER("next(ctx) ctx.response:body() ctx.response:set_body('new')"),
        HANDLER("next(ctx) local fields = {} for n, v in ctx.response:headers() do fields[n] = v end "
                "ctx:respond(200, 'first', fields) ctx.response:set_body('new')"),
    };

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        line l;
        hear_with(&l, handlers[i / 2], answers[i % 2]);
        assert_starts(l.w.heard, "HTTP/1.1 200 ");
        assert_ends(l.w.heard, "content-length: 3\r\n\r\nnew");
        for (size_t name = 0; name < mg_countof(names); name++)
            assert_hasnt(l.w.heard, names[name]);
        assert_has(l.w.heard, "\r\ncontent-type: text/plain\r\n");
        assert_has(l.w.heard, "\r\nlast-modified: then\r\n");
        assert_has(l.w.heard, "\r\ncache-control: no-cache\r\n");
        line_close(&l);
    }
}

static void what_a_plugin_says_of_its_own_bytes_stays(void **state)
{
    line l;

    (void)state;
    hear_with(&l,
              HANDLER("next(ctx) ctx.response:set_body('new') local r = ctx.response\n"
                      "r:set_header('etag', '\"mine\"') r:set_header('content-encoding', 'br')\n"
                      "r:set_header('repr-digest', 'sha-256=:mine:') r:set_header('accept-ranges', 'none')"),
              "HTTP/1.1 200 OK\r\n" OF_BODY "content-length: 4\r\n\r\nfull");
    assert_has(l.w.heard, "\r\netag: \"mine\"\r\n");
    assert_has(l.w.heard, "\r\ncontent-encoding: br\r\n");
    assert_has(l.w.heard, "\r\nrepr-digest: sha-256=:mine:\r\n");
    assert_has(l.w.heard, "\r\naccept-ranges: none\r\n");
    assert_hasnt(l.w.heard, "content-md5");
    assert_hasnt(l.w.heard, "content-range");
    line_close(&l);
}

static void a_body_that_is_only_read_keeps_its_fields(void **state)
{
    line l;

    (void)state;
    hear_with(&l, HANDLER("next(ctx) ctx.response:body()"),
              "HTTP/1.1 206 Partial\r\n" OF_BODY "content-length: 4\r\n\r\nfull");
    assert_starts(l.w.heard, "HTTP/1.1 206 ");
    for (size_t name = 0; name < mg_countof(names); name++)
        assert_has(l.w.heard, names[name]);
    assert_ends(l.w.heard, "\r\n\r\nfull");
    line_close(&l);
}

/* A filter may change the bytes, and nobody knows when the head goes. */
static void what_vouches_for_bytes_does_not_pass_a_filter(void **state)
{
    line l;

    (void)state;
    hear_with(&l, FILTER(""), "HTTP/1.1 200 OK\r\n" OF_BODY KEPT "content-length: 4\r\n\r\nfull");
    assert_has(l.w.heard, "\r\netag: W/\"e\"\r\n");
    assert_has(l.w.heard, "\r\ncontent-encoding: gzip\r\n"); /* a filter sees coded bytes */
    for (size_t name = 2; name < 6; name++)
        assert_hasnt(l.w.heard, names[name]);
    assert_hasnt(l.w.heard, "accept-ranges");
    assert_has(l.w.heard, "\r\n4\r\nfull\r\n0\r\n\r\n");
    line_close(&l);

    hear_with(
        &l,
        "return { name = 'p', body = { response = 'stream' }, new = function() return { response_body = "
        "function(ctx, bytes) return bytes:upper() end, handler = function(ctx, next) next(ctx) "
        "ctx.response:set_header('etag', '\"mine\"') end } end }",
        "HTTP/1.1 200 OK\r\netag: W/\"weak\"\r\ncontent-length: 4\r\n\r\nfull");
    assert_has(l.w.heard, "\r\netag: \"mine\"\r\n");
    line_close(&l);
}

#define POSTED "POST /a HTTP/1.1\r\nhost: a\r\n" OF_BODY "content-length: 4\r\n\r\nfull"

static void requests_lose_what_was_true_of_the_old_bytes(void **state)
{
    static const char *const plugins[] = { HANDLER("ctx.request:set_body('new') next(ctx)"),
                                           HANDLER(
                                               "ctx.request:body() ctx.request:set_body('new') next(ctx)"),
                                           FILTER(""), HANDLER("ctx.request:body() next(ctx)") };

    (void)state;
    for (size_t i = 0; i < mg_countof(plugins); i++) {
        line l;
        line_open(&l, BASE ROUTE_P, plugins[i]);
        line_ask(&l, POSTED);
        for (size_t name = 2; name < 6; name++) {
            if (i == 3)
                assert_has(l.w.heard, names[name]);
            else
                assert_hasnt(l.w.heard, names[name]);
        }
        if (i < 2)
            assert_hasnt(l.w.heard, "content-encoding");
        else
            assert_has(l.w.heard, "content-encoding: gzip");
        assert_has(l.w.heard, "\r\netag: \"e\"\r\n");
        assert_has(l.w.heard, "\r\ncontent-range: bytes 0-3/9\r\n");
        assert_has(l.w.heard, i < 2 ? "\r\n\r\nnew" : "full");
        say(&l.w, l.up, OK_EMPTY);
        hear_status(&l.w, l.client, "200");
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_without_a_body_is_left_as_it_is),
        cmocka_unit_test(an_answer_of_a_plugin_to_head_has_the_length_of_its_body),
        cmocka_unit_test(a_body_that_is_set_takes_the_fields_of_the_old_one_along),
        cmocka_unit_test(what_a_plugin_says_of_its_own_bytes_stays),
        cmocka_unit_test(a_body_that_is_only_read_keeps_its_fields),
        cmocka_unit_test(what_vouches_for_bytes_does_not_pass_a_filter),
        cmocka_unit_test(requests_lose_what_was_true_of_the_old_bytes),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
