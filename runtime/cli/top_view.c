/* top_view.c - tables of a fixed layout: the first column takes what width the others leave. */
#include "cli/top_view.h"

#include <math.h>
#include <stdio.h>

enum { FIRST_COLUMN_MIN = 12, FIRST_COLUMN_MAX = 40 };

typedef enum paint { PLAIN, BOLD, DIM, RED, YELLOW } paint;

typedef struct view {
    const mg_top_sample *now, *before;
    const mg_top_screen *screen;
    mg_text *out;
    unsigned width, lines;
    double seconds; /* between the samples; 0: there is only one */
} view;

/* ---- documents ---- */

static double number_of(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    if (!node)
        return 0;
    return node->kind == MG_NODE_INT ? (double)node->integer : node->kind == MG_NODE_FLOAT ? node->number : 0;
}

static mg_str text_of(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    return node && node->kind == MG_NODE_STRING ? node->text : MG_STR("");
}

static bool is_true(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    return node && node->kind == MG_NODE_BOOL && node->boolean;
}

static const mg_node *map_of(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    return node && node->kind == MG_NODE_MAP ? node : NULL;
}

/* The first item of a document's list; NULL when there is none. */
static const mg_node *items_of(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    return node && node->kind == MG_NODE_LIST ? node->first : NULL;
}

/* The item of that name in the earlier document; `hint` is where it stands when nothing was reloaded. */
static const mg_node *earlier(const mg_node *items, const mg_node *item, const mg_node **hint)
{
    const mg_str name = text_of(item, "name");
    const mg_node *found = *hint;

    if (!found || !mg_str_eq(text_of(found, "name"), name))
        for (found = items; found && !mg_str_eq(text_of(found, "name"), name);)
            found = found->next;
    *hint = found ? found->next : *hint;
    return found;
}

/* How much a count rose in a second; below 0: unknown. */
static double rate_of(const view *v, const mg_node *now, const mg_node *before, const char *key)
{
    const double more = number_of(now, key) - number_of(before, key);

    return v->seconds > 0 && before && more >= 0 ? more / v->seconds : -1;
}

/* ---- latencies: [bound, count] lists that only grow ---- */

static bool read_bucket(const mg_node *pair, double *bound, double *count)
{
    const mg_node *first = pair && pair->kind == MG_NODE_LIST ? pair->first : NULL;

    if (!first || !first->next || first->next->kind != MG_NODE_INT)
        return false;
    *bound = first->kind == MG_NODE_INT     ? (double)first->integer
             : first->kind == MG_NODE_FLOAT ? first->number
                                            : INFINITY;
    *count = (double)first->next->integer;
    return true;
}

static double count_at(const mg_node *buckets, double bound)
{
    double one, count;

    for (; buckets; buckets = buckets->next)
        if (read_bucket(buckets, &one, &count) && one == bound)
            return count;
    return 0;
}

/* The bound that a share of the calls between the samples did not pass; below 0: there were none. */
static double quantile_of(const mg_node *now, const mg_node *before, double share)
{
    const mg_node *buckets = items_of(now, "buckets"), *old = items_of(before, "buckets");
    double total = 0, below = 0, bound, count;

    for (const mg_node *b = buckets; b; b = b->next)
        if (read_bucket(b, &bound, &count))
            total += count - count_at(old, bound);
    for (const mg_node *b = buckets; b && total > 0; b = b->next) {
        if (!read_bucket(b, &bound, &count))
            continue;
        below += count - count_at(old, bound);
        if (below >= total * share)
            return bound;
    }
    return -1;
}

/* ---- cells ---- */

static const char *code_of(paint colour)
{
    static const char *const codes[] = {
        [PLAIN] = "", [BOLD] = "\033[1m", [DIM] = "\033[2m", [RED] = "\033[31m", [YELLOW] = "\033[33m"
    };

    return codes[colour];
}

/* How many columns, as far as one can tell without tables: characters. */
static size_t columns_of(mg_str text)
{
    size_t columns = 0;

    for (size_t i = 0; i < text.n; i++)
        columns += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return columns;
}

