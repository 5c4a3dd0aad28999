/* What `moongate top` draws of two samples: figures, layout, and nothing that a terminal would obey. */
#include "support/check.h"
#include "support/document.h"

#include "base/mem.h"
#include "cli/top_view.h"

/* A sample out of its five documents, as text. */
typedef struct fixture {
    document *documents[5];
    mg_top_sample sample;
} fixture;

static void take(fixture *f, const char *about, const char *routes, const char *services,
                 const char *limiters, const char *rollouts)
{
    const char *const texts[] = { about, routes, services, limiters, rollouts };
    const mg_node *roots[5];

    for (int i = 0; i < 5; i++) {
        f->documents[i] = document_json(texts[i]);
        roots[i] = f->documents[i]->root;
        assert_non_null(roots[i]);
    }
    f->sample = (mg_top_sample){ roots[0], roots[1], roots[2], roots[3], roots[4] };
}

static void drop(fixture *f)
{
    for (int i = 0; i < 5; i++)
        document_free(f->documents[i]);
}

static const char about[] =
    "{\"at_ms\":1,\"version\":\"0.1.0\",\"state\":\"runs\",\"revision\":3,\"workers\":2,\"in_flight\":12}";
static const char no_limiters[] = "{\"limiters\":[]}", no_rollouts[] = "{\"rollouts\":[]}";

#define HOST(name, health, state, ejected, usable)                                                           \
    "{\"endpoint\":\"" name "\",\"health\":\"" health "\",\"state\":\"" state "\",\"ejected\":" ejected      \
    ",\"usable\":" usable ",\"weight\":1,\"inflight\":2}"
#define SERVICE(calls, errors, buckets, hosts)                                                               \
    "{\"services\":[{\"name\":\"cart\",\"endpoints\":[" hosts "],\"panic\":false,"                           \
    "\"pool\":{\"idle\":4,\"active\":2,\"waiting\":0},\"breaker\":{\"per\":\"service\",\"state\":\"open\"}," \
    "\"inflight\":7,\"adaptive\":{\"limit\":40,\"inflight\":7},\"figures\":{\"calls\":" calls                \
    ",\"errors\":" errors ",\"buckets\":" buckets "}}]}"

static void render(const fixture *now, const fixture *before, unsigned width, unsigned height, bool colour,
                   mg_text *out)
{
    const mg_top_screen screen = { .width = width, .height = height, .colour = colour };

    mg_text_clear(out);
    mg_top_render(&now->sample, before ? &before->sample : NULL, &screen, out);
}

static void take_two(fixture *before, fixture *now)
{
    take(before, about,
         "{\"at_ms\":1000,\"routes\":[{\"name\":\"all\",\"requests\":100,\"errors\":0,"
         "\"buckets\":[[5,100]]}]}",
         SERVICE("100", "0", "[[4,100]]", HOST("10.0.0.1:80", "healthy", "up", "false", "true")),
         "{\"limiters\":[{\"name\":\"per_key\",\"decisions\":{\"allow\":10,\"deny\":0},\"hot\":[]}]}",
         no_rollouts);
    take(now, about,
         "{\"at_ms\":3000,\"routes\":[{\"name\":\"all\",\"requests\":500,\"errors\":30,"
         "\"buckets\":[[5,100],[10,300],[25,90],[null,10]]}]}",
         SERVICE("500", "30", "[[4,100],[9,398],[80,2]]",
                 HOST("10.0.0.1:80", "healthy", "up", "false", "true") "," HOST("10.0.0.2:80", "unhealthy",
                                                                                "down", "true", "false")),
         "{\"limiters\":[{\"name\":\"per_key\",\"decisions\":{\"allow\":30,\"deny\":8},\"hot\":["
         "{\"key\":\"k1\",\"seen\":30,\"over\":0},{\"key\":\"k2\",\"seen\":10,\"over\":0}]}]}",
         "{\"rollouts\":[{\"route\":\"all\",\"canary\":\"next\",\"state\":\"running\",\"step\":1,\"steps\":4,"
         "\"percent\":5,\"strikes\":1,\"requests\":200,\"errors\":3}]}");
}

