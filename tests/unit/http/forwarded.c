/* The members of X-Forwarded-For and Forwarded, from the right. */
#include "http/forwarded.h"

#include "support/check.h"

typedef struct fixture {
    mg_arena arena;
    mg_fields fields;
    mg_hops hops;
} fixture;

static void begin(fixture *f, mg_name id, const char *const lines[])
{
    *f = (fixture){ 0 };
    mg_arena_init(&f->arena, NULL, 0);
    for (; *lines; lines++) {
        mg_fields_add(&f->fields, &f->arena, MG_NAME_VIA, MG_STR("via"), MG_STR("1.1 between"));
        mg_fields_add(&f->fields, &f->arena, id, mg_name_text(id), mg_str_of(*lines));
    }
    mg_hops_init(&f->hops, &f->fields, &f->arena, id);
}

/* The addresses as "c|b|a", "-" for one that is not told. */
static void read_as(mg_name id, const char *const lines[], const char *want)
{
    fixture f;
    mg_hop hop;
    mg_text got = { 0 };

    begin(&f, id, lines);
    while (mg_hops_next(&f.hops, &hop)) {
        if (got.n)
            mg_text_add_char(&got, '|');
        mg_text_add(&got, hop.ip.p ? hop.ip : MG_STR("-"));
    }
    check_str(mg_text_str(&got), want);
    mg_text_fini(&got);
    mg_arena_fini(&f.arena);
}

#define X_FORWARDED_FOR(want, ...)                                                                           \
    read_as(MG_NAME_X_FORWARDED_FOR, (const char *const[]){ __VA_ARGS__, NULL }, want)
#define FORWARDED(want, ...) read_as(MG_NAME_FORWARDED, (const char *const[]){ __VA_ARGS__, NULL }, want)

static void all_lines_are_one_list(void **state)
{
    (void)state;
    X_FORWARDED_FOR("1.1.1.1", "1.1.1.1");
    X_FORWARDED_FOR("3.3.3.3|2.2.2.2|1.1.1.1", "1.1.1.1, 2.2.2.2", "3.3.3.3");
    X_FORWARDED_FOR("3.3.3.3|2.2.2.2|1.1.1.1", "1.1.1.1", "2.2.2.2,3.3.3.3");
    FORWARDED("3.3.3.3|2.2.2.2|1.1.1.1", "for=1.1.1.1, for=2.2.2.2", "for=3.3.3.3");
}

static void empty_members_are_passed_over(void **state)
{
    (void)state;
    X_FORWARDED_FOR("2.2.2.2|1.1.1.1", "1.1.1.1,, 2.2.2.2, ");
    X_FORWARDED_FOR("1.1.1.1", " ,\t,1.1.1.1", "", ",");
    X_FORWARDED_FOR("", ",,,");
    FORWARDED("2.2.2.2|1.1.1.1", "", ", for=1.1.1.1,, for=2.2.2.2,", ",");
}

static void ports_and_brackets_are_no_part_of_an_address(void **state)
{
    (void)state;
    X_FORWARDED_FOR("203.0.113.9", "203.0.113.9:5123");
    X_FORWARDED_FOR("2001:db8::1", "[2001:db8::1]:443");
    X_FORWARDED_FOR("2001:db8::1", "[2001:db8::1]");
    X_FORWARDED_FOR("2001:db8::1", "2001:db8::1");
    X_FORWARDED_FOR("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:1");
    FORWARDED("203.0.113.9", "for=\"203.0.113.9:5123\"");
    FORWARDED("203.0.113.9", "for=203.0.113.9:5123");
    FORWARDED("2001:db8::1", "for=\"[2001:db8::1]:443\"");
    FORWARDED("2001:db8::1", "for=[2001:db8::1]:_gazonk");
}

static void what_is_malformed_names_nobody(void **state)
{
    (void)state;
    X_FORWARDED_FOR("-", "1.1.1.1:");
    X_FORWARDED_FOR("-", "1.1.1.1:123456");
    X_FORWARDED_FOR("-", "1.1.1.1:http");
    X_FORWARDED_FOR("-", "[2001:db8::1");
    X_FORWARDED_FOR("-", "[2001:db8::1]443");
    X_FORWARDED_FOR("-", "[2001:db8::1]:x");
    X_FORWARDED_FOR("-", "[192.0.2.1]");
    FORWARDED("-", "for");
    FORWARDED("-", "for =1.1.1.1");
    FORWARDED("-", "for=1.1.1.1 proto=https");
    FORWARDED("-", "for=1.1.1.1;for=2.2.2.2");
    FORWARDED("-", "for=\"1.1.1.1\"x");
    FORWARDED("-", "=1.1.1.1");
    FORWARDED("2.2.2.2|-", "for=1.1.1.1;;x, for=2.2.2.2");
}

