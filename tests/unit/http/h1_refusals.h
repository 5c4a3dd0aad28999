/* h1_refusals.h - requests that are refused, each with its status and its reason, and ones that are not. */
#ifndef TEST_H1_REFUSALS_H
#define TEST_H1_REFUSALS_H

#include "heads.h"

typedef struct refusal {
    mg_str text;
    uint16_t status;
    const char *why;
} refusal;

#define TEXT(literal)                                                                                        \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }
#define REFUSED(status, why, text)                                                                           \
    {                                                                                                        \
        TEXT(text), status, why                                                                              \
    }
/* A GET with one more line. */
#define LINE(text) "GET / HTTP/1.1\r\nHost: a.example\r\n" text "\r\n\r\n"

static inline void assert_refused(const refusal *rows, size_t n)
{
    heads *h = heads_new();

    for (size_t i = 0; i < n; i++) {
        bool accepted = heads_request(h, rows[i].text);

        if (accepted || h->fault.status != rows[i].status || strcmp(h->fault.why, rows[i].why) != 0) {
            heads_print(rows[i].text);
            fail_msg("row %zu: %s %d \"%s\", expected %d \"%s\"", i, accepted ? "accepted" : "refused",
                     h->fault.status, h->fault.why, rows[i].status, rows[i].why);
        }
    }
    heads_free(h);
}

#define ASSERT_REFUSED(rows) assert_refused(rows, mg_countof(rows))

static inline void assert_accepted(heads *h, mg_str text)
{
    if (heads_request(h, text))
        return;
    heads_print(text);
    fail_msg("refused: %d %s", h->fault.status, h->fault.why);
}

#endif
