/* h1_request.c - the line and the target of a request, and where its head begins and ends: what a client may send, and
 * what it may not, each refusal with its status and its reason. */
#include "h1_refusals.h"

static void a_request_line_is_read_into_its_parts(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(
        h, MG_STR("GET /a/./b/../%7eu?q=%zz&r={x|y} HTTP/1.1\r\nHost: API.example.com.:8080\r\n\r\n"));
    assert_int_equal(h->request.method, MG_METHOD_GET);
    assert_text(h->request.method_text, "GET");
    assert_text(h->request.target, "/a/./b/../%7eu?q=%zz&r={x|y}");
    assert_text(h->request.path, "/a/~u");
    assert_text(h->request.query, "q=%zz&r=%7Bx%7Cy%7D");
    assert_text(h->request.authority, "API.example.com.:8080");
    assert_text(h->request.host, "api.example.com");
    assert_text(h->request.scheme, "http");
    assert_int_equal(h->request.minor, 1);
    assert_int_equal(h->request.body, MG_BODY_NONE);
    assert_int_equal(h->request.fields.count, 0);
    assert_true(h->info.keep_alive);
    heads_free(h);
}

static void a_query_may_be_absent_or_empty(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_null(h->request.query.p);
    assert_accepted(h, MG_STR("GET /? HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_non_null(h->request.query.p);
    assert_int_equal(h->request.query.n, 0);
    assert_accepted(h, MG_STR("GET /a??b HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.query, "?b");
    heads_free(h);
}

static void any_token_is_a_method(void **state)
{
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR("BREW /pot HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"));
    assert_int_equal(h->request.method, MG_METHOD_OTHER);
    assert_text(h->request.method_text, "BREW");
    assert_accepted(h, MG_STR("PROPFIND /pot HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_accepted(h, MG_STR("get /pot HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(h->request.method, MG_METHOD_OTHER);
    assert_accepted(h, MG_STR("PATCH /pot HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(h->request.method, MG_METHOD_PATCH);
    heads_free(h);
}

static void a_request_line_has_exactly_three_parts(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "request line without a version (HTTP/0.9)", "GET /\r\n\r\n"),
        REFUSED(400, "HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        REFUSED(505, "HTTP version other than 1.0 and 1.1", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        REFUSED(505, "HTTP version other than 1.0 and 1.1", "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        REFUSED(505, "HTTP version other than 1.0 and 1.1", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        REFUSED(505, "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / HTTP/11\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / http/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET / ICE/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed request line", "GET\r\nHost: a\r\n\r\n"),
        REFUSED(400, "empty target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "method is not a token", " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "method is not a token", "G\tT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "method is not a token", "G{} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "method is not a token", "GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(501, "method too long", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(501, "CONNECT is not supported",
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"),
    };
    (void)state;
    ASSERT_REFUSED(rows);
}

static void a_line_ends_in_crlf_and_nothing_else(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "bare LF behind the start line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        REFUSED(400, "bare LF behind the start line", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "bare CR in the start line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "bare CR in the start line", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        REFUSED(400, "bare LF behind a field value", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        REFUSED(400, "bare LF behind a field value", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        REFUSED(400, "bare CR in a field value", LINE("X: a\rb")),
        REFUSED(400, "bare CR in a field value", LINE("X: a\r\r\nY: b")),
        REFUSED(400, "field line without a colon, or a bare CR", LINE("X\r: a")),
        REFUSED(400, "bare LF in a field name", LINE("X\n: a")),
        REFUSED(400, "bare LF in a field name", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        REFUSED(400, "bare CR, or bytes behind the blank line",
                "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n"),
        REFUSED(400, "bare CR, or bytes behind the blank line",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\nX: y\r\n\r\n"),
        REFUSED(400, "head without a blank line", "GET / HTTP/1.1\r\nHost: a\r\n"),
        REFUSED(400, "head without a blank line", "GET / HTTP/1.1\r\n"),
        REFUSED(400, "head without a blank line", "GET / HTTP/1.1\r\nHost: a\r\nX: y"),
        REFUSED(400, "unfinished start line", "GET / HTTP/1.1"),
        REFUSED(400, "malformed request line", "\r\n\r\n"),
        REFUSED(400, "unfinished start line", ""),
    };
    (void)state;
    ASSERT_REFUSED(rows);
}

static void one_empty_line_before_the_request_is_forgiven(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "malformed request line", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    assert_accepted(h, MG_STR("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    heads_free(h);
    ASSERT_REFUSED(rows);
}

static void a_target_has_only_bytes_that_clients_send_and_readers_agree_on(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "fragment in the target", "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "fragment in the target", "GET /?q#f HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /a\x0b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /?a\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /?a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "byte in the target that must be escaped", "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /", "GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /", "GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /", "GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed target", "GET a.example:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed target", "GET ?q HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "target * is for OPTIONS only", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSED(400, "malformed target", "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR("GET /a|b^c[1]?d=\\^`{|} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "/a%7Cb%5Ec[1]");
    assert_text(h->request.query, "d=%5C%5E%60%7B%7C%7D");
    assert_accepted(h, MG_STR("GET /\"<{`\xc3\xa9\xff}>?\"<\xe2\x82\xac> HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "/%22%3C%7B%60%C3%A9%FF%7D%3E");
    assert_text(h->request.query, "%22%3C%E2%82%AC%3E");
    assert_text(h->request.target, "/\"<{`\xc3\xa9\xff}>?\"<\xe2\x82\xac>");
    assert_accepted(h, MG_STR("GET http://a/{\x80}/../|?{} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "/%7C");
    assert_text(h->request.query, "%7B%7D");
    assert_accepted(h, MG_STR("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "*");
    assert_null(h->request.sent_path.p);
    heads_free(h);
}

static void a_path_is_kept_as_it_was_sent_and_with_its_slashes(void **state)
{
    heads *h = heads_new();
    mg_text text = { 0 };
    (void)state;

    assert_accepted(h, MG_STR("GET /a/b?c HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_null(h->request.slashed.p);
    assert_accepted(h, MG_STR("GET /%7e/./{?| HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_null(h->request.slashed.p);
    assert_accepted(h, MG_STR("GET //a/%7e//../b\"?{} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "/a/b%22");
    assert_text(h->request.slashed, "//a/~/b%22");
    assert_text(h->request.sent_path, "//a/%7e//../b\"");
    assert_text(h->request.sent_query, "{}");
    assert_accepted(h, MG_STR("GET http://a//b?q HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_text(h->request.path, "/b");
    assert_text(h->request.slashed, "//b");
    assert_text(h->request.sent_path, "//b");
    mg_h1_write_request(&text, &h->request, MG_STR("h"), true);
    assert_true(mg_str_starts(mg_text_str(&text), MG_STR("GET /b?q HTTP/1.1\r\n")));
    mg_text_clear(&text);
    h->request.as_sent = true;
    mg_h1_write_request(&text, &h->request, MG_STR("h"), true);
    assert_true(mg_str_starts(mg_text_str(&text), MG_STR("GET //b?q HTTP/1.1\r\n")));
    mg_text_fini(&text);
    heads_free(h);
}

static void an_absolute_target_must_agree_with_host(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "Host differs from the target's",
                "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n"),
        REFUSED(400, "Host differs from the target's",
                "GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "no Host", "GET http://a.example/ HTTP/1.1\r\n\r\n"),
        REFUSED(400, "malformed target", "GET http://u:p@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "malformed target", "GET http:/// HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "malformed target", "GET http:a.example HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "malformed target", "GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "malformed target", "GET http://a.example/#f HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "malformed target", "GET http://a.example:99999/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "scheme of the target is not the listener's",
                "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        REFUSED(400, "path with a bad escape, or above /",
                "GET http://a.example/../x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR("GET HTTP://A.example:80/x//y?z HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    assert_text(h->request.authority, "A.example:80");
    assert_text(h->request.host, "a.example");
    assert_text(h->request.path, "/x/y");
    assert_text(h->request.query, "z");
    assert_accepted(h, MG_STR("GET http://a.example?z HTTP/1.0\r\n\r\n"));
    assert_text(h->request.path, "/");
    assert_accepted(h, MG_STR("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_text(h->request.path, "*");
    assert_accepted(h, MG_STR("OPTIONS http://h/h HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_text(h->request.path, "/h");
    heads_free(h);
}

static void there_is_one_valid_host(void **state)
{
    static const refusal rows[] = {
        REFUSED(400, "no Host", "GET / HTTP/1.1\r\n\r\n"),
        REFUSED(400, "more than one Host", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        REFUSED(400, "more than one Host", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.0\r\nHost: \r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        REFUSED(400, "malformed Host", "GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
    };
    heads *h = heads_new();
    (void)state;

    ASSERT_REFUSED(rows);
    assert_accepted(h, MG_STR("GET / HTTP/1.0\r\n\r\n"));
    assert_int_equal(h->request.authority.n, 0);
    assert_false(h->info.keep_alive);
    assert_accepted(h, MG_STR("GET / HTTP/1.1\r\nHost: [2001:DB8::1]:8080\r\n\r\n"));
    assert_text(h->request.host, "2001:db8::1");
    heads_free(h);
}

static void sizes_have_limits(void **state)
{
    heads *h = heads_new();
    mg_text text = { 0 };
    (void)state;

    mg_text_add_c(&text, "GET /");
    for (unsigned i = 0; i < h->limits.target_bytes; i++)
        mg_text_add_char(&text, 'a');
    mg_text_add_c(&text, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_false(heads_request(h, mg_text_str(&text)));
    assert_int_equal(h->fault.status, 414);
    h->limits.target_bytes++;
    assert_accepted(h, mg_text_str(&text));

    h->limits.head_bytes = (uint32_t)text.n;
    assert_accepted(h, mg_text_str(&text));
    h->limits.head_bytes--;
    assert_false(heads_request(h, mg_text_str(&text)));
    assert_int_equal(h->fault.status, 431);
    h->limits.target_bytes = 100;
    assert_false(heads_request(h, mg_text_str(&text)));
    assert_int_equal(h->fault.status, 414);

    h->limits = (mg_h1_limits)MG_H1_LIMITS_DEFAULT;
    mg_text_clear(&text);
    mg_text_add_c(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 1; i < h->limits.fields; i++)
        mg_text_add_c(&text, "X: y\r\n");
    mg_text_add_c(&text, "\r\n");
    assert_accepted(h, mg_text_str(&text));
    assert_int_equal(h->request.fields.count, h->limits.fields - 1);
    h->limits.fields--;
    assert_false(heads_request(h, mg_text_str(&text)));
    assert_int_equal(h->fault.status, 431);
    mg_text_fini(&text);
    heads_free(h);
}

static void a_name_has_a_limit(void **state)
{
    heads *h = heads_new();
    mg_text text = { 0 };
    (void)state;

    for (unsigned n = 256; n <= 257; n++) {
        mg_text_clear(&text);
        mg_text_add_c(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
        for (unsigned i = 0; i < n; i++)
            mg_text_add_char(&text, 'x');
        mg_text_add_c(&text, ": y\r\n\r\n");
        assert_int_equal(heads_request(h, mg_text_str(&text)), n == 256);
    }
    assert_int_equal(h->fault.status, 431);
    mg_text_fini(&text);
    heads_free(h);
}

static bool may_be(const char *bytes, size_t n, uint16_t status)
{
    static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;
    mg_h1_fault fault = { 0 };
    const bool may = mg_h1_may_be_request(&limits, bytes, n, &fault);

    assert_int_equal(fault.status, may ? 0 : status);
    return may;
}

static void what_can_never_be_a_request_is_known_by_its_first_bytes(void **state)
{
    static const char whole[] = "\r\nPROP-FIND /a%20b?c HTTP/1.1\r\nhost: a\r\n\r\n";
    static const struct {
        const char *bytes;
        size_t n;
        uint16_t status;
    } never[] = {
        { "\x16", 1, 400 },
        { "\x16\x03\x01\x02\x00\x01", 6, 400 },
        { "\x80\x2e\x01\x03\x01", 5, 400 },
        { "\0\0\0\x08\x04\xd2\x16\x2f", 8, 400 },
        { "SSH-2.0-OpenSSH_9.2\r\n", 21, 400 },
        { "SSH-2.0-OpenSSH_9.2\n", 20, 400 },
        { "*1\r\n$4\r\nPING\r\n", 14, 400 },
        { "EHLO there\r\n", 12, 400 },
        { "GET /\r\n", 7, 400 },
        { " GET", 4, 400 },
        { "GE\tT", 4, 400 },
        { "GET  / HTTP/1.1\r\n", 17, 400 },
        { "GET / FTP", 9, 400 },
        { "GET / HTTP/1.1 ", 15, 400 },
        { "GET /\x01", 6, 400 },
        { "GET / HTTP/2.0\r\n", 16, 505 },
        { "PRI * HTTP/2.0\r\n", 16, 505 },
        { "CONNECT a:1 HTTP/1.1\r\n", 22, 501 },
        { "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", 33, 501 },
        { "GET / HTTP/1.1\n", 15, 400 },
    };

    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++)
        assert_true(may_be(whole, n, 0));
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        assert_false(may_be(never[i].bytes, never[i].n, never[i].status));
    }
}

static void the_head_ends_at_its_blank_line_however_it_arrives(void **state)
{
    static const struct {
        mg_str text;
        size_t end;
    } rows[] = {
        { TEXT("A\r\nB: c\r\n\r\nrest"), 11 },
        { TEXT("A\r\nB: c\r\n\r"), 0 },
        { TEXT("A\nB\n\nrest"), 5 },
        { TEXT("A\nB\n\r\nrest"), 6 },
        { TEXT("A\r\nB\r\r\nC\r\n"), 0 },
        { TEXT("\r\n\r\n"), 4 },
        { TEXT("\n\n"), 2 },
        { TEXT(""), 0 },
    };
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        for (size_t step = 1; step <= 16; step++) {
            size_t scanned = 0, end = 0, n = 0;

            while (!end && n < rows[i].text.n) {
                n = n + step < rows[i].text.n ? n + step : rows[i].text.n;
                end = mg_h1_head_end(rows[i].text.p, n, &scanned);
            }
            assert_int_equal(end, rows[i].end);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_line_is_read_into_its_parts),
        cmocka_unit_test(a_query_may_be_absent_or_empty),
        cmocka_unit_test(any_token_is_a_method),
        cmocka_unit_test(a_request_line_has_exactly_three_parts),
        cmocka_unit_test(a_line_ends_in_crlf_and_nothing_else),
        cmocka_unit_test(one_empty_line_before_the_request_is_forgiven),
        cmocka_unit_test(a_target_has_only_bytes_that_clients_send_and_readers_agree_on),
        cmocka_unit_test(a_path_is_kept_as_it_was_sent_and_with_its_slashes),
        cmocka_unit_test(an_absolute_target_must_agree_with_host),
        cmocka_unit_test(there_is_one_valid_host),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(a_name_has_a_limit),
        cmocka_unit_test(what_can_never_be_a_request_is_known_by_its_first_bytes),
        cmocka_unit_test(the_head_ends_at_its_blank_line_however_it_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
