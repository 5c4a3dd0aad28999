/* A list of fields that is read, set, added to and removed from at random, beside a plain list of texts: what
 * is found in it, and every byte that is written of it. */
#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/h1.h"

enum { RUNS = 20000, STEPS = 20, FIELDS_MAX = 64, TEXT_MAX = 80 };

static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;

typedef struct entry {
    char name[TEXT_MAX], value[TEXT_MAX];
} entry;

typedef struct model {
    entry entries[FIELDS_MAX];
    size_t count;
} model;

static void model_add(model *m, const char *name, const char *value)
{
    assert_true(m->count < FIELDS_MAX);
    snprintf(m->entries[m->count].name, TEXT_MAX, "%s", name);
    snprintf(m->entries[m->count++].value, TEXT_MAX, "%s", value);
}

/* Those at and behind `from`. */
static size_t model_remove(model *m, const char *name, size_t from)
{
    size_t kept = from, removed;

    for (size_t i = from; i < m->count; i++)
        if (strcmp(m->entries[i].name, name) != 0)
            m->entries[kept++] = m->entries[i];
    removed = m->count - kept;
    m->count = kept;
    return removed;
}

static void model_set(model *m, const char *name, const char *value)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->entries[i].name, name) == 0) {
            snprintf(m->entries[i].value, TEXT_MAX, "%s", value);
            model_remove(m, name, i + 1);
            return;
        }
    model_add(m, name, value);
}

/* Names that share a bit with others, known ones, and some that are long. */
static const char *const names[] = { "a",           "b",
                                     "x-a",         "x-b",
                                     "x-env",       "x-team",
                                     "user-agent",  "x-request-id",
                                     "cookie",      "via",
                                     "x-consumer",  "y-consumer",
                                     "x-served-by", "x-a-name-of-more-than-thirty-two-bytes-in-all" };

static const char *some_name(mg_rand *rand)
{
    return names[mg_rand_below(rand, sizeof names / sizeof *names)];
}

static void some_value(mg_rand *rand, char out[TEXT_MAX])
{
    const size_t n = mg_rand_below(rand, mg_rand_below(rand, 4) ? 20 : 60);

    for (size_t i = 0; i < n; i++)
        out[i] = "abcdefgh, =;/"[mg_rand_below(rand, i == 0 || i == n - 1 ? 8 : 13)];
    out[n] = '\0';
}

/* A head as peers send it: mostly "Name: value", some with other space round the value. */
static void read_head(mg_rand *rand, mg_arena *arena, mg_request *request, model *m)
{
    static const char *const before[] = { " ", " ", " ", " ", "", "\t", "  " }, *const behind[] = { "", "",
                                                                                                    " " };
    mg_text text = { 0 };
    mg_h1_info info;
    mg_h1_fault fault;
    char value[TEXT_MAX];

    mg_text_add_c(&text, "GET /a HTTP/1.1\r\nHost: a\r\n");
    for (uint64_t n = mg_rand_below(rand, 9); n; n--) {
        const char *name = some_name(rand);

        some_value(rand, value);
        model_add(m, name, value);
        mg_text_addf(&text, "%c%s:%s%s%s\r\n", name[0] - ('a' - 'A'), name + 1,
                     before[mg_rand_below(rand, sizeof before / sizeof *before)], value,
                     behind[mg_rand_below(rand, sizeof behind / sizeof *behind)]);
    }
    mg_text_add_c(&text, "\r\n");
    char *head = mg_arena_alloc(arena, text.n + 1);
    memcpy(head, text.p, text.n);
    if (!mg_h1_parse_request(arena, &limits, head, text.n, MG_STR("http"), request, &info, &fault))
        fail_msg("%s in\n%s", fault.why, text.p);
    mg_text_fini(&text);
}

static void change(mg_rand *rand, mg_arena *arena, mg_fields *fields, model *m)
{
    const char *name = some_name(rand);
    const mg_str text = mg_str_of(name);
    const mg_name id = mg_name_find(text);
    char value[TEXT_MAX];

    some_value(rand, value);
    switch (mg_rand_below(rand, 6)) {
    case 0:
        assert_null(mg_fields_put(fields, arena, text, mg_str_of(value), true));
        model_set(m, name, value);
        break;
    case 1:
        assert_null(mg_fields_put(fields, arena, text, mg_str_of(value), false));
        model_add(m, name, value);
        break;
    case 2:
        mg_fields_set(fields, arena, id, text, mg_arena_str(arena, mg_str_of(value)));
        model_set(m, name, value);
        break;
    case 3:
        mg_fields_add(fields, arena, id, text, mg_arena_str(arena, mg_str_of(value)));
        model_add(m, name, value);
        break;
    case 4: assert_int_equal(mg_fields_remove(fields, arena, id, text), model_remove(m, name, 0)); break;
    default:
        mg_fields_add_line(fields, arena, MG_NAME_VIA, MG_STR("via: "), mg_str_of(value));
        model_add(m, "via", value);
        break;
    }
}

static void check_found(const mg_fields *fields, const model *m)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const mg_str name = mg_str_of(names[i]);
        int want = -1;

        for (size_t at = 0; want < 0 && at < m->count; at++)
            if (strcmp(m->entries[at].name, names[i]) == 0)
                want = (int)at;
        assert_int_equal(mg_fields_find(fields, mg_name_find(name), name, 0), want);
        if (want >= 0)
            check_str(mg_str_make(fields->items[want].value, fields->items[want].value_n),
                      m->entries[want].value);
    }
}

static void check_written(const mg_request *request, const model *m)
{
    mg_text got = { 0 }, want = { 0 };

    mg_h1_write_request(&got, request, MG_STR("b"), true);
    mg_text_add_c(&want, "GET /a HTTP/1.1\r\nhost: b\r\n");
    for (size_t i = 0; i < m->count; i++)
        mg_text_addf(&want, "%s: %s\r\n", m->entries[i].name, m->entries[i].value);
    mg_text_add_c(&want, "\r\n");
    check_str(mg_text_str(&got), want.p);
    mg_text_fini(&got);
    mg_text_fini(&want);
}

static void a_list_of_fields_is_a_list_of_texts(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(41));
    for (unsigned run = 0; run < RUNS; run++) {
        model m = { .count = 0 };
        mg_request request;
        mg_arena arena;

        mg_arena_init(&arena, NULL, 0);
        read_head(&rand, &arena, &request, &m);
        for (uint64_t n = mg_rand_below(&rand, STEPS); n; n--)
            change(&rand, &arena, &request.fields, &m);
        check_found(&request.fields, &m);
        check_written(&request, &m);
        mg_arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_list_of_fields_is_a_list_of_texts) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
