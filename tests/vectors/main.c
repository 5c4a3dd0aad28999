/* main.c - drives the policies through files of vectors: one JSON object a line with id, policy, cfg, cols
 * and rows. Prints every row that differs, and every key or column that the driver does not read, which is a
 * failure as well; ends with how many vectors passed, failed, or named a policy that has no driver. */
#include "vectors.h"

#include "base/str.h"
#include "base/time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_MAX_BYTES = 1 << 20, COLS_MAX = 16 };

typedef struct tally {
    unsigned passed, failed, skipped;
} tally;

long long vector_int(const json_t *object, const char *name, long long otherwise)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_boolean(value))
        return json_boolean_value(value);
    if (json_is_real(value))
        return (long long)json_real_value(value);
    return value ? json_integer_value(value) : otherwise;
}

double vector_real(const json_t *object, const char *name, double otherwise)
{
    const json_t *value = json_object_get(object, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

const char *vector_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

uint64_t vector_now_ns(const json_t *in)
{
    return (uint64_t)vector_int(in, "t", 0) * MG_NS_PER_MS;
}

int vector_word(const json_t *object, const char *name, const char *const *words, mg_error *err)
{
    const char *text = vector_text(object, name);

    if (!json_object_get(object, name))
        return 0;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
    }
    mg_fail(err, MG_ERR_INVALID, "%s: \"%s\" is not one of its words", name, text);
    return -1;
}

uint32_t vector_parts(const json_t *object, const char *name, double whole, uint32_t otherwise)
{
    const json_t *value = json_object_get(object, name);

    return value ? (uint32_t)(json_number_value(value) * whole + 0.5) : otherwise;
}

static bool is_listed(const char *names, mg_str name)
{
    mg_str rest = mg_str_of(names), one;

    while (mg_str_cut(&rest, ' ', &one)) {
        if (mg_str_eq(one, name))
            return true;
    }
    return false;
}

bool vector_knows(const json_t *object, const char *keys, mg_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        if (!is_listed(keys, mg_str_of(key))) {
            mg_fail(err, MG_ERR_INVALID, "unknown key \"%s\"; it has: %s", key, *keys ? keys : "none");
            return false;
        }
    }
    return true;
}

json_t *vector_number(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

json_t *vector_bad_row(const char *why)
{
    return json_pack("[s]", why);
}

void *vector_nothing_open(const json_t *cfg, mg_error *err)
{
    static char nothing;

    (void)cfg;
    (void)err;
    return &nothing;
}

void vector_nothing_close(void *self)
{
    (void)self;
}

static const vector_driver *driver_of(const char *policy)
{
    static const vector_driver *const tables[] = { vector_limiter_drivers,  vector_breaker_drivers,
                                                   vector_router_drivers,   vector_other_drivers,
                                                   vector_upstream_drivers, vector_flow_drivers };

    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        for (const vector_driver *d = tables[i]; d->policy; d++) {
            if (strcmp(d->policy, policy) == 0)
                return d;
        }
    }
    return NULL;
}

static bool same(const json_t *got, const json_t *wanted)
{
    if (json_is_number(got) && json_is_number(wanted))
        return fabs(json_number_value(got) - json_number_value(wanted)) <= 1e-4;
    return json_equal((json_t *)got, (json_t *)wanted) == 1;
}

/* The names before ">" go to `in`; returns their count. */
static size_t columns(const char *cols, mg_str in[COLS_MAX])
{
    mg_str rest = mg_str_of(cols), name;
    size_t count = 0;

    while (mg_str_cut(&rest, ' ', &name) && !mg_str_eq_c(name, ">") && count < COLS_MAX)
        in[count++] = name;
    return count;
}

static bool run_row(const vector_driver *driver, void *self, const mg_str *in, size_t in_count,
                    const json_t *row)
{
    json_t *inputs = json_object(), *results;
    bool fine;

    for (size_t i = 0; i < in_count; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%.*s", MG_STR_ARGS(in[i]));
        json_object_set(inputs, name, json_array_get(row, i));
    }
    results = driver->row(self, inputs);
    fine = json_array_size(results) == json_array_size(row) - in_count;
    for (size_t i = 0; fine && i < json_array_size(results); i++)
        fine = same(json_array_get(results, i), json_array_get(row, in_count + i));
    if (!fine) {
        char *wanted = json_dumps(row, JSON_COMPACT), *got = json_dumps(results, JSON_COMPACT);

        printf("  row %s gave %s\n", wanted, got);
        free(wanted);
        free(got);
    }
    json_decref(results);
    json_decref(inputs);
    return fine;
}

static bool knows_columns(const vector_driver *driver, const mg_str *in, size_t count, mg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_listed(driver->cols, in[i])) {
            mg_fail(err, MG_ERR_INVALID, "unknown column \"%.*s\"; it has: %s", MG_STR_ARGS(in[i]),
                    driver->cols);
            return false;
        }
    }
    return true;
}

/* False when a row differs; with `err` when none was run. */
static bool run_vector(const vector_driver *driver, const json_t *vector, mg_error *err)
{
    const json_t *rows = json_object_get(vector, "rows"), *cfg = json_object_get(vector, "cfg");
    mg_str in[COLS_MAX];
    const size_t in_count = columns(vector_text(vector, "cols"), in);
    bool fine = json_array_size(rows) > 0;
    void *self;

    if (!fine)
        mg_fail(err, MG_ERR_INVALID, "it has no rows");
    if (!fine || !vector_knows(cfg, driver->keys, err) || !knows_columns(driver, in, in_count, err))
        return false;
    self = driver->open(cfg, err);
    if (!self)
        return false;
    for (size_t i = 0; i < json_array_size(rows); i++)
        fine &= run_row(driver, self, in, in_count, json_array_get(rows, i));
    driver->close(self);
    return fine;
}

static void run_line(const char *line, tally *sum)
{
    json_error_t error;
    json_t *vector = json_loads(line, 0, &error);
    const vector_driver *driver = driver_of(vector_text(vector, "policy"));
    mg_error err = MG_ERROR_INIT;

    if (!vector) {
        printf("FAILED not JSON: %s\n", error.text);
        sum->failed++;
    } else if (!driver) {
        printf("skipped %s: no driver for %s\n", vector_text(vector, "id"), vector_text(vector, "policy"));
        sum->skipped++;
    } else if (run_vector(driver, vector, &err)) {
        sum->passed++;
    } else {
        printf("FAILED %s (%s)%s%s\n", vector_text(vector, "id"), vector_text(vector, "policy"),
               err.code ? ": " : "", err.message);
        sum->failed++;
    }
    json_decref(vector);
}

static bool run_file(const char *path, tally *sum)
{
    FILE *file = fopen(path, "r");
    char *line = malloc(LINE_MAX_BYTES);

    if (!file || !line) {
        fprintf(stderr, "vectors: cannot read %s\n", path);
        free(line);
        return false;
    }
    while (fgets(line, LINE_MAX_BYTES, file)) {
        if (line[0] == '{')
            run_line(line, sum);
    }
    fclose(file);
    free(line);
    return true;
}

int main(int argc, char **argv)
{
    tally sum = { 0 };
    bool read = argc > 1;

    if (!read)
        fprintf(stderr, "usage: vectors FILE.jsonl...\n");
    for (int i = 1; i < argc; i++)
        read &= run_file(argv[i], &sum);
    printf("%u passed, %u failed, %u skipped\n", sum.passed, sum.failed, sum.skipped);
    return read && sum.failed == 0 && sum.passed > 0 ? 0 : 1;
}
