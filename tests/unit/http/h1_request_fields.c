/* h1_request_fields.c - the fields of a request: what they may be, what frames its body, and what stays on one
 * connection. */
#include "h1_refusals.h"

static void names_become_lower_case_and_values_lose_the_space_around_them(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(
        h, MG_STR("GET / HTTP/1.1\r\nHOST:a\r\nX-One:\t a b\t c \t\r\nx_two:\r\nX-Three: \xc3\xa9\r\n\r\n"));
    assert_int_equal(h->request.fields.count, 3);
    assert_field(&h->request.fields, "x-one", "a b\t c");
    assert_field(&h->request.fields, "x_two", "");
    assert_field(&h->request.fields, "x-three", "\xc3\xa9");
    heads_free(h);
}

static void a_field_line_is_a_token_a_colon_and_a_clean_value(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "white space in or behind a field name", LINE("Name : v")),
        REFUSED(400, "white space in or behind a field name", LINE("Name\t: v")),
        REFUSED(400, "white space in or behind a field name", LINE("A Name: v")),
        REFUSED(400, "white space in or behind a field name", LINE("Content-Length : 5")),
        REFUSED(400, "white space in or behind a field name", LINE("Transfer-Encoding : chunked")),
        REFUSED(400, "folded field line", LINE("X: a\r\n b")),
        REFUSED(400, "folded field line", LINE("X: a\r\n\tb")),
        REFUSED(400, "folded field line", LINE("Transfer-Encoding:\r\n chunked")),
        REFUSED(400, "folded field line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        REFUSED(400, "empty field name", LINE(": v")),
        REFUSED(400, "field line without a colon, or a bare CR", LINE("NoColon")),
        REFUSED(400, "field name is not a token", LINE("X\0Y: v")),
        REFUSED(400, "field name is not a token", LINE("X(Y: v")),
        REFUSED(400, "field name is not a token", LINE("\xc3\xa9: v")),
        REFUSED(400, "field name is not a token", LINE("\x0bTransfer-Encoding: chunked")),
        REFUSED(400, "field name is not a token", LINE("Transfer-Encoding\x0b: chunked")),
        REFUSED(400, "control byte in a field value", LINE("X: a\0b")),
        REFUSED(400, "control byte in a field value", LINE("X: \x01")),
        REFUSED(400, "control byte in a field value", LINE("X: 0123456789abcdef\x7f")),
        REFUSED(400, "control byte in a field value", LINE("X: 0\t23456789abcdef\x1f")),
        REFUSED(400, "control byte in a field value",
                LINE("Transfer-Encoding:\x0b"
                     "chunked")),
        REFUSED(400, "control byte in a field value", LINE("Transfer-Encoding: chunked\x0b")),
    };
    (void)state;
    ASSERT_REFUSED(rows);
}

static void a_length_is_written_once_in_digits(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "more than one Content-Length", LINE("Content-Length: 5\r\nContent-Length: 5")),
        REFUSED(400, "more than one Content-Length", LINE("Content-Length: 5\r\nContent-Length: 6")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 5, 5")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: +5")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: -5")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 0x5")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 5 5")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 5.0")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: ")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 9223372036854775808")),
        REFUSED(400, "malformed Content-Length", LINE("Content-Length: 18446744073709551621")),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR(LINE("Content-Length: 9223372036854775807")));
    assert_int_equal(h->request.body, MG_BODY_LENGTH);
    assert_true(h->request.length == INT64_MAX);
    assert_field(&h->request.fields, "content-length", NULL);
    assert_accepted(h, MG_STR(LINE("Content-Length: 0")));
    assert_int_equal(h->request.body, MG_BODY_LENGTH);
    heads_free(h);
}

