/* resolver_names.c - which names are asked for: the search list, literals, the hosts file, localhost. */
#include "resolver_fixture.h"

static void relative_names_are_searched_for(void **state)
{
    static const script scripts[] = { { "db.one.internal", .a = 1, .ttl_a = 9 },
                                      { "db.two.internal", .a = 2, .ttl_a = 9 },
                                      { "api.eu.two.internal", .a = 3, .ttl_a = 9, .cut = true },
                                      { "api.eu", .a = 4, .ttl_a = 9 } };
    char path[] = "/tmp/moongate-resolv-XXXXXX";
    world w;
    asked a[5];

    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "# comment\nnameserver 192.0.2.1\ndomain nowhere.internal\n"
                "search Two.internal. one.internal a..b\noptions ndots:2 attempts:1\n");
    close(fd);
    open_searching(&w, scripts, mg_countof(scripts), path);
    ask(&w, &a[0], "db");
    ask(&w, &a[1], "api.eu");
    ask(&w, &a[2], "api.eu.");
    ask(&w, &a[3], "db.one.internal");
    run_until(&w, 4);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2");
    assert_addrs(&a[1], "10.0.0.1 10.0.0.2 10.0.0.3");
    assert_int_equal(a[2].answer.count, 4);
    assert_addrs(&a[3], "10.0.0.1");
    ask(&w, &a[4], "nobody");
    run_until(&w, 5);
    assert_int_equal(a[4].result, MG_ERR_NOT_FOUND);
    assert_string_equal(w.last, "nobody"); /* as it stands comes last */
    close_world(&w);
    unlink(path);
}

static void literals_and_nonsense_ask_nobody(void **state)
{
    static const char *bad[] = {
        "", ".", "a b", "a\tb", "a..b", "0123456789012345678901234567890123456789012345678901234567890123.com"
    };
    char long_name[300];
    world w;
    asked a[MAX_ASKED];

    (void)state;
    open_world(&w, NULL, 0);
    ask(&w, &a[0], "192.0.2.7");
    ask(&w, &a[1], "2001:db8::7");
    run_until(&w, 2);
    assert_addrs(&a[0], "192.0.2.7");
    assert_addrs(&a[1], "2001:db8::7");
    for (size_t i = 0; i < mg_countof(bad); i++)
        ask(&w, &a[2 + i], bad[i]);
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    ask(&w, &a[2 + mg_countof(bad)], long_name);
    run_until(&w, 3 + mg_countof(bad));
    for (size_t i = 0; i < mg_countof(bad) + 1; i++)
        assert_int_equal(a[2 + i].result, MG_ERR_INVALID);
    assert_int_equal(w.queries, 0);
    close_world(&w);
}

static void the_hosts_file_comes_first_and_is_read_again(void **state)
{
    world w;
    asked a[6];

    (void)state;
    open_world(&w, NULL, 0);
    write_hosts(&w, "# 10.9.9.9 db.internal\n"
                    "10.1.1.1\tdb.internal db # the first\r\n"
                    "not-an-address db.internal\n"
                    "\n"
                    "10.1.1.1 db.internal\n"
                    "fd00::5 other DB.Internal");
    ask(&w, &a[0], "db.internal");
    ask(&w, &a[1], "DB");
    run_until(&w, 2);
    assert_addrs(&a[0], "10.1.1.1 fd00::5");
    assert_addrs(&a[1], "10.1.1.1");
    write_hosts(&w, "10.1.1.2 db.internal\n");
    ask(&w, &a[2], "db.internal");
    run_until(&w, 3);
    assert_addrs(&a[2], "10.1.1.2");
    assert_int_equal(w.queries, 0);
    unlink(w.hosts);
    ask(&w, &a[3], "db.internal");
    run_until(&w, 4);
    assert_int_equal(a[3].result, MG_ERR_NOT_FOUND);
    assert_true(w.queries > 0);
    close_world(&w);
}

static void localhost_always_resolves_unless_the_file_says_otherwise(void **state)
{
    world w;
    asked a[3];

    (void)state;
    open_world(&w, NULL, 0);
    ask(&w, &a[0], "localhost");
    ask(&w, &a[1], "app.Localhost.");
    run_until(&w, 2);
    assert_addrs(&a[0], "127.0.0.1 ::1");
    assert_addrs(&a[1], "127.0.0.1 ::1");
    write_hosts(&w, "127.0.0.2 localhost\n");
    ask(&w, &a[2], "localhost");
    run_until(&w, 3);
    assert_addrs(&a[2], "127.0.0.2");
    assert_int_equal(w.queries, 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relative_names_are_searched_for),
        cmocka_unit_test(literals_and_nonsense_ask_nobody),
        cmocka_unit_test(the_hosts_file_comes_first_and_is_read_again),
        cmocka_unit_test(localhost_always_resolves_unless_the_file_says_otherwise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
