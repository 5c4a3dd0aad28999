/* Chunked bodies beside a model that has the whole text before it and reads it line by line; and every split
 * of a text beside the whole. Texts are well-formed ones, and ones in which a few bytes were changed, lost or
 * doubled. */
#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/h1.h"

static const mg_h1_limits limits = { .chunk_ext_bytes = 12, .trailer_bytes = 40, .fields = 3 };

/* ---- the model ---- */

typedef struct model {
    bool may_pad;
    mg_str rest;
    mg_text payload;
    unsigned trailers;
} model;

/* A line without its CRLF; false where there is none, or a CR or LF stands alone. */
static bool model_line(model *m, mg_str *line)
{
    for (size_t i = 0; i < m->rest.n; i++) {
        if (m->rest.p[i] == '\n')
            return false;
        if (m->rest.p[i] != '\r')
            continue;
        if (i + 1 == m->rest.n || m->rest.p[i + 1] != '\n')
            return false;
        *line = mg_str_sub(m->rest, 0, i);
        m->rest = mg_str_sub(m->rest, i + 2, m->rest.n);
        return true;
    }
    return false;
}

static bool model_size(mg_str line, bool may_pad, uint64_t *size)
{
    mg_str digits = line, extension = MG_STR_NONE;
    char text[17] = "";
    size_t n = 0;

    while (n < line.n && strchr("0123456789abcdefABCDEF", line.p[n]) && line.p[n])
        n++;
    digits.n = n;
    extension = mg_str_sub(line, n, line.n);
    if (digits.n == 0 || digits.n > 16)
        return false;
    memcpy(text, digits.p, digits.n);
    *size = strtoull(text, NULL, 16);
    if (*size > INT64_MAX)
        return false;
    if (extension.n == 0)
        return true;
    for (size_t i = 0; i < extension.n; i++)
        if (extension.p[i] != '\t' && (extension.p[i] < ' ' || extension.p[i] > '~'))
            return false;
    /* The first ";" or blank is not part of the extension. */
    if (extension.n - 1 > limits.chunk_ext_bytes)
        return false;
    extension = mg_str_trim(extension, " \t");
    return extension.n ? extension.p[0] == ';' : may_pad;
}

static bool model_trailer(mg_str line)
{
    const size_t colon = mg_str_find(line, ':');
    const mg_str name = mg_str_sub(line, 0, colon);

    if (colon == SIZE_MAX || !mg_is_token(name) || !mg_is_field_value(mg_str_sub(line, colon + 1, line.n)))
        return false;
    return !mg_str_eq_nocase(name, MG_STR("host")) && !mg_str_eq_nocase(name, MG_STR("te"));
}

static bool model_trailers(model *m)
{
    size_t bytes = 0;
    mg_str line;

    while (model_line(m, &line)) {
        if (line.n == 0)
            return bytes <= limits.trailer_bytes && m->trailers <= limits.fields;
        bytes += line.n + 2;
        m->trailers++;
        if (!model_trailer(line))
            return false;
    }
    return false;
}

/* True when `rest` begins with a whole body, which is then gone from it. */
static bool model_read(model *m)
{
    mg_str line;
    uint64_t size;

    while (model_line(m, &line) && model_size(line, m->may_pad, &size)) {
        if (size == 0)
            return model_trailers(m);
        if (size > m->rest.n || m->rest.n - size < 2 || memcmp(m->rest.p + size, "\r\n", 2) != 0)
            return false;
        mg_text_add(&m->payload, mg_str_sub(m->rest, 0, size));
        m->rest = mg_str_sub(m->rest, size + 2, m->rest.n);
    }
    return false;
}

/* ---- texts ---- */

static void add_one_of(mg_text *text, mg_rand *rand, const char *const *choices, size_t n)
{
    mg_text_add_c(text, choices[mg_rand_below(rand, n)]);
}

static void add_size(mg_text *text, mg_rand *rand, unsigned size)
{
    switch (mg_rand_below(rand, 16)) {
    case 0: mg_text_addf(text, "%017x", size); break; /* one digit too many */
    case 1: mg_text_addf(text, "%016x", size); break;
    case 2: mg_text_addf(text, "%02X", size); break;
    default: mg_text_addf(text, "%x", size); break;
    }
}

static void make_text(mg_text *text, mg_rand *rand)
{
    static const char *const extensions[] = { "",
                                              "",
                                              "",
                                              "",
                                              ";a",
                                              ";a=b;c",
                                              " ;\tx",
                                              ";",
                                              " ",
                                              " \t ",
                                              "\t;0123456",
                                              ";0123456789ab",
                                              "             " };
    static const char *const trailers[] = { "A: b\r\n",
                                            "x-y:\r\n",
                                            "Cc:  d e \r\n",
                                            "host: a\r\n",
                                            "TE:\r\n",
                                            "c d: e\r\n",
                                            "0123456789: 0123456789\r\n" };
    unsigned chunks = (unsigned)mg_rand_below(rand, 4);

    for (unsigned i = 0; i <= chunks; i++) {
        unsigned size = i < chunks ? 1 + (unsigned)mg_rand_below(rand, 20) : 0;

        add_size(text, rand, size);
        add_one_of(text, rand, extensions, mg_countof(extensions) - (mg_rand_below(rand, 4) ? 3 : 0));
        mg_text_add_c(text, "\r\n");
        for (unsigned at = 0; at < size; at++)
            mg_text_add_char(text, "ab\r\n0;"[mg_rand_below(rand, 6)]);
        if (i < chunks)
            mg_text_add_c(text, "\r\n");
    }
    for (uint64_t n = mg_rand_below(rand, 3); n; n--)
        add_one_of(text, rand, trailers, mg_countof(trailers) - (mg_rand_below(rand, 4) ? 4 : 0));
    mg_text_add_c(text, "\r\n");
    if (mg_rand_below(rand, 2))
        mg_text_add_c(text, "GET /");
}

