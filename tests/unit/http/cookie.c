/* One cookie among those of a request. */
#include "http/cookie.h"

#include "support/check.h"

static mg_str get(const char *first, const char *second, const char *name)
{
    static char memory[1024];
    mg_arena arena;
    mg_fields fields = { 0 };

    mg_arena_init(&arena, memory, sizeof memory);
    mg_fields_add(&fields, &arena, MG_NAME_HOST, MG_STR("host"), MG_STR("sid=0"));
    mg_fields_add(&fields, &arena, MG_NAME_COOKIE, MG_STR("cookie"), mg_str_of(first));
    if (second)
        mg_fields_add(&fields, &arena, MG_NAME_COOKIE, MG_STR("cookie"), mg_str_of(second));
    const mg_str value = mg_cookie_get(&fields, mg_str_of(name));
    mg_arena_fini(&arena);
    return value;
}

static void a_cookie_is_found_among_others(void **state)
{
    (void)state;
    check_str(get("sid=1", NULL, "sid"), "1");
    check_str(get("a=1; sid=2; sid=3", NULL, "sid"), "2");
    check_str(get("a=1;sid=2", NULL, "sid"), "2");
    check_str(get("xsid=1; sidx=2; sid=\"3=4\"", NULL, "sid"), "\"3=4\"");
    check_str(get("a=1", "b=2; sid=5", "sid"), "5");
    check_str(get("sid=", NULL, "sid"), "");
}

static void what_is_no_pair_is_passed_over(void **state)
{
    (void)state;
    assert_null(get("", NULL, "sid").p);
    assert_null(get("sid", NULL, "sid").p);
    assert_null(get(";;=;sid ;", NULL, "sid").p);
    assert_null(get("SID=1", NULL, "sid").p);
    assert_null(get("sid =1", NULL, "sid").p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cookie_is_found_among_others),
        cmocka_unit_test(what_is_no_pair_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
