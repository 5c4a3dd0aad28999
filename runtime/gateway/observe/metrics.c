/* metrics.c - cells of one writer each, found through a small open table whose keys are published once; the
 * scraper only reads. */
#include "gateway/observe/metrics.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdio.h>

/* One worker's counts of one (route, method, status). key 0 = free. */
typedef struct series {
    _Atomic uint64_t key;
    mg_cell count;
} series;

typedef struct route_cells {
    mg_histogram duration, own;
    mg_cell bytes_in, bytes_out;
    mg_cell deadlines[MG_DEADLINES];
} route_cells;

static const char *const deadline_words[] = { MG_DEADLINE_PLACES(MG_WORD_TEXT) };

typedef struct worker_cells {
    series *requests; /* MG_STATS_SERIES */
    mg_cell folded;
    _Atomic(route_cells *) routes[MG_STATS_ROUTES]; /* made at first use */
    mg_cell upstream[256][MG_SERVED_COUNT];
    mg_cell events[MG_EVENT_COUNT];
    mg_cell tasks[MG_TASK_KINDS][MG_TASK_OUTCOMES], running[MG_TASK_KINDS];
    mg_cell in_flight;
} worker_cells;

typedef struct name_table {
    mg_map *numbers;
    char **names; /* owned; by number */
    _Atomic uint32_t count;
    uint32_t max;
} name_table;

struct mg_stats {
    unsigned workers;
    worker_cells **cells; /* owned */
    pthread_mutex_t lock; /* of the name tables */
    name_table routes, services;
};

static void names_init(name_table *table, uint32_t max)
{
    table->numbers = mg_map_new(1);
    table->names = MG_NEW_N(char *, max);
    table->max = max;
    table->names[0] = mg_strdup("");
    atomic_init(&table->count, 1);
}

static void names_fini(name_table *table)
{
    for (uint32_t i = 0; i < table->max; i++)
        mg_free(table->names[i]);
    mg_free(table->names);
    mg_map_free(table->numbers);
}

/* Past the table's end every name is the last number, `_other`. */
static uint32_t name_number(mg_stats *stats, name_table *table, mg_str name)
{
    uint32_t number = 0;

    if (!name.n)
        return 0;
    pthread_mutex_lock(&stats->lock);
    number = (uint32_t)(uintptr_t)mg_map_get(table->numbers, name);
    if (!number) {
        number = atomic_load(&table->count);
        if (number >= table->max - 1) {
            number = table->max - 1;
            if (!table->names[number])
                table->names[number] = mg_strdup("_other");
            atomic_store(&table->count, table->max);
        } else {
            table->names[number] = mg_memdup0(name.p, name.n);
            mg_map_set(table->numbers, name, (void *)(uintptr_t)number);
            atomic_store_explicit(&table->count, number + 1, memory_order_release);
        }
    }
    pthread_mutex_unlock(&stats->lock);
    return number;
}

mg_stats *mg_stats_new(unsigned workers)
{
    mg_stats *stats = MG_NEW(mg_stats);

    stats->workers = workers;
    stats->cells = MG_NEW_N(worker_cells *, workers);
    for (unsigned i = 0; i < workers; i++) {
        stats->cells[i] = MG_NEW(worker_cells);
        stats->cells[i]->requests = MG_NEW_N(series, MG_STATS_SERIES);
    }
    pthread_mutex_init(&stats->lock, NULL);
    names_init(&stats->routes, MG_STATS_ROUTES);
    names_init(&stats->services, 256);
    return stats;
}

void mg_stats_free(mg_stats *stats)
{
    if (!stats)
        return;
    for (unsigned i = 0; i < stats->workers; i++) {
        for (uint32_t r = 0; r < MG_STATS_ROUTES; r++)
            mg_free(atomic_load(&stats->cells[i]->routes[r]));
        mg_free(stats->cells[i]->requests);
        mg_free(stats->cells[i]);
    }
    mg_free(stats->cells);
    names_fini(&stats->routes);
    names_fini(&stats->services);
    pthread_mutex_destroy(&stats->lock);
    mg_free(stats);
}

