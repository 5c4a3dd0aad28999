/* sim_state.c - what outlives a gateway, with loops of the caller's on the virtual clock: barriers of plugins, writes,
 * backups and compactions of operators behave as they do on threads. */
#include "sim_world.h"

#include "sim/sim_parts.h"
#include "state/kv.h"

#define CONFIG                                                                                               \
    WEB QUIET SERVICE                                                                                        \
        "admin: { bind: \"unix:/tmp/admin.sock\" }\nstate: { path: state%s }\n"                              \
        "limiters: { slow: { rate: 100/h, burst: 100 } }\n"                                                  \
        "plugins: { p: { use: ./plugins/p } }\n"                                                             \
        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p, { limit: slow }], "           \
        "service: up }]\n"
#define GET "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"

/* Counts, and says so once that is on the disk. */
#define COUNTS                                                                                               \
    HANDLER("local n = ctx.kv:incr('n')\n"                                                                   \
            "local ok, why = ctx.kv:barrier()\n"                                                             \
            "ctx:respond(200, n .. ' ' .. tostring(ok) .. ' ' .. tostring(why))")

static char config[2048];

static void open_with(line *l, const char *size)
{
    snprintf(config, sizeof config, CONFIG, size);
    line_open(l, config, COUNTS);
}

static int dial_admin(world *w)
{
    mg_addr addr;

    assert_int_equal(mg_addr_parse_bind(&addr, MG_STR("unix:/tmp/admin.sock"), NULL), MG_OK);
    const int fd = w->outside->ops->connect(w->outside, &addr);
    assert_true(fd >= 0);
    settle(w);
    return fd;
}

/* The answer stands in w->heard. */
static void admin(world *w, const char *status, const char *method, const char *path, const char *body)
{
    mg_text request = { 0 };
    char start[32];
    const int fd = dial_admin(w);

    mg_text_addf(&request, "%s %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n%s",
                 method, path, strlen(body), body);
    say(w, fd, request.p);
    assert_int_equal(hear(w, fd), HEAR_END);
    snprintf(start, sizeof start, "HTTP/1.1 %s ", status);
    if (strncmp(w->heard, start, strlen(start)) != 0)
        fail_msg("wanted %s, heard:\n%s", status, w->heard);
    mg_text_fini(&request);
    hang_up(w, fd);
}

/* What a copy of the ledger has under that key of the plugin; NULL: nothing. Freed by the caller. */
static char *value_in(const world *w, const char *backup, const char *key)
{
    static unsigned count;
    char from[2 * TMPDIR_PATH_BYTES], to[2 * TMPDIR_PATH_BYTES];
    mg_error err = MG_ERROR_INIT;
    mg_result result;
    mg_slice value;

    snprintf(from, sizeof from, "%s/ledger", backup);
    snprintf(to, sizeof to, "%s/looked-at-%u", w->folder, count++);
    assert_int_equal(mg_store_restore(from, to, NULL), MG_OK);
    const mg_store_options store_options = {
        .path = to, .max_bytes = 64 << 20, .tables = 8, .readers = 8, .sync = true
    };
    mg_store *store = mg_store_open(&store_options, &result, &err);
    assert_non_null(store);
    const mg_kv_options options = { .store = store, .clock = &mg_clock_real, .seed = 1 };
    mg_kv *kv = mg_kv_new(&options, &err);
    mg_kv_space *space = mg_kv_open(kv, MG_STR("p"), &err);
    assert_null(mg_kv_get(space, key, (uint32_t)strlen(key), &value));
    char *copy = value.p ? mg_memdup0(value.p, value.n) : NULL;
    mg_kv_space_free(space);
    mg_kv_free(kv);
    mg_store_close(store);
    return copy;
}

static void check_backup(const world *w, const char *backup, const char *key, const char *want)
{
    char *value = value_in(w, backup, key);

    if (want)
        assert_string_equal(value ? value : "(none)", want);
    else
        assert_null(value);
    mg_free(value);
}

/* The store as the disk has it now, as one that is killed would leave it. */
static void check_disk(const world *w, const char *key, const char *want)
{
    char path[TMPDIR_PATH_BYTES + 16];

    snprintf(path, sizeof path, "%s/state", w->folder);
    check_backup(w, path, key, want);
}

