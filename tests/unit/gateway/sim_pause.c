/* sim_pause.c - chains in the middle of long work: one part a turn of the loop, and what ends them. The world
 * turns by hand here, since such a chain is always ready for more. */
#include "sim_exchange.h"

#include "sim/sim_parts.h"

/* ./plugins/p: a text of many parts, read once at /once, and for ever at /ever; how many have been read. */
#define READS                                                                                                \
    "local plugin = { name = 'p', version = '1.0.0' }\n"                                                     \
    "function plugin.new()\n"                                                                                \
    "local text, read = '[' .. ('1,'):rep(40000) .. '1]', 0\n"                                               \
    "return function(ctx)\n"                                                                                 \
    "if ctx.request.path == '/read' then return ctx:respond(200, 'read ' .. read) end\n"                     \
    "local ok, problem = pcall(function()\n"                                                                 \
    "repeat ctx.json.decode(text) until ctx.request.path == '/once'\n"                                       \
    "end)\n"                                                                                                 \
    "if not ok and ctx.request.path == '/kept' then return ctx:respond(200, problem) end\n"                  \
    "if not ok then error(problem, 0) end\n"                                                                 \
    "read = read + 1\n"                                                                                      \
    "ctx:respond(200, 'read ' .. read)\n"                                                                    \
    "end end\nreturn plugin\n"

enum { PARTS = 10, TURNS = 2000 }; /* of the text, at least; more turns than anything here takes */

#define ASK(path) "GET " path " HTTP/1.1\r\nhost: a\r\n\r\n"

static void send_only(line *l, int fd, const char *text)
{
    const struct iovec part = { (void *)(uintptr_t)text, strlen(text) };

    assert_int_equal(l->w.outside->ops->send(l->w.outside, fd, &part, 1), strlen(text));
}

static void turn(line *l, int turns, uint64_t ns_each)
{
    for (int i = 0; i < turns; i++) {
        l->w.sim->mono_ns += ns_each;
        (void)mg_sim_turn(l->w.sim);
    }
}

/* What has arrived; nothing more runs. */
static const char *heard(line *l, int fd)
{
    const ssize_t got = l->w.outside->ops->recv(l->w.outside, fd, l->w.heard, HEARD_BYTES);

    l->w.heard[got > 0 ? got : 0] = '\0';
    return l->w.heard;
}

static void others_go_on_while_a_long_text_is_read(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, READS);
    const int other = dial(&l.w, "10.0.0.1", 80);
    send_only(&l, l.client, ASK("/once"));
    turn(&l, 6, 0); /* it has begun */
    assert_int_equal(world_live_exchanges(&l.w), 1);
    send_only(&l, other, ASK("/read"));
    turn(&l, 6, 0);
    assert_ends(heard(&l, other), "read 0");
    (void)hear(&l.w, l.client);
    assert_ends(l.w.heard, "read 1");
    hang_up(&l.w, other);
    line_close(&l);
}

static void a_turn_has_one_part_however_many_read(void **state)
{
    enum { CLIENTS = 8 };
    int clients[CLIENTS];
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, READS);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = dial(&l.w, "10.0.0.1", 80);
    for (int i = 0; i < CLIENTS; i++)
        send_only(&l, clients[i], ASK("/once"));
    assert_in_range(mg_sim_settle(l.w.sim), CLIENTS * PARTS, SIZE_MAX);
    for (int i = 0; i < CLIENTS; i++) {
        (void)hear(&l.w, clients[i]);
        assert_has(l.w.heard, "\r\n\r\nread ");
        hang_up(&l.w, clients[i]);
    }
    line_close(&l);
}

static void a_client_that_leaves_ends_it(void **state)
{
    line l;

    (void)state;
    for (int i = 0; i < 2; i++) {
        line_open(&l, BASE ROUTE_P, READS);
        send_only(&l, l.client, ASK("/ever"));
        turn(&l, 20, 0);
        assert_int_equal(world_live_exchanges(&l.w), 1);
        l.w.outside->ops->close(l.w.outside, l.client, i == 0);
        l.client = -1;
        turn(&l, TURNS, 0);
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void the_deadline_ends_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, READS);
    send_only(&l, l.client, ASK("/ever"));
    turn(&l, 14 * 20, 50 * MS); /* the route has 15 s */
    assert_string_equal(heard(&l, l.client), "");
    turn(&l, 100, 50 * MS);
    assert_starts(heard(&l, l.client), "HTTP/1.1 504 ");
    line_close(&l);
}

#define ROUTE_200MS                                                                                          \
    "plugins: { p: { use: ./plugins/p, timeout: 200ms } }\n"                                                 \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

static void the_plugins_timeout_is_for_all_parts_together(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_200MS, READS);
    send_only(&l, l.client, ASK("/kept"));
    turn(&l, 100, MS);
    assert_string_equal(heard(&l, l.client), "");
    turn(&l, 300, MS);
    assert_starts(heard(&l, l.client), "HTTP/1.1 200 ");
    assert_has(l.w.heard, "plugins/p/plugin.lua:7: this waited longer than the plugin's timeout allows");
    send_only(&l, l.client, ASK("/once")); /* one that ends within it does */
    settle(&l.w);
    assert_ends(heard(&l, l.client), "read 1");
    line_close(&l);
}

static void a_gateway_that_ends_ends_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, READS);
    send_only(&l, l.client, ASK("/ever"));
    turn(&l, 20, 0);
    world_free_gateway(&l.w);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_go_on_while_a_long_text_is_read),
        cmocka_unit_test(a_turn_has_one_part_however_many_read),
        cmocka_unit_test(a_client_that_leaves_ends_it),
        cmocka_unit_test(the_deadline_ends_it),
        cmocka_unit_test(the_plugins_timeout_is_for_all_parts_together),
        cmocka_unit_test(a_gateway_that_ends_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
