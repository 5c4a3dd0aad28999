/* call.c - what plugins see and change of an exchange: texts, bodies, answers. The functions of moongate.h
 * over mg_exchange. What a plugin hands in is checked here, and refused with static text that Lua
 * raises at the plugin's line. */
#include "gateway/request/call_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "http/bounds.h"
#include "http/problem.h"
#include "http/uri.h"

#include <endian.h>
#include <stdio.h>

uint32_t mg_call_chain(const mg_call *call)
{
    return call->chain;
}

int mg_call_phase(const mg_call *call)
{
    return call->phase;
}

/* ---- status and answers ---- */

int mg_call_status(const mg_call *call)
{
    return call->x->response.status;
}

double mg_call_bytes(const mg_call *call, int which)
{
    return (double)(which == MG_REQUEST ? call->x->bytes_in : call->x->bytes_out);
}

const char *mg_call_set_status(mg_call *call, int status)
{
    const uint16_t before = call->x->response.status;
    const char *wrong = no_response(call, MG_RESPONSE);

    if (!wrong)
        wrong = too_late(call, MG_RESPONSE);
    if (wrong)
        return wrong;
    if (status < 200 || status > 599)
        return "a status is a number from 200 to 599";
    if (call->x->tunnel)
        return "101 stays: the connection speaks another protocol already";
    if (mg_status_has_body((uint16_t)status) != mg_status_has_body(before))
        return "204, 205 and 304 have no body: answer with ctx:respond instead";
    call->x->response.status = (uint16_t)status;
    return NULL;
}

static const char body_too_long[] = "a body that a plugin sets has at most 64 MiB";

/* A request's filter runs while the upstream is at it. */
const char *mg_call_no_answer_now(const mg_call *call)
{
    return call->phase != MG_PHASE_CHAIN ? "only a handler answers: in a filter or in log(ctx) it is too late"
                                         : too_late(call, MG_RESPONSE);
}

const char *mg_call_respond(mg_call *call, int status, const char *content_type, const char *body, uint32_t n)
{
    mg_exchange *x = call->x;

    const mg_response head = { .status = (uint16_t)status };
    const char *wrong = mg_call_no_answer_now(call);

    if (wrong)
        return wrong;
    if (status < 200 || status > 599)
        return "a status is a number from 200 to 599";
    if (!mg_status_has_body(head.status) && n > 0)
        return "204, 205 and 304 have no body";
    if (n > MG_BODY_BYTES_MAX)
        return body_too_long;
    mg_exchange_answer_copy(x, &head, mg_str_make(body, n));
    if (content_type && mg_status_has_body(head.status) &&
        !mg_edits_has(&x->edits, MG_NAME_CONTENT_TYPE)) /* a handler knows better */
        (void)mg_fields_put(&x->response.fields, &x->arena, mg_name_text(MG_NAME_CONTENT_TYPE),
                            mg_str_of(content_type), true);
    return NULL;
}

const char *mg_call_problem(mg_call *call, int status, const char *title, uint32_t title_n,
                            const char *detail, uint32_t n)
{
    const char *wrong = mg_call_no_answer_now(call);

    if (wrong)
        return wrong;
    if (status < 400 || status > 599)
        return "a problem document goes with a status from 400 to 599";
    mg_problem_answer(call->x, status, mg_str_make(title, title_n), mg_str_make(detail, n), -1);
    return NULL;
}

/* ---- bodies ---- */

static const char *not_declared(int which)
{
    return which == MG_REQUEST ? "declare it in the plugin's table: body = { request = \"buffer(64KiB)\" }"
                               : "declare it in the plugin's table: body = { response = \"buffer(64KiB)\" }";
}

bool mg_call_body(mg_call *call, int which, mg_slice *bytes, const char **error)
{
    const mg_gather *body = &call->bodies[which];

    *error = no_response(call, which);
    if (*error)
        return false;
    if (which == MG_RESPONSE && call->x->answer == MG_ANSWER_OWN)
        return give(call->x->own_body.p ? call->x->own_body : MG_STR(""), bytes);
    if (body->state != MG_GATHER_REPLACED && body->max_bytes == 0)
        *error = not_declared(which);
    else if (body->state == MG_GATHER_TOO_LARGE)
        *error = "it is larger than declared";
    if (*error)
        return false;
    call->wait_which = which; /* of the wait that follows, if it is not there yet */
    return mg_gather_is_there(body) && give(mg_text_str(&body->text), bytes);
}

