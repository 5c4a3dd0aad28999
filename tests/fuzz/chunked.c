/* Any bytes as a chunked body, fed whole and in pieces whose lengths the first byte sets: both end alike.
 * What was accepted has clean trailers and is read the same when it is written anew. */
#include "support/h1_rules.h"

typedef struct reading {
    mg_arena arena;
    mg_h1_body body;
    mg_text payload;
    mg_h1_step step;
    size_t used;
    mg_h1_fault fault;
} reading;

static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;

/* One piece in a block of its own; at most `most` payload bytes at a time. */
static void feed(reading *r, const char *bytes, size_t n, size_t most)
{
    char *copy = mg_memdup0(bytes, n);
    size_t at = 0, used;
    mg_str payload;

    while ((r->step = mg_h1_body_next(&r->body, copy + at, n - at, &used, &payload, &r->fault)) ==
           MG_H1_DATA) {
        MG_CHECK(payload.p == copy + at + used && payload.n > 0 && payload.n <= n - at - used);
        if (payload.n > most)
            payload.n = most;
        mg_text_add(&r->payload, payload);
        mg_h1_body_take(&r->body, payload.n);
        at += used + payload.n;
    }
    MG_CHECK(used <= n - at);
    r->used += at + used;
    mg_free(copy);
}

static void run(reading *r, const char *bytes, size_t n, size_t piece)
{
    *r = (reading){ .step = MG_H1_MORE };
    mg_arena_init(&r->arena, NULL, 0);
    mg_h1_body_init(&r->body, MG_H1_CHUNKED, 0, &limits, &r->arena);
    for (size_t at = 0; at < n && r->step == MG_H1_MORE; at += piece)
        feed(r, bytes + at, n - at < piece ? n - at : piece, piece);
}

static void fini(reading *r)
{
    mg_h1_body_fini(&r->body);
    mg_text_fini(&r->payload);
    mg_arena_fini(&r->arena);
}

static void check_written_anew(const reading *r)
{
    mg_text text = { 0 };
    char size[18];
    reading again;

    h1_check_fields(&r->body.trailers);
    if (r->payload.n) {
        mg_text_add(&text, mg_str_make(size, mg_h1_write_chunk_size(size, r->payload.n)));
        mg_text_add(&text, mg_text_str(&r->payload));
        mg_text_add(&text, MG_STR("\r\n"));
    }
    mg_h1_write_last_chunk(&text, &r->body.trailers);
    run(&again, text.p, text.n, text.n);
    /* White space that was trimmed makes room, and none is added but one space a line, so the limit may be
     * passed. */
    if (again.step != MG_H1_BAD || again.fault.status != 431) {
        MG_CHECK(again.step == MG_H1_END && again.used == text.n);
        MG_CHECK(mg_str_eq(mg_text_str(&again.payload), mg_text_str(&r->payload)));
        h1_check_same_fields(&again.body.trailers, &r->body.trailers);
    }
    fini(&again);
    mg_text_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t n = size ? size - 1 : 0, piece = size && data[0] ? data[0] : 1;
    const char *bytes = size ? (const char *)data + 1 : "";
    reading whole, pieces;

    run(&whole, bytes, n, n ? n : 1);
    run(&pieces, bytes, n, piece);
    MG_CHECK(whole.step == pieces.step && whole.fault.status == pieces.fault.status);
    MG_CHECK(whole.step == MG_H1_BAD || whole.used == pieces.used);
    MG_CHECK(mg_str_eq(mg_text_str(&whole.payload), mg_text_str(&pieces.payload)));
    if (whole.step == MG_H1_END) {
        h1_check_same_fields(&whole.body.trailers, &pieces.body.trailers);
        check_written_anew(&whole);
    }
    fini(&whole);
    fini(&pieces);
    return 0;
}