/* What came from outside may hold anything: nothing of it reaches the terminal as an order. */
static void add_cut(mg_text *out, mg_str text, size_t columns)
{
    const bool cut = columns_of(text) > columns;
    size_t left = cut && columns ? columns - 1 : columns;

    for (size_t i = 0; i < text.n; i++) {
        const bool starts = ((unsigned char)text.p[i] & 0xc0) != 0x80;
        const size_t control = mg_str_control(text, i);
        if (starts && !left)
            break;
        left -= starts;
        mg_text_add_char(out, control ? '.' : text.p[i]);
        i += control > 1;
    }
    if (cut && columns)
        mg_text_add_char(out, '~');
}

static void pad(mg_text *out, size_t columns)
{
    for (size_t i = 0; i < columns; i++)
        mg_text_add_char(out, ' ');
}

/* Left-aligned in `columns`; right-aligned where they are negative. */
static void add_cell(view *v, mg_str text, int columns, paint colour)
{
    const size_t room = (size_t)(columns < 0 ? -columns : columns);
    const size_t used = mg_str_sub(text, 0, text.n).n && columns_of(text) < room ? columns_of(text) : room;
    const size_t gap = text.n ? room - used : room;
    const bool painted = v->screen->colour && colour != PLAIN;

    if (columns < 0)
        pad(v->out, gap);
    if (painted)
        mg_text_add_c(v->out, code_of(colour));
    add_cut(v->out, text, room);
    if (painted)
        mg_text_add_c(v->out, "\033[0m");
    if (columns > 0)
        pad(v->out, gap);
}

static void add_number(view *v, double number, int columns, paint colour)
{
    char text[32];

    if (number < 0)
        snprintf(text, sizeof text, "-");
    else if (isinf(number))
        snprintf(text, sizeof text, "long");
    else if (number < 9.95 && number != floor(number))
        snprintf(text, sizeof text, "%.1f", number);
    else if (number < 1e7)
        snprintf(text, sizeof text, "%.0f", number);
    else
        snprintf(text, sizeof text, "%.0fM", number / 1e6);
    add_cell(v, mg_str_of(text), -columns, colour);
}

static void end_line(view *v)
{
    while (v->out->n && v->out->p[v->out->n - 1] == ' ')
        v->out->n--;
    mg_text_add_char(v->out, '\n');
    v->lines++;
}

/* Whether a line fits, and leaves one to say that there were more. */
static bool has_room(const view *v, unsigned lines)
{
    return !v->screen->height || v->lines + lines < v->screen->height;
}

static int first_column(const view *v, unsigned others)
{
    const unsigned left = v->width > others ? v->width - others : 0;

    return left < FIRST_COLUMN_MIN   ? FIRST_COLUMN_MIN
           : left > FIRST_COLUMN_MAX ? FIRST_COLUMN_MAX
                                     : (int)left;
}

static void tell_more(view *v, size_t left)
{
    char text[64];

    if (!left)
        return;
    snprintf(text, sizeof text, "  .. and %zu more", left);
    add_cell(v, mg_str_of(text), (int)v->width, DIM);
    end_line(v);
}

static size_t count_items(const mg_node *items)
{
    size_t count = 0;

    for (; items; items = items->next)
        count++;
    return count;
}

/* A section's lines, with the blank one before it and its head. */
static unsigned needs_of(const view *v, const mg_node *items)
{
    const size_t fair = v->screen->height / 5, lines = items ? count_items(items) + 2 : 0;

    return (unsigned)(lines < fair ? lines : fair);
}

/* How many lines a section may have where `later` are to be left to those behind it. */
static unsigned room_of(const view *v, unsigned later)
{
    const unsigned used = v->lines + later, least = 4;

    if (!v->screen->height)
        return UINT32_MAX / 2;
    return v->screen->height > used + least ? v->screen->height - used : least;
}

/* Rows of so many items: one of them says how many more there are. */
static size_t rows_of(unsigned room, const mg_node *items)
{
    const size_t rows = room - 2, count = count_items(items);

    return count <= rows ? count : rows - 1;
}

/* ---- sections ---- */

static void add_header(view *v)
{
    const mg_node *about = v->now->about;
    char text[160];

    snprintf(text, sizeof text, "moongate %.*s %.*s   revision %.0f   workers %.0f   in flight %.0f",
             MG_STR_ARGS(text_of(about, "version")), MG_STR_ARGS(text_of(about, "state")),
             number_of(about, "revision"), number_of(about, "workers"), number_of(about, "in_flight"));
    const mg_str note = mg_str_of(v->screen->note ? v->screen->note : "");
    add_cell(v, mg_str_of(text), (int)(v->width - note.n - 1), BOLD);
    mg_text_add_char(v->out, ' ');
    add_cell(v, note, (int)note.n, DIM);
    end_line(v);
}