static void ask_for_backup(world *w, const char *status, const char *name, char folder[2 * TMPDIR_PATH_BYTES])
{
    char body[3 * TMPDIR_PATH_BYTES];

    snprintf(folder, (size_t)2 * TMPDIR_PATH_BYTES, "%s/%s", w->folder, name);
    snprintf(body, sizeof body, "{\"path\":\"%s\"}", folder);
    admin(w, status, "POST", "/v1/state/backup", body);
}

static void a_barrier_is_answered_once_it_is_on_the_disk(void **state)
{
    line l;

    (void)state;
    open_with(&l, "");
    for (int n = 1; n <= 5; n++) {
        char want[32];
        say(&l.w, l.client, GET); /* no time passes */
        hear_status(&l.w, l.client, "200");
        snprintf(want, sizeof want, "\r\n\r\n%d true nil", n);
        assert_ends(l.w.heard, want);
        snprintf(want, sizeof want, "%d", n);
        check_disk(&l.w, "n", want);
    }
    line_close(&l);
}

static void a_barrier_says_that_there_is_no_room(void **state)
{
    char *big = mg_calloc(1, 60001), path[64];
    line l;

    (void)state;
    open_with(&l, ", max_size: 1MiB");
    memset(big, 'b', 60000);
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "/v1/state/p/big%d", i);
        const int fd = dial_admin(&l.w);
        mg_text request = { 0 };
        mg_text_addf(&request,
                     "PUT %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 60000\r\n\r\n%s",
                     path, big);
        say_all(&l.w, fd, request.p, request.n);
        assert_int_equal(hear(&l.w, fd), HEAR_END);
        hang_up(&l.w, fd);
        mg_text_fini(&request);
        if (strncmp(l.w.heard, "HTTP/1.1 507 ", 13) == 0)
            break;
        assert_starts(l.w.heard, "HTTP/1.1 204 ");
    }
    assert_starts(l.w.heard, "HTTP/1.1 507 ");
    assert_has(l.w.heard, "the store is full");
    mg_free(big);
    line_close(&l);
}

static void an_operators_write_is_answered_once_it_is_on_the_disk(void **state)
{
    line l;

    (void)state;
    open_with(&l, "");
    admin(&l.w, "204", "PUT", "/v1/state/p/k", "value");
    check_disk(&l.w, "k", "value");
    admin(&l.w, "200", "GET", "/v1/state/p/k", "");
    admin(&l.w, "204", "DELETE", "/v1/state/p/k", "");
    check_disk(&l.w, "k", NULL);
    line_close(&l);
}

static void what_nobody_waits_for_is_on_the_disk_within_a_second(void **state)
{
    line l;

    (void)state;
    open_with(&l, "");
    mg_error err = MG_ERROR_INIT;
    mg_kv_space *space = mg_kv_open(l.w.gateway->kv, MG_STR("p"), &err);
    assert_null(mg_kv_set(space, "k", 1, "v", 1, 0));
    settle(&l.w);
    check_disk(&l.w, "k", NULL);
    advance(&l.w, 1001 * MS);
    check_disk(&l.w, "k", "v");
    mg_kv_space_free(space);
    line_close(&l);
}

static void a_backup_is_made_while_it_serves_and_one_at_a_time(void **state)
{
    char folder[2 * TMPDIR_PATH_BYTES], again[2 * TMPDIR_PATH_BYTES];
    line l;

    (void)state;
    open_with(&l, "");
    admin(&l.w, "204", "PUT", "/v1/state/p/k", "before");
    ask_for_backup(&l.w, "200", "monday", folder);
    assert_has(l.w.heard, "\"path\":\"");
    assert_has(l.w.heard, "\"store\":{\"used_bytes\":");
    admin(&l.w, "204", "PUT", "/v1/state/p/k", "after");
    check_backup(&l.w, folder, "k", "before");
    ask_for_backup(&l.w, "409", "monday", again); /* it is not empty */
    assert_has(l.w.heard, "is not empty");
    ask_for_backup(&l.w, "200", "tuesday", again);
    check_backup(&l.w, again, "k", "after");

    const int first = dial_admin(&l.w), second = dial_admin(&l.w);
    const char *compact = "POST /v1/state/compact HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const struct iovec part = { (void *)(uintptr_t)compact, strlen(compact) };
    assert_int_equal(l.w.outside->ops->send(l.w.outside, first, &part, 1), strlen(compact));
    assert_int_equal(l.w.outside->ops->send(l.w.outside, second, &part, 1), strlen(compact));
    int statuses = 0;
    const int fds[] = { first, second };
    for (size_t i = 0; i < mg_countof(fds); i++) {
        assert_int_equal(hear(&l.w, fds[i]), HEAR_END);
        statuses += strncmp(l.w.heard, "HTTP/1.1 200 ", 13) == 0 ? 1 : 0;
        if (strncmp(l.w.heard, "HTTP/1.1 200 ", 13) != 0)
            assert_has(l.w.heard, "another copy is being made");
        hang_up(&l.w, fds[i]);
    }
    assert_true(statuses >= 1); /* the second may have come when the first was done */
    line_close(&l);
}

