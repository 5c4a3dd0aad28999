/* top_view.c - what is said of a gateway, in sections of one table each. */
#include "cli/top_view.h"

#include "base/mem.h"
#include "cli/top_table.h"
#include <math.h>
#include <stdio.h>

typedef struct view {
    const mg_top_sample *now, *before;
    const mg_top_screen *screen;
    mg_top_page page;
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

/* Whether a line fits, and leaves one to say that there were more. */
static bool has_room(const view *v, unsigned lines)
{
    return !v->screen->height || v->page.lines + lines < v->screen->height;
}

static void tell_more(view *v, size_t left)
{
    char text[64];

    if (!left)
        return;
    snprintf(text, sizeof text, "  .. and %zu more", left);
    mg_top_text(&v->page, mg_str_of(text), (int)v->page.width, MG_TOP_DIM);
    mg_top_end_line(&v->page);
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
    const unsigned used = v->page.lines + later, least = 4;

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
    mg_str note = mg_str_of(v->screen->note ? v->screen->note : "");
    mg_text line = { 0 }, state = { 0 }, revision = { 0 };

    if (v->page.width < 60) /* then there is room for figures alone */
        note = MG_STR("");
    const size_t room = v->page.width - mg_top_columns_of(note) - 1;
    mg_text_add_c(&line, "moongate");
    mg_text_addf(&state, " %.*s %.*s", MG_STR_ARGS(text_of(about, "version")),
                 MG_STR_ARGS(text_of(about, "state")));
    mg_top_add_part(&line, room, mg_text_str(&state));
    mg_text_addf(&revision, "   revision %.0f", number_of(about, "revision"));
    if (v->page.width < 60) /* what matters most comes first */
        mg_top_add_count(&line, room, "in flight", number_of(about, "in_flight"));
    mg_top_add_part(&line, room, mg_text_str(&revision));
    mg_top_add_count(&line, room, "workers", number_of(about, "workers"));
    if (v->page.width >= 60)
        mg_top_add_count(&line, room, "in flight", number_of(about, "in_flight"));
    mg_top_text(&v->page, mg_text_str(&line), (int)room, MG_TOP_BOLD);
    mg_text_add_char(v->page.out, ' ');
    mg_top_text(&v->page, note, (int)mg_top_columns_of(note), MG_TOP_DIM);
    mg_top_end_line(&v->page);
    mg_text_fini(&line);
    mg_text_fini(&state);
    mg_text_fini(&revision);
}

/* What is said of one listener, where a connection was ever turned away: as much as fits. */
static void add_door(mg_text *line, size_t columns, const mg_node *door, double rate)
{
    mg_text whole = { 0 }, brief = { 0 };
    char open[32], most[32], refused[32], each[32];

    mg_top_write_number(number_of(door, "connections"), open);
    mg_top_write_number(number_of(door, "max_connections"), most);
    mg_top_write_number(number_of(door, "refused"), refused);
    mg_top_write_number(ceil(rate), each);
    mg_text_add_c(&brief, line->n ? "   " : "connections: ");
    mg_top_add_cut(&brief, text_of(door, "name"), MG_TOP_NAME_MIN);
    mg_text_addf(&whole, "%s %s", brief.p, open);
    if (number_of(door, "max_connections") > 0)
        mg_text_addf(&whole, " of %s", most);
    mg_text_addf(&whole, ", refused %s", refused);
    if (rate > 0)
        mg_text_addf(&whole, " (%s/s)", each);
    mg_text_addf(&brief, " refused %s", refused);
    const size_t before = line->n;
    mg_top_add_part(line, columns, mg_text_str(&whole));
    if (line->n == before)
        mg_top_add_part(line, columns, mg_text_str(&brief));
    mg_text_fini(&whole);
    mg_text_fini(&brief);
}

/* A line about the listeners that have ever turned connections away. */
static void add_refused(view *v)
{
    const mg_node *items = items_of(v->now->about, "listeners");
    const mg_node *old_items = v->before ? items_of(v->before->about, "listeners") : NULL, *hint = old_items;
    mg_text line = { 0 };
    bool now = false;

    for (; items; items = items->next) {
        const double rate = rate_of(v, items, earlier(old_items, items, &hint), "refused");
        if (number_of(items, "refused") <= 0)
            continue;
        now |= rate > 0;
        add_door(&line, v->page.width, items, rate);
    }
    if (line.n) {
        mg_top_text(&v->page, mg_text_str(&line), (int)v->page.width, now ? MG_TOP_RED : MG_TOP_PLAIN);
        mg_top_end_line(&v->page);
    }
    mg_text_fini(&line);
}

static void add_route(view *v, const mg_node *route, const mg_node *old)
{
    const double errors = rate_of(v, route, old, "errors");

    mg_top_cell(&v->page, text_of(route, "name"), MG_TOP_PLAIN);
    mg_top_number(&v->page, rate_of(v, route, old, "requests"), MG_TOP_PLAIN);
    mg_top_number(&v->page, errors, errors > 0 ? MG_TOP_RED : MG_TOP_PLAIN);
    mg_top_number(&v->page, quantile_of(route, old, 0.5), MG_TOP_PLAIN);
    mg_top_number(&v->page, quantile_of(route, old, 0.99), MG_TOP_PLAIN);
    mg_top_number(&v->page, number_of(route, "requests"), MG_TOP_PLAIN);
    mg_top_end_row(&v->page);
}

/* `rows` of the routes; returns how many are left. */
static size_t add_route_rows(view *v, size_t rows)
{
    const mg_node *items = items_of(v->now->routes, "routes");
    const mg_node *old_items = v->before ? items_of(v->before->routes, "routes") : NULL, *hint = old_items;

    for (; items && rows; items = items->next, rows--)
        add_route(v, items, earlier(old_items, items, &hint));
    return count_items(items);
}

static void add_routes(view *v)
{
    static const mg_top_column columns[] = { { "REQ/S", -10, 9 },
                                             { "5XX/S", -9, 8 },
                                             { "P50 MS", -9, 5 },
                                             { "P99 MS", -9, 7 },
                                             { "REQUESTS", -13, 6 } };
    const unsigned later = needs_of(v, items_of(v->now->services, "services")) +
                           needs_of(v, items_of(v->now->limiters, "limiters")) +
                           needs_of(v, items_of(v->now->rollouts, "rollouts"));
    const size_t rows = rows_of(room_of(v, later), items_of(v->now->routes, "routes"));

    mg_top_begin_table(&v->page, columns, mg_countof(columns));
    (void)add_route_rows(v, rows);
    mg_top_draw_table(&v->page, "ROUTES");
    tell_more(v, add_route_rows(v, rows));
}

static mg_top_paint breaker_paint(mg_str state)
{
    if (mg_str_eq_c(state, "open") || mg_str_eq_c(state, "forced_open"))
        return MG_TOP_RED;
    return mg_str_eq_c(state, "closed") || mg_str_eq_c(state, "off") ? MG_TOP_PLAIN : MG_TOP_YELLOW;
}

static void add_hosts(view *v, const mg_node *service)
{
    size_t hosts = 0, usable = 0;
    char text[48];

    for (const mg_node *host = items_of(service, "endpoints"); host; host = host->next) {
        hosts++;
        usable += is_true(host, "usable");
    }
    snprintf(text, sizeof text, "%zu/%zu%s", usable, hosts, is_true(service, "panic") ? "!" : "");
    mg_top_cell(&v->page, mg_str_of(text),
                usable < hosts || is_true(service, "panic") ? MG_TOP_RED : MG_TOP_PLAIN);
}

static void add_pool(view *v, const mg_node *service)
{
    const mg_node *pool = map_of(service, "pool");
    char idle[32], active[32], waiting[32], text[100];

    mg_top_write_number(number_of(pool, "idle"), idle);
    mg_top_write_number(number_of(pool, "active"), active);
    mg_top_write_number(number_of(pool, "waiting"), waiting);
    snprintf(text, sizeof text, "%s/%s/%s", idle, active, waiting);
    mg_top_cell(&v->page, mg_str_of(text), number_of(pool, "waiting") > 0 ? MG_TOP_YELLOW : MG_TOP_PLAIN);
}

static void add_service(view *v, const mg_node *service, const mg_node *old)
{
    const mg_node *figures = map_of(service, "figures"), *old_figures = map_of(old, "figures");
    const mg_node *breaker = map_of(service, "breaker"), *adaptive = map_of(service, "adaptive");
    const mg_str state = breaker ? text_of(breaker, "state") : MG_STR("off");
    const double errors = rate_of(v, figures, old_figures, "errors");

    mg_top_cell(&v->page, text_of(service, "name"), MG_TOP_PLAIN);
    add_hosts(v, service);
    mg_top_cell(&v->page, state, breaker_paint(state));
    mg_top_number(&v->page, rate_of(v, figures, old_figures, "calls"), MG_TOP_PLAIN);
    mg_top_number(&v->page, errors, errors > 0 ? MG_TOP_RED : MG_TOP_PLAIN);
    mg_top_number(&v->page, quantile_of(figures, old_figures, 0.99), MG_TOP_PLAIN);
    mg_top_number(&v->page, number_of(service, "inflight"), MG_TOP_PLAIN);
    mg_top_number(&v->page, adaptive ? number_of(adaptive, "limit") : -1, MG_TOP_PLAIN);
    add_pool(v, service);
    mg_top_end_row(&v->page);
}

static bool is_troubled(const mg_node *host)
{
    return !is_true(host, "usable") || is_true(host, "ejected") ||
           mg_str_eq_c(text_of(host, "state"), "down") || mg_str_eq_c(text_of(host, "health"), "unhealthy");
}

enum { ENDPOINT_MIN = 28 };

static void add_endpoint(view *v, const mg_node *host)
{
    const unsigned half = v->page.width / 2;
    mg_text name = { 0 }, line = { 0 };
    size_t name_room;

    if (v->page.measures)
        return;
    mg_text_add(&name, text_of(host, "endpoint"));
    if (text_of(host, "address").n)
        mg_text_addf(&name, "@%.*s", MG_STR_ARGS(text_of(host, "address")));
    name_room = mg_top_columns_of(mg_text_str(&name)) + 1;
    name_room = name_room < ENDPOINT_MIN ? ENDPOINT_MIN : name_room;
    name_room = name_room > half ? half : name_room;
    mg_text_add(&line, text_of(host, "health"));
    mg_text_add_c(&line, is_true(host, "ejected") ? ", ejected" : "");
    mg_text_add_c(&line, mg_str_eq_c(text_of(host, "state"), "down") ? ", down" : "");
    mg_top_add_count(&line, v->page.width - 2 - name_room, "weight", number_of(host, "weight"));
    mg_top_add_count(&line, v->page.width - 2 - name_room, "in flight", number_of(host, "inflight"));
    mg_text_add_c(v->page.out, "  ");
    mg_top_text(&v->page, mg_text_str(&name), (int)name_room - 1, MG_TOP_PLAIN);
    mg_text_add_char(v->page.out, ' ');
    mg_top_text(&v->page, mg_text_str(&line), (int)(v->page.width - 2 - name_room),
                is_troubled(host) ? MG_TOP_RED : MG_TOP_PLAIN);
    mg_top_end_line(&v->page);
    mg_text_fini(&name);
    mg_text_fini(&line);
}

/* Each service, and those of its endpoints that are to be seen, for so many lines; returns how many services
 * are left. */
static size_t add_service_rows(view *v, unsigned lines)
{
    const mg_node *items = items_of(v->now->services, "services");
    const mg_node *old_items = v->before ? items_of(v->before->services, "services") : NULL,
                  *hint = old_items;

    for (; items && lines; items = items->next) {
        add_service(v, items, earlier(old_items, items, &hint));
        lines--;
        for (const mg_node *host = items_of(items, "endpoints"); host && lines; host = host->next)
            if (v->screen->all_endpoints || is_troubled(host)) {
                add_endpoint(v, host);
                lines--;
            }
    }
    return count_items(items);
}

static void add_services(view *v)
{
    static const mg_top_column columns[] = { { "HOSTS", -6, 9 }, { "BREAKER", 15, 6 }, { "REQ/S", -8, 8 },
                                             { "ERR/S", -6, 7 }, { "P99", -7, 5 },     { "INFL", -6, 4 },
                                             { "LIMIT", -6, 1 }, { "POOL", -10, 3 } };
    const unsigned later = needs_of(v, items_of(v->now->limiters, "limiters")) +
                           needs_of(v, items_of(v->now->rollouts, "rollouts"));
    const unsigned lines =
        room_of(v, later) - 3; /* the blank one, the head, and what tells how many are left */

    mg_top_begin_table(&v->page, columns, mg_countof(columns));
    (void)add_service_rows(v, lines);
    mg_top_draw_table(&v->page, "SERVICES");
    tell_more(v, add_service_rows(v, lines));
}

/* The hottest keys with their part of what was sampled, as many as fit into what the table leaves. */
static void add_hot(view *v, const mg_node *limiter)
{
    const size_t columns =
        v->page.measures || !v->page.widths[v->page.at - 1] ? 0 : v->page.widths[v->page.at - 1] - 2;
    double total = 0;
    mg_text hot = { 0 }, part = { 0 };

    for (const mg_node *key = items_of(limiter, "hot"); key; key = key->next)
        total += number_of(key, "seen");
    for (const mg_node *key = items_of(limiter, "hot"); key && total > 0 && columns > MG_TOP_NAME_MIN;
         key = key->next) {
        mg_text_clear(&part);
        mg_text_add_c(&part, hot.n ? "  " : "");
        mg_top_add_cut(&part, text_of(key, "key"), columns - 7); /* blanks, "100%" */
        mg_text_addf(&part, " %.0f%%", 100 * number_of(key, "seen") / total);
        mg_top_add_part(&hot, columns, mg_text_str(&part));
    }
    mg_top_cell(&v->page, mg_text_str(&hot), MG_TOP_PLAIN);
    mg_text_fini(&part);
    mg_text_fini(&hot);
}

static void add_limiter(view *v, const mg_node *limiter, const mg_node *old)
{
    const mg_node *decisions = map_of(limiter, "decisions"), *old_decisions = map_of(old, "decisions");
    const double denied = rate_of(v, decisions, old_decisions, "deny");

    mg_top_cell(&v->page, text_of(limiter, "name"), MG_TOP_PLAIN);
    mg_top_number(&v->page, rate_of(v, decisions, old_decisions, "allow"), MG_TOP_PLAIN);
    mg_top_number(&v->page, denied, denied > 0 ? MG_TOP_YELLOW : MG_TOP_PLAIN);
    add_hot(v, limiter);
    mg_top_end_row(&v->page);
}

static size_t add_limiter_rows(view *v, size_t rows)
{
    const mg_node *items = items_of(v->now->limiters, "limiters");
    const mg_node *old_items = v->before ? items_of(v->before->limiters, "limiters") : NULL,
                  *hint = old_items;

    for (; items && rows; items = items->next, rows--)
        add_limiter(v, items, earlier(old_items, items, &hint));
    return count_items(items);
}

static void add_limiters(view *v)
{
    static const mg_top_column columns[] = { { "ALLOW/S", -9, 2 },
                                             { "DENY/S", -9, 3 },
                                             { "HOT KEYS, BY SAMPLE", 21, 1 } };
    const mg_node *items = items_of(v->now->limiters, "limiters");
    const size_t rows = rows_of(room_of(v, needs_of(v, items_of(v->now->rollouts, "rollouts"))), items);

    if (!items)
        return;
    mg_top_begin_table(&v->page, columns, mg_countof(columns));
    (void)add_limiter_rows(v, rows);
    mg_top_draw_table(&v->page, "LIMITERS");
    tell_more(v, add_limiter_rows(v, rows));
}

static mg_top_paint rollout_paint(mg_str state)
{
    return mg_str_eq_c(state, "failed") ? MG_TOP_RED
           : mg_str_eq_c(state, "held") ? MG_TOP_YELLOW
                                        : MG_TOP_PLAIN;
}

static void add_rollout(view *v, const mg_node *rollout)
{
    const mg_str state = text_of(rollout, "state"), canary = text_of(rollout, "canary");
    const double strikes = number_of(rollout, "strikes"), errors = number_of(rollout, "errors");
    char step[64];
    mg_text shown = { 0 };

    snprintf(step, sizeof step, "%.0f/%.0f", number_of(rollout, "step") + 1, number_of(rollout, "steps"));
    mg_top_add_cut(&shown, canary, MG_TOP_NAME_MIN);
    mg_top_cell(&v->page, text_of(rollout, "route"), MG_TOP_PLAIN);
    mg_top_cell(&v->page, mg_text_str(&shown), MG_TOP_PLAIN);
    mg_top_cell(&v->page, state, rollout_paint(state));
    mg_top_cell(&v->page, mg_str_of(step), MG_TOP_PLAIN);
    mg_top_number(&v->page, number_of(rollout, "percent"), MG_TOP_PLAIN);
    mg_top_number(&v->page, number_of(rollout, "requests"), MG_TOP_PLAIN);
    mg_top_number(&v->page, errors, errors > 0 ? MG_TOP_RED : MG_TOP_PLAIN);
    mg_top_number(&v->page, strikes, strikes > 0 ? MG_TOP_RED : MG_TOP_PLAIN);
    mg_top_end_row(&v->page);
    mg_text_fini(&shown);
}

static size_t add_rollout_rows(view *v, size_t rows)
{
    const mg_node *items = items_of(v->now->rollouts, "rollouts");

    for (; items && rows; items = items->next, rows--)
        add_rollout(v, items);
    return count_items(items);
}

static void add_rollouts(view *v)
{
    static const mg_top_column columns[] = { { "CANARY", 14, 5 }, { "STATE", 9, 8 },     { "STEP", -6, 6 },
                                             { "%", -5, 9 },      { "REQUESTS", -9, 3 }, { "ERRORS", -7, 7 },
                                             { "STRIKES", -8, 4 } };
    const mg_node *items = items_of(v->now->rollouts, "rollouts");

    if (!items || !has_room(v, 3))
        return;
    const size_t rows =
        rows_of(v->screen->height ? v->screen->height - v->page.lines - 1 : UINT32_MAX, items);
    mg_top_begin_table(&v->page, columns, mg_countof(columns));
    (void)add_rollout_rows(v, rows);
    mg_top_draw_table(&v->page, "ROLLOUTS");
    tell_more(v, add_rollout_rows(v, rows));
}

void mg_top_render(const mg_top_sample *now, const mg_top_sample *before, const mg_top_screen *screen,
                   mg_text *out)
{
    view v = { .now = now, .before = before, .screen = screen };

    v.page = (mg_top_page){ .out = out, .colour = screen->colour };
    v.page.width = screen->width < MG_TOP_WIDTH_MIN ? MG_TOP_WIDTH_MIN : screen->width;
    if (before)
        v.seconds = (number_of(now->routes, "at_ms") - number_of(before->routes, "at_ms")) / 1000;
    add_header(&v);
    add_refused(&v);
    add_routes(&v);
    add_services(&v);
    add_limiters(&v);
    add_rollouts(&v);
}

/* Each line is erased before it is written: behind its last column the cursor still stands on it, and erasing
 * from there would take that column away. */
void mg_top_frame(mg_str picture, unsigned height, mg_text *out)
{
    unsigned lines = 0;
    mg_str line;

    mg_text_add_c(out, "\033[H");
    for (; lines < height && picture.n && mg_str_cut(&picture, '\n', &line); lines++)
        mg_text_addf(out, "%s\033[K%.*s", lines ? "\n" : "", MG_STR_ARGS(line));
    if (lines < height)
        mg_text_add_c(out, lines ? "\n\033[J" : "\033[J");
}
