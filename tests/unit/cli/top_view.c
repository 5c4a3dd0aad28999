/* What `moongate top` draws of two samples: figures, layout, and nothing that a terminal would obey. */
#include "support/check.h"
#include "support/document.h"

#include "base/mem.h"
#include "cli/top_table.h"
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
              "ROLLOUTS                CANARY        STATE    STEP    % REQUESTS ERRORS STRIKES\n"
              "all                     next          running   2/4    5      200      3       1\n");
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
    for (unsigned width = MG_TOP_WIDTH_MIN; width < 200; width++) {
        render(&now, &before, width, 0, false, &out);
        assert_true(longest_line(mg_text_str(&out)) <= width);
    }
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
}

/* The largest that may come, and numbers of every length. */
static void take_extremes(fixture *before, fixture *now)
{
#define BIG_SERVICE(calls, errors)                                                                           \
    "{\"name\":\"a-service-with-a-name-of-more-than-forty-columns\",\"endpoints\":["                         \
    "{\"endpoint\":\"[2001:db8:1234:5678:9abc:def0:1234:5678]:65535\",\"health\":\"unhealthy\",\"state\":"   \
    "\"down\",\"ejected\":true,\"usable\":false,\"weight\":65535,\"inflight\":1234567}],\"panic\":true,"     \
    "\"pool\":{\"idle\":1024,\"active\":987654,\"waiting\":12345678},\"breaker\":{\"state\":"                \
    "\"forced_closed\"},\"inflight\":123456,\"adaptive\":{\"limit\":4294967295},\"figures\":{"               \
    "\"calls\":" calls ",\"errors\":" errors ",\"buckets\":[[31536000000," calls "]]}}"
#define BIG_LIMITER(allow, deny)                                                                             \
    "{\"limiters\":[{\"name\":\"per_client_address_and_key_of_the_app\",\"decisions\":{\"allow\":" allow     \
    ",\"deny\":" deny "},\"hot\":[{\"key\":\"k1\",\"seen\":97},{\"key\":"                                    \
    "\"ip/2001:db8:1234:5678:9abc:def0:1234:5678/64+consumer/somebody\",\"seen\":2},"                        \
    "{\"key\":\"k3\",\"seen\":1}]}]}"
    take(before, about,
         "{\"at_ms\":1000,\"routes\":[{\"name\":\"all\",\"requests\":0,\"errors\":0,\"buckets\":[]},"
         "{\"name\":\"a-route-with-a-name-of-more-than-forty-columns\",\"requests\":0,\"errors\":0,"
         "\"buckets\":[]}]}",
         "{\"services\":[" BIG_SERVICE("0", "0") "]}", BIG_LIMITER("0", "0"), no_rollouts);
    take(now,
         "{\"version\":\"10.20.30-rc1\",\"state\":\"draining\",\"revision\":18446744073709,\"workers\":256,"
         "\"in_flight\":1234567,\"listeners\":[" DOOR("web", "4294967295", "4294967295", "1234567") "," DOOR(
             "a-listener-with-a-long-name", "7", "0", "2") "]}",
         "{\"at_ms\":2000,\"routes\":[{\"name\":\"all\",\"requests\":1234,\"errors\":99999,"
         "\"buckets\":[[0.25,700],[86400000,534]]},"
         "{\"name\":\"a-route-with-a-name-of-more-than-forty-columns\",\"requests\":9223372036854775807,"
         "\"errors\":"
         "123456,\"buckets\":[[999949,1],[null,1]]}]}",
         "{\"services\":[" BIG_SERVICE("1234", "99999999") "]}", BIG_LIMITER("123456789", "1234"),
         "{\"rollouts\":[{\"route\":\"a-route-with-a-name-of-more-than-forty-columns\",\"canary\":"
         "\"the-next-version-of-it\",\"state\":\"promoted\",\"step\":15,\"steps\":16,\"percent\":100,"
         "\"strikes\":"
         "1000,\"requests\":4294967295,\"errors\":1234567}]}");
}

static bool has_token(mg_str text, mg_str token)
{
    mg_str line, word;

    while (mg_str_cut(&text, '\n', &line))
        while (mg_str_cut(&line, ' ', &word))
            if (mg_str_eq(word, token))
                return true;
    return false;
}

/* Words that are not on the widest screen were cut: a name may be, and says so with its last byte. */
static void check_no_figure_is_cut(mg_str out, mg_str widest, unsigned width)
{
    mg_str line, word;

    while (mg_str_cut(&out, '\n', &line))
        while (mg_str_cut(&line, ' ', &word))
            if (word.n && word.p[word.n - 1] != '~' && !has_token(widest, word))
                fail_msg("%u columns: \"%.*s\"", width, MG_STR_ARGS(word));
}