uint32_t mg_stats_route(mg_stats *stats, mg_str name)
{
    return name_number(stats, &stats->routes, name);
}

uint32_t mg_stats_service(mg_stats *stats, mg_str name)
{
    return name_number(stats, &stats->services, name);
}

static uint64_t series_key(uint32_t route, mg_method method, uint16_t status)
{
    return 1ull << 63 | (uint64_t)route << 24 | (uint64_t)method << 16 | status;
}

/* NULL when the table is full: counted as folded. */
static mg_cell *find_series(worker_cells *cells, uint64_t key)
{
    size_t at = (key * 0x9e3779b97f4a7c15ull) >> 51;

    for (unsigned tries = 0; tries < 32; tries++, at = (at + 1) & (MG_STATS_SERIES - 1)) {
        const uint64_t seen = atomic_load_explicit(&cells->requests[at].key, memory_order_relaxed);
        if (seen == key)
            return &cells->requests[at].count;
        if (!seen) {
            atomic_store_explicit(&cells->requests[at].key, key, memory_order_release);
            return &cells->requests[at].count;
        }
    }
    return NULL;
}

static route_cells *cells_of_route(worker_cells *cells, uint32_t route)
{
    route_cells *found = atomic_load_explicit(&cells->routes[route], memory_order_relaxed);

    if (!found) {
        found = MG_NEW(route_cells);
        atomic_store_explicit(&cells->routes[route], found, memory_order_release);
    }
    return found;
}

void mg_stats_request(mg_stats *stats, unsigned worker, uint32_t route, mg_method method, uint16_t status,
                      uint64_t duration_us, uint64_t own_us, uint64_t bytes_in, uint64_t bytes_out)
{
    worker_cells *cells = stats->cells[worker];
    mg_cell *count = find_series(cells, series_key(route, method, status));
    route_cells *of_route = cells_of_route(cells, route);

    mg_cell_add(count ? count : &cells->folded, 1);
    mg_histogram_add(&of_route->duration, duration_us);
    mg_histogram_add(&of_route->own, own_us);
    mg_cell_add(&of_route->bytes_in, bytes_in);
    mg_cell_add(&of_route->bytes_out, bytes_out);
}

void mg_stats_upstream(mg_stats *stats, unsigned worker, uint32_t service, mg_upstream_outcome outcome)
{
    mg_cell_add(&stats->cells[worker]->upstream[service][outcome], 1);
}

void mg_stats_deadline(mg_stats *stats, unsigned worker, uint32_t route, mg_deadline_place where)
{
    mg_cell_add(&cells_of_route(stats->cells[worker], route)->deadlines[where], 1);
}

void mg_stats_event(mg_stats *stats, unsigned worker, mg_stat_event event, uint64_t n)
{
    mg_cell_add(&stats->cells[worker]->events[event], n);
}

void mg_stats_in_flight(mg_stats *stats, unsigned worker, int by)
{
    mg_cell_add(&stats->cells[worker]->in_flight, (uint64_t)(int64_t)by);
}

void mg_stats_task(mg_stats *stats, unsigned worker, mg_task_kind kind, mg_task_outcome outcome)
{
    mg_cell_add(&stats->cells[worker]->tasks[kind][outcome], 1);
}

void mg_stats_tasks_running(mg_stats *stats, unsigned worker, mg_task_kind kind, int by)
{
    mg_cell_add(&stats->cells[worker]->running[kind], (uint64_t)(int64_t)by);
}

/* ---- the text ---- */