static void chunked_stands_alone_once_and_in_http_1_1_only(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "both Transfer-Encoding and Content-Length",
                LINE("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        REFUSED(400, "both Transfer-Encoding and Content-Length",
                LINE("Transfer-Encoding: chunked\r\nContent-Length: 5")),
        REFUSED(400, "more than one Transfer-Encoding",
                LINE("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        REFUSED(400, "more than one Transfer-Encoding",
                LINE("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        REFUSED(501, "transfer coding other than chunked",
                LINE("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked")),
        REFUSED(400, "chunked is not the last transfer coding, once",
                LINE("Transfer-Encoding: chunked, chunked")),
        REFUSED(400, "chunked is not the last transfer coding, once",
                LINE("Transfer-Encoding: chunked, gzip")),
        REFUSED(400, "malformed Transfer-Encoding", LINE("Transfer-Encoding: chunked,")),
        REFUSED(400, "malformed Transfer-Encoding", LINE("Transfer-Encoding: chunked;q=1")),
        REFUSED(400, "malformed Transfer-Encoding", LINE("Transfer-Encoding: \"chunked\"")),
        REFUSED(400, "malformed Transfer-Encoding", LINE("Transfer-Encoding: chunked foo")),
        REFUSED(400, "malformed Transfer-Encoding", LINE("Transfer-Encoding:")),
        REFUSED(501, "transfer coding other than chunked", LINE("Transfer-Encoding: gzip, chunked")),
        REFUSED(501, "transfer coding other than chunked", LINE("Transfer-Encoding: gzip")),
        REFUSED(501, "transfer coding other than chunked", LINE("Transfer-Encoding: identity")),
        REFUSED(501, "transfer coding other than chunked", LINE("Transfer-Encoding: xchunked")),
        REFUSED(400, "field name that begins with transfer-encoding", LINE("Transfer-Encoding-X: chunked")),
        REFUSED(400, "field name that begins with transfer-encoding",
                LINE("Transfer-EncodingX: a\r\nTransfer-Encoding: chunked")),
        REFUSED(400, "Transfer-Encoding in HTTP/1.0",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR(LINE("transfer-ENCODING:\tChunked ")));
    assert_int_equal(h->request.body, MG_BODY_STREAM);
    assert_field(&h->request.fields, "transfer-encoding", NULL);
    heads_free(h);
}

static void a_body_is_taken_as_framed_whatever_the_method_but_trace(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "TRACE with a body", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
        REFUSED(400, "TRACE with a body",
                "TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    assert_int_equal(h->request.length, 5);
    assert_accepted(h, MG_STR("DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_int_equal(h->request.body, MG_BODY_STREAM);
    heads_free(h);
}

static void fields_of_one_connection_stay_on_it(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(
        h, MG_STR("GET / HTTP/1.1\r\nHost: a\r\nX-Keep: 1\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
                  "Proxy-Connection: keep-alive\r\nTE: gzip;q=0.5, Trailers\r\nTrailer: x\r\n"
                  "Proxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\nHTTP2-Settings: AA\r\n"
                  "Connection: keep-alive, x-hop,, TE\r\nX-Hop: 2\r\nX-Late: 1\r\n"
                  "Connection: X-Late\r\n\r\n"));
    assert_int_equal(h->request.fields.count, 1);
    assert_field(&h->request.fields, "x-keep", "1");
    assert_true(h->request.te_trailers);
    assert_true(h->info.keep_alive);
    heads_free(h);
}

static void connection_cannot_take_away_what_others_rely_on(void **state)
{
    static const refusal rows[] = {
#define NAMED "Connection names a field that is not of the connection"
        REFUSED(400, NAMED, LINE("Connection: content-length\r\nContent-Length: 5")),
        REFUSED(400, NAMED, LINE("Connection: close, Host")),
        REFUSED(400, NAMED, LINE("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked")),
        REFUSED(400, NAMED, LINE("Connection: X-Forwarded-For")),
        REFUSED(400, NAMED, LINE("Connection: authorization")),
        REFUSED(400, NAMED, LINE("Connection: cookie")),
        REFUSED(400, NAMED, LINE("Connection: Content-Type")),
        REFUSED(400, "malformed Connection", LINE("Connection: a b")),
        REFUSED(400, "malformed Connection", LINE("Connection: \"close\"")),
        REFUSED(400, "too many Connection options",
                LINE("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,a1,a2,a3,a4,a5,a6,a7")),
    };
    (void)state;
    ASSERT_REFUSED(rows);
}

static void keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        mg_str text;
        bool keep_alive;
    } rows[] = {
        { TEXT("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), false },
        { TEXT("GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n"), false },
        { TEXT("GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n"), false },
        { TEXT("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), true },
        { TEXT("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n"), false },
        { TEXT("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n"), true },
    };
    heads *h = heads_new();
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        assert_accepted(h, rows[i].text);
        assert_int_equal(h->info.keep_alive, rows[i].keep_alive);
    }
    heads_free(h);
}

static void only_100_continue_is_expected(void **state)
{
    static const refusal rows[] = {
        REFUSED(417, "Expect other than 100-continue", LINE("Expect: 200-ok")),
        REFUSED(417, "Expect other than 100-continue", LINE("Expect:")),
        REFUSED(417, "Expect other than 100-continue", LINE("Expect: 100-continue, x")),
        REFUSED(417, "Expect other than 100-continue", LINE("Expect: 100-continue\r\nExpect: 100-continue")),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR(LINE("Expect: 100-Continue\r\nContent-Length: 5")));
    assert_true(h->request.expect_continue);
    assert_field(&h->request.fields, "expect", NULL);
    assert_accepted(h, MG_STR(LINE("Expect: 100-continue")));
    assert_false(h->request.expect_continue);
    assert_accepted(h, MG_STR("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    assert_false(h->request.expect_continue);
    heads_free(h);
}

static void an_upgrade_needs_connection_and_http_1_1(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR(LINE("Connection: keep-alive, Upgrade\r\nUpgrade: websocket")));
    assert_text(h->request.upgrade, "websocket");
    assert_field(&h->request.fields, "upgrade", NULL);
    assert_accepted(h, MG_STR(LINE("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0")));
    assert_text(h->request.upgrade, "websocket");
    assert_accepted(h,
                    MG_STR(LINE("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked")));
    assert_text(h->request.upgrade, "websocket"); /* behind its body */
    assert_accepted(h, MG_STR(LINE("Upgrade: websocket")));
    assert_null(h->request.upgrade.p);
    assert_accepted(h, MG_STR(LINE("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5")));
    assert_text(h->request.upgrade, "websocket");
    assert_accepted(h, MG_STR("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"));
    assert_null(h->request.upgrade.p);
    assert_accepted(
        h, MG_STR(LINE("Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA")));
    assert_null(h->request.upgrade.p);
    assert_accepted(h, MG_STR(LINE("Connection: upgrade\r\nUpgrade: websocket, h2c")));
    assert_null(h->request.upgrade.p);
    assert_accepted(h, MG_STR(LINE("Connection: upgrade\r\nUpgrade: TLS/1.3")));
    assert_null(h->request.upgrade.p);
    heads_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_lower_case_and_values_lose_the_space_around_them),
        cmocka_unit_test(a_field_line_is_a_token_a_colon_and_a_clean_value),
        cmocka_unit_test(a_length_is_written_once_in_digits),
        cmocka_unit_test(chunked_stands_alone_once_and_in_http_1_1_only),
        cmocka_unit_test(a_body_is_taken_as_framed_whatever_the_method_but_trace),
        cmocka_unit_test(fields_of_one_connection_stay_on_it),
        cmocka_unit_test(connection_cannot_take_away_what_others_rely_on),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(only_100_continue_is_expected),
        cmocka_unit_test(an_upgrade_needs_connection_and_http_1_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