const char *mg_call_bodiless(const mg_call *call, int which)
{
    const mg_exchange *x = call->x;

    if (which == MG_REQUEST)
        return NULL;
    switch (x->response.status) {
    case 101: return "101";
    case 204: return "204";
    case 205: return "205";
    case 304: return "304";
    default: break;
    }
    /* An answer of our own to HEAD has a body, whose length it announces. */
    return x->request.method == MG_METHOD_HEAD && x->answer != MG_ANSWER_OWN ? "HEAD" : NULL;
}

const char *mg_call_set_body(mg_call *call, int which, const char *bytes, uint32_t n)
{
    mg_exchange *x = call->x;
    const char *wrong = no_response(call, which);

    if (!wrong)
        wrong = too_late(call, which);
    if (wrong)
        return wrong;
    if (n > MG_BODY_BYTES_MAX)
        return body_too_long;
    if (mg_call_bodiless(call, which))
        return NULL;
    mg_fields_drop_of_body(fields_of(x, which), &x->arena, which == MG_REQUEST);
    if (which == MG_RESPONSE && x->response.status == 206)
        x->response.status = 200; /* what is set is a whole body, and no part of one */
    if (which == MG_RESPONSE && x->answer != MG_ANSWER_UPSTREAM) {
        mg_exchange_answer_copy(x, &x->response, mg_str_make(bytes, n));
        return NULL;
    }
    mg_gather_replace(&call->bodies[which], mg_str_make(bytes, n));
    return NULL;
}

/* ---- time, ids ---- */

double mg_call_now_s(const mg_call *call)
{
    return (double)call->host->clock->wall_ns(call->host->clock) / 1e9;
}

double mg_call_mono_s(const mg_call *call)
{
    return (double)call->host->clock->mono_ns(call->host->clock) / 1e9;
}

double mg_call_remaining_s(const mg_call *call)
{
    const uint64_t now_ns = call->host->clock->mono_ns(call->host->clock);
    const uint64_t left_ns = mg_exchange_left_ns(call->x, &call->x->limit, now_ns);

    return left_ns == UINT64_MAX ? 31 * 86400.0 : (double)left_ns / 1e9; /* none: the longest there is */
}

/* Eight digits, the lowest first, all at once: each in a byte of its own. */
static void put_hex(char *out, uint32_t bits)
{
    uint64_t digits = bits;

    digits = (digits | digits << 16) & 0x0000ffff0000ffffull;
    digits = (digits | digits << 8) & 0x00ff00ff00ff00ffull;
    digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0full;
    const uint64_t letters = ((digits + 0x0606060606060606ull) >> 4) & 0x0101010101010101ull;
    digits = htole64(digits + 0x3030303030303030ull + letters * ('a' - '0' - 10));
    memcpy(out, &digits, sizeof digits);
}

void mg_call_new_id(mg_call *call, char *out32)
{
    mg_rand *rand = call->host->rand;

    for (int half = 0; half < 2; half++) {
        const uint64_t bits = rand ? mg_rand_next(rand) : mg_rand_system_seed();

        put_hex(out32 + half * 16, (uint32_t)bits);
        put_hex(out32 + half * 16 + 8, (uint32_t)(bits >> 32));
    }
}

void mg_call_goes_to(mg_call *call, mg_str service_name)
{
    call->service_name = service_name;
}

/* ---- waiting ---- */

void mg_call_wait(mg_call *call, int wait)
{
    call->wait = wait;
    if (wait == MG_WAIT_NEXT) {
        MG_CHECK(call->x->answer == MG_ANSWER_NONE); /* chain.lua raises before */
        call->next_called = true;
    }
}

const char *mg_call_sleep(mg_call *call, double seconds)
{
    if (!(seconds >= 0 && seconds <= 3600))
        return "a sleep is 0 to 3600 seconds";
    call->wait_s = seconds;
    return NULL;
}

const char *mg_call_cancelled(const mg_call *call)
{
    return call->cancelled;
}

int mg_call_wait_end(mg_call *call)
{
    const int end = call->is_spent ? MG_WAIT_SPENT : call->timed_out ? MG_WAIT_TIMED_OUT : MG_WAIT_FINE;

    call->is_spent = call->timed_out = false;
    return end;
}

uint32_t mg_call_enter(mg_call *call, uint32_t plugin)
{
    const uint32_t before = call->plugin;

    call->plugin = plugin;
    return before;
}