void mg_stats_head(mg_text *out, const char *name, const char *type, const char *help)
{
    mg_text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Sums series of equal keys over the workers, in a map of our own. */
static void write_requests(mg_stats *stats, mg_text *out)
{
    uint64_t folded = 0;
    worker_cells sum = { .requests = MG_NEW_N(series, MG_STATS_SERIES) };

    for (unsigned w = 0; w < stats->workers; w++) {
        folded += mg_cell_get(&stats->cells[w]->folded);
        for (size_t i = 0; i < MG_STATS_SERIES; i++) {
            const uint64_t key =
                atomic_load_explicit(&stats->cells[w]->requests[i].key, memory_order_acquire);
            mg_cell *cell = key ? find_series(&sum, key) : NULL;
            if (cell)
                mg_cell_add(cell, mg_cell_get(&stats->cells[w]->requests[i].count));
            else if (key)
                folded += mg_cell_get(&stats->cells[w]->requests[i].count);
        }
    }
    mg_stats_head(out, "moongate_http_requests_total", "counter", "Requests that have ended.");
    for (size_t i = 0; i < MG_STATS_SERIES; i++) {
        const uint64_t key = atomic_load(&sum.requests[i].key);
        if (!key)
            continue;
        const mg_method method = (mg_method)(key >> 16 & 0xff);
        mg_text_addf(out, "moongate_http_requests_total{route=\"%s\",method=\"%.*s\",code=\"%u\"} %llu\n",
                     stats->routes.names[key >> 24 & 0xffffff],
                     MG_STR_ARGS(method ? mg_method_text(method) : MG_STR("_OTHER")),
                     (unsigned)(key & 0xffff), (unsigned long long)mg_cell_get(&sum.requests[i].count));
    }
    if (folded)
        mg_text_addf(
            out, "moongate_http_requests_total{route=\"_other\",method=\"_OTHER\",code=\"_other\"} %llu\n",
            (unsigned long long)folded);
    mg_free(sum.requests);
}

void mg_stats_histogram(mg_text *out, const char *name, const char *labels, const mg_histogram *h)
{
    const char *comma = labels[0] ? "," : "", *open = labels[0] ? "{" : "", *close = labels[0] ? "}" : "";
    uint64_t below = 0;

    for (int i = 0; i < MG_HISTOGRAM_BOUNDS; i++) {
        below += mg_cell_get(&h->cells[i]);
        mg_text_addf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma,
                     (double)mg_histogram_bounds_us[i] / 1e6, (unsigned long long)below);
    }
    below += mg_cell_get(&h->cells[MG_HISTOGRAM_BOUNDS]);
    mg_text_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n%s_sum%s%s%s %.6f\n%s_count%s%s%s %llu\n", name,
                 labels, comma, (unsigned long long)below, name, open, labels, close,
                 (double)mg_cell_get(&h->sum_us) / 1e6, name, open, labels, close, (unsigned long long)below);
}

static void write_histogram(mg_text *out, const char *name, const char *route, const mg_histogram *h)
{
    char labels[128];

    snprintf(labels, sizeof labels, "route=\"%s\"", route);
    mg_stats_histogram(out, name, labels, h);
}

static bool sum_route(const mg_stats *stats, uint32_t route, route_cells *sum)
{
    bool any = false;

    *sum = (route_cells){ 0 };
    for (unsigned w = 0; w < stats->workers; w++) {
        const route_cells *one = atomic_load_explicit(&stats->cells[w]->routes[route], memory_order_acquire);
        if (!one)
            continue;
        any = true;
        mg_histogram_sum(&sum->duration, &one->duration);
        mg_histogram_sum(&sum->own, &one->own);
        mg_cell_add(&sum->bytes_in, mg_cell_get(&one->bytes_in));
        mg_cell_add(&sum->bytes_out, mg_cell_get(&one->bytes_out));
        for (int d = MG_DEADLINE_KEPT + 1; d < MG_DEADLINES; d++)
            mg_cell_add(&sum->deadlines[d], mg_cell_get(&one->deadlines[d]));
    }
    return any;
}

bool mg_stats_route_duration(const mg_stats *stats, uint32_t route, mg_histogram *sum)
{
    route_cells cells;
    const bool any = sum_route(stats, route, &cells);

    *sum = cells.duration;
    return any;
}

void mg_stats_each_request(const mg_stats *stats,
                           void (*each)(void *self, uint32_t route, uint16_t status, uint64_t count),
                           void *self)
{
    for (unsigned w = 0; w < stats->workers; w++)
        for (size_t i = 0; i < MG_STATS_SERIES; i++) {
            const series *one = &stats->cells[w]->requests[i];
            const uint64_t key = atomic_load_explicit(&one->key, memory_order_acquire);
            if (key)
                each(self, key >> 24 & 0xffffff, (uint16_t)(key & 0xffff), mg_cell_get(&one->count));
        }
}

