/* What an upstream may answer. Every fault is a 502 to the client; here its reason is looked at. */
#include "heads.h"

typedef struct refusal {
    mg_str text;
    const char *why;
} refusal;

#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }
#define REFUSED(why, text)                                                                                   \
    {                                                                                                        \
        TEXT(text), why                                                                                      \
    }
#define OK_LINE(text) "HTTP/1.1 200 OK\r\n" text "\r\n\r\n"

static void assert_refused(const refusal *rows, size_t n)
{
    heads *h = heads_new();

    for (size_t i = 0; i < n; i++) {
        bool accepted = heads_response(h, rows[i].text, MG_METHOD_GET, MG_STR("websocket"));

        if (accepted || h->fault.status != 502 || strcmp(h->fault.why, rows[i].why) != 0) {
            heads_print(rows[i].text);
            fail_msg("row %zu: %d \"%s\", expected \"%s\"", i, h->fault.status, h->fault.why, rows[i].why);
        }
    }
    heads_free(h);
}

#define ASSERT_REFUSED(rows) assert_refused(rows, mg_countof(rows))

static void assert_accepted(heads *h, mg_str text, mg_method method, mg_h1_framing framing)
{
    if (!heads_response(h, text, method, MG_STR("websocket"))) {
        heads_print(text);
        fail_msg("refused: %s", h->fault.why);
    }
    assert_int_equal(h->framing, framing);
}

