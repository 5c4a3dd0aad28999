/* Rollouts beside the threads that ask and feed them, and what is stored of one: rows written, read, refused.
 */
#include "gateway/service/rollout_run.h"

#include "base/mem.h"
#include "config/config.h"
#include "sim/sim.h"
#include "support/check.h"
#include "support/tmpdir.h"

#include <pthread.h>
#include <stdatomic.h>

#define CONFIG_OF(rollout)                                                                                   \
    "services: { old: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }, "                                  \
    "new: { endpoints: [{ url: \"http://10.0.0.3:9000\" }] } }\n"                                            \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, "                                              \
    "backends: [{ service: old }, { service: new }]" rollout " }]\n"
#define CONFIG(id, steps)                                                                                    \
    CONFIG_OF(", rollout: { to: new, id: " id ", steps: " steps ", interval: 10s, min_requests: 10 }")
#define PLAIN CONFIG_OF("")
#define STEPS "[5%, 50%, 100%]"

enum { WORKERS = 2 };

/* A machine with its disk, on which gateways come and go. */
typedef struct stage {
    char folder[TMPDIR_PATH_BYTES];
    mg_sim *sim;
    mg_loop *loop;
    mg_policy_clock policy_clock;
    mg_persist *persist;
    mg_shared *shared;
    mg_rollouts *rollouts;
    mg_snapshot *snapshot;
    mg_rollout_run *run; /* borrowed: the snapshot's */
} stage;

static void follow(stage *s, const char *config_text)
{
    const mg_config_env env = { .partial = true };
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("moongate.yaml", mg_str_of(config_text), &env, &report);

    assert_non_null(config);
    mg_snapshot *snapshot = mg_snapshot_build(config, 1, &report);
    assert_non_null(snapshot);
    mg_rollouts_attach(s->rollouts, snapshot);
    mg_rollouts_follow(s->rollouts, snapshot);
    mg_snapshot_unref(s->snapshot);
    s->snapshot = snapshot;
    s->run = snapshot->routes[0].split->run;
    mg_report_fini(&report);
}

static void start(stage *s, const char *config)
{
    mg_error err = MG_ERROR_INIT;
    char path[TMPDIR_PATH_BYTES + 16];

    snprintf(path, sizeof path, "%s/policy", s->folder);
    const mg_persist_options persist = { .path = path,
                                         .max_bytes = 16 << 20,
                                         .clock = mg_sim_clock(s->sim),
                                         .boot_id = "00000000-0000-4000-8000-000000000001",
                                         .seed = 1 };
    s->persist = mg_persist_open(&persist, &s->policy_clock, &err);
    assert_non_null(s->persist);
    const mg_shared_options options = {
        .workers = WORKERS, .clock = mg_sim_clock(s->sim), .policy_clock = &s->policy_clock, .seed = 1
    };
    s->shared = mg_shared_new(&options);
    const mg_rollouts_options rollouts = {
        .loop = s->loop, .shared = s->shared, .persist = s->persist, .seed = 1
    };
    s->rollouts = mg_rollouts_new(&rollouts);
    follow(s, config);
}

static void stop(stage *s)
{
    mg_rollouts_free(s->rollouts);
    mg_snapshot_unref(s->snapshot); /* the last who knows the run */
    s->snapshot = NULL;
    mg_persist_free(s->persist);
    mg_shared_free(s->shared);
}

static void flush(stage *s)
{
    mg_error err = MG_ERROR_INIT;

    assert_int_equal(mg_persist_flush(s->persist, &err), MG_OK);
}

/* What was not stored is lost. */
static void kill_and_start(stage *s, const char *config)
{
    stop(s);
    start(s, config);
}

static void stage_open(stage *s)
{
    *s = (stage){ .sim = mg_sim_new(1) };
    s->loop = mg_sim_loop_new(s->sim);
    tmpdir_make(s->folder);
    start(s, CONFIG("r1", STEPS));
}

static void stage_close(stage *s)
{
    stop(s);
    mg_loop_free(s->loop);
    mg_sim_free(s->sim);
    tmpdir_remove(s->folder);
}

typedef struct worker {
    mg_rollout_run *run;
    unsigned index;
    _Atomic bool *over;
    uint64_t asked;
} worker;

static void *work(void *self)
{
    worker *w = self;

    do {
        const uint32_t percent = mg_rollout_run_percent(w->run);
        if (percent != 5 && percent != 50 && percent != 100)
            abort();
        mg_rollout_run_result(w->run, w->index, MG_FIGURES_OK, MG_NS_PER_MS);
        w->asked++;
    } while (!atomic_load(w->over) || w->asked < 1000);
    return NULL;
}

