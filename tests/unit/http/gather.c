/* gather.c - a body into memory: in pieces of any size, up to its bound and one byte more. */
#include "http/gather.h"

#include "base/mem.h"
#include "support/check.h"

typedef struct fixture {
    mg_body body;
    mg_body_source source;
    mg_gather gather;
    unsigned resumed, over;
} fixture;

static fixture *of_source(mg_body_source *source)
{
    return mg_container_of(source, fixture, source);
}

static void on_resume(mg_body_source *source)
{
    of_source(source)->resumed++;
}

static void on_stop(mg_body_source *source)
{
    of_source(source)->body.source = NULL;
}

static void on_over(mg_gather *gather)
{
    mg_container_of(gather, fixture, gather)->over++;
}

static void begin(fixture *f, size_t max_bytes)
{
    *f = (fixture){ .source = { on_resume, on_stop }, .gather.max_bytes = max_bytes };
    f->body.source = &f->source;
}

static void offer(fixture *f, const char *bytes)
{
    const size_t n = strlen(bytes);

    assert_int_equal(f->body.sink->data(f->body.sink, bytes, n), n);
}

static void end(fixture *f)
{
    f->body.sink->end(f->body.sink, NULL);
}

static void takes_a_body_of_just_its_bound(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 6);
    mg_gather_start(&f.gather, &f.body, on_over);
    assert_int_equal(f.resumed, 1);
    offer(&f, "ab");
    offer(&f, "cdef");
    assert_int_equal(f.over, 0);
    assert_false(mg_gather_is_there(&f.gather));
    end(&f);
    assert_int_equal(f.over, 1);
    assert_int_equal(f.gather.state, MG_GATHER_WHOLE);
    assert_true(mg_gather_is_there(&f.gather));
    check_str(mg_text_str(&f.gather.text), "abcdef");
    mg_gather_fini(&f.gather);
}

static void drops_one_of_a_byte_more_and_what_follows(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 6);
    mg_gather_start(&f.gather, &f.body, on_over);
    offer(&f, "abcdef");
    offer(&f, "g");
    assert_int_equal(f.over, 1);
    assert_int_equal(f.gather.state, MG_GATHER_TOO_LARGE);
    assert_int_equal(f.gather.text.n, 0);
    assert_int_equal(f.gather.text.cap, 0);
    offer(&f, "h");
    end(&f);
    f.body.sink->reset(f.body.sink, MG_RESET_CLIENT_GONE);
    assert_int_equal(f.over, 1);
    assert_int_equal(f.gather.state, MG_GATHER_TOO_LARGE);
    mg_gather_fini(&f.gather);
}

static void takes_nothing_where_nothing_may_be_taken(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 0);
    mg_gather_start(&f.gather, &f.body, on_over);
    end(&f);
    assert_int_equal(f.gather.state, MG_GATHER_WHOLE);
    begin(&f, 0);
    mg_gather_start(&f.gather, &f.body, on_over);
    offer(&f, "a");
    assert_int_equal(f.gather.state, MG_GATHER_TOO_LARGE);
}

static void goes_on_behind_what_was_copied_or_left(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 6);
    assert_true(mg_gather_add(&f.gather, MG_STR("ab"))); /* it passed somebody else */
    mg_gather_start(&f.gather, &f.body, on_over);
    offer(&f, "cd");
    f.body.sink = NULL; /* its taker has left */
    mg_gather_start(&f.gather, &f.body, on_over);
    assert_int_equal(f.resumed, 2);
    offer(&f, "ef");
    end(&f);
    assert_int_equal(f.over, 1);
    check_str(mg_text_str(&f.gather.text), "abcdef");
    mg_gather_fini(&f.gather);
}

static void tells_when_a_copy_is_too_large(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 3);
    assert_true(mg_gather_add(&f.gather, MG_STR("abc")));
    assert_true(mg_gather_add(&f.gather, MG_STR("")));
    assert_false(mg_gather_add(&f.gather, MG_STR("d")));
    assert_int_equal(f.gather.state, MG_GATHER_TOO_LARGE);
    assert_int_equal(f.over, 0); /* whoever adds it knows */
}

static void tells_why_it_was_cut(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 6);
    mg_gather_start(&f.gather, &f.body, on_over);
    offer(&f, "ab");
    f.body.sink->reset(f.body.sink, MG_RESET_UPSTREAM_RESET);
    assert_int_equal(f.over, 1);
    assert_int_equal(f.gather.state, MG_GATHER_CUT);
    assert_int_equal(f.gather.reset, MG_RESET_UPSTREAM_RESET);
    assert_false(mg_gather_is_there(&f.gather));
    mg_gather_fini(&f.gather);
}

static void other_bytes_take_its_place_whatever_its_bound(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 3);
    assert_true(mg_gather_add(&f.gather, MG_STR("abc")));
    mg_gather_end(&f.gather);
    mg_gather_replace(&f.gather, MG_STR("longer than that"));
    mg_gather_replace(&f.gather, MG_STR("longer than this"));
    assert_true(mg_gather_is_there(&f.gather));
    check_str(mg_text_str(&f.gather.text), "longer than this");
    mg_gather_clear(&f.gather);
    assert_int_equal(f.gather.state, MG_GATHER_PART);
    assert_int_equal(f.gather.text.n, 0);
    assert_true(mg_gather_add(&f.gather, MG_STR("abc")));
    assert_false(mg_gather_add(&f.gather, MG_STR("d")));
    mg_gather_fini(&f.gather);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_body_of_just_its_bound),
        cmocka_unit_test(drops_one_of_a_byte_more_and_what_follows),
        cmocka_unit_test(takes_nothing_where_nothing_may_be_taken),
        cmocka_unit_test(goes_on_behind_what_was_copied_or_left),
        cmocka_unit_test(tells_when_a_copy_is_too_large),
        cmocka_unit_test(tells_why_it_was_cut),
        cmocka_unit_test(other_bytes_take_its_place_whatever_its_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