#define ABOUT(listeners)                                                                                     \
    "{\"version\":\"0.1.0\",\"state\":\"runs\",\"revision\":3,\"workers\":2,\"in_flight\":12,\"listeners\":" \
    "[" listeners "]}"
#define DOOR(name, open, max, refused)                                                                       \
    "{\"name\":\"" name "\",\"connections\":" open ",\"max_connections\":" max ",\"refused\":" refused "}"

static void refused_connections_have_a_line(void **state)
{
    static const char routes[] = "{\"at_ms\":1000,\"routes\":[]}", later[] = "{\"at_ms\":3000,\"routes\":[]}",
                      services[] = "{\"services\":[]}";
    fixture before, now;
    mg_text out = { 0 };

    (void)state;
    take(&before, ABOUT(DOOR("web", "100", "100", "30") "," DOOR("more", "4", "0", "2")), routes, services,
         no_limiters, no_rollouts);
    take(&now,
         ABOUT(DOOR("web", "99", "100", "40") "," DOOR("more", "4", "0", "2") "," DOOR("new", "1", "0", "0")),
         later, services, no_limiters, no_rollouts);
    render(&now, &before, 80, 0, false, &out);
    mg_text_add_char(&out, '\0');
    assert_non_null(strstr(out.p, "\nconnections: web 99 of 100, refused 40 (5/s)   more 4, refused 2\n"));
    render(&before, NULL, 80, 0, false, &out);
    mg_text_add_char(&out, '\0');
    assert_non_null(strstr(out.p, "\nconnections: web 100 of 100, refused 30   more 4, refused 2\n"));
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

static void two_samples_make_rates_and_latencies_of_what_lies_between(void **state)
{
    fixture before, now;
    mg_text out = { 0 };

    (void)state;
    take_two(&before, &now);
    render(&now, &before, 80, 0, false, &out);
    check_str(mg_text_str(&out),
              "moongate 0.1.0 runs   revision 3   workers 2   in flight 12\n"
              "\n"
              "ROUTES                             REQ/S    5XX/S   P50 MS   P99 MS     REQUESTS\n"
              "all                                  200       15       10     long          500\n"
              "\n"
              "SERVICES         HOSTS  BREAKER         REQ/S ERR/S    P99  INFL LIMIT      POOL\n"
              "cart               1/2  open              200    15      9     7    40     4/2/0\n"
              "  10.0.0.2:80                 unhealthy, ejected, down   weight 1   in flight 2\n"
              "\n"
              "LIMITERS              ALLOW/S   DENY/S  HOT KEYS, BY SAMPLE\n"
              "per_key                    10        4  k1 75%  k2 25%\n"
              "\n"
              "ROLLOUTS              CANARY        STATE      STEP    % REQUESTS ERRORS STRIKES\n"
              "all                   next          running     2/4    5      200      3       1\n");
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

static void one_sample_shows_no_rates(void **state)
{
    fixture before, now;
    mg_text out = { 0 };

    (void)state;
    take_two(&before, &now);
    render(&now, NULL, 80, 0, false, &out);
    assert_non_null(
        strstr(out.p, "all                                    -        -       10     long          500\n"));
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

static size_t longest_line(mg_str text)
{
    size_t longest = 0;
    mg_str line;

    while (mg_str_cut(&text, '\n', &line))
        longest = line.n > longest ? line.n : longest;
    return longest;
}

static void no_line_is_wider_than_the_screen(void **state)
{
    fixture before, now;
    mg_text out = { 0 };

    (void)state;
    take_two(&before, &now);
    for (unsigned width = 76; width < 200; width += 7) {
        render(&now, &before, width, 0, false, &out);
        assert_true(longest_line(mg_text_str(&out)) <= width);
    }
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

static void colour_is_asked_for(void **state)
{
    fixture before, now;
    mg_text out = { 0 };

    (void)state;
    take_two(&before, &now);
    render(&now, &before, 80, 0, false, &out);
    assert_null(strchr(out.p, '\033'));
    render(&now, &before, 80, 0, true, &out);
    assert_non_null(strstr(out.p, "\033[31mopen\033[0m"));
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

static void a_low_screen_shows_the_beginning_of_each_section(void **state)
{
    fixture now;
    mg_text out = { 0 }, routes = { 0 };
    size_t lines = 0;

    (void)state;
    mg_text_add_c(&routes, "{\"at_ms\":1,\"routes\":[");
    for (int i = 0; i < 100; i++)
        mg_text_addf(&routes, "%s{\"name\":\"r%d\",\"requests\":1,\"errors\":0,\"buckets\":[]}", i ? "," : "",
                     i);
    mg_text_add_c(&routes, "]}");
    take(&now, about, routes.p, SERVICE("1", "0", "[]", HOST("a:1", "healthy", "up", "false", "true")),
         no_limiters, no_rollouts);
    render(&now, NULL, 80, 24, false, &out);
    for (const char *p = out.p; (p = strchr(p, '\n')); p++)
        lines++;
    assert_true(lines <= 24);
    assert_non_null(strstr(out.p, "more\n"));
    assert_non_null(strstr(out.p, "cart"));
    drop(&now);
    mg_text_fini(&out);
    mg_text_fini(&routes);
}

static void a_key_that_would_order_the_terminal_about_is_shown_as_dots(void **state)
{
    fixture now;
    mg_text out = { 0 };

    (void)state;
    take(&now, about, "{\"routes\":[{\"name\":\"\\u001b[2J\\u0007evil\"}]}", "{\"services\":[]}",
         "{\"limiters\":[{\"name\":\"l\",\"hot\":[{\"key\":\"\\u001b]0;x\\u0007\\u009b2J\",\"seen\":1}]}]}",
         no_rollouts);
    render(&now, NULL, 80, 0, false, &out);
    assert_null(strchr(out.p, '\033'));
    assert_null(strchr(out.p, '\007'));
    assert_null(strstr(out.p, "\xc2\x9b"));
    assert_non_null(strstr(out.p, ".]0;x..2J"));
    assert_non_null(strstr(out.p, ".[2J.evil"));
    drop(&now);
    mg_text_fini(&out);
}

/* Another version of the gateway may say less, or other things. */
static void documents_of_any_shape_are_drawn(void **state)
{
    static const char *const odd[] = {
        "{}",
        "[]",
        "null",
        "7",
        "{\"routes\":7,\"services\":{},\"limiters\":[1,null]}",
        "{\"routes\":[{\"buckets\":[[1],[],7,[null,null],[\"a\",2]]}],\"services\":"
        "[{\"endpoints\":[7],\"pool\":[],\"breaker\":7,\"figures\":null}]}"
    };
    mg_text out = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        fixture now;
        take(&now, odd[i], odd[i], odd[i], odd[i], odd[i]);
        render(&now, &now, 80, 24, true, &out);
        assert_true(out.n > 0);
        drop(&now);
    }
    mg_text_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_connections_have_a_line),
        cmocka_unit_test(two_samples_make_rates_and_latencies_of_what_lies_between),
        cmocka_unit_test(one_sample_shows_no_rates),
        cmocka_unit_test(no_line_is_wider_than_the_screen),
        cmocka_unit_test(colour_is_asked_for),
        cmocka_unit_test(a_low_screen_shows_the_beginning_of_each_section),
        cmocka_unit_test(a_key_that_would_order_the_terminal_about_is_shown_as_dots),
        cmocka_unit_test(documents_of_any_shape_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