/* A line about the listeners that have ever turned connections away. */
static void add_refused(view *v)
{
    const mg_node *items = items_of(v->now->about, "listeners");
    const mg_node *old_items = v->before ? items_of(v->before->about, "listeners") : NULL, *hint = old_items;
    mg_text line = { 0 };
    bool now = false;

    for (; items; items = items->next) {
        const mg_node *old = earlier(old_items, items, &hint);
        const double refused = number_of(items, "refused"), rate = rate_of(v, items, old, "refused");
        if (refused <= 0)
            continue;
        now |= rate > 0;
        mg_text_addf(&line, "%s%.*s %.0f",
                     line.n ? "   " : "connections: ", MG_STR_ARGS(text_of(items, "name")),
                     number_of(items, "connections"));
        if (number_of(items, "max_connections") > 0)
            mg_text_addf(&line, " of %.0f", number_of(items, "max_connections"));
        mg_text_addf(&line, ", refused %.0f", refused);
        if (rate > 0)
            mg_text_addf(&line, " (%.0f/s)", ceil(rate));
    }
    if (line.n) {
        add_cell(v, mg_text_str(&line), (int)v->width, now ? RED : PLAIN);
        end_line(v);
    }
    mg_text_fini(&line);
}

enum { ROUTE_COLUMNS = 50 };

static void add_route(view *v, const mg_node *route, const mg_node *old)
{
    const double errors = rate_of(v, route, old, "errors");

    add_cell(v, text_of(route, "name"), first_column(v, ROUTE_COLUMNS), PLAIN);
    add_number(v, rate_of(v, route, old, "requests"), 10, PLAIN);
    add_number(v, errors, 9, errors > 0 ? RED : PLAIN);
    add_number(v, quantile_of(route, old, 0.5), 9, PLAIN);
    add_number(v, quantile_of(route, old, 0.99), 9, PLAIN);
    add_number(v, number_of(route, "requests"), 13, PLAIN);
    end_line(v);
}

static void add_heads(view *v, const char *first, unsigned others, const char *const *names,
                      const int *columns, size_t count)
{
    end_line(v);
    add_cell(v, mg_str_of(first), first_column(v, others), BOLD);
    for (size_t i = 0; i < count; i++)
        add_cell(v, mg_str_of(names[i]), columns[i], BOLD);
    end_line(v);
}

static void add_routes(view *v)
{
    static const char *const names[] = { "REQ/S", "5XX/S", "P50 MS", "P99 MS", "REQUESTS" };
    static const int columns[] = { -10, -9, -9, -9, -13 };
    const mg_node *items = items_of(v->now->routes, "routes");
    const mg_node *old_items = v->before ? items_of(v->before->routes, "routes") : NULL, *hint = old_items;
    const unsigned later = needs_of(v, items_of(v->now->services, "services")) +
                           needs_of(v, items_of(v->now->limiters, "limiters")) +
                           needs_of(v, items_of(v->now->rollouts, "rollouts"));
    size_t rows = rows_of(room_of(v, later), items);

    add_heads(v, "ROUTES", ROUTE_COLUMNS, names, columns, 5);
    for (; items && rows; items = items->next, rows--)
        add_route(v, items, earlier(old_items, items, &hint));
    tell_more(v, count_items(items));
}

enum { SERVICE_COLUMNS = 64 };

static paint breaker_paint(mg_str state)
{
    if (mg_str_eq_c(state, "open") || mg_str_eq_c(state, "forced_open"))
        return RED;
    return mg_str_eq_c(state, "closed") || mg_str_eq_c(state, "off") ? PLAIN : YELLOW;
}

static void add_hosts(view *v, const mg_node *service)
{
    size_t hosts = 0, usable = 0;
    char text[32];

    for (const mg_node *host = items_of(service, "endpoints"); host; host = host->next) {
        hosts++;
        usable += is_true(host, "usable");
    }
    snprintf(text, sizeof text, "%zu/%zu%s", usable, hosts, is_true(service, "panic") ? "!" : "");
    add_cell(v, mg_str_of(text), -6, usable < hosts || is_true(service, "panic") ? RED : PLAIN);
}

