/* flusher.c - a turn writes what is due to each store once; what comes meanwhile has its turn in between. A copy
 * goes through both stores: what is in memory is flushed by the loop, what is on the disk is copied beside it. */
#include "gateway/flusher.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"
#include "state/state_files.h"

#include <stdatomic.h>

enum { LEDGER_EVERY_MS = 1000 };

#define CLOSING "the gateway is stopping"

/* How far the copy under way is. */
typedef enum stage {
    STAGE_NONE,
    STAGE_LEDGER, /* is being copied, or compacted */
    STAGE_WAITS,  /* for a pass over the policies that began before it */
    STAGE_PASS,   /* over the policies, its own */
    STAGE_POLICY, /* is being copied, or compacted */
} stage;

struct mg_flusher {
    mg_flusher_options options;
    mg_mailbox *mailbox; /* owned; NULL: closed */
    mg_timer ledger_timer, policy_timer;
    mg_later turn;
    bool ledger_due, policy_due;
    bool policy_passes;       /* a pass goes on with the next turn */
    mg_list barriers, copies; /* asks that wait */
    stage stage;
    mg_flush_copy *copy; /* under way; NULL: none */
    mg_thread copying;   /* where copies are made aside */
    mg_message copied;   /* from there */
    mg_message stop;
    bool stopping;
    uint64_t writes;
    _Atomic uint64_t writing[MG_FLUSH_STORES];
};

static void answer(mg_flush_ask *ask, mg_result result)
{
    ask->result = result;
    ask->message.run = ask->answered;
    mg_mailbox_post(ask->from, &ask->message);
}

static void begin_write(mg_flusher *flusher, mg_flush_store store)
{
    atomic_store_explicit(&flusher->writing[store], ++flusher->writes, memory_order_relaxed);
}

static void end_write(mg_flusher *flusher, mg_flush_store store)
{
    atomic_store_explicit(&flusher->writing[store], 0, memory_order_relaxed);
}

static void add_turn(mg_flusher *flusher)
{
    mg_later_add(flusher->options.loop, &flusher->turn);
}

/* ---- the ledger ---- */

static void answer_barriers(mg_flusher *flusher, mg_result result, const char *error)
{
    mg_list *link;

    while ((link = mg_list_pop(&flusher->barriers))) {
        mg_flush_barrier *barrier = mg_container_of(link, mg_flush_barrier, ask.link);
        barrier->error = error;
        answer(&barrier->ask, result);
    }
}

/* Barriers go on waiting where a copy has to end first. */
static mg_result flush_ledger(mg_flusher *flusher, mg_error *err)
{
    mg_kv *kv = flusher->options.kv;

    begin_write(flusher, MG_FLUSH_LEDGER);
    const mg_result result = mg_kv_flush(kv, err);
    end_write(flusher, MG_FLUSH_LEDGER);
    if (result != MG_ERR_BUSY)
        answer_barriers(flusher, result, result == MG_OK ? NULL : mg_kv_failure(kv));
    return result;
}

/* ---- copies ---- */

static bool compacts(const mg_flusher *flusher)
{
    return flusher->copy && !flusher->copy->folder;
}

static bool is_compacted(const mg_flusher *flusher, stage at)
{
    return flusher->stage == at && compacts(flusher);
}

static mg_result copy_ledger(mg_flusher *flusher, mg_flush_copy *copy)
{
    mg_store *ledger = flusher->options.ledger;
    mg_result result = mg_store_stats_get(ledger, &copy->before, &copy->err);

    if (result == MG_OK)
        result = copy->folder ? mg_state_copy_ledger(ledger, copy->folder, &copy->err)
                              : mg_store_compact(ledger, &copy->err);
    return result == MG_OK ? mg_store_stats_get(ledger, &copy->after, &copy->err) : result;
}

/* On the thread beside the loop, where there is one. */
static void make_copy(void *self)
{
    mg_flusher *flusher = self;
    mg_flush_copy *copy = flusher->copy;

    if (flusher->stage == STAGE_LEDGER)
        copy->ask.result = copy_ledger(flusher, copy);
    else if (copy->folder)
        copy->ask.result = mg_state_copy_policy(flusher->options.persist, copy->folder, &copy->err);
    else
        copy->ask.result = mg_persist_compact(flusher->options.persist, &copy->err);
    mg_mailbox_post(flusher->mailbox, &flusher->copied);
}

static void end_copy(mg_flusher *flusher, mg_result result)
{
    mg_flush_copy *copy = flusher->copy;

    flusher->copy = NULL;
    flusher->stage = STAGE_NONE;
    answer(&copy->ask, result);
    add_turn(flusher);
}

static void copy_store(mg_flusher *flusher, stage at)
{
    mg_flush_copy *copy = flusher->copy;

    flusher->stage = at;
    if (!flusher->options.copies_aside)
        make_copy(flusher);
    else if (mg_thread_start(&flusher->copying, "copy", MG_THREAD_STACK_SMALL, make_copy, flusher,
                             &copy->err) != MG_OK)
        end_copy(flusher, copy->err.code);
}

