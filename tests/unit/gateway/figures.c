/* Counts and latencies of calls: what the cells of all workers add up to, and how exact a quantile is. */
#include "gateway/service/figures.h"

#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

#include <pthread.h>

#define US 1000ull

static void calls_of_all_workers_add_up(void **state)
{
    mg_figures *figures = mg_figures_new(3);
    mg_figures_sum sum;

    (void)state;
    mg_figures_add(figures, 0, MG_FIGURES_OK, 1 * MG_NS_PER_MS);
    mg_figures_add(figures, 2, MG_FIGURES_ERROR, 1 * MG_NS_PER_MS);
    mg_figures_add(figures, 2, MG_FIGURES_TIMEOUT, 9 * MG_NS_PER_MS);
    mg_figures_read(figures, &sum);
    assert_int_equal(sum.calls, 3);
    assert_int_equal(sum.errors, 2); /* a timeout is one, too */
    assert_int_equal(sum.timeouts, 1);
    mg_figures_free(figures);
}

static void what_nobody_called_has_no_quantile(void **state)
{
    mg_figures *figures = mg_figures_new(1);
    mg_figures_sum sum;

    (void)state;
    mg_figures_read(figures, &sum);
    assert_int_equal(sum.calls, 0);
    assert_true(mg_figures_quantile_ms(&sum, 990) == 0);
    mg_figures_free(figures);
    mg_figures_free(NULL);
}

static double only(uint64_t ns)
{
    mg_figures *figures = mg_figures_new(1);
    mg_figures_sum sum;

    mg_figures_add(figures, 0, MG_FIGURES_OK, ns);
    mg_figures_read(figures, &sum);
    mg_figures_free(figures);
    return mg_figures_quantile_ms(&sum, 500);
}

static void a_bucket_holds_its_end_and_not_its_beginning(void **state)
{
    (void)state;
    assert_true(only(0) == 0.064);
    assert_true(only(64 * US) == 0.064);
    assert_true(only(64 * US + 1) == 0.072);
    assert_true(only(72 * US) == 0.072);
    assert_true(only(128 * US) == 0.128);
    assert_true(only(128 * US + 1) == 0.144);
    assert_true(only((64 * US) << 20) == (64 << 20) / 1000.0);
    assert_true(only(((64 * US) << 20) + 1) == (72 << 20) / 1000.0); /* above all: one step more */
    assert_true(only(UINT64_MAX) == (72 << 20) / 1000.0);
}

static void a_duration_is_told_at_most_an_eighth_too_high(void **state)
{
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 7);
    for (int i = 0; i < 20000; i++) {
        const uint64_t ns =
            mg_rand_below(&rand, (64 * US << mg_rand_below(&rand, 20)) - 64 * US + 1) + 64 * US;
        const double ms = (double)ns / 1e6, told = only(ns);
        if (told < ms || told > ms * 1.1251)
            fail_msg("%f ms is told as %f", ms, told);
    }
}

static void a_quantile_is_what_that_part_of_the_calls_did_not_pass(void **state)
{
    mg_figures *figures = mg_figures_new(1);
    mg_figures_sum sum;

    (void)state;
    for (int i = 0; i < 99; i++)
        mg_figures_add(figures, 0, MG_FIGURES_OK, 64 * US);
    mg_figures_add(figures, 0, MG_FIGURES_OK, 128 * US);
    mg_figures_read(figures, &sum);
    assert_true(mg_figures_quantile_ms(&sum, 0) == 0.064);
    assert_true(mg_figures_quantile_ms(&sum, 990) == 0.064);
    assert_true(mg_figures_quantile_ms(&sum, 991) == 0.128);
    assert_true(mg_figures_quantile_ms(&sum, 1000) == 0.128);
    mg_figures_free(figures);
}

static void two_sums_tell_what_lies_between(void **state)
{
    mg_figures *figures = mg_figures_new(2);
    mg_figures_sum then, now, between;

    (void)state;
    mg_figures_add(figures, 0, MG_FIGURES_TIMEOUT, 9 * MG_NS_PER_S);
    mg_figures_read(figures, &then);
    mg_figures_add(figures, 1, MG_FIGURES_OK, 64 * US);
    mg_figures_add(figures, 0, MG_FIGURES_ERROR, 64 * US);
    mg_figures_read(figures, &now);
    mg_figures_since(&now, &then, &between);
    assert_int_equal(between.calls, 2);
    assert_int_equal(between.errors, 1);
    assert_int_equal(between.timeouts, 0);
    assert_true(mg_figures_quantile_ms(&between, 1000) == 0.064);
    mg_figures_since(&then, &now, &between); /* the wrong way round: nothing, and no huge number */
    assert_int_equal(between.calls, 0);
    assert_int_equal(between.errors, 0);
    mg_figures_free(figures);
}

typedef struct writer {
    mg_figures *figures;
    unsigned worker;
} writer;

enum { WRITERS = 3, CALLS = 20000 };

static void *write_calls(void *self)
{
    const writer *w = self;

    for (uint64_t i = 0; i < CALLS; i++)
        mg_figures_add(w->figures, w->worker, i % 2 ? MG_FIGURES_ERROR : MG_FIGURES_OK, i * US);
    return NULL;
}

static void whoever_reads_meanwhile_sees_no_more_errors_than_calls(void **state)
{
    mg_figures *figures = mg_figures_new(WRITERS);
    writer writers[WRITERS];
    pthread_t threads[WRITERS];
    mg_figures_sum sum = { 0 };

    (void)state;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (writer){ figures, i };
        assert_int_equal(pthread_create(&threads[i], NULL, write_calls, &writers[i]), 0);
    }
    for (int i = 0; i < 200; i++) {
        mg_figures_read(figures, &sum);
        assert_true(sum.errors <= sum.calls);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    mg_figures_read(figures, &sum);
    assert_int_equal(sum.calls, WRITERS * CALLS);
    assert_int_equal(sum.errors, WRITERS * CALLS / 2);
    mg_figures_free(figures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_all_workers_add_up),
        cmocka_unit_test(what_nobody_called_has_no_quantile),
        cmocka_unit_test(a_bucket_holds_its_end_and_not_its_beginning),
        cmocka_unit_test(a_duration_is_told_at_most_an_eighth_too_high),
        cmocka_unit_test(a_quantile_is_what_that_part_of_the_calls_did_not_pass),
        cmocka_unit_test(two_sums_tell_what_lies_between),
        cmocka_unit_test(whoever_reads_meanwhile_sees_no_more_errors_than_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