static void add_pool(view *v, const mg_node *service)
{
    const mg_node *pool = map_of(service, "pool");
    char text[48];

    snprintf(text, sizeof text, "%.0f/%.0f/%.0f", number_of(pool, "idle"), number_of(pool, "active"),
             number_of(pool, "waiting"));
    add_cell(v, mg_str_of(text), -10, number_of(pool, "waiting") > 0 ? YELLOW : PLAIN);
}

static void add_service(view *v, const mg_node *service, const mg_node *old)
{
    const mg_node *figures = map_of(service, "figures"), *old_figures = map_of(old, "figures");
    const mg_node *breaker = map_of(service, "breaker"), *adaptive = map_of(service, "adaptive");
    const mg_str state = breaker ? text_of(breaker, "state") : MG_STR("off");
    const double errors = rate_of(v, figures, old_figures, "errors");

    add_cell(v, text_of(service, "name"), first_column(v, SERVICE_COLUMNS), PLAIN);
    add_hosts(v, service);
    add_cell(v, MG_STR("  "), 2, PLAIN);
    add_cell(v, state, 13, breaker_paint(state));
    add_number(v, rate_of(v, figures, old_figures, "calls"), 8, PLAIN);
    add_number(v, errors, 6, errors > 0 ? RED : PLAIN);
    add_number(v, quantile_of(figures, old_figures, 0.99), 7, PLAIN);
    add_number(v, number_of(service, "inflight"), 6, PLAIN);
    add_number(v, adaptive ? number_of(adaptive, "limit") : -1, 6, PLAIN);
    add_pool(v, service);
    end_line(v);
}

static bool is_troubled(const mg_node *host)
{
    return !is_true(host, "usable") || is_true(host, "ejected") ||
           mg_str_eq_c(text_of(host, "state"), "down") || mg_str_eq_c(text_of(host, "health"), "unhealthy");
}

static void add_endpoint(view *v, const mg_node *host)
{
    char text[160], name[320];

    snprintf(text, sizeof text, "%.*s%s%s   weight %.0f   in flight %.0f",
             MG_STR_ARGS(text_of(host, "health")), is_true(host, "ejected") ? ", ejected" : "",
             mg_str_eq_c(text_of(host, "state"), "down") ? ", down" : "", number_of(host, "weight"),
             number_of(host, "inflight"));
    add_cell(v, MG_STR("  "), 2, PLAIN);
    snprintf(name, sizeof name, "%.*s%s%.*s", MG_STR_ARGS(text_of(host, "endpoint")),
             text_of(host, "address").n ? "@" : "", MG_STR_ARGS(text_of(host, "address")));
    add_cell(v, mg_str_of(name), 28, PLAIN);
    add_cell(v, mg_str_of(text), (int)v->width - 30, is_troubled(host) ? RED : PLAIN);
    end_line(v);
}

/* Its line, and those of its endpoints that are to be seen; false when there is no room. */
static bool add_service_block(view *v, const mg_node *service, const mg_node *old, unsigned until)
{
    if (v->lines >= until)
        return false;
    add_service(v, service, old);
    for (const mg_node *host = items_of(service, "endpoints"); host && v->lines < until; host = host->next)
        if (v->screen->all_endpoints || is_troubled(host))
            add_endpoint(v, host);
    return true;
}

static void add_services(view *v)
{
    static const char *const names[] = { "HOSTS", "  ",   "BREAKER", "REQ/S", "ERR/S",
                                         "P99",   "INFL", "LIMIT",   "POOL" };
    static const int columns[] = { -6, 2, 13, -8, -6, -7, -6, -6, -10 };
    const mg_node *items = items_of(v->now->services, "services");
    const mg_node *old_items = v->before ? items_of(v->before->services, "services") : NULL,
                  *hint = old_items;
    const unsigned later = needs_of(v, items_of(v->now->limiters, "limiters")) +
                           needs_of(v, items_of(v->now->rollouts, "rollouts"));
    const unsigned until = v->lines + room_of(v, later) - 1;

    add_heads(v, "SERVICES", SERVICE_COLUMNS, names, columns, 9);
    for (; items && add_service_block(v, items, earlier(old_items, items, &hint), until); items = items->next)
        continue;
    tell_more(v, count_items(items));
}

enum { LIMITER_COLUMNS = 20 };

/* The hottest keys with their part of what was sampled. */
static void write_hot(const mg_node *limiter, mg_text *out)
{
    double total = 0;

    for (const mg_node *key = items_of(limiter, "hot"); key; key = key->next)
        total += number_of(key, "seen");
    for (const mg_node *key = items_of(limiter, "hot"); key && total > 0; key = key->next)
        mg_text_addf(out, "%s%.*s %.0f%%", out->n ? "  " : "", MG_STR_ARGS(text_of(key, "key")),
                     100 * number_of(key, "seen") / total);
}

