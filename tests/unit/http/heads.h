/* heads.h - parses a head that a test wrote down, in memory that is exactly as long as it, so that a read
 * beyond it shows. */
#ifndef MG_TESTS_HEADS_H
#define MG_TESTS_HEADS_H

#include "support/check.h"

#include "base/mem.h"
#include "http/h1.h"

typedef struct heads {
    mg_arena arena;
    mg_h1_limits limits;
    char *bytes; /* owned */
    mg_request request;
    mg_response response;
    mg_h1_framing framing;
    mg_h1_info info;
    mg_h1_fault fault;
} heads;

static inline heads *heads_new(void)
{
    heads *h = MG_NEW(heads);

    h->limits = (mg_h1_limits)MG_H1_LIMITS_DEFAULT;
    mg_arena_init(&h->arena, NULL, 0);
    return h;
}

static inline void heads_free(heads *h)
{
    mg_arena_fini(&h->arena);
    mg_free(h->bytes);
    mg_free(h);
}

static inline char *heads_keep(heads *h, mg_str text)
{
    mg_arena_reset(&h->arena);
    mg_free(h->bytes);
    h->bytes = mg_alloc(text.n ? text.n : 1);
    memcpy(h->bytes, text.p, text.n);
    h->fault = (mg_h1_fault){ .why = "" };
    return h->bytes;
}

static inline bool heads_request(heads *h, mg_str text)
{
    char *bytes = heads_keep(h, text);

    return mg_h1_parse_request(&h->arena, &h->limits, bytes, text.n, MG_STR("http"), &h->request, &h->info,
                               &h->fault);
}

static inline bool heads_response(heads *h, mg_str text, mg_method method, mg_str upgrade)
{
    char *bytes = heads_keep(h, text);

    return mg_h1_parse_response(&h->arena, &h->limits, bytes, text.n, method, upgrade, &h->response,
                                &h->framing, &h->info, &h->fault);
}

static inline void heads_print(mg_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] >= ' ' && text.p[i] < 0x7f)
            putc(text.p[i], stderr);
        else
            fprintf(stderr, "\\x%02x", (unsigned char)text.p[i]);
    putc('\n', stderr);
}

static inline void assert_text(mg_str got, const char *expected)
{
    if (mg_str_eq_c(got, expected))
        return;
    heads_print(got);
    fail_msg("expected \"%s\"", expected);
}

static inline void assert_field(const mg_fields *fields, const char *name, const char *expected)
{
    mg_str text = mg_str_of(name);
    int i = mg_fields_find(fields, mg_name_find(text), text, 0);

    if (!expected) {
        assert_int_equal(i, -1);
        return;
    }
    assert_true(i >= 0);
    assert_text(mg_str_make(fields->items[i].value, fields->items[i].value_n), expected);
}

#endif
