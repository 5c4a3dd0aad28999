/* Heads as they leave, byte by byte. */
#include "heads.h"

static mg_request get(void)
{
    return (mg_request){ .method_text = MG_STR("GET"),
                         .method = MG_METHOD_GET,
                         .path = MG_STR("/a"),
                         .scheme = MG_STR("http"),
                         .minor = 1 };
}

static void assert_request(const mg_request *request, bool keep_alive, const char *expected)
{
    mg_text out = { 0 };

    mg_text_add_c(&out, "before ");
    mg_h1_write_request(&out, request, MG_STR("b:81"), keep_alive);
    assert_text(mg_str_sub(mg_text_str(&out), 7, out.n), expected);
    assert_int_equal(strlen(out.p), out.n);
    mg_text_fini(&out);
}

static void a_request_goes_out_in_origin_form_with_host_first(void **state)
{
    mg_request request = get();
    mg_arena arena;
    (void)state;

    assert_request(&request, true, "GET /a HTTP/1.1\r\nhost: b:81\r\n\r\n");
    request.query = MG_STR("");
    assert_request(&request, false, "GET /a? HTTP/1.1\r\nhost: b:81\r\nconnection: close\r\n\r\n");
    request.query = MG_STR("q=1");
    mg_arena_init(&arena, NULL, 0);
    assert_null(mg_fields_put(&request.fields, &arena, MG_STR("X-One"), MG_STR(" 1 "), false));
    assert_null(mg_fields_put(&request.fields, &arena, MG_STR("x-two"), MG_STR(""), false));
    assert_request(&request, true, "GET /a?q=1 HTTP/1.1\r\nhost: b:81\r\nx-one: 1\r\nx-two: \r\n\r\n");
    mg_arena_fini(&arena);
}

static void a_request_says_how_its_body_ends(void **state)
{
    mg_request request = get();
    (void)state;

    request.body = MG_BODY_LENGTH;
    assert_request(&request, true, "GET /a HTTP/1.1\r\nhost: b:81\r\ncontent-length: 0\r\n\r\n");
    request.length = INT64_MAX;
    request.expect_continue = true;
    assert_request(&request, true,
                   "GET /a HTTP/1.1\r\nhost: b:81\r\ncontent-length: 9223372036854775807\r\n"
                   "expect: 100-continue\r\n\r\n");
    request.body = MG_BODY_STREAM;
    request.expect_continue = false;
    assert_request(&request, true, "GET /a HTTP/1.1\r\nhost: b:81\r\ntransfer-encoding: chunked\r\n\r\n");
}

static void a_request_names_what_is_of_the_connection(void **state)
{
    mg_request request = get();
    (void)state;

    request.te_trailers = true;
    assert_request(&request, true, "GET /a HTTP/1.1\r\nhost: b:81\r\nconnection: te\r\nte: trailers\r\n\r\n");
    request.upgrade = MG_STR("websocket");
    assert_request(&request, false,
                   "GET /a HTTP/1.1\r\nhost: b:81\r\nconnection: close, upgrade, te\r\n"
                   "upgrade: websocket\r\nte: trailers\r\n\r\n");
    request.te_trailers = false;
    assert_request(&request, true,
                   "GET /a HTTP/1.1\r\nhost: b:81\r\nconnection: upgrade\r\n"
                   "upgrade: websocket\r\n\r\n");
}

