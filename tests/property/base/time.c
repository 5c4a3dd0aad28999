/* Dates beside gmtime_r, and the policy clock through random restarts: it never runs backwards. */
#include "support/check.h"

#include "base/rand.h"
#include "base/time.h"

#include <time.h>

static void dates_are_those_of_the_c_library(void **state)
{
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, check_seed(20261121));
    for (int i = 0; i < 100000; i++) {
        const int64_t wall_ns = (int64_t)mg_rand_next(&rand);
        const time_t s = wall_ns / 1000000000 - (wall_ns % 1000000000 < 0);
        char got[32], want[32];
        struct tm tm;

        gmtime_r(&s, &tm);
        mg_http_date(got, wall_ns);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        assert_string_equal(got, want);
        mg_iso_time(got, wall_ns);
        strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.", &tm);
        assert_memory_equal(got, want, 20);
    }
}

/* One random event: time passes, the wall clock is set, the process restarts, the machine reboots. */
static void step(mg_rand *rand, mg_fake_clock *fake, mg_policy_clock *pc, char boot[8])
{
    mg_policy_clock_saved saved;

    switch (mg_rand_below(rand, 4)) {
    case 0: mg_fake_clock_advance(fake, mg_rand_below(rand, 1u << 30)); return;
    case 1: fake->wall += (int64_t)mg_rand_below(rand, 1u << 30) - (1 << 29); return;
    case 2: break;
    default:
        mg_policy_clock_save(pc, boot, &saved);
        snprintf(boot, 8, "%u", (unsigned)mg_rand_below(rand, 1000000));
        fake->mono = mg_rand_below(rand, 1u << 20);
        fake->wall += (int64_t)mg_rand_below(rand, 1u << 30) - (1 << 29);
        mg_policy_clock_init(pc, &fake->clock, &saved, boot);
        return;
    }
    mg_policy_clock_save(pc, boot, &saved);
    mg_fake_clock_advance(fake, mg_rand_below(rand, 1u << 30));
    mg_policy_clock_init(pc, &fake->clock, &saved, boot);
}

static void policy_time_never_runs_backwards(void **state)
{
    mg_rand rand;
    mg_fake_clock fake;
    mg_policy_clock pc;
    char boot[8] = "0";
    uint64_t seen = 0;

    (void)state;
    mg_rand_init(&rand, check_seed(20261121));
    mg_fake_clock_init(&fake, 1u << 20, 1000);
    mg_policy_clock_init(&pc, &fake.clock, NULL, boot);
    for (int i = 0; i < 200000; i++) {
        step(&rand, &fake, &pc, boot);
        assert_true(mg_policy_clock_now(&pc) >= seen);
        seen = mg_policy_clock_now(&pc);
    }
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_the_c_library),
        cmocka_unit_test(policy_time_never_runs_backwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
