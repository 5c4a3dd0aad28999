/* builder_tsan.c - a gateway with threads of its own, whose builder is held in the middle of its work: control goes
 * on, and the gateway ends in order. */
#include "sim_world.h"

#include "gateway/publish.h"

#include <pthread.h>
#include <semaphore.h>

/* Where the builder stands until the test lets it go. */
typedef struct stage {
    world w; /* its folder and its log; its loops are not used */
    sem_t reached, go_on, ready, turned, answered;
    atomic_bool holds_reading, holds_new;
    bool taken, many;
    char code[32];
} stage;

static void hold(stage *s, atomic_bool *where)
{
    if (!atomic_exchange(where, false))
        return;
    sem_post(&s->reached);
    sem_wait(&s->go_on);
}

/* 257 counters are more than a plugin may have, and that is told while `new` runs. */
static const char plugin[] = "local mg = require('moongate')\n"
                             "local plugin = { name = 'p', version = '1.0.0' }\n"
                             "function plugin.new(conf)\n"
                             "    for i = 1, conf.counters do mg.counter('c' .. i) end\n"
                             "    return function(ctx, next) return next(ctx) end\n"
                             "end\n"
                             "return plugin\n";

#define DOCUMENT(counters)                                                                                   \
    "workers: 2\nlisteners: { web: { bind: \"127.0.0.1:0\" } }\n" QUIET SERVICE                              \
    "plugins: { p: { use: ./plugins/p, config: { counters: " counters " } } }\n"                             \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

static void on_line(void *self, mg_log_level level, mg_str text)
{
    stage *s = self;

    (void)level;
    if (strstr(text.p, "counters_full"))
        hold(s, &s->holds_new);
}

static mg_config *read_again(void *self, mg_report *report)
{
    stage *s = self;

    hold(s, &s->holds_reading);
    return world_config(&s->w, s->many ? DOCUMENT("100000") : DOCUMENT("300"), report);
}

static void on_ready(void *self)
{
    sem_post(&((stage *)self)->ready);
}

static void stage_open(stage *s)
{
    mg_report report = MG_REPORT_INIT;
    char path[TMPDIR_PATH_BYTES + 64];

    *s = (stage){ 0 };
    sem_init(&s->reached, 0, 0);
    sem_init(&s->go_on, 0, 0);
    sem_init(&s->ready, 0, 0);
    sem_init(&s->turned, 0, 0);
    sem_init(&s->answered, 0, 0);
    tmpdir_make(s->w.folder);
    world_plugin(&s->w, "p", plugin);
    snprintf(path, sizeof path, "%s/plugins/p/schema.json", s->w.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{ \"type\": \"object\" }", file);
    fclose(file);
    s->w.log = mg_log_new(MG_LOG_WARN, &mg_clock_real, on_line, s);
    const mg_gateway_options options = { .log = s->w.log, .seed = 1, .read_config = read_again, .self = s };
    mg_config *config = world_config(&s->w, DOCUMENT("1"), &report);
    assert_non_null(config);
    s->w.gateway = mg_gateway_new(&options, config, &report);
    if (!s->w.gateway)
        fail_msg("%s", report.findings[0].message);
    mg_report_fini(&report);
    mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_gateway_start(s->w.gateway, on_ready, s, &err), MG_OK);
    sem_wait(&s->ready);
}

static void stage_close(stage *s)
{
    mg_gateway_free(s->w.gateway);
    mg_log_free(s->w.log);
    tmpdir_remove(s->w.folder);
}

static void on_turn(mg_message *message)
{
    mg_gateway *gateway = mg_control_posted(message);

    sem_post(&((stage *)gateway->options.self)->turned);
}

/* Returns once control's loop has turned. */
static void control_turns(stage *s)
{
    mg_control_post(s->w.gateway, s->w.gateway->mailbox, on_turn);
    sem_wait(&s->turned);
}

static void on_answer(void *self, const mg_published *published)
{
    stage *s = self;

    s->taken = published->taken;
    snprintf(s->code, sizeof s->code, "%s",
             published->report->count ? published->report->findings[0].code : "");
    sem_post(&s->answered);
}

static void ask(stage *s)
{
    mg_gateway_publish(s->w.gateway, &(mg_publish){ .done = on_answer, .self = s });
}

static void end(stage *s)
{
    mg_gateway_drain(s->w.gateway);
    assert_true(mg_gateway_wait(s->w.gateway, 20000));
}

static void control_goes_on_while_new_runs(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    atomic_store(&s.holds_new, true);
    ask(&s);
    sem_wait(&s.reached);
    control_turns(&s);
    control_turns(&s);
    assert_int_equal(sem_trywait(&s.answered), -1);
    sem_post(&s.go_on);
    sem_wait(&s.answered);
    assert_string_equal(s.code, "");
    assert_true(s.taken);
    end(&s);
    stage_close(&s);
}

/* While a document is read, which may take as long as its disk. */
static void control_goes_on_while_a_document_is_read(void **state)
{
    stage s;

    (void)state;
    stage_open(&s);
    atomic_store(&s.holds_reading, true);
    ask(&s);
    sem_wait(&s.reached);
    control_turns(&s);
    sem_post(&s.go_on);
    sem_wait(&s.answered);
    assert_true(s.taken);
    end(&s);
    stage_close(&s);
}

/* The drain does not wait for it. The plugin is left where it is, and whoever asked is told. */
static void the_end_finds_the_builder_at_work(void **state)
{
    stage s;

    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        stage_open(&s);
        s.many = true;
        atomic_store(&s.holds_new, true);
        ask(&s);
        sem_wait(&s.reached);
        mg_gateway_drain(s.w.gateway);
        if (twice)
            mg_gateway_drain(s.w.gateway);
        assert_false(mg_gateway_wait(s.w.gateway, 50));
        sem_post(&s.go_on);
        assert_true(mg_gateway_wait(s.w.gateway, 20000));
        /* It has not gone on to its end: 99,744 are too many. */
        assert_in_range(mg_shared_counters_dropped(s.w.gateway->shared.shared), 1, 10000);
        stage_close(&s);
        assert_int_equal(sem_trywait(&s.answered), 0);
        assert_int_equal(sem_trywait(&s.answered), -1);
        assert_false(s.taken);
        assert_string_equal(s.code, "ending");
    }
}

/* With nothing held: reloads from several threads, whose answers all come. */
static void *ask_often(void *self)
{
    for (int i = 0; i < 5; i++)
        ask(self);
    return NULL;
}

static void many_threads_ask(void **state)
{
    pthread_t threads[4];
    stage s;

    (void)state;
    stage_open(&s);
    for (size_t i = 0; i < mg_countof(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &s), 0);
    for (size_t i = 0; i < mg_countof(threads); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 5 * mg_countof(threads); i++)
        sem_wait(&s.answered);
    end(&s);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_goes_on_while_new_runs),
        cmocka_unit_test(control_goes_on_while_a_document_is_read),
        cmocka_unit_test(the_end_finds_the_builder_at_work),
        cmocka_unit_test(many_threads_ask),
    };
    return cmocka_run_group_tests_name("gateway/builder_tsan", tests, NULL, NULL);
}