uint64_t mg_stats_in_flight_now(const mg_stats *stats)
{
    int64_t in_flight = 0;

    for (unsigned w = 0; w < stats->workers; w++)
        in_flight += (int64_t)mg_cell_get(&stats->cells[w]->in_flight);
    return in_flight > 0 ? (uint64_t)in_flight : 0;
}

typedef void write_route(mg_text *out, const char *route, const route_cells *sum);

static void write_duration(mg_text *out, const char *route, const route_cells *sum)
{
    write_histogram(out, "moongate_http_request_duration_seconds", route, &sum->duration);
}

static void write_own(mg_text *out, const char *route, const route_cells *sum)
{
    write_histogram(out, "moongate_http_overhead_seconds", route, &sum->own);
}

static void write_bytes_in(mg_text *out, const char *route, const route_cells *sum)
{
    mg_text_addf(out, "moongate_http_request_bytes_total{route=\"%s\"} %llu\n", route,
                 (unsigned long long)mg_cell_get(&sum->bytes_in));
}

static void write_bytes_out(mg_text *out, const char *route, const route_cells *sum)
{
    mg_text_addf(out, "moongate_http_response_bytes_total{route=\"%s\"} %llu\n", route,
                 (unsigned long long)mg_cell_get(&sum->bytes_out));
}

static void write_deadlines(mg_text *out, const char *route, const route_cells *sum)
{
    for (int d = MG_DEADLINE_KEPT + 1; d < MG_DEADLINES; d++)
        if (mg_cell_get(&sum->deadlines[d]))
            mg_text_addf(out, "moongate_deadline_exceeded_total{route=\"%s\",where=\"%s\"} %llu\n", route,
                         deadline_words[d], (unsigned long long)mg_cell_get(&sum->deadlines[d]));
}

static void each_route(const mg_stats *stats, mg_text *out, write_route *write)
{
    const uint32_t count =
        atomic_load_explicit(&((mg_stats *)(uintptr_t)stats)->routes.count, memory_order_acquire);
    route_cells sum;

    for (uint32_t r = 0; r < count; r++)
        if (sum_route(stats, r, &sum))
            write(out, stats->routes.names[r], &sum);
}

static void write_upstream(const mg_stats *stats, mg_text *out)
{
    static const char *const outcomes[] = { MG_UPSTREAM_OUTCOMES(MG_WORD_TEXT) };
    const uint32_t count =
        atomic_load_explicit(&((mg_stats *)(uintptr_t)stats)->services.count, memory_order_acquire);

    mg_stats_head(out, "moongate_upstream_requests_total", "counter",
                  "Exchanges with upstreams, by what became of them.");
    for (uint32_t s = 1; s < count; s++)
        for (int o = 0; o < MG_SERVED_COUNT; o++) {
            uint64_t sum = 0;
            for (unsigned w = 0; w < stats->workers; w++)
                sum += mg_cell_get(&stats->cells[w]->upstream[s][o]);
            if (sum)
                mg_text_addf(out, "moongate_upstream_requests_total{service=\"%s\",outcome=\"%s\"} %llu\n",
                             stats->services.names[s], outcomes[o], (unsigned long long)sum);
        }
}

static uint64_t sum_event(const mg_stats *stats, mg_stat_event event)
{
    uint64_t sum = 0;

    for (unsigned w = 0; w < stats->workers; w++)
        sum += mg_cell_get(&stats->cells[w]->events[event]);
    return sum;
}

