/* The Lua side and the C half of ctx together: what a chain does to an exchange. */
#include "call_fixture.h"

/* One plugin whose handler is this body. */
#define HANDLER(body)                                                                                        \
    "local plugin = { version = \"1.2.3\" }\nfunction plugin.new(conf)\nreturn function(ctx, next)\n" body   \
    "\nend\nend\nreturn plugin\n"

static void a_chain_passes_a_request_through_and_back(void **state)
{
    fixture f;
    const char *const sources[] = {
        HANDLER("ctx.request:set_header('X-Seen', 'a'); next(ctx); ctx.response:add_header('x-order', 'a')"),
        HANDLER("ctx.request:set_header('x-seen', ctx.request:header('X-SEEN') .. 'b'); next(ctx)\n"
                "ctx.response:add_header('x-order', 'b' .. ctx.response.status)"),
    };

    (void)state;
    fixture_init(&f);
    if (!fixture_boot(&f, sources, NULL, 2))
        fail_msg("%s", f.err.message);
    for (int i = 0; i < 300; i++) { /* long enough to be compiled */
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), MG_WAIT_NEXT);
        assert_true(f.call->next_called);
        assert_string_equal(fixture_field(&f, MG_REQUEST, "x-seen"), "ab");
        fixture_answer(&f, 201);
        assert_int_equal(fixture_resume(&f), MG_WAIT_DONE);
        assert_int_equal(f.x.response.fields.count, 2);
        assert_string_equal(fixture_field(&f, MG_RESPONSE, "x-order"), "b201");
        fixture_give(&f, true);
    }
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_passes_a_request_through_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
