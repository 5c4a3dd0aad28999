/* Bodies that end where they should, and chunks that two readers could take apart differently. */
#include "heads.h"

typedef struct reading {
    mg_arena arena;
    mg_h1_limits limits;
    mg_h1_body body;
    mg_text payload;
    mg_h1_fault fault;
    size_t used; /* of the input, payload included */
} reading;

static void begin(reading *r, mg_h1_framing framing, uint64_t length)
{
    *r = (reading){ .limits = MG_H1_LIMITS_DEFAULT };
    mg_arena_init(&r->arena, NULL, 0);
    mg_h1_body_init(&r->body, framing, length, &r->limits, &r->arena);
}

static void finish(reading *r)
{
    mg_h1_body_fini(&r->body);
    mg_text_fini(&r->payload);
    mg_arena_fini(&r->arena);
}

static mg_h1_step feed(reading *r, mg_str in)
{
    mg_h1_step step;
    mg_str payload;
    size_t at = 0, used;

    while ((step = mg_h1_body_next(&r->body, in.p + at, in.n - at, &used, &payload, &r->fault)) ==
           MG_H1_DATA) {
        at += used;
        assert_ptr_equal(payload.p, in.p + at);
        mg_text_add(&r->payload, payload);
        mg_h1_body_take(&r->body, payload.n);
        at += payload.n;
    }
    r->used += at + used;
    return step;
}

static void assert_chunked(mg_str in, const char *payload, size_t used)
{
    reading r;

    begin(&r, MG_H1_CHUNKED, 0);
    if (feed(&r, in) != MG_H1_END) {
        heads_print(in);
        fail_msg("not the end: %s", r.fault.why ? r.fault.why : "more");
    }
    assert_text(mg_text_str(&r.payload), payload);
    assert_int_equal(r.used, used);
    finish(&r);
}

static void chunks_are_joined_and_what_follows_is_left(void **state)
{
    (void)state;
    assert_chunked(MG_STR("0\r\n\r\n"), "", 5);
    assert_chunked(MG_STR("5\r\nhello\r\n0\r\n\r\nGET"), "hello", 15);
    assert_chunked(MG_STR("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n"), "hello", 29);
    assert_chunked(MG_STR("1 \t;a\r\nx\r\nA\r\n0123456789\r\n00\r\n\r\n"), "x0123456789", 31);
    assert_chunked(MG_STR("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n"), "abc", 43);
}

