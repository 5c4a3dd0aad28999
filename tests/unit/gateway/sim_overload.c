/* sim_overload.c - twice as many requests as the upstream can answer, for half a minute of the virtual clock:
 * an adaptive limit keeps it busy with what it can do, and refuses the rest at once. */
#include "sim_world.h"

#define GET         "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK          "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define TIMED_ROUTE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: 1s }]\n"
#define UPSTREAM(policies)                                                                                   \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], pool: { max_connections: 0, "         \
    "max_idle: 1000 }" policies " } }\n"

enum {
    SLOTS = 4,
    SERVICE_MS = 20,
    CAPACITY_PER_S = SLOTS * 1000 / SERVICE_MS,
    CONNS_MAX = 1000,
    STEP_NS = MG_NS_PER_MS / 2
};

/* An upstream of so many slots, first come, first served, and as many clients as it takes. */
typedef struct shop {
    world w;
    int listener;
    struct {
        int fd;
        bool waits;          /* for the answer */
        uint64_t free_at_ns; /* when the slot that serves it is done */
    } ups[CONNS_MAX];
    struct {
        int fd;
        bool waits;
        uint64_t since_ns;
    } clients[CONNS_MAX];
    size_t up_count, client_count;
    uint64_t slots_ns[SLOTS]; /* until when each is busy */
    uint64_t now_ns;
} shop;

/* What became of requests. */
typedef struct tally {
    unsigned sent, good, refused, late, other;
    uint64_t slowest_good_ns, slowest_refusal_ns;
} tally;

static void open_shop(shop *s, const char *config)
{
    *s = (shop){ 0 };
    world_open(&s->w, config);
    s->listener = listen_at(&s->w, "10.0.0.2", 9000);
}

static void close_shop(shop *s)
{
    for (size_t i = 0; i < s->client_count; i++)
        hang_up(&s->w, s->clients[i].fd);
    for (size_t i = 0; i < s->up_count; i++)
        hang_up(&s->w, s->ups[i].fd);
    hang_up(&s->w, s->listener);
    world_close(&s->w);
}

/* When a request that comes now is done: the slot that is free first takes it. */
static uint64_t serve(shop *s)
{
    size_t first = 0;

    for (size_t i = 1; i < SLOTS; i++)
        if (s->slots_ns[i] < s->slots_ns[first])
            first = i;
    s->slots_ns[first] = mg_max_u64(s->slots_ns[first], s->now_ns) + SERVICE_MS * MG_NS_PER_MS;
    return s->slots_ns[first];
}

static void drop_up(shop *s, size_t i)
{
    hang_up(&s->w, s->ups[i].fd);
    s->ups[i] = s->ups[--s->up_count];
}

static void turn_upstream(shop *s)
{
    for (int fd; (fd = take(&s->w, s->listener)) >= 0;) {
        assert_true(s->up_count < CONNS_MAX);
        s->ups[s->up_count].waits = false;
        s->ups[s->up_count++].fd = fd;
    }
    for (size_t i = s->up_count; i-- > 0;) {
        if (hear(&s->w, s->ups[i].fd) != HEAR_OPEN) { /* given up: its slot works on all the same */
            drop_up(s, i);
            continue;
        }
        if (*s->w.heard) {
            s->ups[i].waits = true;
            s->ups[i].free_at_ns = serve(s);
        }
        if (s->ups[i].waits && s->ups[i].free_at_ns <= s->now_ns) {
            s->ups[i].waits = false;
            say(&s->w, s->ups[i].fd, OK);
        }
    }
}

static void count_answer(tally *t, const char *heard, uint64_t took_ns)
{
    if (strncmp(heard, "HTTP/1.1 200 ", 13) == 0) {
        t->good++;
        t->slowest_good_ns = mg_max_u64(t->slowest_good_ns, took_ns);
    } else if (strncmp(heard, "HTTP/1.1 503 ", 13) == 0) {
        t->refused++;
        t->slowest_refusal_ns = mg_max_u64(t->slowest_refusal_ns, took_ns);
    } else if (strncmp(heard, "HTTP/1.1 504 ", 13) == 0) {
        t->late++;
    } else {
        t->other++;
    }
}