static void compacting_loses_nothing(void **state)
{
    line l;

    (void)state;
    open_with(&l, "");
    admin(&l.w, "204", "PUT", "/v1/state/p/k", "value");
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "200");
    admin(&l.w, "200", "POST", "/v1/state/compact", "");
    assert_has(l.w.heard, "\"before\":{\"used_bytes\":");
    assert_has(l.w.heard, "\"after\":{\"used_bytes\":");
    check_disk(&l.w, "k", "value");
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "2 true nil");
    line_close(&l);
}

static void the_end_writes_what_is_left_and_drops_who_asks(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 20; turns++) {
        char body[2 * TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
        line l;

        open_with(&l, "");
        mg_error err = MG_ERROR_INIT;
        mg_kv_space *space = mg_kv_open(l.w.gateway->kv, MG_STR("p"), &err);
        assert_null(mg_kv_set(space, "k", 1, "v", 1, 0));
        mg_kv_space_free(space);
        const int fd = dial_admin(&l.w);
        const int n = snprintf(body, sizeof body, "{\"path\":\"%s/backup\"}", l.w.folder);
        mg_text request = { 0 };
        mg_text_addf(&request, "POST /v1/state/backup HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%s", n,
                     body);
        const struct iovec part = { request.p, request.n };
        assert_int_equal(l.w.outside->ops->send(l.w.outside, fd, &part, 1), request.n);
        for (unsigned i = 0; i < turns; i++)
            (void)mg_sim_turn(l.w.sim);
        mg_text_fini(&request);
        world_free_gateway(&l.w); /* in the middle of it */
        hang_up(&l.w, fd);
        snprintf(path, sizeof path, "%s/state", l.w.folder);
        check_backup(&l.w, path, "k", "v");
        line_close(&l);
    }
}

/* The same seed, the same run. */
static void a_run_can_be_had_again(void **state)
{
    char *first = NULL;

    (void)state;
    for (int run = 0; run < 2; run++) {
        char folder[2 * TMPDIR_PATH_BYTES];
        line l;

        open_with(&l, "");
        for (int i = 0; i < 20; i++) {
            say(&l.w, l.client, GET);
            hear_status(&l.w, l.client, "200");
            if (i == 7)
                ask_for_backup(&l.w, "200", "copy", folder);
            advance(&l.w, 130 * MS);
        }
        const uint64_t drawn[] = { mg_rand_next(&l.w.sim->rand), mg_rand_next(&l.w.loops[2]->rand) };
        mg_kv_stats stats;
        mg_persist_stats policy;
        mg_kv_stats_get(l.w.gateway->kv, &stats);
        mg_persist_stats_get(l.w.gateway->persist, &policy);
        mg_text seen = { 0 };
        mg_text_addf(&seen, "%llx %llx %llu flushes %llu commits", (unsigned long long)drawn[0],
                     (unsigned long long)drawn[1], (unsigned long long)stats.flushes,
                     (unsigned long long)mg_cell_get(&policy.commits.count));
        if (first)
            assert_string_equal(seen.p, first);
        else
            first = mg_strdup(seen.p);
        mg_text_fini(&seen);
        line_close(&l);
    }
    mg_free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_barrier_is_answered_once_it_is_on_the_disk),
        cmocka_unit_test(a_barrier_says_that_there_is_no_room),
        cmocka_unit_test(an_operators_write_is_answered_once_it_is_on_the_disk),
        cmocka_unit_test(what_nobody_waits_for_is_on_the_disk_within_a_second),
        cmocka_unit_test(a_backup_is_made_while_it_serves_and_one_at_a_time),
        cmocka_unit_test(compacting_loses_nothing),
        cmocka_unit_test(the_end_writes_what_is_left_and_drops_who_asks),
        cmocka_unit_test(a_run_can_be_had_again),
    };

    return cmocka_run_group_tests_name("gateway/sim_state", tests, NULL, NULL);
}