static void write_number(mg_text *out, const char *name, const char *type, const char *help, uint64_t value)
{
    mg_stats_head(out, name, type, help);
    mg_text_addf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void write_tasks(const mg_stats *stats, mg_text *out)
{
    static const char *const kinds[] = { MG_TASK_KIND_LIST(MG_WORD_TEXT) };
    static const char *const outcomes[] = { MG_TASK_OUTCOME_LIST(MG_WORD_TEXT) };

    mg_stats_head(out, "moongate_tasks_total", "counter",
                  "What plugins ran beside requests, by what became of it.");
    for (int k = 0; k < MG_TASK_KINDS; k++)
        for (int o = 0; o < MG_TASK_OUTCOMES; o++) {
            uint64_t sum = 0;
            for (unsigned w = 0; w < stats->workers; w++)
                sum += mg_cell_get(&stats->cells[w]->tasks[k][o]);
            if (sum)
                mg_text_addf(out, "moongate_tasks_total{kind=\"%s\",outcome=\"%s\"} %llu\n", kinds[k],
                             outcomes[o], (unsigned long long)sum);
        }
    mg_stats_head(out, "moongate_tasks_running", "gauge", "Those that have begun and not ended.");
    for (int k = 0; k < MG_TASK_KINDS; k++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < stats->workers; w++)
            sum += mg_cell_get(&stats->cells[w]->running[k]);
        mg_text_addf(out, "moongate_tasks_running{kind=\"%s\"} %llu\n", kinds[k], (unsigned long long)sum);
    }
}

void mg_stats_write(mg_stats *stats, const mg_stats_global *global, mg_text *out)
{
    int64_t in_flight = 0;

    for (unsigned w = 0; w < stats->workers; w++)
        in_flight += (int64_t)mg_cell_get(&stats->cells[w]->in_flight);
    mg_stats_head(out, "moongate_build_info", "gauge", "Which build this is.");
    mg_text_addf(out, "moongate_build_info{version=\"%s\"} 1\n", MG_VERSION);
    write_requests(stats, out);
    mg_stats_head(out, "moongate_http_request_duration_seconds", "histogram",
                  "From the first byte of a request to the last of its response.");
    each_route(stats, out, write_duration);
    mg_stats_head(out, "moongate_http_overhead_seconds", "histogram",
                  "The part of it that was not the upstream's.");
    each_route(stats, out, write_own);
    mg_stats_head(out, "moongate_http_request_bytes_total", "counter", "Bytes read from clients.");
    each_route(stats, out, write_bytes_in);
    mg_stats_head(out, "moongate_http_response_bytes_total", "counter", "Bytes sent to clients.");
    each_route(stats, out, write_bytes_out);
    mg_stats_head(out, "moongate_deadline_exceeded_total", "counter",
                  "Requests whose time was over, and where.");
    each_route(stats, out, write_deadlines);
    write_number(out, "moongate_http_requests_in_flight", "gauge", "Requests that have begun and not ended.",
                 (uint64_t)in_flight);
    write_number(out, "moongate_request_fields_dropped_total", "counter",
                 "Fields of requests that were not passed on: names with a _, trailers that are not listed.",
                 sum_event(stats, MG_EVENT_FIELD_DROPPED));
    write_upstream(stats, out);
    write_number(out, "moongate_plugin_errors_total", "counter",
                 "Handlers, filters, log functions and tasks that raised, and chains without an answer.",
                 sum_event(stats, MG_EVENT_PLUGIN_ERROR));
    write_tasks(stats, out);
    write_number(out, "moongate_lua_vm_renewals_total", "counter",
                 "Lua states that were nearly full and were replaced.",
                 sum_event(stats, MG_EVENT_VM_RENEWAL));
    write_number(out, "moongate_plugin_counters_dropped_total", "counter",
                 "Counters that plugins asked for beyond their share.", global->counters_dropped);
    write_number(out, "moongate_lua_memory_bytes", "gauge", "Memory of all Lua states in use.",
                 global->lua_memory_bytes);
    write_number(out, "moongate_config_revision", "gauge", "Which accepted configuration this is, from 1.",
                 global->revision);
    mg_stats_head(out, "moongate_config_reloads_total", "counter", "Reloads, by what became of them.");
    mg_text_addf(out,
                 "moongate_config_reloads_total{result=\"ok\"} "
                 "%llu\nmoongate_config_reloads_total{result=\"refused\"} %llu\n",
                 (unsigned long long)global->reloads_ok, (unsigned long long)global->reloads_refused);
    write_number(out, "moongate_config_last_success_timestamp_seconds", "gauge",
                 "When the configuration was last accepted.", global->last_success_s);
}
