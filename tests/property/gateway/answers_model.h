/* answers_model.h - what a program of answers.c comes to: a model that runs it beside the gateway, and says what the
 * client must read and whether the upstream is asked. */
#ifndef TEST_ANSWERS_MODEL_H
#define TEST_ANSWERS_MODEL_H

#include "base/check.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { OPS = 8, LAYERS = 2, FIELDS = 64 };

typedef struct plan {
    unsigned id;
    char ops[LAYERS][OPS + 1];
    char route; /* of the configuration */
    const char *method;
    int up_status; /* 0: no HTTP at all */
    bool up_chunked, request_chunked;
    size_t request_bytes;
    unsigned calls; /* which of the calls its programs make */
    unsigned asked; /* how often it came to the upstream */
} plan;

enum { INNERMOST = 100, ANSWERED = 101 };

typedef struct model {
    const plan *p;
    int status; /* 0: nobody has answered */
    char body[64];
    bool known;  /* `body` is the whole of it; false: a problem document */
    bool passed; /* it is an answer of ctx.http: with HEAD, its body is not here */
    bool own;    /* the upstream's bytes pass the filters, ours do not */
    unsigned asked;
    int depth, plugin;
    char fields[FIELDS];   /* the values of x-k, a letter each */
    char edits[2][FIELDS]; /* before there was an answer: what was done, and with which value */
} model;

static inline void edit(char fields[FIELDS], char op, char value)
{
    const size_t n = op == 'K' ? strlen(fields) : 0;

    MG_CHECK(n + 2 < FIELDS);
    if (op != 'd')
        fields[n] = value;
    fields[op == 'd' ? 0 : n + 1] = '\0';
}

static inline void body_is(model *m, const char *prefix)
{
    snprintf(m->body, sizeof m->body, prefix ? "%s%u" : "", prefix, m->p->id);
}

static inline void answer(model *m, int status, const char *prefix, bool known, bool own)
{
    m->status = status;
    m->known = known;
    m->own = own;
    m->passed = false;
    body_is(m, prefix);
    strcpy(m->fields, own ? "" : "u");
    for (size_t i = 0; m->edits[0][i]; i++)
        edit(m->fields, m->edits[0][i], m->edits[1][i]);
}

static inline void change_field(model *m, char op, char value)
{
    const size_t n = strlen(m->edits[0]);

    if (m->status) {
        edit(m->fields, op, value);
        return;
    }
    MG_CHECK(n + 1 < FIELDS);
    m->edits[0][n] = op;
    m->edits[1][n] = value;
}

static inline bool status_has_body(int status)
{
    return status != 204 && status != 304;
}

static bool run_layer(model *m, int layer);

/* False when it raises, as all below. */
static inline bool ask_upstream(model *m)
{
    const int status = m->p->up_status;

    if (m->depth >= INNERMOST)
        return false;
    m->depth = INNERMOST;
    m->asked++;
    if (status)
        answer(m, status, status_has_body(status) ? "u" : NULL, true, false);
    else
        answer(m, 502, NULL, false, true);
    return true;
}

static inline bool run_op(model *m, int layer, char op)
{
    const char *const r[] = { "ra", "rb" }, *const w[] = { "wa", "wb" }, *const s[] = { "sa", "sb" };

    switch (op) {
    case 'r': answer(m, 299, r[layer], true, true); break;
    case 'w': answer(m, 299, w[layer], true, true); break;
    case 't':
        answer(m, 298, "t", true, true);
        m->passed = true;
        break;
    case 'R': answer(m, 204, NULL, true, true); break;
    case 'P': answer(m, 403, NULL, false, true); break;
    case 'n': return run_layer(m, layer + 1);
    case 'N':
        (void)run_layer(m, layer + 1);
        m->plugin = layer;
        return true;
    case 's':
        if (m->status && status_has_body(m->status) &&
            ((m->own && !m->passed) || strcmp(m->p->method, "HEAD") != 0))
            body_is(m, s[layer]), m->known = true;
        return true;
    case 'k':
    case 'K':
    case 'd': change_field(m, op, (char)('a' + layer)); return true;
    case 'S':
        if (m->status && status_has_body(m->status))
            m->status = 418;
        return true;
    case 'e': return false;
    default: return true;
    }
    m->depth = ANSWERED;
    return true;
}

static inline bool run_ops(model *m, int layer)
{
    for (const char *op = m->p->ops[layer]; *op; op++)
        if (!run_op(m, layer, *op))
            return false;
    return true;
}

static inline bool run_layer(model *m, int layer)
{
    const int before = m->plugin;
    const bool open = m->p->route == 'p' || (m->p->route == 'o' && layer == 0);

    if (layer == LAYERS)
        return ask_upstream(m);
    if (m->depth > layer)
        return false;
    m->depth = layer + 1;
    m->plugin = layer;
    const bool fine = run_ops(m, layer);
    if (!fine && (!open || m->plugin != layer))
        return false;
    m->plugin = before;
    return fine || m->depth != layer + 1 || run_layer(m, layer + 1);
}

static inline model expect(const plan *p)
{
    model m = { .p = p, .plugin = -1 };

    if (!run_layer(&m, 0) || !m.status)
        answer(&m, 500, NULL, false, true);
    if (p->route == 'f' && !m.own)
        for (char *c = m.body; *c; c++)
            *c = (char)(*c >= 'a' ? *c - 32 : *c);
    return m;
}

#endif
