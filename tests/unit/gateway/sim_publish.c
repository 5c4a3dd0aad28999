/* sim_publish.c - the queue of publications: who gets which answer, in which order, when the gateway drains or is
 * freed in the middle. */
#include "sim_world.h"

#include "gateway/publish.h"

#define GOOD WEB QUIET SERVICE ROUTE
#define REFUSED                                                                                              \
    WEB QUIET SERVICE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: nobody }]\n"

/* A document that somebody reads, and how often it was read. */
typedef struct source {
    world *w;
    const char *text;
    unsigned reads;
    void (*as_read)(world *w); /* happens meanwhile */
} source;

static mg_config *read_source(void *self, mg_report *report)
{
    source *s = self;

    s->reads++;
    if (s->as_read)
        s->as_read(s->w);
    return world_config(s->w, s->text, report);
}

enum { ANSWERS = 64 };

/* All answers, in the order in which they came. */
typedef struct answers {
    struct {
        unsigned who;
        bool taken;
        uint64_t revision;
        char code[32]; /* of the first finding */
    } got[ANSWERS];
    unsigned count;
} answers;

typedef struct asker {
    answers *to;
    unsigned who;
    unsigned times;
} asker;

static void on_done(void *self, const mg_published *published)
{
    asker *a = self;
    answers *to = a->to;
    const mg_report *report = published->report;

    a->times++;
    assert_true(to->count < ANSWERS);
    assert_int_equal(published->taken, report->errors == 0);
    to->got[to->count].who = a->who;
    to->got[to->count].taken = published->taken;
    to->got[to->count].revision = published->revision;
    snprintf(to->got[to->count].code, 32, "%s", report->count ? report->findings[0].code : "");
    to->count++;
}

static void ask(world *w, source *from, asker *a)
{
    mg_gateway_publish(
        w->gateway,
        &(mg_publish){ .read = from ? read_source : NULL, .source = from, .done = on_done, .self = a });
}

#define assert_answer(answers_, index, who_, taken_, revision_, code_)                                       \
    do {                                                                                                     \
        assert_true((answers_).count > (index));                                                             \
        assert_int_equal((answers_).got[index].who, who_);                                                   \
        assert_int_equal((answers_).got[index].taken, taken_);                                               \
        assert_int_equal((answers_).got[index].revision, revision_);                                         \
        assert_string_equal((answers_).got[index].code, code_);                                              \
    } while (0)

static void each_of_two_reloads_at_once_gets_an_answer(void **state)
{
    world w;
    answers got = { 0 };
    asker one = { &got, 1, 0 }, two = { &got, 2, 0 };

    (void)state;
    world_open(&w, GOOD);
    ask(&w, NULL, &one);
    ask(&w, NULL, &two);
    settle(&w);
    assert_int_equal(got.count, 2);
    assert_answer(got, 0, 1, true, 2, "");
    assert_answer(got, 1, 2, true, 3, "");
    world_close(&w);
}

/* Those that come while one is in work read the same: once is enough, and all get the answer. */
static void those_that_wait_for_one_source_are_read_once(void **state)
{
    world w;
    answers got = { 0 };
    asker askers[8];

    (void)state;
    world_open(&w, GOOD);
    source from = { .w = &w, .text = GOOD };
    for (unsigned i = 0; i < 8; i++) {
        askers[i] = (asker){ &got, i, 0 };
        ask(&w, &from, &askers[i]);
    }
    for (unsigned i = 0; i < 100; i++)
        mg_gateway_publish(w.gateway, &(mg_publish){ .read = read_source, .source = &from });
    settle(&w);
    assert_int_equal(from.reads, 2);
    assert_int_equal(got.count, 8);
    assert_answer(got, 0, 0, true, 2, "");
    for (unsigned i = 1; i < 8; i++)
        assert_answer(got, i, i, true, 3, "");
    world_close(&w);
}

/* What one asks for last is in force at last, though it was asked for before. */
static void different_sources_keep_their_order(void **state)
{
    world w;
    answers got = { 0 };
    asker askers[5];

    (void)state;
    world_open(&w, GOOD);
    source from[2] = { { .w = &w, .text = GOOD }, { .w = &w, .text = REFUSED } };
    for (unsigned i = 0; i < 5; i++) {
        askers[i] = (asker){ &got, i, 0 };
        ask(&w, &from[i % 2], &askers[i]);
    }
    settle(&w);
    assert_int_equal(from[0].reads, 3);
    assert_int_equal(from[1].reads, 2);
    for (unsigned i = 0; i < 5; i++)
        assert_answer(got, i, i, i % 2 == 0, 2 + i / 2, i % 2 ? "dangling-reference" : "");
    assert_int_equal(w.gateway->reloads_ok, 3);
    assert_int_equal(w.gateway->reloads_refused, 2);
    world_close(&w);
}

