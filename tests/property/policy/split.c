/* A split by weight beside a slow model: the logarithm's definition of the same choice, and a table of who
 * was where before the weights changed (docs/policies.md 9). */
#include "policy/rollout.c"

#include "base/mem.h"
#include "base/rand.h"
#include "support/check.h"

#include <math.h>

enum { RUNS = 60, KEYS = 1500, SIDES = 6, MANY = 200000 };

typedef struct side {
    char name[16];
    uint32_t weight;
} side;

typedef struct split {
    side sides[SIDES];
    size_t count;
} split;

static size_t key_of(char out[24], int i)
{
    return (size_t)snprintf(out, 24, "user-%d", i);
}

/* Whose name the key goes to; "" for nobody. The sides stand in the order of a shuffle. */
static const char *side_of(const split *s, int key, uint64_t order)
{
    mg_rollout_side sides[SIDES];
    size_t places[SIDES];
    char text[24];
    int at;

    for (size_t i = 0; i < s->count; i++)
        places[i] = i;
    for (size_t i = s->count; i > 1; i--) {
        const size_t other = order % i, kept = places[i - 1];

        order /= i;
        places[i - 1] = places[other];
        places[other] = kept;
    }
    for (size_t i = 0; i < s->count; i++)
        sides[i] = mg_rollout_side_of(mg_str_of(s->sides[places[i]].name), s->sides[places[i]].weight);
    at = mg_rollout_split(mg_str_make(text, key_of(text, key)), MG_STR("route"), sides, s->count);
    return at < 0 ? "" : s->sides[places[at]].name;
}

/* The largest of -w / ln(u), where u is e to the power of what was drawn: in floats, by hand. */
static const char *by_logarithm(const split *s, int key, double *lead)
{
    const char *best = "";
    char text[24];
    const mg_str name = mg_str_make(text, key_of(text, key));
    double most = 0, second = 0;

    for (size_t i = 0; i < s->count; i++) {
        const uint64_t hash = hash_of(name, MG_STR("route")) ^ mg_hash(mg_str_of(s->sides[i].name), 7);
        const double u = exp(-(double)wait_of(hash) / 0x1p58), score = s->sides[i].weight / -log(u);

        if (score > most) {
            second = most;
            most = score;
            best = s->sides[i].name;
        } else {
            second = fmax(second, score);
        }
    }
    *lead = most > 0 ? (most - second) / most : 1;
    return best;
}

static split random_split(mg_rand *rand)
{
    split s = { .count = 1 + mg_rand_below(rand, SIDES) };

    for (size_t i = 0; i < s.count; i++) {
        snprintf(s.sides[i].name, sizeof(s.sides[i].name), "v%zu", i);
        s.sides[i].weight = (uint32_t)mg_rand_below(rand, mg_rand_below(rand, 2) ? 10 : 1000);
    }
    return s;
}

static uint64_t sum_of(const split *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->count; i++)
        sum += s->sides[i].weight;
    return sum;
}

/* 0 where it has no such side. */
static uint64_t weight_of(const split *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->sides[i].name, name) == 0)
            return s->sides[i].weight;
    }
    return 0;
}

/* A side gains from another only where its weight has grown beside that one's: w/v against w'/v'. */
static void assert_moves_are_due(const split *before, const split *after, uint64_t seed)
{
    for (int key = 0; key < KEYS; key++) {
        const char *was = side_of(before, key, seed), *is = side_of(after, key, seed * 31 + (uint64_t)key);

        if (strcmp(was, is) != 0 && sum_of(after) > 0 && sum_of(before) > 0 &&
            weight_of(after, is) * weight_of(before, was) <= weight_of(before, is) * weight_of(after, was))
            fail_msg("SEED=%llu: user-%d went from %s to %s", (unsigned long long)seed, key, was, is);
    }
}

static void change(split *s, mg_rand *rand)
{
    const size_t i = mg_rand_below(rand, s->count);
    const uint32_t times = 2 + (uint32_t)mg_rand_below(rand, 9);

    switch (mg_rand_below(rand, 5)) {
    case 0: s->sides[i].weight += (uint32_t)mg_rand_below(rand, 20); break;
    case 1: s->sides[i].weight /= times; break;
    case 2: /* all: nobody moves */
        for (size_t k = 0; k < s->count; k++)
            s->sides[k].weight *= times;
        break;
    case 3: /* one goes */
        s->sides[i] = s->sides[--s->count];
        s->count += !s->count;
        break;
    default: /* another name */ s->sides[i].name[0] = 'w'; break;
    }
}

