/* What a request is refused for when its upstream side fails. */
#include "gateway/request/failure.h"
#include "support/check.h"

static void a_failure_is_called_what_its_reset_is(void **state)
{
    (void)state;
    for (mg_reset reset = MG_RESET_UPSTREAM_CONNECT; reset <= MG_RESET_DEADLINE; reset++)
        assert_string_equal(mg_refusals[mg_failure_of(reset)->refusal].error, mg_reset_text(reset));
    assert_string_equal(mg_refusals[mg_failure_slow_client.refusal].error, mg_reset_text(MG_RESET_DEADLINE));
}

static void every_refusal_has_a_status_and_all_but_the_readers_a_sentence(void **state)
{
    (void)state;
    for (mg_refusal why = 0; why <= MG_REFUSED_PATH; why++) {
        const mg_refusal_row *row = &mg_refusals[why];
        assert_in_range(row->status, 400, 599);
        assert_true(row->retry_after_s == -1 || row->status == 503);
        assert_int_equal(row->detail.n > 0 && row->detail.p[row->detail.n - 1] == '.',
                         why != MG_REFUSED_BAD_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_called_what_its_reset_is),
        cmocka_unit_test(every_refusal_has_a_status_and_all_but_the_readers_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