static void a_full_queue_says_so_at_once(void **state)
{
    world w;
    answers got = { 0 };
    asker askers[MG_PUBLISH_WAITING_MAX + 8];
    unsigned busy = 0;

    (void)state;
    world_open(&w, GOOD);
    source from[2] = { { .w = &w, .text = GOOD }, { .w = &w, .text = GOOD } };
    const unsigned count = mg_countof(askers);
    for (unsigned i = 0; i < count; i++) {
        askers[i] = (asker){ &got, i, 0 };
        ask(&w, &from[i % 2], &askers[i]);
    }
    settle(&w);
    assert_int_equal(got.count, count);
    for (unsigned i = 0; i < count; i++)
        busy += strcmp(got.got[i].code, "busy") == 0;
    /* Each that waits is counted with its asker; the one in work is not. */
    assert_int_equal(busy, count - 1 - MG_PUBLISH_WAITING_MAX / 2);
    assert_string_equal(got.got[0].code, "busy");
    assert_int_equal(w.gateway->revision, 1 + count - busy);
    got.count = 0;
    ask(&w, NULL, &askers[0]); /* there is room again */
    settle(&w);
    assert_true(got.got[0].taken);
    world_close(&w);
}

static void drain_now(world *w)
{
    mg_gateway_drain(w->gateway);
}

/* One is at the builder as the drain begins, two wait, one comes later. */
static void a_drain_answers_all_who_ask_or_wait(void **state)
{
    world w;
    answers got = { 0 };
    asker askers[4];

    (void)state;
    world_open(&w, GOOD "shutdown: { drain_delay: 1s, drain_timeout: 1s }\n");
    source from[3] = { { .w = &w, .text = GOOD, .as_read = drain_now },
                       { .w = &w, .text = GOOD },
                       { .w = &w, .text = GOOD } };
    for (unsigned i = 0; i < 4; i++)
        askers[i] = (asker){ &got, i, 0 };
    for (unsigned i = 0; i < 3; i++)
        ask(&w, &from[i], &askers[i]);
    settle(&w);
    assert_int_equal(got.count, 3);
    ask(&w, NULL, &askers[3]);
    mg_gateway_reload(w.gateway);
    settle(&w);
    assert_int_equal(got.count, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(askers[i].times, 1);
        assert_false(got.got[i].taken);
        assert_int_equal(got.got[i].revision, 1);
        assert_string_equal(got.got[i].code, "ending");
    }
    assert_int_equal(from[0].reads, 1);
    assert_int_equal(from[1].reads + from[2].reads, 0);
    for (int i = 0; i < 3; i++)
        advance(&w, MG_NS_PER_S);
    assert_true(w.stopped);
    world_close(&w);
}

/* The gateway is freed as it is: with one in the builder's hands, before its names are there, and not yet taken
 * up; each asker hears of it once. */
static void an_end_in_the_middle_answers_everybody_once(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        world w;
        answers got = { 0 };
        asker one = { &got, 1, 0 }, two = { &got, 2, 0 };
        world_open(&w, GOOD);
        /* A name that nobody answers holds the second step of the way up. */
        source from = {
            .w = &w,
            .text = WEB QUIET
            "services: { up: { endpoints: [{ url: \"http://nobody.example:9000\" }] } }\n" ROUTE
        };
        if (how >= 1)
            ask(&w, &from, &one);
        if (how >= 2)
            settle(&w);
        if (how == 3)
            mg_gateway_drain(w.gateway);
        ask(&w, NULL, &two);
        world_free_gateway(&w);
        assert_int_equal(one.times, how >= 1);
        assert_int_equal(two.times, 1);
        for (unsigned i = 0; i < got.count; i++)
            assert_true(how >= 2 || !got.got[i].taken);
        world_close(&w);
    }
}

/* The reload finds the gateway not ready yet: it follows the start. */
static void a_reload_before_it_serves_follows_the_start(void **state)
{
    world w;
    answers got = { 0 };
    asker one = { &got, 1, 0 };
    mg_report report = MG_REPORT_INIT;

    (void)state;
    world_init(&w, 1, 1);
    w.first = GOOD;
    const mg_gateway_options options = { .log = w.log,
                                         .clock = mg_sim_clock(w.sim),
                                         .seed = 1,
                                         .loops = w.loops,
                                         .loop_count = 3,
                                         .resolver = w.resolver,
                                         .read_config = world_read_config,
                                         .self = &w };
    w.gateway = mg_gateway_new(&options, world_config(&w, GOOD, &report), &report);
    assert_non_null(w.gateway);
    ask(&w, NULL, &one);
    assert_int_equal(mg_gateway_start(w.gateway, world_is_ready, &w, NULL), MG_OK);
    settle(&w);
    assert_true(w.ready);
    assert_answer(got, 0, 1, true, 2, "");
    mg_report_fini(&report);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_two_reloads_at_once_gets_an_answer),
        cmocka_unit_test(those_that_wait_for_one_source_are_read_once),
        cmocka_unit_test(different_sources_keep_their_order),
        cmocka_unit_test(a_full_queue_says_so_at_once),
        cmocka_unit_test(a_drain_answers_all_who_ask_or_wait),
        cmocka_unit_test(an_end_in_the_middle_answers_everybody_once),
        cmocka_unit_test(a_reload_before_it_serves_follows_the_start),
    };
    return cmocka_run_group_tests_name("gateway/sim_publish", tests, NULL, NULL);
}