static void a_chunk_to_the_letter_or_not_at_all(void **state)
{
    static const struct {
        mg_str in;
        const char *why;
    } rows[] = {
#define BAD(why, text) { { text, sizeof(text) - 1 }, why }
        BAD("chunk without a size", "\r\n"),
        BAD("chunk without a size", ";a\r\n"),
        BAD("chunk without a size", " 5\r\nhello"),
        BAD("chunk without a size", "+5\r\nhello"),
        BAD("chunk without a size", "-5\r\nhello"),
        BAD("chunk without a size", "xyz\r\n"),
        BAD("malformed chunk size", "0x5\r\nhello"),
        BAD("malformed chunk size", "5_0\r\n"),
        BAD("malformed chunk size", "5\nhello\r\n"),
        BAD("malformed chunk size", "5,5\r\n"),
        BAD("malformed chunk size", "5\0\r\n"),
        BAD("malformed chunk size", "5\x0b\r\n"),
        BAD("white space behind a chunk size", "5 \r\nhello\r\n"),
        BAD("white space behind a chunk size", "5 5\r\n"),
        BAD("chunk size too long", "00000000000000005\r\n"),
        BAD("chunk size too long", "10000000000000000\r\n"),
        BAD("chunk size too large", "8000000000000000\r\n"),
        BAD("chunk size too large", "ffffffffffffffff\r\n"),
        BAD("bare CR behind a chunk size", "5\rhello"),
        BAD("bare CR behind a chunk size", "5\r\r\nhello"),
        BAD("bare CR behind a chunk size", "5;a\rb\r\nhello"),
        BAD("byte in a chunk extension that must not be there", "5;a\nhello"),
        BAD("byte in a chunk extension that must not be there", "5;a\0\r\n"),
        BAD("byte in a chunk extension that must not be there", "5;\xc3\xa9\r\n"),
        BAD("no CRLF behind chunk data", "5\r\nhello0\r\n\r\n"),
        BAD("no CRLF behind chunk data", "5\r\nhelloXX0\r\n\r\n"),
        BAD("no CRLF behind chunk data", "5\r\nhello\n0\r\n\r\n"),
        BAD("no CRLF behind chunk data", "5\r\nhello\r0\r\n\r\n"),
        BAD("no CRLF behind chunk data", "5\r\nhello world\r\n"),
        BAD("bare LF in the trailers", "0\r\n\n"),
        BAD("bare LF in the trailers", "0\r\nX: y\n\r\n"),
        BAD("bare CR in the trailers", "0\r\n\rX"),
        BAD("bare CR in the trailers", "0\r\nX: y\rZ: z\r\n\r\n"),
        BAD("folded field line", "0\r\nX: y\r\n z\r\n\r\n"),
        BAD("white space in or behind a field name", "0\r\nX : y\r\n\r\n"),
        BAD("control byte in a field value", "0\r\nX: y\0\r\n\r\n"),
        BAD("field line without a colon, or a bare CR", "0\r\nX\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nContent-Length: 5\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nHost: b\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nConnection: close\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nTE: trailers\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nTrailer: x\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nUpgrade: x\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nX: y\r\nAuthorization: b\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nCookie: b\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nSet-Cookie: b\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nX-Forwarded-For: b\r\n\r\n"),
        BAD("trailer that must not be one", "0\r\nContent-Encoding: gzip\r\n\r\n"),
    };
    reading r;
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_h1_step step;

        begin(&r, MG_H1_CHUNKED, 0);
        step = feed(&r, rows[i].in);
        if (step != MG_H1_BAD || r.fault.status != 400 || strcmp(r.fault.why, rows[i].why) != 0) {
            heads_print(rows[i].in);
            fail_msg("row %zu: step %d \"%s\", expected \"%s\"", i, step, r.fault.why ? r.fault.why : "",
                     rows[i].why);
        }
        assert_int_equal(feed(&r, MG_STR("0\r\n\r\n")), MG_H1_BAD);
        assert_false(mg_h1_body_eof(&r.body));
        finish(&r);
    }
}

static void extensions_and_trailers_have_limits(void **state)
{
    reading r;
    (void)state;

    for (uint32_t limit = 3; limit <= 4; limit++) {
        begin(&r, MG_H1_CHUNKED, 0);
        r.limits.chunk_ext_bytes = limit;
        assert_int_equal(feed(&r, MG_STR("1;abcd\r\nx\r\n0;abcd\r\n\r\n")),
                         limit == 4 ? MG_H1_END : MG_H1_BAD);
        finish(&r);
    }
    for (uint32_t limit = 11; limit <= 12; limit++) {
        begin(&r, MG_H1_CHUNKED, 0);
        r.limits.trailer_bytes = limit;
        assert_int_equal(feed(&r, MG_STR("0;abc\r\nA: b\r\nC: d\r\n\r\n")),
                         limit == 12 ? MG_H1_END : MG_H1_BAD);
        assert_int_equal(r.fault.status, limit == 12 ? 0 : 431);
        finish(&r);
    }
    begin(&r, MG_H1_CHUNKED, 0);
    r.limits.fields = 1;
    assert_int_equal(feed(&r, MG_STR("0\r\nA: b\r\nC: d\r\n\r\n")), MG_H1_BAD);
    assert_int_equal(r.fault.status, 431);
    finish(&r);
}

