/* persist_fixture.h - a gateway's memory with its clock in a test's hand: restarted, killed, rebooted. */
#ifndef TEST_PERSIST_FIXTURE_H
#define TEST_PERSIST_FIXTURE_H

#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "state/persist.h"

#define MS MG_NS_PER_MS
#define S  MG_NS_PER_S
#define H  (3600 * S)

typedef struct memory {
    char folder[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
    mg_fake_clock clock;
    mg_policy_clock policy_clock;
    const char *boot_id;
    size_t max_bytes;
    mg_log *log;
    mg_text logged;
    mg_persist *persist;
} memory;

static inline void memory_sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static inline bool memory_try_open(memory *m, mg_error *err)
{
    const mg_persist_options options = { .path = m->path,
                                         .max_bytes = m->max_bytes,
                                         .clock = &m->clock.clock,
                                         .boot_id = m->boot_id,
                                         .log = m->log,
                                         .seed = 5 };
    m->persist = mg_persist_open(&options, &m->policy_clock, err);
    return m->persist != NULL;
}

static inline void memory_open(memory *m)
{
    mg_error err = MG_ERROR_INIT;

    if (!memory_try_open(m, &err))
        fail_msg("%s", err.message);
}

/* Before the first opening. */
static inline void memory_init(memory *m)
{
    *m = (memory){ .boot_id = "boot-1", .max_bytes = 64 << 20 };
    tmpdir_make(m->folder);
    snprintf(m->path, sizeof(m->path), "%s/policy", m->folder);
    mg_fake_clock_init(&m->clock, 1000 * S, (int64_t)(1700000000 * S));
    m->log = mg_log_new(MG_LOG_DEBUG, &m->clock.clock, memory_sink, &m->logged);
}

static inline void memory_fini(memory *m)
{
    mg_persist_free(m->persist);
    mg_log_free(m->log);
    mg_text_fini(&m->logged);
    tmpdir_remove(m->folder);
}

static inline void memory_flush(memory *m)
{
    mg_error err = MG_ERROR_INIT;

    if (mg_persist_flush(m->persist, &err) != MG_OK)
        fail_msg("%s", err.message);
}

/* A look, or a pass to its end. False: it failed. */
static inline bool memory_turn(memory *m)
{
    bool more = true;
    mg_result result = MG_OK;

    while (more)
        result = mg_persist_turn(m->persist, false, &more, NULL);
    return result == MG_OK;
}

static inline uint64_t memory_now(const memory *m)
{
    return mg_policy_clock_now(&m->policy_clock);
}

static inline bool logged(const memory *m, const char *part)
{
    return m->logged.p && strstr(m->logged.p, part);
}

/* Killed: what was not flushed is lost. `down_ns` passes, by both clocks. */
static inline void memory_restart(memory *m, uint64_t down_ns)
{
    mg_persist_free(m->persist);
    m->persist = NULL;
    mg_fake_clock_advance(&m->clock, down_ns);
    memory_open(m);
}

/* The machine begins anew: another boot, the monotonic clock at its start. */
static inline void memory_reboot(memory *m, uint64_t down_ns, int64_t wall_step_ns)
{
    mg_persist_free(m->persist);
    m->persist = NULL;
    mg_fake_clock_advance(&m->clock, down_ns);
    m->clock.mono = 7 * S;
    m->clock.wall += wall_step_ns;
    m->boot_id = strcmp(m->boot_id, "boot-2") ? "boot-2" : "boot-3";
    memory_open(m);
}

#endif