static void turn_clients(shop *s, tally *t)
{
    for (size_t i = s->client_count; i-- > 0;) {
        if (!s->clients[i].waits)
            continue;
        const int end = hear(&s->w, s->clients[i].fd);
        if (*s->w.heard) {
            count_answer(t, s->w.heard, s->now_ns - s->clients[i].since_ns);
            s->clients[i].waits = false;
        }
        if (end != HEAR_OPEN) {
            hang_up(&s->w, s->clients[i].fd);
            s->clients[i] = s->clients[--s->client_count];
        }
    }
}

static void ask(shop *s, tally *t)
{
    size_t i = 0;

    while (i < s->client_count && s->clients[i].waits)
        i++;
    if (i == s->client_count) {
        assert_true(i < CONNS_MAX);
        s->clients[i].fd = dial(&s->w, "10.0.0.1", 80);
        s->client_count++;
    }
    s->clients[i].waits = true;
    s->clients[i].since_ns = s->now_ns;
    say(&s->w, s->clients[i].fd, GET);
    t->sent++;
}

/* So many requests a second for so long, evenly; what is answered after that counts for who comes next. */
static tally offer(shop *s, unsigned per_s, unsigned seconds)
{
    const uint64_t start_ns = s->now_ns, end_ns = start_ns + seconds * MG_NS_PER_S;
    tally t = { 0 };

    for (; s->now_ns < end_ns; s->now_ns += STEP_NS, advance(&s->w, STEP_NS)) {
        while (start_ns + (uint64_t)t.sent * MG_NS_PER_S / per_s <= s->now_ns)
            ask(s, &t);
        turn_upstream(s);
        turn_clients(s, &t);
    }
    return t;
}

static void half_is_served_and_half_refused_at_once(void **state)
{
    static shop s;

    (void)state;
    open_shop(&s, WEB QUIET UPSTREAM(", adaptive: {}") TIMED_ROUTE);
    const tally calm = offer(&s, CAPACITY_PER_S * 9 / 10, 10);
    assert_int_equal(calm.refused + calm.late + calm.other, 0);

    const tally twice = offer(&s, 2 * CAPACITY_PER_S, 30);
    assert_int_equal(twice.sent, 2 * CAPACITY_PER_S * 30);
    print_message("twice the capacity: %u good, %u refused, %u late; slowest %u ms\n", twice.good,
                  twice.refused, twice.late, (unsigned)(twice.slowest_good_ns / MG_NS_PER_MS));
    assert_true(twice.good >= CAPACITY_PER_S * 30 * 8 / 10);
    assert_int_equal(twice.late + twice.other, 0);
    assert_true(twice.slowest_refusal_ns < MG_NS_PER_MS);

    (void)offer(&s, CAPACITY_PER_S / 2, 5);
    const tally after = offer(&s, CAPACITY_PER_S / 2, 5);
    assert_int_equal(after.refused + after.late + after.other, 0);
    assert_true(after.slowest_good_ns <= (SERVICE_MS + 1) * MG_NS_PER_MS);
    close_shop(&s);
}

/* The same without: what this file would not see if it were blind. */
static void without_a_limit_nearly_all_come_late(void **state)
{
    static shop s;

    (void)state;
    open_shop(&s, WEB QUIET UPSTREAM("") TIMED_ROUTE);
    (void)offer(&s, CAPACITY_PER_S * 9 / 10, 2);
    const tally twice = offer(&s, 2 * CAPACITY_PER_S, 4);
    print_message("without: %u good, %u refused, %u late\n", twice.good, twice.refused, twice.late);
    assert_true(twice.good < CAPACITY_PER_S * 4 * 8 / 10);
    close_shop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_is_served_and_half_refused_at_once),
        cmocka_unit_test(without_a_limit_nearly_all_come_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
