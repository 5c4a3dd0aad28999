/* sim_tasks.h - configurations with a plugin that begins tasks, and what is logged and counted of them. */
#ifndef TEST_SIM_TASKS_H
#define TEST_SIM_TASKS_H

#include "sim_exchange.h"

#define OWN   WEB QUIET
#define ALONE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p] }]\n"
#define P     "plugins: { p: { use: ./plugins/p } }\n"
#define CONFIG                                                                                               \
    WEB QUIET SERVICE P                                                                                      \
        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"
#define SAYS_NEW                                                                                             \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: new } }] }]\n"
#define WITH_ID "GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: r-17\r\n\r\n"

/* Without the folder of this run before each plugin's file. */
static inline void strip(const world *w, char *text)
{
    char before[TMPDIR_PATH_BYTES + 8];
    const size_t n = (size_t)snprintf(before, sizeof before, "%s/./", w->folder);

    for (char *at = text; (at = strstr(at, before));)
        memmove(at, at + n, strlen(at + n) + 1);
}

static inline void assert_logged(const line *l, const char *part)
{
    char *text = mg_strdup(l->w.logged.p);

    strip(&l->w, text);
    assert_has(text, part);
    mg_free(text);
}

static inline unsigned times_in(const char *text, const char *part)
{
    unsigned times = 0;

    for (const char *at = text ? strstr(text, part) : NULL; at; at = strstr(at + 1, part))
        times++;
    return times;
}

#define assert_times(text, part, wanted)                                                                     \
    do {                                                                                                     \
        if (times_in(text, part) != (wanted))                                                                \
            fail_msg("%u times \"%s\", not %u, in:\n%s", times_in(text, part), part, (unsigned)(wanted),     \
                     text);                                                                                  \
    } while (0)

static inline void assert_counted(line *l, const char *kind, const char *outcome, unsigned wanted)
{
    mg_text text = { 0 };
    char sample[128];

    mg_stats_write(l->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    if (wanted)
        snprintf(sample, sizeof sample, "moongate_tasks_total{kind=\"%s\",outcome=\"%s\"} %u\n", kind,
                 outcome, wanted);
    else
        snprintf(sample, sizeof sample, "moongate_tasks_total{kind=\"%s\",outcome=\"%s\"}", kind, outcome);
    assert_times(text.p, sample, wanted != 0);
    mg_text_fini(&text);
}

static inline void assert_running(line *l, unsigned wanted)
{
    mg_text text = { 0 };
    char sample[64];

    mg_stats_write(l->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    snprintf(sample, sizeof sample, "moongate_tasks_running{kind=\"task\"} %u\n", wanted);
    assert_has(text.p, sample);
    mg_text_fini(&text);
}

static inline void ask(line *l, const char *status, const char *body)
{
    say(&l->w, l->client, GET);
    hear_status(&l->w, l->client, status);
    strip(&l->w, l->w.heard);
    if (body)
        assert_ends(l->w.heard, body);
}

/* Nothing of an answer is there yet. */
static inline void assert_silent(line *l)
{
    assert_int_equal(hear(&l->w, l->client), HEAR_OPEN);
    assert_string_equal(l->w.heard, "");
}

#endif