static void a_response_is_framed_for_its_reader(void **state)
{
    static const struct {
        mg_response response;
        mg_method method;
        uint8_t minor;
        bool keep_alive;
        mg_h1_framing framing;
        const char *text;
    } rows[] = {
#define LENGTH(s, n) { .status = s, .body = MG_BODY_LENGTH, .length = n }
#define STREAM(s)                                                                                            \
    {                                                                                                        \
        .status = s, .body = MG_BODY_STREAM                                                                  \
    }
#define NONE(s)                                                                                              \
    {                                                                                                        \
        .status = s                                                                                          \
    }
#define DECLARED(s)                                                                                          \
    {                                                                                                        \
        .status = s, .has_length = true, .length = 7                                                         \
    }
        { LENGTH(200, 5), MG_METHOD_GET, 1, true, MG_H1_LENGTH,
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" },
        { LENGTH(200, 5), MG_METHOD_GET, 1, false, MG_H1_LENGTH,
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n" },
        { LENGTH(200, 5), MG_METHOD_GET, 0, true, MG_H1_LENGTH,
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n" },
        { LENGTH(200, 5), MG_METHOD_GET, 0, false, MG_H1_LENGTH,
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n" },
        { STREAM(200), MG_METHOD_GET, 1, true, MG_H1_CHUNKED,
          "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" },
        { STREAM(200), MG_METHOD_GET, 0, true, MG_H1_UNTIL_CLOSE,
          "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" },
        { STREAM(200), MG_METHOD_HEAD, 1, true, MG_H1_NO_BODY, "HTTP/1.1 200 OK\r\n\r\n" },
        { LENGTH(200, 5), MG_METHOD_HEAD, 1, true, MG_H1_NO_BODY,
          "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" },
        { DECLARED(200), MG_METHOD_HEAD, 1, true, MG_H1_NO_BODY,
          "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n" },
        { DECLARED(304), MG_METHOD_GET, 1, true, MG_H1_NO_BODY,
          "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n" },
        { NONE(304), MG_METHOD_GET, 1, true, MG_H1_NO_BODY, "HTTP/1.1 304 Not Modified\r\n\r\n" },
        { NONE(200), MG_METHOD_GET, 1, true, MG_H1_NO_BODY, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" },
        { NONE(204), MG_METHOD_GET, 1, true, MG_H1_NO_BODY, "HTTP/1.1 204 No Content\r\n\r\n" },
        { LENGTH(204, 5), MG_METHOD_GET, 1, true, MG_H1_NO_BODY, "HTTP/1.1 204 No Content\r\n\r\n" },
        { LENGTH(205, 5), MG_METHOD_GET, 1, true, MG_H1_NO_BODY,
          "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n" },
        { STREAM(205), MG_METHOD_GET, 1, true, MG_H1_NO_BODY,
          "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n" },
        { NONE(100), MG_METHOD_GET, 1, false, MG_H1_NO_BODY, "HTTP/1.1 100 Continue\r\n\r\n" },
        { NONE(100), MG_METHOD_GET, 0, false, MG_H1_NO_BODY, "" },
        { NONE(103), MG_METHOD_GET, 0, true, MG_H1_NO_BODY, "" },
        { NONE(599), MG_METHOD_GET, 1, true, MG_H1_NO_BODY, "HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n" },
        { { .status = 101, .body = MG_BODY_TUNNEL, .upgrade = { "websocket", 9 } },
          MG_METHOD_GET,
          1,
          true,
          MG_H1_NO_BODY,
          "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" },
    };
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        const mg_h1_info client = { .is_1_0 = rows[i].minor == 0 };
        mg_text out = { 0 };
        mg_h1_framing framing =
            mg_h1_write_response(&out, &rows[i].response, rows[i].method, &client, rows[i].keep_alive);

        assert_text(mg_text_str(&out), rows[i].text);
        assert_int_equal(framing, rows[i].framing);
        mg_text_fini(&out);
    }
}

static void a_chunk_has_its_size_in_hex(void **state)
{
    static const struct {
        uint64_t n;
        const char *text;
    } rows[] = { { 0, "0\r\n" },     { 15, "f\r\n" },        { 16, "10\r\n" },
                 { 500, "1f4\r\n" }, { 65536, "10000\r\n" }, { UINT64_MAX, "ffffffffffffffff\r\n" } };
    char out[18];
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++)
        assert_text(mg_str_make(out, mg_h1_write_chunk_size(out, rows[i].n)), rows[i].text);
}

static void the_last_chunk_carries_trailers(void **state)
{
    mg_fields trailers = { 0 };
    mg_text out = { 0 };
    mg_arena arena;
    (void)state;

    mg_h1_write_last_chunk(&out, NULL);
    assert_text(mg_text_str(&out), "0\r\n\r\n");
    mg_text_clear(&out);
    mg_arena_init(&arena, NULL, 0);
    mg_fields_add(&trailers, &arena, MG_NAME_OTHER, MG_STR("x-sum"), MG_STR("1"));
    mg_h1_write_last_chunk(&out, &trailers);
    assert_text(mg_text_str(&out), "0\r\nx-sum: 1\r\n\r\n");
    mg_arena_fini(&arena);
    mg_text_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_out_in_origin_form_with_host_first),
        cmocka_unit_test(a_request_says_how_its_body_ends),
        cmocka_unit_test(a_request_names_what_is_of_the_connection),
        cmocka_unit_test(a_response_is_framed_for_its_reader),
        cmocka_unit_test(a_chunk_has_its_size_in_hex),
        cmocka_unit_test(the_last_chunk_carries_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
