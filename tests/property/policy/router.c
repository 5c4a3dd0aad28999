/* Random route sets and requests beside a matcher that tries every route and sorts what fits. */
#include "policy/router.h"

#include "base/mem.h"
#include "base/rand.h"

#include "support/check.h"

enum { TABLES = 3000, REQUESTS = 60, ROUTES_MAX = 14, DEPTH_MAX = 4, TEXT_MAX = 64 };

typedef struct route {
    uint32_t index;
    const char *host;
    char path[TEXT_MAX];
    bool prefix, keeps_slashes;
    const char *method; /* NULL = any */
    const char *header; /* wanted value of x-h, NULL = none */
    int priority;
} route;

typedef struct model {
    route routes[ROUTES_MAX];
    uint32_t count;
} model;

typedef struct request {
    const char *host, *method, *header;
    char path[TEXT_MAX], slashed[TEXT_MAX]; /* with its slashes merged, and as it was sent */
} request;

static const char *pick(mg_rand *rand, const char *const *from, size_t count)
{
    return from[mg_rand_below(rand, count)];
}

#define PICK(rand, ...)                                                                                      \
    pick((rand), (const char *const[]){ __VA_ARGS__ },                                                       \
         sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void random_route(mg_rand *rand, route *r)
{
    const unsigned depth = (unsigned)mg_rand_below(rand, DEPTH_MAX + 1);
    unsigned names = 0;

    r->path[0] = '\0';
    r->prefix = mg_rand_below(rand, 4) == 0;
    r->keeps_slashes = mg_rand_below(rand, 3) == 0;
    for (unsigned i = 0; i < depth; i++) {
        const char *text = r->prefix ? PICK(rand, "a", "b") : PICK(rand, "a", "b", "a%2Fb", "{", "{", "{*");
        const size_t n = strlen(r->path);

        if (strcmp(text, "{*") == 0 && i + 1 < depth)
            text = "{";
        if (r->keeps_slashes && i + 1 < depth && mg_rand_below(rand, 6) == 0)
            text = "";
        snprintf(r->path + n, TEXT_MAX - n, text[0] == '{' ? "/%sp%u}" : "/%s", text, names++);
    }
    if (depth == 0 || (!r->prefix && r->path[strlen(r->path) - 1] != '}' && mg_rand_below(rand, 5) == 0))
        strcat(r->path, "/");
    r->host = PICK(rand, "*", "*", "*.b", "*.a.b", "a.b", "c.a.b");
    r->method = PICK(rand, NULL, "GET", "PUT", "HEAD", "GET", "PUT", "MKCOL", "*");
    r->header = PICK(rand, NULL, NULL, "1", "2");
    r->priority = (int)mg_rand_below(rand, 3) - 1;
}

static void merge(char *to, const char *from)
{
    for (char before = 0; *from; before = *from++) {
        if (*from != '/' || before != '/')
            *to++ = *from;
    }
    *to = '\0';
}

static void random_request(mg_rand *rand, request *q)
{
    const unsigned depth = (unsigned)mg_rand_below(rand, DEPTH_MAX + 2);

    q->slashed[0] = '\0';
    for (unsigned i = 0; i < depth; i++) {
        strcat(q->slashed, mg_rand_below(rand, 6) ? "/" : "//");
        strcat(q->slashed, PICK(rand, "a", "b", "a%2Fb", "c"));
    }
    if (depth == 0 || mg_rand_below(rand, 4) == 0)
        strcat(q->slashed, mg_rand_below(rand, 6) ? "/" : "//");
    merge(q->path, q->slashed);
    q->host = PICK(rand, "a.b", "c.a.b", "x.a.b", "x.b", "b", "");
    q->method = PICK(rand, "GET", "PUT", "HEAD", "POST", "BREW", "MKCOL", "get");
    q->header = PICK(rand, NULL, "1", "2");
}

/* How specific the pattern is where it matches the path: a digit a segment, smaller is better, and best an
 * empty one, which only a path of that form has; false when it does not match. `values` gets the parameters.
 */
static bool fits(const char *pattern, bool prefix, const char *path, char *ranks, mg_str *values)
{
    size_t pattern_n, path_n;

    if (prefix && strcmp(pattern, "/") == 0)
        pattern = "";
    if (*pattern == '\0') {
        strcpy(ranks, prefix ? "3" : "");
        return prefix || *path == '\0';
    }
    if (*path == '\0')
        return false;
    pattern_n = strcspn(++pattern, "/");
    path_n = strcspn(++path, "/");
    if (pattern[0] == '{' && pattern[1] == '*') {
        strcpy(ranks, "2");
        *values = mg_str_of(path);
        return *path != '\0';
    }
    if (pattern[0] == '{') {
        *ranks = '1';
        *values = mg_str_make(path, path_n);
        return path_n > 0 && fits(pattern + pattern_n, prefix, path + path_n, ranks + 1, values + 1);
    }
    *ranks = pattern_n ? '0' : ' ';
    return pattern_n == path_n && memcmp(pattern, path, path_n) == 0 &&
           fits(pattern + pattern_n, prefix, path + path_n, ranks + 1, values);
}

/* 0 for another host, else the more the better. */
static size_t host_class(const char *pattern, const char *host)
{
    const size_t suffix = strlen(pattern) - 1, n = strlen(host);

    if (strcmp(pattern, host) == 0)
        return 1000;
    if (strcmp(pattern, "*") == 0)
        return 1;
    if (pattern[0] != '*' || n <= suffix || strcmp(host + n - suffix, pattern + 1) != 0)
        return 0;
    return 1 + suffix;
}

static bool is_known(const model *m, const char *method)
{
    static const char *const standard[] = { "GET", "PUT", "HEAD", "POST" };

    for (size_t i = 0; i < mg_countof(standard); i++)
        if (strcmp(standard[i], method) == 0)
            return true;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->routes[i].method && strcmp(m->routes[i].method, method) == 0)
            return true;
    return false;
}