static void add_limiter(view *v, const mg_node *limiter, const mg_node *old)
{
    const mg_node *decisions = map_of(limiter, "decisions"), *old_decisions = map_of(old, "decisions");
    const double denied = rate_of(v, decisions, old_decisions, "deny");
    mg_text hot = { 0 };

    write_hot(limiter, &hot);
    add_cell(v, text_of(limiter, "name"), 20, PLAIN);
    add_number(v, rate_of(v, decisions, old_decisions, "allow"), 9, PLAIN);
    add_number(v, denied, 9, denied > 0 ? YELLOW : PLAIN);
    add_cell(v, MG_STR("  "), 2, PLAIN);
    add_cell(v, mg_text_str(&hot), (int)v->width - 40, PLAIN);
    end_line(v);
    mg_text_fini(&hot);
}

static void add_limiters(view *v)
{
    static const char *const names[] = { "ALLOW/S", "DENY/S", "  ", "HOT KEYS, BY SAMPLE" };
    static const int columns[] = { -9, -9, 2, 20 };
    const mg_node *items = items_of(v->now->limiters, "limiters");
    const mg_node *old_items = v->before ? items_of(v->before->limiters, "limiters") : NULL,
                  *hint = old_items;
    size_t rows = rows_of(room_of(v, needs_of(v, items_of(v->now->rollouts, "rollouts"))), items);

    if (!items)
        return;
    add_heads(v, "LIMITERS", v->width - 20, names, columns, 4);
    for (; items && rows; items = items->next, rows--)
        add_limiter(v, items, earlier(old_items, items, &hint));
    tell_more(v, count_items(items));
}

enum { ROLLOUT_COLUMNS = 58 };

static paint rollout_paint(mg_str state)
{
    return mg_str_eq_c(state, "failed") ? RED : mg_str_eq_c(state, "held") ? YELLOW : PLAIN;
}

static void add_rollout(view *v, const mg_node *rollout)
{
    const mg_str state = text_of(rollout, "state");
    const double strikes = number_of(rollout, "strikes"), errors = number_of(rollout, "errors");
    char step[32];

    snprintf(step, sizeof step, "%.0f/%.0f", number_of(rollout, "step") + 1, number_of(rollout, "steps"));
    add_cell(v, text_of(rollout, "route"), first_column(v, ROLLOUT_COLUMNS), PLAIN);
    add_cell(v, text_of(rollout, "canary"), 14, PLAIN);
    add_cell(v, state, 9, rollout_paint(state));
    add_cell(v, mg_str_of(step), -6, PLAIN);
    add_number(v, number_of(rollout, "percent"), 5, PLAIN);
    add_number(v, number_of(rollout, "requests"), 9, PLAIN);
    add_number(v, errors, 7, errors > 0 ? RED : PLAIN);
    add_number(v, strikes, 8, strikes > 0 ? RED : PLAIN);
    end_line(v);
}

static void add_rollouts(view *v)
{
    static const char *const names[] = { "CANARY", "STATE", "STEP", "%", "REQUESTS", "ERRORS", "STRIKES" };
    static const int columns[] = { 14, 9, -6, -5, -9, -7, -8 };
    const mg_node *items = items_of(v->now->rollouts, "rollouts");

    if (!items || !has_room(v, 3))
        return;
    add_heads(v, "ROLLOUTS", ROLLOUT_COLUMNS, names, columns, 7);
    for (; items && has_room(v, 1); items = items->next)
        add_rollout(v, items);
    tell_more(v, count_items(items));
}

void mg_top_render(const mg_top_sample *now, const mg_top_sample *before, const mg_top_screen *screen,
                   mg_text *out)
{
    view v = { .now = now, .before = before, .screen = screen, .out = out };

    v.width = screen->width < MG_TOP_WIDTH_MIN ? MG_TOP_WIDTH_MIN : screen->width;
    if (before)
        v.seconds = (number_of(now->routes, "at_ms") - number_of(before->routes, "at_ms")) / 1000;
    add_header(&v);
    add_refused(&v);
    add_routes(&v);
    add_services(&v);
    add_limiters(&v);
    add_rollouts(&v);
}
