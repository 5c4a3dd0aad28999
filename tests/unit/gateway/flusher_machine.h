/* flusher_machine.h - a flusher with both stores on the virtual clock, killed and started again. */
#ifndef TEST_FLUSHER_MACHINE_H
#define TEST_FLUSHER_MACHINE_H

#include "flusher_fixture.h"

#include "base/mem.h"
#include "sim/sim_parts.h"
#include "store/store_parts.h"

#define MS MG_NS_PER_MS
#define S  MG_NS_PER_S

typedef struct machine {
    stores s;
    mg_sim *sim;
    mg_loop *loop;
    bool in_memory;
    unsigned ended; /* folders put aside */
} machine;

static const char *const parts[] = { "ledger", "policy" };

static inline void start(machine *m)
{
    m->loop = mg_sim_loop_new(m->sim);
    stores_open(&m->s, m->loop, m->in_memory, false);
    mg_flusher_start(m->s.flusher);
}

static inline void set_up(machine *m, bool in_memory)
{
    *m = (machine){ .sim = mg_sim_new(1), .in_memory = in_memory };
    stores_init(&m->s, mg_sim_clock(m->sim));
    start(m);
}

static inline void settle(machine *m)
{
    mg_sim_settle(m->sim);
    read_answers(&m->s);
}

static inline void advance(machine *m, uint64_t ns)
{
    mg_sim_advance(m->sim, ns);
    read_answers(&m->s);
}

static inline void stop(machine *m)
{
    mg_flusher_close(m->s.flusher);
    read_answers(&m->s);
    assert_int_equal(mg_sim_live_timers(m->sim), 0);
    stores_close(&m->s);
    mg_loop_free(m->loop);
}

/* Another store in its place. */
static inline void replace_part(machine *m, const char *part, const char *with)
{
    char place[TMPDIR_PATH_BYTES + 32], away[TMPDIR_PATH_BYTES + 64];

    snprintf(away, sizeof away, "%s.ended-%u", part_path(&m->s, part, place), m->ended++);
    assert_int_equal(rename(place, away), 0);
    assert_int_equal(rename(with, place), 0);
}

/* As the disk has it. */
static inline void kill_and_start(machine *m)
{
    char from[TMPDIR_PATH_BYTES + 32], aside[TMPDIR_PATH_BYTES + 32];

    for (int i = 0; i < 2; i++) {
        snprintf(aside, sizeof aside, "%s/%s.killed", m->s.folder, parts[i]);
        assert_int_equal(mg_store_restore(part_path(&m->s, parts[i], from), aside, NULL), MG_OK);
    }
    stop(m);
    for (int i = 0; i < 2; i++) {
        snprintf(aside, sizeof aside, "%s/%s.killed", m->s.folder, parts[i]);
        replace_part(m, parts[i], aside);
    }
    start(m);
}

static inline void tear_down(machine *m)
{
    stop(m);
    stores_fini(&m->s);
    mg_sim_free(m->sim);
}

static inline uint64_t commits(machine *m)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m->s.persist, &stats);
    return mg_cell_get(&stats.commits.count);
}

/* ---- many keys ---- */

enum { KEYS = 20000 };

static inline mg_limiter *keep_limiter(machine *m)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.limit = 1000;
    conf.period_ms = 3600000;
    conf.max_keys = 2 * KEYS;
    memcpy(conf.secret, mg_persist_secret(m->s.persist), sizeof conf.secret);
    mg_limiter *limiter = mg_limiter_new(&conf, NULL);
    mg_persist_keep_limiter(m->s.persist, MG_STR("rule"), 1, &conf, limiter);
    return limiter;
}

static inline void charge_all(machine *m, mg_limiter *limiter)
{
    mg_limiter_answer a;

    for (uint64_t key = 0; key < KEYS; key++)
        mg_limiter_take(limiter, (const char *)&key, sizeof key, 1, mg_policy_clock_now(&m->s.policy_clock),
                        &a);
}

static inline void drop_limiter(machine *m, mg_limiter *limiter)
{
    mg_persist_drop_limiter(m->s.persist, limiter);
    mg_limiter_free(limiter);
}

static inline void restore_and_start(machine *m, const char *backup)
{
    char from[2 * TMPDIR_PATH_BYTES], to[TMPDIR_PATH_BYTES + 32];

    stop(m);
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", backup, parts[i]);
        snprintf(to, sizeof to, "%s/%s.restored", m->s.folder, parts[i]);
        assert_int_equal(mg_store_restore(from, to, NULL), MG_OK);
        replace_part(m, parts[i], to);
    }
    start(m);
}

#endif