static bool takes_unknown(const model *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->routes[i].method && strcmp(m->routes[i].method, "*") == 0)
            return true;
    return false;
}

static bool method_fits(const model *m, const route *r, const char *method)
{
    if (!r->method)
        return is_known(m, method);
    return strcmp(r->method, "*") == 0 || strcmp(r->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0);
}

typedef struct answer {
    int status;
    const route *route;
    mg_str values[DEPTH_MAX + 1];
    bool allow_get, allow_head, allow_put, allow_mkcol;
} answer;

static bool better(const route *a, const char *ranks_a, const route *b, const char *ranks_b)
{
    const int order = strcmp(ranks_a, ranks_b);

    if (order)
        return order < 0;
    return a->priority != b->priority ? a->priority > b->priority : a->index < b->index;
}

static const char *form_of(const request *q, const route *r)
{
    return r->keeps_slashes ? q->slashed : q->path;
}

static answer slow_match(const model *m, const request *q)
{
    answer out = { .status = 404 };
    char best[TEXT_MAX] = "", ranks[TEXT_MAX];
    size_t class = 0;
    bool all_failed_on_method = true;

    if (!is_known(m, q->method) && !takes_unknown(m)) {
        out.status = 501;
        return out;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        mg_str values[DEPTH_MAX + 1];

        if (host_class(m->routes[i].host, q->host) > class &&
            fits(m->routes[i].path, m->routes[i].prefix, form_of(q, &m->routes[i]), ranks, values))
            class = host_class(m->routes[i].host, q->host);
    }
    for (uint32_t i = 0; i < m->count && class; i++) {
        const route *r = &m->routes[i];
        mg_str values[DEPTH_MAX + 1] = { { NULL, 0 } };

        if (host_class(r->host, q->host) != class || !fits(r->path, r->prefix, form_of(q, r), ranks, values))
            continue;
        if (!method_fits(m, r, q->method)) {
            const char *named = r->method ? r->method : "all";
            const bool all = !r->method;
            out.allow_get |= all || strcmp(named, "GET") == 0;
            out.allow_head |= all || strcmp(named, "GET") == 0 || strcmp(named, "HEAD") == 0;
            out.allow_put |= all || strcmp(named, "PUT") == 0;
            out.allow_mkcol |= strcmp(named, "MKCOL") == 0 || (all && is_known(m, "MKCOL"));
            continue;
        }
        all_failed_on_method = false;
        if (r->header && (!q->header || strcmp(r->header, q->header) != 0))
            continue;
        if (out.route && !better(r, ranks, out.route, best))
            continue;
        out.status = 200;
        out.route = r;
        memcpy(out.values, values, sizeof(values));
        strcpy(best, ranks);
    }
    if (class && out.status != 200 && all_failed_on_method)
        out.status = 405;
    return out;
}

/* The path with its parameters' names left out. */
static void shape(const route *r, char *out)
{
    const char *p = r->path;

    for (; *p; p++) {
        *out++ = *p;
        if (*p == '{' && p[1] == '*')
            *out++ = '*';
        if (*p == '{')
            p = strchr(p, '}');
    }
    strcpy(out, r->prefix ? "+" : "");
}

static bool collide(const route *a, const route *b)
{
    char shape_a[TEXT_MAX], shape_b[TEXT_MAX];

    shape(a, shape_a);
    shape(b, shape_b);
    return strcmp(shape_a, shape_b) == 0 && strcmp(a->host, b->host) == 0 && a->priority == b->priority &&
           a->method == b->method && a->header == b->header;
}