static void workers_ask_and_feed_while_control_moves_on(void **state)
{
    _Atomic bool over = false;
    pthread_t threads[WORKERS];
    worker workers[WORKERS];
    stage s;

    (void)state;
    stage_open(&s);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (worker){ s.run, i, &over, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    while (mg_rollout_run_percent(s.run) != 100)
        mg_sim_advance(s.sim, MG_NS_PER_S);
    atomic_store(&over, true);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    stage_close(&s);
}

/* ---- restarts ---- */

static void calls(stage *s, unsigned good, unsigned bad)
{
    for (unsigned i = 0; i < good + bad; i++)
        mg_rollout_run_result(s->run, 0, i < good ? MG_FIGURES_OK : MG_FIGURES_ERROR, MG_NS_PER_MS);
}

static void pass(stage *s, uint64_t seconds)
{
    mg_sim_advance(s->sim, seconds * MG_NS_PER_S);
}

static void keep_view(void *self, const mg_rollout_view *view)
{
    *(mg_rollout_view *)self = *view;
}

static mg_rollout_view look(stage *s)
{
    mg_rollout_view view = { 0 };

    mg_rollouts_each(s->rollouts, keep_view, &view);
    return view;
}

static void step_strikes_and_interval_survive_a_kill(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    flush(&s); /* what changes from now on has to say so */
    calls(&s, 1000, 0);
    pass(&s, 10);
    calls(&s, 990, 10); /* 1 % is bad, and not yet hopeless */
    pass(&s, 10);
    assert_int_equal(look(&s).percent, 50);
    assert_int_equal(look(&s).strikes, 1);
    flush(&s);
    pass(&s, 4);
    kill_and_start(&s, CONFIG("r1", STEPS));
    assert_int_equal(mg_rollout_run_percent(s.run), 50);
    assert_int_equal(look(&s).strikes, 1);
    assert_int_equal(look(&s).interval_left_ms, 6000);
    calls(&s, 990, 10);
    pass(&s, 6);
    assert_int_equal(look(&s).state, MG_ROLLOUT_FAILED); /* the second strike, at the interval's own end */
    flush(&s);
    kill_and_start(&s, CONFIG("r1", STEPS));
    assert_int_equal(look(&s).state, MG_ROLLOUT_FAILED);
    assert_int_equal(mg_rollout_run_percent(s.run), 0);
    stage_close(&s);
}

static void whoever_serves_first_begins_at_the_step_that_was_stored(void **state)
{
    const mg_config_env env = { .partial = true };
    mg_report report = MG_REPORT_INIT;
    stage s;

    (void)state;
    stage_open(&s);
    calls(&s, 100, 0);
    pass(&s, 10);
    flush(&s);
    kill_and_start(&s, PLAIN);
    mg_config *config = mg_config_load_text("moongate.yaml", MG_STR(CONFIG("r1", STEPS)), &env, &report);
    mg_snapshot *next = mg_snapshot_build(config, 2, &report);
    mg_rollouts_attach(s.rollouts, next);
    assert_int_equal(mg_rollout_run_percent(next->routes[0].split->run), 50); /* nobody follows it yet */
    mg_snapshot_unref(next);                                                  /* nor ever will */
    pass(&s, 20);
    assert_int_equal(look(&s).percent, 0);
    follow(&s, CONFIG("r1", STEPS));
    assert_int_equal(look(&s).percent, 50);
    mg_report_fini(&report);
    stage_close(&s);
}

static void another_id_takes_nothing_over(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    calls(&s, 100, 0);
    pass(&s, 10);
    follow(&s, CONFIG("r2", STEPS));
    assert_int_equal(look(&s).percent, 5);
    calls(&s, 100, 0);
    pass(&s, 10);
    assert_int_equal(look(&s).percent, 50);
    flush(&s);
    kill_and_start(&s, CONFIG("r2", STEPS));
    assert_int_equal(look(&s).percent, 50); /* what is stored is the newer one's */
    kill_and_start(&s, CONFIG("r3", STEPS));
    assert_int_equal(look(&s).percent, 5);
    stage_close(&s);
}

static void a_stored_step_fits_a_configuration_with_fewer(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    for (unsigned step = 0; step < 2; step++) {
        calls(&s, 100, 0);
        pass(&s, 10);
    }
    assert_int_equal(look(&s).percent, 100);
    flush(&s);
    kill_and_start(&s, CONFIG("r1", "[5%, 30%]"));
    assert_int_equal(look(&s).percent, 30);
    stage_close(&s);
}

static void an_interval_that_ended_while_down_is_judged_by_what_was_seen(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    calls(&s, 1000, 0);
    pass(&s, 3);
    flush(&s);
    stop(&s);
    pass(&s, 3600);
    start(&s, CONFIG("r1", STEPS));
    pass(&s, 1);
    assert_int_equal(look(&s).percent, 5); /* nobody has asked since: it holds, and a new one begins */
    assert_int_equal(look(&s).interval_left_ms, 10000);
    stage_close(&s);
}

static void an_operator_is_shown_what_is_stored(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_text json = { 0 };
    stage s;

    (void)state;
    stage_open(&s);
    calls(&s, 100, 0);
    pass(&s, 10);
    flush(&s);
    pass(&s, 2);
    assert_int_equal(mg_persist_get(s.persist, MG_STR("rollouts"), MG_STR("all"), &json, &err), MG_OK);
    check_str(mg_text_str(&json), "{\"stored_ms_ago\":2000,\"id\":\"r1\",\"state\":\"running\",\"step\":1,"
                                  "\"strikes\":0,\"interval_ms_old\":2000}");
    mg_text_fini(&json);
    stage_close(&s);
}

static void rows_that_no_rollout_can_have_are_refused(void **state)
{
    static const uint8_t states[] = { 0, 5, 255 };
    mg_text row = { 0 };
    mg_rollout rollout;
    mg_str id;

    (void)state;
    for (size_t i = 0; i < mg_countof(states) + 2; i++) {
        mg_text_clear(&row);
        mg_record_u8(&row, i == mg_countof(states) ? 2 : 1); /* another form */
        mg_record_str(&row, MG_STR("r1"));
        mg_record_u8(&row, i < mg_countof(states) ? states[i] : MG_ROLLOUT_RUNNING);
        mg_record_u32(&row, 1);
        mg_record_u32(&row, 0);
        mg_record_u64(&row, 7);
        mg_record record = { mg_text_str(&row), 1, true };
        assert_int_equal(mg_persist_get_rollout(&record, &id, &rollout), i == mg_countof(states) + 1);
    }
    check_str(id, "r1");
    assert_int_equal(rollout.step, 1);
    assert_int_equal(rollout.began_ns, 7);
    for (size_t n = 0; n < row.n; n++) { /* cut anywhere */
        mg_record record = { { row.p, n }, 1, true };
        assert_false(mg_persist_get_rollout(&record, &id, &rollout));
    }
    mg_text_fini(&row);
}

typedef struct flusher {
    mg_persist *persist;
    atomic_bool ends;
} flusher;

static void *flush_for_ever(void *self)
{
    flusher *f = self;
    bool more;

    while (!atomic_load(&f->ends))
        assert_int_equal(mg_persist_turn(f->persist, true, &more, NULL), MG_OK);
    return NULL;
}

static void control_moves_on_while_the_flush_thread_stores(void **state)
{
    pthread_t flushing;
    stage s;

    (void)state;
    stage_open(&s);
    flusher f = { .persist = s.persist };
    assert_int_equal(pthread_create(&flushing, NULL, flush_for_ever, &f), 0);
    for (unsigned i = 0; i < 2000; i++) {
        assert_true(
            mg_rollouts_force(s.rollouts, MG_STR("all"), i % 2 ? MG_ROLLOUT_PROMOTED : MG_ROLLOUT_HELD));
        if (i % 500 == 0)
            follow(&s, i % 1000 ? CONFIG("r1", STEPS) : CONFIG("r2", STEPS));
    }
    atomic_store(&f.ends, true);
    pthread_join(flushing, NULL);
    flush(&s);
    stop(&s);
    start(&s, CONFIG("r1", STEPS));
    assert_int_equal(look(&s).state, MG_ROLLOUT_PROMOTED);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_ask_and_feed_while_control_moves_on),
        cmocka_unit_test(control_moves_on_while_the_flush_thread_stores),
        cmocka_unit_test(step_strikes_and_interval_survive_a_kill),
        cmocka_unit_test(whoever_serves_first_begins_at_the_step_that_was_stored),
        cmocka_unit_test(another_id_takes_nothing_over),
        cmocka_unit_test(a_stored_step_fits_a_configuration_with_fewer),
        cmocka_unit_test(an_interval_that_ended_while_down_is_judged_by_what_was_seen),
        cmocka_unit_test(an_operator_is_shown_what_is_stored),
        cmocka_unit_test(rows_that_no_rollout_can_have_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