static void begin_copy(mg_flusher *flusher, mg_flush_copy *copy)
{
    mg_result result = MG_OK;

    flusher->copy = copy;
    if (!flusher->options.ledger)
        result = mg_fail(&copy->err, MG_ERR_INVALID, "this gateway keeps its state in memory");
    else if (flusher->stopping)
        result = mg_fail(&copy->err, MG_ERR_CLOSED, CLOSING);
    else if (copy->folder)
        result = flush_ledger(flusher, &copy->err);
    if (result == MG_OK)
        copy_store(flusher, STAGE_LEDGER);
    else
        end_copy(flusher, result);
}

static void go_on_with_policy(mg_flusher *flusher)
{
    if (!flusher->options.persist)
        end_copy(flusher, MG_OK);
    else if (compacts(flusher))
        copy_store(flusher, STAGE_POLICY);
    else
        flusher->stage = STAGE_WAITS;
}

static void on_copied(mg_message *message)
{
    mg_flusher *flusher = mg_container_of(message, mg_flusher, copied);
    const mg_result result = flusher->copy->ask.result;

    if (!flusher->mailbox) /* closed meanwhile */
        return;
    mg_thread_join(&flusher->copying);
    flusher->ledger_due |= !mg_list_empty(&flusher->barriers);
    if (result != MG_OK || flusher->stage == STAGE_POLICY)
        end_copy(flusher, result);
    else
        go_on_with_policy(flusher);
    add_turn(flusher);
}

/* ---- policies ---- */

static mg_result step_policy(mg_flusher *flusher, bool all, mg_error *err)
{
    begin_write(flusher, MG_FLUSH_POLICY);
    const mg_result result = mg_persist_turn(flusher->options.persist, all, &flusher->policy_passes, err);
    end_write(flusher, MG_FLUSH_POLICY);
    return result;
}

static void turn_policy(mg_flusher *flusher)
{
    const bool begins = flusher->stage == STAGE_WAITS && !flusher->policy_passes;
    mg_error err = MG_ERROR_INIT;

    if (begins)
        flusher->stage = STAGE_PASS;
    const mg_result result = step_policy(flusher, begins, &err);
    if (flusher->stage != STAGE_PASS || flusher->policy_passes)
        return;
    if (result == MG_OK) {
        copy_store(flusher, STAGE_POLICY);
        return;
    }
    flusher->copy->err = err;
    end_copy(flusher, result);
}

/* ---- the last turn ---- */

void mg_flusher_flush(mg_flusher *flusher)
{
    mg_persist *persist = flusher->options.persist;
    mg_error err = MG_ERROR_INIT;

    begin_write(flusher, MG_FLUSH_LEDGER);
    if (mg_kv_flush(flusher->options.kv, &err) != MG_OK)
        mg_log_write(flusher->options.log, MG_LOG_ERROR, "state", "the last flush failed: %s", err.message);
    end_write(flusher, MG_FLUSH_LEDGER);
    begin_write(flusher, MG_FLUSH_POLICY);
    if (persist && mg_persist_flush(persist, &err) != MG_OK)
        mg_log_write(flusher->options.log, MG_LOG_ERROR, "state", "the last flush failed: %s", err.message);
    end_write(flusher, MG_FLUSH_POLICY);
}

static void refuse_copies(mg_flusher *flusher)
{
    mg_list *link;

    if (flusher->copy)
        mg_list_push(&flusher->copies, &flusher->copy->ask.link);
    flusher->copy = NULL;
    while ((link = mg_list_pop(&flusher->copies))) {
        mg_flush_copy *copy = mg_container_of(link, mg_flush_copy, ask.link);
        answer(&copy->ask, mg_fail(&copy->err, MG_ERR_CLOSED, CLOSING));
    }
}

/* Writes what is not written, and answers whoever waits. */
static void finish(mg_flusher *flusher)
{
    mg_flusher_flush(flusher);
    const char *error = mg_kv_failure(flusher->options.kv);
    answer_barriers(flusher, error ? MG_ERR_IO : MG_OK, error);
    refuse_copies(flusher);
    mg_timer_stop(&flusher->ledger_timer);
    mg_timer_stop(&flusher->policy_timer);
    mg_later_cancel(&flusher->turn);
}

/* ---- turns ---- */

static bool policy_wants(const mg_flusher *flusher)
{
    return flusher->options.persist && !is_compacted(flusher, STAGE_POLICY) &&
           (flusher->policy_due || flusher->policy_passes || flusher->stage == STAGE_WAITS);
}

static bool ledger_wants(const mg_flusher *flusher)
{
    return flusher->ledger_due && !is_compacted(flusher, STAGE_LEDGER);
}