static void a_status_line_is_version_status_and_perhaps_a_reason(void **state)
{
    static const refusal rows[] = {
        REFUSED("HTTP version other than 1.0 and 1.1", "HTTP/2.0 200 OK\r\n\r\n"),
        REFUSED("HTTP version other than 1.0 and 1.1", "HTTP/1.2 200 OK\r\n\r\n"),
        REFUSED("HTTP version other than 1.0 and 1.1", "HTTP/0.9 200 OK\r\n\r\n"),
        REFUSED("malformed status line", "http/1.1 200 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1  200 OK\r\n\r\n"),
        REFUSED("malformed status line", "HTTP/1.1 2000 OK\r\n\r\n"),
        REFUSED("malformed status line", "HTTP/1.1 200OK\r\n\r\n"),
        REFUSED("malformed status line", "HTTP/1.1 20\r\n\r\n"),
        REFUSED("malformed status line", "HTTP/1.10 200 OK\r\n\r\n"),
        REFUSED("malformed status line", "ICY 200 OK........\r\n\r\n"),
        REFUSED("malformed status line", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1 099 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1 600 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1 2x0 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1 20 OK\r\n\r\n"),
        REFUSED("status is not a number from 100 to 599", "HTTP/1.1 -20 OK\r\n\r\n"),
        REFUSED("control byte in the reason", "HTTP/1.1 200 O\0K\r\n\r\n"),
        REFUSED("bare CR in the start line", "HTTP/1.1 200 O\rK\r\n\r\n"),
        REFUSED("bare LF behind the start line", "HTTP/1.1 200 OK\n\r\n"),
        REFUSED("unfinished start line", "HTTP/1.1 200 OK"),
        REFUSED("unfinished start line", ""),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), MG_METHOD_GET, MG_H1_LENGTH);
    assert_accepted(h, MG_STR("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), MG_METHOD_GET, MG_H1_LENGTH);
    assert_accepted(h, MG_STR("HTTP/1.1 599 \xc3\xa9t\xc3\xa9\t!\r\nContent-Length: 0\r\n\r\n"),
                    MG_METHOD_GET, MG_H1_LENGTH);
    assert_int_equal(h->response.status, 599);
    heads_free(h);
}

static void fields_are_read_as_strictly_as_in_requests(void **state)
{
    static const refusal rows[] = {
        REFUSED("white space in or behind a field name", OK_LINE("Name : v")),
        REFUSED("folded field line", OK_LINE("X: a\r\n b")),
        REFUSED("bare LF behind a field value", OK_LINE("X: a\nY: b")),
        REFUSED("bare CR in a field value", OK_LINE("X: a\rSet-Cookie: b")),
        REFUSED("control byte in a field value", OK_LINE("X: a\0b")),
        REFUSED("field name is not a token", OK_LINE("X\0: b")),
        REFUSED("empty field name", OK_LINE(": b")),
        REFUSED("more than one Content-Length", OK_LINE("Content-Length: 5\r\nContent-Length: 5")),
        REFUSED("malformed Content-Length", OK_LINE("Content-Length: 5, 5")),
        REFUSED("malformed Content-Length", OK_LINE("Content-Length: +5")),
        REFUSED("both Transfer-Encoding and Content-Length",
                OK_LINE("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        REFUSED("more than one Transfer-Encoding",
                OK_LINE("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        REFUSED("chunked is not the last transfer coding, once",
                OK_LINE("Transfer-Encoding: chunked, chunked")),
        REFUSED("transfer coding other than chunked", OK_LINE("Transfer-Encoding: gzip, chunked")),
        REFUSED("Transfer-Encoding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        REFUSED("Connection names a field that is not of the connection", OK_LINE("Connection: set-cookie")),
        REFUSED("head without a blank line", "HTTP/1.1 200 OK\r\nX: y\r\n"),
        REFUSED("bare CR, or bytes behind the blank line", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    /* Said by some servers, and harmless: the field is of this connection and goes anyway. */
    assert_accepted(h, MG_STR(OK_LINE("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked")),
                    MG_METHOD_GET, MG_H1_CHUNKED);
    heads_free(h);
}

static void heads_have_limits(void **state)
{
    heads *h = heads_new();
    (void)state;

    h->limits.head_bytes = 30;
    assert_false(heads_response(h, MG_STR(OK_LINE("Content-Length: 0")), MG_METHOD_GET, MG_STR_NONE));
    assert_string_equal(h->fault.why, "head too large");
    h->limits = (mg_h1_limits)MG_H1_LIMITS_DEFAULT;
    h->limits.fields = 1;
    assert_false(heads_response(h, MG_STR(OK_LINE("A: b\r\nA: b")), MG_METHOD_GET, MG_STR_NONE));
    assert_string_equal(h->fault.why, "too many fields");
    assert_int_equal(h->fault.status, 502);
    heads_free(h);
}

static void a_body_ends_by_length_chunks_or_close(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR(OK_LINE("Content-Length: 5")), MG_METHOD_GET, MG_H1_LENGTH);
    assert_int_equal(h->response.body, MG_BODY_LENGTH);
    assert_int_equal(h->response.length, 5);
    assert_true(h->info.keep_alive);
    assert_accepted(h, MG_STR(OK_LINE("Transfer-Encoding: chunked")), MG_METHOD_GET, MG_H1_CHUNKED);
    assert_int_equal(h->response.body, MG_BODY_STREAM);
    assert_true(h->info.keep_alive);
    assert_accepted(h, MG_STR(OK_LINE("X: y")), MG_METHOD_GET, MG_H1_UNTIL_CLOSE);
    assert_int_equal(h->response.body, MG_BODY_STREAM);
    assert_false(h->info.keep_alive);
    heads_free(h);
}

static void head_and_304_declare_a_length_and_have_no_body(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR(OK_LINE("Content-Length: 5")), MG_METHOD_HEAD, MG_H1_NO_BODY);
    assert_int_equal(h->response.body, MG_BODY_NONE);
    assert_true(h->response.has_length);
    assert_int_equal(h->response.length, 5);
    assert_accepted(h, MG_STR(OK_LINE("Transfer-Encoding: chunked")), MG_METHOD_HEAD, MG_H1_NO_BODY);
    assert_true(h->info.keep_alive);
    assert_accepted(h, MG_STR("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), MG_METHOD_GET,
                    MG_H1_NO_BODY);
    assert_true(h->response.has_length);
    assert_accepted(h, MG_STR(OK_LINE("X: y")), MG_METHOD_HEAD, MG_H1_NO_BODY);
    assert_true(h->info.keep_alive);
    assert_false(h->response.has_length);
    heads_free(h);
}

/* What follows them is not theirs, and may be a body all the same: the connection is not used again. */
static void statuses_without_a_body_have_none_whatever_they_announce(void **state)
{
    static const struct {
        mg_str text;
        bool keep_alive;
    } rows[] = {
        { TEXT("HTTP/1.1 204 No Content\r\n\r\n"), true },
        { TEXT("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), true },
        { TEXT("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), false },
        { TEXT("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), false },
        { TEXT("HTTP/1.1 204 No Content\r\nTransfer-Encoding: Chunked\r\n\r\n"), false },
        { TEXT("HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n"), false },
        { TEXT("HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n"), true },
        { TEXT("HTTP/1.1 205 Reset\r\n\r\n"), false },
        { TEXT("HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n\r\n"), false },
        { TEXT("HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n"), false },
        { TEXT("HTTP/1.1 100 Continue\r\n\r\n"), true },
        { TEXT("HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"), true },
        { TEXT("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"), false },
        { TEXT("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"), false },
    };
    heads *h = heads_new();
    (void)state;

    for (size_t i = 0; i < 2 * mg_countof(rows); i++) {
        assert_accepted(h, rows[i / 2].text, i % 2 ? MG_METHOD_POST : MG_METHOD_GET, MG_H1_NO_BODY);
        assert_int_equal(h->info.keep_alive, rows[i / 2].keep_alive);
        assert_int_equal(h->response.body, MG_BODY_NONE);
        assert_false(h->response.has_length);
        assert_int_equal(h->response.fields.count, 0);
    }
    assert_accepted(h, MG_STR("HTTP/1.1 205 Reset\r\n\r\n"), MG_METHOD_HEAD, MG_H1_NO_BODY);
    assert_true(h->info.keep_alive);
    assert_accepted(h, MG_STR("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), MG_METHOD_GET,
                    MG_H1_NO_BODY);
    assert_field(&h->response.fields, "link", "</a>");
    heads_free(h);
}

static void a_101_must_be_the_one_that_was_asked_for(void **state)
{
    static const refusal rows[] = {
#define OTHER "101 to another protocol than was asked for"
        REFUSED(OTHER, "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
        REFUSED(OTHER, "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n"),
        REFUSED(OTHER, "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n"),
        REFUSED(OTHER,
                "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n"),
        REFUSED("body announced with a 101",
                "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n"),
        REFUSED("body announced with a 101",
                "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: "
                "chunked\r\n\r\n"),
        REFUSED("101 in HTTP/1.0", "HTTP/1.0 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    };
    const mg_str good = MG_STR("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX: y\r\n\r\n");
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, good, MG_METHOD_GET, MG_H1_NO_BODY);
    assert_int_equal(h->response.body, MG_BODY_TUNNEL);
    assert_text(h->response.upgrade, "WebSocket");
    assert_int_equal(h->response.fields.count, 1);
    assert_false(heads_response(h, good, MG_METHOD_GET, MG_STR_NONE));
    assert_string_equal(h->fault.why, "101 that was not asked for");
    heads_free(h);
}

static void keep_alive_follows_version_connection_and_hint(void **state)
{
    static const struct {
        mg_str text;
        bool keep_alive;
        uint32_t seconds;
    } rows[] = {
        { TEXT(OK_LINE("Content-Length: 0\r\nConnection: close")), false, 0 },
        { TEXT(OK_LINE("Content-Length: 0\r\nKeep-Alive: timeout=5, max=100")), true, 5 },
        { TEXT(OK_LINE("Content-Length: 0\r\nKeep-Alive: max=1,Timeout=70")), true, 70 },
        { TEXT(OK_LINE("Content-Length: 0\r\nKeep-Alive: timeout=x")), true, 0 },
        { TEXT(OK_LINE("Content-Length: 0\r\nKeep-Alive: timeout=0")), false, 0 },
        { TEXT(OK_LINE("Content-Length: 0\r\nKeep-Alive: timeout=99999999999")), true, UINT32_MAX },
        { TEXT("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), false, 0 },
        { TEXT("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"), true, 0 },
    };
    heads *h = heads_new();
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        assert_accepted(h, rows[i].text, MG_METHOD_GET, MG_H1_LENGTH);
        assert_int_equal(h->info.keep_alive, rows[i].keep_alive);
        assert_int_equal(h->info.keep_alive_s, rows[i].seconds);
        assert_int_equal(h->response.fields.count, 0);
    }
    heads_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_line_is_version_status_and_perhaps_a_reason),
        cmocka_unit_test(fields_are_read_as_strictly_as_in_requests),
        cmocka_unit_test(heads_have_limits),
        cmocka_unit_test(a_body_ends_by_length_chunks_or_close),
        cmocka_unit_test(head_and_304_declare_a_length_and_have_no_body),
        cmocka_unit_test(statuses_without_a_body_have_none_whatever_they_announce),
        cmocka_unit_test(a_101_must_be_the_one_that_was_asked_for),
        cmocka_unit_test(keep_alive_follows_version_connection_and_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