/* One byte replaced, lost or doubled, or the end cut off. */
static void spoil(mg_text *text, mg_rand *rand)
{
    size_t at = mg_rand_below(rand, text->n);
    char c = text->p[at];

    switch (mg_rand_below(rand, 4)) {
    case 0: text->p[at] = "\r\n 0;:\0x\x80\t"[mg_rand_below(rand, 10)]; break;
    case 1:
        memmove(text->p + at, text->p + at + 1, text->n - at - 1);
        text->n--;
        break;
    case 2:
        mg_text_add_char(text, c);
        memmove(text->p + at + 1, text->p + at, text->n - at - 1);
        break;
    default: text->n = at; break;
    }
}

/* ---- the reader ---- */

typedef struct reading {
    mg_arena arena;
    mg_h1_body body;
    mg_text payload;
    mg_h1_step step;
    mg_h1_fault fault;
    size_t used;
} reading;

static void begin(reading *r, bool may_pad)
{
    *r = (reading){ .step = MG_H1_MORE };
    mg_arena_init(&r->arena, NULL, 0);
    mg_h1_body_init(&r->body, MG_H1_CHUNKED, 0, &limits, &r->arena);
    r->body.may_pad = may_pad;
}

/* `rand` may be NULL: payload is taken whole. */
static void feed(reading *r, mg_str in, mg_rand *rand)
{
    size_t at = 0, used;
    mg_str payload;

    if (r->step != MG_H1_MORE)
        return;
    while ((r->step = mg_h1_body_next(&r->body, in.p + at, in.n - at, &used, &payload, &r->fault)) ==
           MG_H1_DATA) {
        size_t n = rand ? mg_rand_below(rand, payload.n + 1) : payload.n;

        mg_text_add(&r->payload, mg_str_sub(payload, 0, n));
        mg_h1_body_take(&r->body, n);
        at += used + n;
    }
    r->used += at + used;
}

static void finish(reading *r)
{
    mg_h1_body_fini(&r->body);
    mg_text_fini(&r->payload);
    mg_arena_fini(&r->arena);
}

static void assert_alike(const reading *a, const reading *b)
{
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->fault.status, b->fault.status);
    assert_ptr_equal(a->fault.why, b->fault.why);
    assert_true(mg_str_eq(mg_text_str(&a->payload), mg_text_str(&b->payload)));
    assert_int_equal(a->body.trailers.count, b->body.trailers.count);
    for (uint32_t i = 0; i < a->body.trailers.count; i++) {
        const mg_field *f = &a->body.trailers.items[i], *g = &b->body.trailers.items[i];

        assert_true(mg_str_eq(mg_str_make(f->name, f->name_n), mg_str_make(g->name, g->name_n)));
        assert_true(mg_str_eq(mg_str_make(f->value, f->value_n), mg_str_make(g->value, g->value_n)));
    }
}

static void check_model(mg_str text, const reading *whole)
{
    model m = { .rest = text, .may_pad = whole->body.may_pad };
    bool ok = model_read(&m);

    if (ok != (whole->step == MG_H1_END))
        print_error("model %d, step %d (%s): %.*s\n", ok, whole->step,
                    whole->fault.why ? whole->fault.why : "", MG_STR_ARGS(text));
    assert_int_equal(ok, whole->step == MG_H1_END);
    if (ok) {
        assert_int_equal(whole->used, text.n - m.rest.n);
        assert_int_equal(whole->body.trailers.count, m.trailers);
        assert_true(mg_str_eq(mg_text_str(&m.payload), mg_text_str(&whole->payload)));
    }
    mg_text_fini(&m.payload);
}

static void check_splits(mg_str text, const reading *whole, mg_rand *rand)
{
    reading r;

    for (size_t cut = 0; cut <= text.n; cut++) {
        begin(&r, whole->body.may_pad);
        feed(&r, mg_str_sub(text, 0, cut), NULL);
        feed(&r, mg_str_sub(text, cut, text.n), NULL);
        assert_alike(whole, &r);
        finish(&r);
    }
    begin(&r, whole->body.may_pad);
    for (size_t at = 0, n; at < text.n; at += n) {
        n = 1 + mg_rand_below(rand, 3);
        feed(&r, mg_str_sub(text, at, at + n), rand);
    }
    assert_alike(whole, &r);
    finish(&r);
}

static void chunks_read_as_the_model_reads_them_however_they_are_split(void **state)
{
    unsigned ended = 0;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(1));
    for (unsigned run = 0; run < 4000; run++) {
        mg_text text = { 0 };
        reading whole;

        make_text(&text, &rand);
        for (uint64_t n = mg_rand_below(&rand, 3); n && text.n; n--)
            spoil(&text, &rand);
        begin(&whole, run % 2); /* as of an upstream, and as of a client */
        feed(&whole, mg_text_str(&text), NULL);
        check_model(mg_text_str(&text), &whole);
        check_splits(mg_text_str(&text), &whole, &rand);
        ended += whole.step == MG_H1_END;
        finish(&whole);
        mg_text_fini(&text);
    }
    assert_in_range(ended, 500, 3500); /* both outcomes were really tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_read_as_the_model_reads_them_however_they_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
