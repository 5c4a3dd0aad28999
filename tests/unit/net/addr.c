/* addr.c - binds, literals, blocks. */
#include "net/addr.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void binds_are_read_and_written_back(void **state)
{
    static const struct {
        const char *text, *back;
    } cases[] = {
        { ":8080", "[::]:8080" },
        { "127.0.0.1:80", "127.0.0.1:80" },
        { "0.0.0.0:0", "0.0.0.0:0" },
        { "[::1]:65535", "[::1]:65535" },
        { "[2001:DB8:0::1]:443", "[2001:db8::1]:443" },
        { "unix:/run/moongate.sock", "unix:/run/moongate.sock" },
        { "unix:here", "unix:here" },
    };
    char text[MG_ADDR_TEXT];

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        mg_addr addr;
        mg_error err = MG_ERROR_INIT;
        assert_int_equal(mg_addr_parse_bind(&addr, mg_str_of(cases[i].text), &err), MG_OK);
        assert_int_equal(mg_addr_text(&addr, text), strlen(cases[i].back));
        assert_string_equal(text, cases[i].back);
    }
}

static void what_is_no_bind_is_told_so(void **state)
{
    static const char *cases[] = {
        "",
        ":",
        "8080",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.1:80",
        ":-1",
        ":80x",
        "[::1]",
        "[::1:80",
        "::1:80",
        "[127.0.0.1]:80",
        "[]:80",
        "[::g]:80",
        "256.0.0.1:80",
        "unix:",
        ":080808080808",
        ": 80",
        "127.0.0.1:+80",
        "unix:"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "01234567",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        mg_addr addr;
        mg_error err = MG_ERROR_INIT;
        assert_int_equal(mg_addr_parse_bind(&addr, mg_str_of(cases[i]), &err), MG_ERR_INVALID);
        assert_true(err.message[0]);
    }
    mg_addr addr;
    assert_int_equal(mg_addr_parse_bind(&addr, mg_str_make("unix:a\0b", 8), NULL), MG_ERR_INVALID);
    assert_false(mg_addr_from_ip(&addr, mg_str_make("127.0.0.1\0", 10), 0));
}

static void a_mapped_address_is_written_as_the_ipv4_it_is(void **state)
{
    mg_addr addr;
    char text[MG_ADDR_TEXT];

    (void)state;
    assert_true(mg_addr_from_ip(&addr, MG_STR("::ffff:203.0.113.9"), 81));
    mg_addr_ip_text(&addr, text);
    assert_string_equal(text, "203.0.113.9");
    mg_addr_text(&addr, text);
    assert_string_equal(text, "203.0.113.9:81");
    assert_int_equal(mg_addr_port(&addr), 81);
    assert_int_equal(mg_addr_parse_bind(&addr, MG_STR("unix:x"), NULL), MG_OK);
    mg_addr_ip_text(&addr, text);
    assert_string_equal(text, "unix:");
    assert_int_equal(mg_addr_port(&addr), 0);
}

static void addresses_are_equal_with_their_ports(void **state)
{
    static const char *all[] = { "127.0.0.1:1", "127.0.0.1:2", "127.0.0.2:1", "[::1]:1",
                                 "[::2]:1",     "unix:a",      "unix:ab" };

    (void)state;
    for (size_t i = 0; i < mg_countof(all); i++)
        for (size_t j = 0; j < mg_countof(all); j++) {
            mg_addr a, b;
            assert_int_equal(mg_addr_parse_bind(&a, mg_str_of(all[i]), NULL), MG_OK);
            assert_int_equal(mg_addr_parse_bind(&b, mg_str_of(all[j]), NULL), MG_OK);
            assert_int_equal(mg_addr_eq(&a, &b), i == j);
        }
}

static void a_block_holds_what_it_says(void **state)
{
    static const struct {
        const char *block, *ip;
        bool inside;
    } cases[] = {
        { "10.0.0.0/8", "10.255.0.1", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "10.1.2.3/8", "10.9.9.9", true },
        { "192.168.4.0/22", "192.168.7.255", true },
        { "192.168.4.0/22", "192.168.8.0", false },
        { "203.0.113.9", "203.0.113.9", true },
        { "203.0.113.9", "203.0.113.8", false },
        { "10.0.0.0/8", "::ffff:10.0.0.1", true },
        { "0.0.0.0/0", "1.2.3.4", true },
        { "0.0.0.0/0", "2001:db8::1", false },
        { "2001:db8::/32", "2001:db8:ff::1", true },
        { "2001:db8::/32", "2001:db9::", false },
        { "::/0", "2001:db8::1", true },
        { "::/0", "1.2.3.4", false },
        { "::1", "::1", true },
        { "::1", "::2", false },
        { "::ffff:10.0.0.0/104", "10.1.1.1", true },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        mg_cidr cidr;
        mg_addr addr;
        assert_true(mg_cidr_parse(&cidr, mg_str_of(cases[i].block)));
        assert_true(mg_addr_from_ip(&addr, mg_str_of(cases[i].ip), 1));
        if (mg_cidr_has(&cidr, &addr) != cases[i].inside)
            fail_msg("%s in %s", cases[i].ip, cases[i].block);
    }
    mg_cidr cidr;
    mg_addr addr;
    assert_int_equal(mg_addr_parse_bind(&addr, MG_STR("unix:x"), NULL), MG_OK);
    assert_true(mg_cidr_parse(&cidr, MG_STR("0.0.0.0/0")));
    assert_false(mg_cidr_has(&cidr, &addr));
    assert_true(mg_cidr_parse(&cidr, MG_STR("unix:")));
    assert_true(mg_cidr_has(&cidr, &addr));
    assert_true(mg_addr_from_ip(&addr, MG_STR("10.0.0.1"), 1));
    assert_false(mg_cidr_has(&cidr, &addr));
}

static void what_is_no_block_is_refused(void **state)
{
    static const char *cases[] = { "",       "/8",       "10.0.0.0/",   "10.0.0.0/33",
                                   "::/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8/8",
                                   "x",      "unix",     "unix:x" };
    mg_cidr cidr;

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_false(mg_cidr_parse(&cidr, mg_str_of(cases[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binds_are_read_and_written_back),
        cmocka_unit_test(what_is_no_bind_is_told_so),
        cmocka_unit_test(a_mapped_address_is_written_as_the_ipv4_it_is),
        cmocka_unit_test(addresses_are_equal_with_their_ports),
        cmocka_unit_test(a_block_holds_what_it_says),
        cmocka_unit_test(what_is_no_block_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
