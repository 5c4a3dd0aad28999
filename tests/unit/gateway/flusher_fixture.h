/* flusher_fixture.h - both stores in a folder of a test's, the flusher on a loop of its choice, and an inbox for its
 * answers, which is read by hand. */
#ifndef TEST_FLUSHER_FIXTURE_H
#define TEST_FLUSHER_FIXTURE_H

#include "gateway/flusher.h"

#include "base/mem.h"
#include "net/loop_parts.h"
#include "state/kv.h"
#include "support/check.h"
#include "support/tmpdir.h"

#include <semaphore.h>

enum { STORE_BYTES = 8 << 20, WAIT_S = 60 };

/* A mailbox without a loop: whoever waits for an answer runs what has come. */
typedef struct inbox {
    mg_mailbox mailbox;
    sem_t woken;
} inbox;

static inline void inbox_wake(mg_mailbox *mailbox)
{
    sem_post(&mg_container_of(mailbox, inbox, mailbox)->woken);
}

static inline void inbox_open(inbox *in)
{
    mg_mailbox_init(&in->mailbox, NULL, inbox_wake, NULL);
    sem_init(&in->woken, 0, 0);
}

static inline void inbox_close(inbox *in)
{
    sem_destroy(&in->woken);
}

typedef struct stores {
    char folder[TMPDIR_PATH_BYTES];
    const mg_clock *clock;
    size_t ledger_bytes, policy_bytes;
    mg_policy_clock policy_clock;
    mg_log *log;
    mg_text logged;
    mg_store *ledger;
    mg_kv *kv;
    mg_kv_space *space;
    mg_persist *persist;
    mg_flusher *flusher;
    inbox in;
} stores;

static inline void stores_sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static inline const char *part_path(const stores *s, const char *part, char out[TMPDIR_PATH_BYTES + 32])
{
    snprintf(out, TMPDIR_PATH_BYTES + 32, "%s/%s", s->folder, part);
    return out;
}

/* Opens both, or with `in_memory` none, and makes the flusher of this loop. */
static inline void stores_open(stores *s, mg_loop *loop, bool in_memory, bool copies_aside)
{
    char path[TMPDIR_PATH_BYTES + 32];
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    if (!in_memory) {
        const mg_store_options ledger = { .path = part_path(s, "ledger", path),
                                          .max_bytes = s->ledger_bytes,
                                          .tables = 8,
                                          .readers = 126,
                                          .sync = true };
        s->ledger = mg_store_open(&ledger, &result, &err);
        assert_non_null(s->ledger);
        const mg_persist_options policy = { .path = part_path(s, "policy", path),
                                            .max_bytes = s->policy_bytes,
                                            .clock = s->clock,
                                            .boot_id = "boot-1",
                                            .log = s->log,
                                            .seed = 5 };
        s->persist = mg_persist_open(&policy, &s->policy_clock, &err);
        assert_non_null(s->persist);
    }
    const mg_kv_options kv = { .store = s->ledger, .clock = s->clock, .log = s->log, .seed = 3 };
    s->kv = mg_kv_new(&kv, &err);
    assert_non_null(s->kv);
    s->space = mg_kv_open(s->kv, MG_STR("plugin"), &err);
    assert_non_null(s->space);
    const mg_flusher_options options = { .loop = loop,
                                         .log = s->log,
                                         .kv = s->kv,
                                         .ledger = s->ledger,
                                         .persist = s->persist,
                                         .copies_aside = copies_aside };
    s->flusher = mg_flusher_new(&options);
}

static inline void stores_init(stores *s, const mg_clock *clock)
{
    *s = (stores){ .clock = clock, .ledger_bytes = STORE_BYTES, .policy_bytes = STORE_BYTES };
    tmpdir_make(s->folder);
    s->log = mg_log_new(MG_LOG_DEBUG, clock, stores_sink, &s->logged);
    inbox_open(&s->in);
}

/* As a crash does: what is not on the disk is lost. */
static inline void stores_close(stores *s)
{
    mg_flusher_free(s->flusher);
    mg_kv_space_free(s->space);
    mg_kv_free(s->kv);
    mg_store_close(s->ledger);
    mg_persist_free(s->persist);
    s->flusher = NULL;
    s->ledger = NULL;
    s->persist = NULL;
}

static inline void stores_fini(stores *s)
{
    mg_log_free(s->log);
    mg_text_fini(&s->logged);
    inbox_close(&s->in);
    tmpdir_remove(s->folder);
}

/* ---- what is kept ---- */

static inline void set(stores *s, const char *key, const char *value)
{
    assert_null(mg_kv_set(s->space, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), 0));
}

static inline void check_value(stores *s, const char *key, const char *want)
{
    mg_slice value;

    assert_null(mg_kv_get(s->space, key, (uint32_t)strlen(key), &value));
    if (!want)
        assert_null(value.p);
    else
        check_str(mg_str_make(value.p ? value.p : "(none)", value.p ? value.n : 6), want);
}

/* A small thing, as a breaker is. */
typedef struct thing {
    _Atomic uint64_t value;
} thing;

static inline uint64_t thing_stamp(const void *self)
{
    return atomic_load(&((const thing *)self)->value);
}

static inline void thing_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    (void)policy_ns;
    mg_record_u64(row, atomic_load(&((const thing *)self)->value));
}

static inline bool thing_read(void *self, mg_record *row, uint64_t policy_ns)
{
    (void)policy_ns;
    atomic_store(&((thing *)self)->value, mg_record_get_u64(row));
    return row->ok;
}

static const mg_keep_ops thing_ops = { thing_stamp, thing_write, thing_read };

static inline void keep(stores *s, const char *name, thing *t)
{
    mg_persist_keep(s->persist, MG_KEEP_ROLLOUT, mg_str_of(name), &thing_ops, t);
}

/* ---- asking ---- */

/* What was answered, in order: a letter each. */
typedef struct asked {
    union {
        mg_flush_ask ask;
        mg_flush_barrier barrier;
        mg_flush_copy copy;
    };
    char letter;
    char *order; /* borrowed; NULL: nobody looks */
    unsigned times;
} asked;

static inline void on_answer(mg_message *message)
{
    asked *a = mg_container_of(message, asked, ask.message);

    a->times++;
    if (a->order)
        a->order[strlen(a->order)] = a->letter;
}

static inline void ask_barrier(stores *s, asked *a, char letter, char *order)
{
    *a = (asked){ .letter = letter, .order = order };
    a->ask.from = &s->in.mailbox;
    a->ask.answered = on_answer;
    mg_flusher_barrier(s->flusher, &a->barrier);
}

/* `folder` holds until it is answered; NULL: compacts. */
static inline void ask_copy(stores *s, asked *a, const char *folder, char letter, char *order)
{
    *a = (asked){ .letter = letter, .order = order };
    a->ask.from = &s->in.mailbox;
    a->ask.answered = on_answer;
    a->copy.folder = folder;
    mg_flusher_copy(s->flusher, &a->copy);
}

/* The answers that have come. */
static inline void read_answers(stores *s)
{
    mg_mailbox_drain(&s->in.mailbox);
}

#endif
