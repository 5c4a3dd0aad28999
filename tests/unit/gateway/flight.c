/* flight.c - where a flight may go from where it stands, beside the list of ways that there are. */
#include "gateway/request/flight.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { WAY_MOST = 10 };

/* Each is a life; what follows it in a list is where it went. */
static const mg_way ways[][WAY_MOST] = {
    /* a good request: limits, plugins, an upstream */
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_LIMITS, MG_WAY_CHAIN, MG_WAY_PROXY, MG_WAY_UNWIND, MG_WAY_SEND,
      MG_WAY_END, MG_WAY_OVER },
    /* without limits; without plugins */
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_CHAIN, MG_WAY_PROXY, MG_WAY_SEND, MG_WAY_END, MG_WAY_OVER },
    /* no HTTP; no route; refused by a limiter; answered by a plugin */
    { MG_WAY_NEW, MG_WAY_SEND, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_SEND, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_LIMITS, MG_WAY_SEND, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_CHAIN, MG_WAY_SEND, MG_WAY_END, MG_WAY_OVER },
    /* the client leaves: in a limiter, in a handler that unwinds, at the upstream, behind next() */
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_LIMITS, MG_WAY_END, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_CHAIN, MG_WAY_END, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_CHAIN, MG_WAY_PROXY, MG_WAY_END, MG_WAY_OVER },
    { MG_WAY_NEW, MG_WAY_ROUTE, MG_WAY_CHAIN, MG_WAY_PROXY, MG_WAY_UNWIND, MG_WAY_END, MG_WAY_OVER },
    /* a job */
    { MG_WAY_NEW, MG_WAY_CHAIN, MG_WAY_END },
};

static bool is_listed(mg_way from, mg_way to)
{
    for (size_t w = 0; w < mg_countof(ways); w++)
        for (int i = 0; i + 1 < WAY_MOST && ways[w][i + 1]; i++)
            if (ways[w][i] == from && ways[w][i + 1] == to)
                return true;
    return false;
}

static void moves_as_the_ways_say_and_no_other_way(void **state)
{
    (void)state;
    for (int from = MG_WAY_NEW; from <= MG_WAY_OVER; from++)
        for (int to = MG_WAY_NEW; to <= MG_WAY_STAYS; to++)
            if (mg_flight_may_move(from, to) != is_listed(from, to))
                fail_msg("from %d to %d", from, to);
}

static void goes_each_of_them(void **state)
{
    (void)state;
    for (size_t w = 0; w < mg_countof(ways); w++) {
        mg_flight flight = { .way = MG_WAY_NEW };
        for (int i = 1; i < WAY_MOST && ways[w][i]; i++) {
            mg_flight_move(&flight, ways[w][i]);
            assert_int_equal(flight.way, ways[w][i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_as_the_ways_say_and_no_other_way),
        cmocka_unit_test(goes_each_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