static void trailers_are_fields_behind_the_last_chunk(void **state)
{
    reading r;
    (void)state;

    begin(&r, MG_H1_CHUNKED, 0);
    assert_int_equal(feed(&r, MG_STR("1\r\nx\r\n0\r\nGrpc-Status: 0\r\nX-Sum:  a b \r\n\r\nHTTP")),
                     MG_H1_END);
    assert_int_equal(r.body.trailers.count, 2);
    assert_field(&r.body.trailers, "grpc-status", "0");
    assert_field(&r.body.trailers, "x-sum", "a b");
    finish(&r);
}

static void a_length_counts_its_bytes_and_no_more(void **state)
{
    reading r;
    (void)state;

    begin(&r, MG_H1_LENGTH, 5);
    assert_int_equal(feed(&r, MG_STR("hel")), MG_H1_MORE);
    assert_false(mg_h1_body_eof(&r.body));
    assert_int_equal(feed(&r, MG_STR("loGET")), MG_H1_END);
    assert_text(mg_text_str(&r.payload), "hello");
    assert_int_equal(r.used, 5);
    assert_true(mg_h1_body_eof(&r.body));
    finish(&r);

    begin(&r, MG_H1_LENGTH, 0);
    assert_int_equal(feed(&r, MG_STR("GET")), MG_H1_END);
    assert_int_equal(r.used, 0);
    finish(&r);

    begin(&r, MG_H1_NO_BODY, 0);
    assert_int_equal(feed(&r, MG_STR("")), MG_H1_END);
    finish(&r);
}

static void a_body_until_close_ends_with_the_connection_and_chunks_do_not(void **state)
{
    reading r;
    (void)state;

    begin(&r, MG_H1_UNTIL_CLOSE, 0);
    assert_int_equal(feed(&r, MG_STR("hello")), MG_H1_MORE);
    assert_text(mg_text_str(&r.payload), "hello");
    assert_true(mg_h1_body_eof(&r.body));
    assert_int_equal(feed(&r, MG_STR("")), MG_H1_END);
    finish(&r);

    begin(&r, MG_H1_CHUNKED, 0);
    assert_int_equal(feed(&r, MG_STR("5\r\nhello\r\n0\r\n")), MG_H1_MORE);
    assert_false(mg_h1_body_eof(&r.body));
    finish(&r);
}

static void payload_may_be_taken_in_parts(void **state)
{
    const mg_str in = MG_STR("5\r\nhello\r\n0\r\n\r\n");
    mg_str payload;
    size_t used;
    reading r;
    (void)state;

    begin(&r, MG_H1_CHUNKED, 0);
    assert_int_equal(mg_h1_body_next(&r.body, in.p, in.n, &used, &payload, &r.fault), MG_H1_DATA);
    assert_int_equal(used, 3);
    assert_text(payload, "hello");
    mg_h1_body_take(&r.body, 2);
    assert_int_equal(mg_h1_body_next(&r.body, in.p + 5, in.n - 5, &used, &payload, &r.fault), MG_H1_DATA);
    assert_int_equal(used, 0);
    assert_text(payload, "llo");
    mg_h1_body_take(&r.body, 0);
    mg_h1_body_take(&r.body, 3);
    assert_int_equal(mg_h1_body_next(&r.body, in.p + 8, in.n - 8, &used, &payload, &r.fault), MG_H1_END);
    assert_int_equal(used, 7);
    finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_joined_and_what_follows_is_left),
        cmocka_unit_test(a_chunk_to_the_letter_or_not_at_all),
        cmocka_unit_test(extensions_and_trailers_have_limits),
        cmocka_unit_test(trailers_are_fields_behind_the_last_chunk),
        cmocka_unit_test(a_length_counts_its_bytes_and_no_more),
        cmocka_unit_test(a_body_until_close_ends_with_the_connection_and_chunks_do_not),
        cmocka_unit_test(payload_may_be_taken_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