static void no_figure_is_cut_at_any_width(void **state)
{
    static const char *const figures[] = { "1234",  "99999", "0.2",   "18446744073709",
                                           "86.4M", "9.2E",  "123k",  "long",
                                           "0/1!",  "4.3G",  "31.5G", "1024/988k/12.3M",
                                           "16/16", "97%",   "65535", "1.2M",
                                           "100",   "123M" };
    fixture before, now;
    mg_text out = { 0 }, widest = { 0 };

    (void)state;
    take_extremes(&before, &now);
    render(&now, &before, 200, 0, false, &widest);
    for (size_t i = 0; i < mg_countof(figures); i++)
        if (!has_token(mg_text_str(&widest), mg_str_of(figures[i])))
            fail_msg("%s is not in\n%s", figures[i], widest.p);
    for (unsigned width = 1; width <= 200; width++) {
        render(&now, &before, width, 0, false, &out);
        assert_true(longest_line(mg_text_str(&out)) <= (width < MG_TOP_WIDTH_MIN ? MG_TOP_WIDTH_MIN : width));
        check_no_figure_is_cut(mg_text_str(&out), mg_text_str(&widest), width);
        assert_true(has_token(mg_text_str(&out), MG_STR("1234"))); /* what matters most is there */
        assert_true(has_token(mg_text_str(&out), MG_STR("0/1!")));
    }
    drop(&before);
    drop(&now);
    mg_text_fini(&out);
    mg_text_fini(&widest);
}

static void numbers_take_five_columns_at_most(void **state)
{
    static const struct {
        double number;
        const char *text;
    } rows[] = {
        { -1, "-" },          { 0, "0" },           { 0.04, "0.0" },       { 1.25, "1.2" },
        { 9.949, "9.9" },     { 9.96, "10" },       { 1234, "1234" },      { 1234.5, "1234" },
        { 99999, "99999" },   { 99999.4, "99999" }, { 99999.5, "100k" },   { 999499, "999k" },
        { 999500, "1.0M" },   { 1234567, "1.2M" },  { 12345678, "12.3M" }, { 1e9, "1.0G" },
        { 9.996e10, "100G" }, { 1.5e18, "1.5E" },   { 1e21, "huge" },
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_top_write_number(rows[i].number, text);
        assert_string_equal(text, rows[i].text);
    }
    for (double n = 1; n < 1e30; n *= 1.01) {
        mg_top_write_number(n, text);
        assert_in_range(strlen(text), 1, 5);
    }
}

enum { ROWS = 24, COLUMNS_MAX = 200 };

/* A terminal as far as a frame asks for: behind the last column the cursor stays on it until the next
 * character. */
typedef struct terminal {
    char cells[ROWS][COLUMNS_MAX + 1];
    unsigned width, row, column;
} terminal;

static void erase(terminal *t, unsigned row)
{
    memset(t->cells[row] + t->column, ' ', t->width - t->column);
    t->cells[row][t->width] = '\0';
}

static void obey(terminal *t, const char *p)
{
    for (; *p; p++) {
        if (strncmp(p, "\033[H", 3) == 0) {
            t->row = t->column = 0;
            p += 2;
        } else if (strncmp(p, "\033[K", 3) == 0 || strncmp(p, "\033[J", 3) == 0) {
            const bool below = p[2] == 'J';

            erase(t, t->row);
            for (unsigned row = t->row + 1; below && row < ROWS; row++)
                memset(t->cells[row], ' ', t->width);
            p += 2;
        } else if (*p == '\n') {
            assert_true(t->row + 1 < ROWS); /* it would scroll */
            t->row++;
            t->column = 0;
        } else {
            t->cells[t->row][t->column] = *p;
            t->column += t->column + 1 < t->width;
        }
    }
}

static void a_frame_shows_every_column_and_nothing_of_the_last(void **state)
{
    fixture before, now;
    mg_text picture = { 0 }, frame = { 0 };

    (void)state;
    take_extremes(&before, &now);
    for (unsigned width = MG_TOP_WIDTH_MIN; width <= 200; width++) {
        terminal t = { .width = width };
        mg_str rest, line;

        memset(t.cells, '#', sizeof(t.cells));
        for (unsigned row = 0; row < ROWS; row++)
            t.cells[row][width] = '\0';
        render(&now, &before, width, ROWS, false, &picture);
        mg_text_clear(&frame);
        mg_top_frame(mg_text_str(&picture), ROWS, &frame);
        obey(&t, frame.p);
        rest = mg_text_str(&picture);
        for (unsigned row = 0; row < ROWS; row++) {
            line = MG_STR("");
            if (rest.n)
                mg_str_cut(&rest, '\n', &line);
            if (!mg_str_eq(mg_str_trim(mg_str_of(t.cells[row]), " "), mg_str_trim(line, " ")))
                fail_msg("%u columns: \"%s\" is not \"%.*s\"", width, t.cells[row], MG_STR_ARGS(line));
        }
    }
    drop(&before);
    drop(&now);
    mg_text_fini(&picture);
    mg_text_fini(&frame);
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
        cmocka_unit_test(no_figure_is_cut_at_any_width),
        cmocka_unit_test(numbers_take_five_columns_at_most),
        cmocka_unit_test(a_frame_shows_every_column_and_nothing_of_the_last),
        cmocka_unit_test(colour_is_asked_for),
        cmocka_unit_test(a_low_screen_shows_the_beginning_of_each_section),
        cmocka_unit_test(a_key_that_would_order_the_terminal_about_is_shown_as_dots),
        cmocka_unit_test(documents_of_any_shape_are_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