static void keys_move_only_to_a_side_that_has_grown(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        split before, after;
        mg_rand rand;

        mg_rand_init(&rand, seed + run);
        before = random_split(&rand);
        for (int step = 0; step < 5; step++, before = after) {
            after = before;
            change(&after, &rand);
            assert_moves_are_due(&before, &after, seed + run);
        }
    }
}

static void the_choice_is_that_of_the_largest_score(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        mg_rand rand;
        split s;
        double lead;

        mg_rand_init(&rand, seed + run);
        s = random_split(&rand);
        for (int key = 0; key < KEYS; key++) {
            const char *wanted = by_logarithm(&s, key, &lead);

            if (lead > 1e-9 && strcmp(side_of(&s, key, run), wanted) != 0)
                fail_msg("SEED=%llu: user-%d is not with %s", (unsigned long long)(seed + run), key, wanted);
        }
    }
}

/* Five deviations of what chance allows. */
static void every_side_gets_its_part(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t run = 0; run < 5; run++) {
        unsigned got[SIDES] = { 0 };
        mg_rand rand;
        split s;

        mg_rand_init(&rand, seed + run);
        s = random_split(&rand);
        if (!sum_of(&s))
            continue;
        for (int key = 0; key < MANY; key++) {
            const char *name = side_of(&s, key, 0);

            for (size_t i = 0; i < s.count; i++)
                got[i] += strcmp(s.sides[i].name, name) == 0;
        }
        for (size_t i = 0; i < s.count; i++) {
            const double part = (double)s.sides[i].weight / (double)sum_of(&s);

            if (fabs(got[i] - MANY * part) > 5 * sqrt(MANY * part * (1 - part)) + 1e-9)
                fail_msg("SEED=%llu: %s got %u, wanted %.0f", (unsigned long long)(seed + run),
                         s.sides[i].name, got[i], MANY * part);
        }
    }
}

/* The waits themselves: e^-x of them are longer than x. */
static void waits_are_exponential(void **state)
{
    unsigned longer[4] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        const double wait = (double)wait_of(mg_hash(mg_str_make((const char *)&i, sizeof(i)), 1)) / 0x1p58;

        for (int k = 0; k < 4; k++)
            longer[k] += wait > (double[]){ 0.01, 0.5, 1, 4 }[k];
    }
    assert_in_range(longer[0], 197700, 198320); /* e^-0.01 of 200,000 is 198,010 */
    assert_in_range(longer[1], 120200, 122400); /* 121,306 */
    assert_in_range(longer[2], 72500, 74650);   /* 73,576 */
    assert_in_range(longer[3], 3350, 3970);     /* 3,663 */
}

/* The figures of the complaint: of 400 users. */
static unsigned moved(const split *before, const split *after, const char *from)
{
    unsigned count = 0;

    for (int key = 0; key < 400; key++) {
        const char *was = side_of(before, key, 0);

        count += strcmp(was, side_of(after, key, 1)) != 0 && (!from || strcmp(was, from) == 0);
    }
    return count;
}

static void ten_times_the_weights_move_nobody(void **state)
{
    const split one = { { { "a", 9 }, { "b", 1 } }, 2 }, ten = { { { "b", 10 }, { "a", 90 } }, 2 };
    const split more = { { { "a", 9 }, { "b", 2 } }, 2 },
                third = { { { "a", 9 }, { "b", 1 }, { "c", 3 } }, 3 };
    const split off = { { { "a", 9 }, { "b", 0 } }, 2 };

    (void)state;
    assert_int_equal(moved(&one, &ten, NULL), 0);
    assert_int_equal(moved(&one, &more, "b"), 0);
    assert_in_range(moved(&one, &more, NULL), 10, 60);
    assert_int_equal(moved(&third, &one, "a") + moved(&third, &one, "b"), 0);
    assert_int_equal(moved(&one, &off, "a"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_move_only_to_a_side_that_has_grown),
        cmocka_unit_test(the_choice_is_that_of_the_largest_score),
        cmocka_unit_test(every_side_gets_its_part),
        cmocka_unit_test(waits_are_exponential),
        cmocka_unit_test(ten_times_the_weights_move_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
