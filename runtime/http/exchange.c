/* exchange.c - whose answer an exchange has, its clock, and the words for how it ended. */
#include "http/exchange.h"

#include "base/check.h"
#include "base/time.h"

void mg_exchange_body_flows(mg_exchange *x, uint64_t now_ns)
{
    if (x->flowing)
        return;
    x->flowing = true;
    x->flowing_since_ns = now_ns;
}

void mg_exchange_body_rests(mg_exchange *x, uint64_t now_ns)
{
    if (!x->flowing)
        return;
    x->flowing = false;
    x->flowed_ns += now_ns - x->flowing_since_ns;
}

static uint64_t left_until(uint64_t moment_ns, uint64_t now_ns)
{
    return moment_ns ? moment_ns - mg_min_u64(now_ns, moment_ns) : UINT64_MAX;
}

uint64_t mg_exchange_left_ns(const mg_exchange *x, const mg_time_limit *limit, uint64_t now_ns)
{
    return mg_min_u64(left_until(limit->own_ns, mg_exchange_clock(x, now_ns)),
                      left_until(limit->fixed_ns, now_ns));
}

uint64_t mg_exchange_due_ns(const mg_exchange *x, const mg_time_limit *limit)
{
    const uint64_t own_ns =
        limit->own_ns && !x->flowing ? mg_add_sat(limit->own_ns, x->flowed_ns) : UINT64_MAX;

    return limit->fixed_ns ? mg_min_u64(own_ns, limit->fixed_ns) : own_ns;
}

static bool may_follow(mg_answer before, mg_answer answer)
{
    switch (answer) {
    case MG_ANSWER_NONE: return before == MG_ANSWER_UPSTREAM;
    case MG_ANSWER_UPSTREAM: return before == MG_ANSWER_NONE;
    case MG_ANSWER_PASSED:
    case MG_ANSWER_OWN: return true;
    }
    MG_UNREACHABLE();
}

bool mg_exchange_has_room(const mg_exchange *x, size_t bytes)
{
    const size_t body = x->own_copied ? mg_arena_piece_own(x->own_body.n) : 0;

    return x->arena.used - body + bytes <= MG_EXCHANGE_ARENA_MAX;
}

/* What the answer before held goes back; the list of its fields serves again. */
static void drop_answer(mg_exchange *x, const mg_response *head)
{
    mg_fields fields = x->response.fields;

    if (x->own_copied)
        mg_arena_piece_back(&x->arena, x->own_body.p, x->own_body.n);
    x->own_copied = false;
    x->own_body = MG_STR_NONE;
    if (head == &x->response)
        return;
    mg_fields_clear(&fields, &x->arena);
    x->response = head ? *head : (mg_response){ 0 };
    if (!x->response.fields.items)
        x->response.fields = fields;
}

static void frame_own(mg_exchange *x, mg_str body)
{
    MG_CHECK(x->response.status >= 200);
    x->response.has_length = false;
    if (mg_status_has_body(x->response.status)) {
        x->own_body = body;
        x->response.body = MG_BODY_LENGTH;
    } else {
        x->response.body = MG_BODY_NONE;
    }
    x->response.length = x->own_body.n;
}

void mg_exchange_answer(mg_exchange *x, mg_answer answer, const mg_response *head, mg_str body)
{
    MG_CHECK(!x->head_sent && may_follow(x->answer, answer));
    const bool is_new = head != &x->response;

    if (x->answer == MG_ANSWER_PASSED && x->response_body.source)
        x->response_body.source->stop(x->response_body.source);
    x->answer = answer;
    x->tunnel = answer == MG_ANSWER_UPSTREAM && mg_status_opens_tunnel(head->status);
    drop_answer(x, head);
    if (answer == MG_ANSWER_OWN)
        frame_own(x, body);
    if (is_new && (answer == MG_ANSWER_OWN || answer == MG_ANSWER_PASSED))
        mg_edits_make(&x->edits, &x->response.fields, &x->arena);
}

void mg_exchange_answer_copy(mg_exchange *x, const mg_response *head, mg_str body)
{
    char *copy;

    mg_exchange_answer(x, MG_ANSWER_OWN, head, body);
    copy = mg_arena_piece(&x->arena, body.n);
    if (body.n)
        memcpy(copy, body.p, body.n);
    if (!mg_status_has_body(x->response.status)) {
        mg_arena_piece_back(&x->arena, copy, body.n);
        return;
    }
    x->own_body = mg_str_make(copy, body.n);
    x->own_copied = true;
}

bool mg_exchange_has_body(const mg_exchange *x)
{
    return x->request.method != MG_METHOD_HEAD && x->response.status >= 200 &&
           mg_status_has_body(x->response.status);
}

const char *mg_reset_text(mg_reset reason)
{
    static const char *const words[] = { MG_RESETS(MG_WORD_TEXT) };

    MG_CHECK(reason <= MG_RESET_SHUTDOWN);
    return words[reason];
}