static void on_turn(mg_later *later)
{
    mg_flusher *flusher = mg_container_of(later, mg_flusher, turn);

    if (ledger_wants(flusher)) {
        flusher->ledger_due = false;
        (void)flush_ledger(flusher, NULL); /* logged and counted; tried again in a second */
    }
    if (policy_wants(flusher)) {
        flusher->policy_due = false;
        turn_policy(flusher);
    }
    if (!flusher->copy && !mg_list_empty(&flusher->copies))
        begin_copy(flusher, mg_container_of(mg_list_pop(&flusher->copies), mg_flush_copy, ask.link));
    if (flusher->stopping && !flusher->copy) {
        finish(flusher); /* what comes behind it is answered when it is closed */
        mg_loop_stop(flusher->options.loop);
    } else if (policy_wants(flusher) || ledger_wants(flusher)) {
        add_turn(flusher);
    }
}

static void set_timer(mg_flusher *flusher, mg_timer *timer, uint64_t every_ms)
{
    mg_loop *loop = flusher->options.loop;

    mg_timer_set(loop, timer, mg_loop_now(loop) + every_ms * MG_NS_PER_MS);
}

static void on_ledger_timer(mg_timer *timer)
{
    mg_flusher *flusher = mg_container_of(timer, mg_flusher, ledger_timer);

    set_timer(flusher, timer, LEDGER_EVERY_MS);
    flusher->ledger_due = true;
    add_turn(flusher);
}

static void on_policy_timer(mg_timer *timer)
{
    mg_flusher *flusher = mg_container_of(timer, mg_flusher, policy_timer);

    set_timer(flusher, timer, MG_PERSIST_LOOK_MS);
    flusher->policy_due = true;
    add_turn(flusher);
}

/* ---- messages ---- */

static void on_barrier(mg_message *message)
{
    mg_flush_ask *ask = mg_container_of(message, mg_flush_ask, message);
    mg_flusher *flusher = ask->flusher;

    mg_list_push(&flusher->barriers, &ask->link);
    flusher->ledger_due = true;
    add_turn(flusher);
}

static void on_copy(mg_message *message)
{
    mg_flush_ask *ask = mg_container_of(message, mg_flush_ask, message);

    mg_list_push(&ask->flusher->copies, &ask->link);
    add_turn(ask->flusher);
}

static void on_stop(mg_message *message)
{
    mg_flusher *flusher = mg_container_of(message, mg_flusher, stop);

    flusher->stopping = flusher->ledger_due = flusher->policy_due = true;
    add_turn(flusher);
}

static void send_to(mg_flusher *flusher, mg_flush_ask *ask, void (*run)(mg_message *message))
{
    ask->flusher = flusher;
    ask->message.run = run;
    mg_mailbox_post(flusher->mailbox, &ask->message);
}

void mg_flusher_barrier(mg_flusher *flusher, mg_flush_barrier *barrier)
{
    barrier->error = flusher->mailbox ? NULL : CLOSING;
    if (!flusher->mailbox)
        answer(&barrier->ask, MG_ERR_CLOSED);
    else if (!mg_kv_waits_any(flusher->options.kv))
        answer(&barrier->ask, MG_OK);
    else
        send_to(flusher, &barrier->ask, on_barrier);
}

void mg_flusher_copy(mg_flusher *flusher, mg_flush_copy *copy)
{
    if (flusher->mailbox)
        send_to(flusher, &copy->ask, on_copy);
    else
        answer(&copy->ask, mg_fail(&copy->err, MG_ERR_CLOSED, CLOSING));
}

void mg_flusher_stop(mg_flusher *flusher)
{
    flusher->stop.run = on_stop;
    mg_mailbox_post(flusher->mailbox, &flusher->stop);
}

/* ---- the beginning and the end ---- */

mg_flusher *mg_flusher_new(const mg_flusher_options *options)
{
    mg_flusher *flusher = MG_NEW(mg_flusher);

    flusher->options = *options;
    flusher->mailbox = mg_mailbox_new(options->loop);
    MG_CHECK(flusher->mailbox);
    mg_list_init(&flusher->barriers);
    mg_list_init(&flusher->copies);
    mg_timer_init(&flusher->ledger_timer, on_ledger_timer);
    mg_timer_init(&flusher->policy_timer, on_policy_timer);
    flusher->turn.run = on_turn;
    flusher->copied.run = on_copied;
    return flusher;
}

void mg_flusher_start(mg_flusher *flusher)
{
    set_timer(flusher, &flusher->ledger_timer, LEDGER_EVERY_MS);
    if (flusher->options.persist)
        set_timer(flusher, &flusher->policy_timer, MG_PERSIST_LOOK_MS);
}

void mg_flusher_close(mg_flusher *flusher)
{
    mg_mailbox *mailbox = flusher->mailbox;

    if (!mailbox)
        return;
    MG_CHECK(!flusher->copying.runs);
    flusher->mailbox = NULL;
    mg_mailbox_free(mailbox); /* what is in it joins those that wait */
    finish(flusher);
}

void mg_flusher_free(mg_flusher *flusher)
{
    if (!flusher)
        return;
    MG_CHECK(!flusher->mailbox);
    mg_free(flusher);
}

const _Atomic uint64_t *mg_flusher_writing(const mg_flusher *flusher, mg_flush_store store)
{
    return &flusher->writing[store];
}