static bool any_collide(const model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (collide(&m->routes[i], &m->routes[k]))
                return true;
        }
    }
    return false;
}

static mg_router *build(const model *m, uint64_t seed)
{
    mg_router_builder *builder = mg_router_builder_new(seed, NULL, NULL);
    mg_report report = MG_REPORT_INIT;
    mg_router *router;

    for (uint32_t i = 0; i < m->count; i++) {
        const route *r = &m->routes[i];
        const mg_str host = mg_str_of(r->host), method = mg_str_of(r->method);
        const mg_route_path path = { mg_str_of(r->path), r->prefix };
        const mg_route_header header = { MG_STR("x-h"), mg_str_of(r->header) };
        const mg_route_spec spec = {
            MG_STR("r"), &host,           1, &path, 1, &method, r->method != NULL, &header, r->header != NULL,
            r->priority, r->keeps_slashes
        };

        assert_true(mg_router_add(builder, &spec, (void *)r, i, &report));
    }
    router = mg_router_build(builder, &report);
    mg_router_builder_free(builder);
    mg_report_fini(&report);
    return router;
}

static bool find_header(void *self, mg_str name, mg_str *value)
{
    const request *q = self;

    *value = mg_str_of(q->header);
    return q->header && mg_str_eq_c(name, "x-h");
}

static void count_matches(void *self, const mg_route_line *line)
{
    *(int *)self += line->verdict == MG_ROUTE_MATCHES;
}

static bool agrees(const mg_router *router, const request *q, const answer *wanted)
{
    const mg_route_query query = { mg_str_of(q->host),
                                   mg_str_of(q->path),
                                   mg_str_of(q->method),
                                   find_header,
                                   (void *)q,
                                   strcmp(q->path, q->slashed) == 0 ? MG_STR_NONE : mg_str_of(q->slashed) };
    mg_route_match got, explained;
    int status = mg_router_match(router, &query, &got), matches = 0;

    if (status != wanted->status ||
        mg_router_explain(router, &query, &explained, count_matches, &matches) != status)
        return false;
    if (matches != (status == 200))
        return false;
    if (status == 405) {
        mg_text allow = { 0 };
        mg_router_allow(router, &got, &allow);
        mg_text_add_char(&allow, '\0');
        const bool same = got.allowed == explained.allowed &&
                          (strstr(allow.p, "GET") != NULL) == wanted->allow_get &&
                          (strstr(allow.p, "HEAD") != NULL) == wanted->allow_head &&
                          (strstr(allow.p, "PUT") != NULL) == wanted->allow_put &&
                          (strstr(allow.p, "MKCOL") != NULL) == wanted->allow_mkcol;
        mg_text_fini(&allow);
        return same;
    }
    if (status != 200)
        return true;
    for (uint32_t i = 0; i < got.param_count; i++) {
        if (!mg_str_eq(got.values[i], wanted->values[i]) ||
            !mg_str_eq(explained.values[i], wanted->values[i]))
            return false;
    }
    return got.route == wanted->route && explained.route == wanted->route;
}

static void show(const model *m, const request *q, const answer *wanted, uint64_t seed)
{
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < m->count; i++) {
        const route *r = &m->routes[i];

        print_message("  %u %s %s %s%s%s x-h=%s ^%d\n", i, r->host, r->method ? r->method : "any", r->path,
                      r->prefix ? "..." : "", r->keeps_slashes ? " keeps slashes" : "",
                      r->header ? r->header : "any", r->priority);
    }
    if (q)
        print_message("  %s %s%s x-h=%s: wanted %d, route %d\n", q->method, q->host, q->slashed,
                      q->header ? q->header : "none", wanted->status,
                      wanted->route ? (int)wanted->route->index : -1);
}

static void run_table(uint64_t seed)
{
    mg_rand rand;
    mg_router *router;
    model m = { .count = 0 };

    mg_rand_init(&rand, seed);
    m.count = 1 + (uint32_t)mg_rand_below(&rand, ROUTES_MAX);
    for (uint32_t i = 0; i < m.count; i++) {
        random_route(&rand, &m.routes[i]);
        m.routes[i].index = i;
    }
    router = build(&m, seed);
    if ((router == NULL) != any_collide(&m)) {
        show(&m, NULL, NULL, seed);
        fail_msg("routes that collide %s refused", router ? "were not" : "were");
    }
    for (int i = 0; router && i < REQUESTS; i++) {
        request q;
        answer wanted;

        random_request(&rand, &q);
        wanted = slow_match(&m, &q);
        if (!agrees(router, &q, &wanted)) {
            show(&m, &q, &wanted, seed);
            fail_msg("the router answers another way");
        }
    }
    mg_router_free(router);
}

static void the_router_answers_as_one_that_tries_every_route(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < TABLES; i++)
        run_table(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_router_answers_as_one_that_tries_every_route) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