static void names_that_are_no_address_are_told_as_they_stand(void **state)
{
    (void)state;
    X_FORWARDED_FOR("unknown|_hidden", "_hidden, unknown");
    FORWARDED("unknown|_hidden", "for=_hidden, for=unknown");
    FORWARDED("-|-", "by=1.1.1.1, proto=https");
}

static void a_quoted_string_may_hold_anything(void **state)
{
    (void)state;
    FORWARDED("2.2.2.2|1.1.1.1", "for=1.1.1.1;ext=\"a, for=9.9.9.9;\\\", b\", for=2.2.2.2");
    FORWARDED("1.1.1.1", "for=\"\\1.1\\.1.1\"");
}

/* A client that opens a string and leaves it open would move what the proxy adds into it. */
static void a_string_that_does_not_end_spoils_its_line(void **state)
{
    (void)state;
    FORWARDED("-", "for=\"1.1.1.1, for=2.2.2.2");
    FORWARDED("-", "x=\", for=\"[2001:db8::2]\"");
    FORWARDED("-", "for=\"1.1.1.1\\\", for=2.2.2.2");
    FORWARDED("2.2.2.2|-", "for=9.9.9.9, for=\"1.1.1.1", "for=2.2.2.2");
}

static void an_element_tells_scheme_and_host(void **state)
{
    fixture f;
    mg_hop hop;
    (void)state;

    begin(&f, MG_NAME_FORWARDED,
          (const char *const[]){ " FOR=1.1.1.1 ;\tProto=HTTPS; host=\"a.example:81\";by=_me ;", NULL });
    assert_true(mg_hops_next(&f.hops, &hop));
    check_str(hop.ip, "1.1.1.1");
    check_str(hop.proto, "HTTPS");
    check_str(hop.host, "a.example:81");
    assert_false(mg_hops_next(&f.hops, &hop));
    mg_arena_fini(&f.arena);
    begin(&f, MG_NAME_FORWARDED, (const char *const[]){ "proto=https;for=1.1.1.1;proto=http", NULL });
    assert_true(mg_hops_next(&f.hops, &hop));
    assert_null(hop.proto.p);
    mg_arena_fini(&f.arena);
}

static void no_more_members_than_the_bound_are_looked_at(void **state)
{
    (void)state;
    for (int quoted = 0; quoted < 2; quoted++) {
        mg_text list = { 0 };
        fixture f;
        mg_hop hop;
        unsigned n = 0;

        for (int i = 0; i < 3 * MG_HOPS_MAX; i++)
            mg_text_addf(&list, quoted ? "%sfor=\"10.0.0.%d\"" : "%s10.0.0.%d", i ? "," : "", i);
        begin(&f, quoted ? MG_NAME_FORWARDED : MG_NAME_X_FORWARDED_FOR,
              (const char *const[]){ "1.1.1.1", list.p, NULL });
        while (mg_hops_next(&f.hops, &hop)) {
            char want[32];
            snprintf(want, sizeof want, "10.0.0.%u", 3 * MG_HOPS_MAX - 1 - n++);
            check_str(hop.ip, want);
        }
        assert_int_equal(n, MG_HOPS_MAX);
        mg_arena_fini(&f.arena);
        mg_text_fini(&list);
    }
}

static void a_line_whose_strings_end_is_whole(void **state)
{
    static const struct {
        const char *line;
        bool whole;
    } cases[] = { { "", true },
                  { "for=1.1.1.1", true },
                  { "for=\"[::1]\", x=\"\\\"\"", true },
                  { "for=\"[::1]", false },
                  { "x=\"\\\"", false },
                  { "x=\"\\", false } };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        begin(&f, MG_NAME_FORWARDED, (const char *const[]){ "for=_a", cases[i].line, NULL });
        assert_int_equal(mg_forwarded_is_whole(&f.fields), cases[i].whole);
        mg_arena_fini(&f.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lines_are_one_list),
        cmocka_unit_test(empty_members_are_passed_over),
        cmocka_unit_test(ports_and_brackets_are_no_part_of_an_address),
        cmocka_unit_test(what_is_malformed_names_nobody),
        cmocka_unit_test(names_that_are_no_address_are_told_as_they_stand),
        cmocka_unit_test(a_quoted_string_may_hold_anything),
        cmocka_unit_test(a_string_that_does_not_end_spoils_its_line),
        cmocka_unit_test(an_element_tells_scheme_and_host),
        cmocka_unit_test(no_more_members_than_the_bound_are_looked_at),
        cmocka_unit_test(a_line_whose_strings_end_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
