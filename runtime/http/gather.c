/* gather.c - a body into memory, bounded. */
#include "http/gather.h"

#include "base/check.h"
#include "base/mem.h"

static void move(mg_gather *gather, mg_gather_state to)
{
    MG_CHECK(gather->state == MG_GATHER_PART || to == MG_GATHER_REPLACED || to == MG_GATHER_PART ||
             to == gather->state);
    gather->state = to;
}

static void drop_text(mg_gather *gather)
{
    mg_text_fini(&gather->text);
    gather->text = (mg_text){ 0 };
}

bool mg_gather_add(mg_gather *gather, mg_str bytes)
{
    MG_CHECK(gather->state == MG_GATHER_PART);
    if (bytes.n <= gather->max_bytes - gather->text.n) {
        mg_text_add(&gather->text, bytes);
        return true;
    }
    mg_gather_refuse(gather);
    return false;
}

void mg_gather_refuse(mg_gather *gather)
{
    move(gather, MG_GATHER_TOO_LARGE);
    drop_text(gather);
}

void mg_gather_end(mg_gather *gather)
{
    move(gather, MG_GATHER_WHOLE);
}

static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_gather *gather = mg_container_of(sink, mg_gather, sink);

    if (gather->state == MG_GATHER_PART && !mg_gather_add(gather, (mg_str){ bytes, n }))
        gather->over(gather);
    return n;
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_gather *gather = mg_container_of(sink, mg_gather, sink);

    (void)trailers;
    if (gather->state != MG_GATHER_PART)
        return;
    mg_gather_end(gather);
    gather->over(gather);
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_gather *gather = mg_container_of(sink, mg_gather, sink);

    if (gather->state != MG_GATHER_PART)
        return;
    move(gather, MG_GATHER_CUT);
    gather->reset = reason;
    gather->over(gather);
}

void mg_gather_start(mg_gather *gather, mg_body *body, void (*over)(mg_gather *gather))
{
    MG_CHECK(gather->state == MG_GATHER_PART && body->source);
    gather->over = over;
    gather->sink = (mg_body_sink){ on_data, on_end, on_reset, NULL };
    body->sink = &gather->sink;
    body->source->resume(body->source);
}

void mg_gather_replace(mg_gather *gather, mg_str bytes)
{
    move(gather, MG_GATHER_REPLACED);
    mg_text_clear(&gather->text);
    mg_text_add(&gather->text, bytes);
}

void mg_gather_clear(mg_gather *gather)
{
    move(gather, MG_GATHER_PART);
    mg_text_clear(&gather->text);
}

void mg_gather_fini(mg_gather *gather)
{
    drop_text(gather);
}
