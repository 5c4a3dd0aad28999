/* config_limiter.c - limiters: whose requests are counted, and how fast they may come. */
#include "base/time.h"
#include "config/config_build.h"
#include "text/units.h"

static const uint64_t MAX_BURST_NS = 31ull * 86400 * MG_NS_PER_S; /* burst times interval */
enum { MIN_INTERVAL_NS = 1000 };                                  /* at most 1,000,000 a second */
enum { MAX_BURST = 1000000, MAX_IN_WINDOW = 1 << 24, MAX_ENTRIES = 10000, ENTRIES_BY_DEFAULT = 1000 };

/* --- whose --- */

static void take_key(mg_building *b, mg_config_limiter *limiter, const mg_node *key)
{
    mg_error err = MG_ERROR_INIT;
    const char *hint;

    if (!mg_node_is(key, MG_NODE_STRING) || key->text.n == 0)
        return;
    if (mg_config_key_read(&b->config->arena, &limiter->key, key->text, &err, &hint) == MG_OK)
        return;
    mg_finding *finding = mg_node_error(b->report, key, "not-allowed", "%s", err.message);
    if (hint)
        mg_finding_hint(finding, "%s", hint);
}

/* --- how fast --- */

const char *const mg_config_limiter_mode_words[] = { MG_CONFIG_LIMITER_MODES(MG_WORD_TEXT) NULL };

#define OF(algorithm) (1u << MG_LIMITER_##algorithm)

/* Keys that mean something to some algorithms only; written beside another one, they show a mistake. */
static const struct {
    const char *key;
    unsigned algorithms;
    const char *hint;
} keys_of_some[] = {
    { "rate", ~OF(CONCURRENCY), "write quota: how many at once" },
    { "window", ~OF(CONCURRENCY), "leave it out: a request counts until it ends" },
    { "burst", OF(TOKEN_BUCKET), "leave it out, or write algorithm: token_bucket" },
    { "max_wait", OF(TOKEN_BUCKET) | OF(LEAKY), "leave it out, or write algorithm: token_bucket or leaky" },
    { "max_entries", OF(SLIDING_LOG), "leave it out, or write algorithm: sliding_log" },
};

/* Only what means something gets its default, so that a document printed with them reads the same. */
void mg_build_complete_limiters(mg_building *b, mg_node *root)
{
    const mg_node *limiters = mg_node_get(root, "limiters");

    for (mg_node *it = (mg_node *)mg_node_children(limiters); it; it = it->next) {
        const unsigned algorithm = 1u << mg_read_word(it, "algorithm", mg_limiter_algorithm_words);
        if (it->kind != MG_NODE_MAP)
            continue;
        if (algorithm & (OF(TOKEN_BUCKET) | OF(LEAKY)))
            mg_preset_text(b, it, "max_wait", "0s");
        if (algorithm & OF(SLIDING_LOG))
            mg_preset_int(b, it, "max_entries", ENTRIES_BY_DEFAULT);
    }
}

static void check_keys_of_some(mg_building *b, const mg_config_limiter *limiter, const mg_node *node)
{
    for (size_t i = 0; i < sizeof keys_of_some / sizeof keys_of_some[0]; i++) {
        const mg_node *value = mg_node_get(node, keys_of_some[i].key);
        if (!value || value->defaulted || keys_of_some[i].algorithms >> limiter->conf.algorithm & 1)
            continue;
        mg_finding_hint(mg_node_error(b->report, value->key, "not-allowed", "means nothing to %s",
                                      mg_limiter_algorithm_words[limiter->conf.algorithm]),
                        "%s", keys_of_some[i].hint);
    }
}

static void miss(mg_building *b, const mg_node *node, const char *key, const char *hint)
{
    mg_finding_hint(mg_node_error(b->report, node, "missing-key", "the key \"%s\" is missing", key), "%s: %s",
                    key, hint);
}

/* So many permits. Where that is written, or NULL. */
static const mg_node *take_permits(mg_building *b, mg_config_limiter *limiter, const mg_node *node)
{
    const mg_node *quota = mg_node_get(node, "quota");

    if (!quota && limiter->mode != MG_CONFIG_DENY)
        miss(b, node, "quota", "how many requests at once");
    limiter->conf.limit = mg_read_u32(node, "quota");
    return mg_node_is(quota, MG_NODE_INT) ? quota : NULL;
}

/* So many in a period, by a rate or by quota and window. Where that is written, or NULL. */
static const mg_node *take_rate(mg_building *b, mg_config_limiter *limiter, const mg_node *node)
{
    const mg_node *rate = mg_node_get(node, "rate"), *quota = mg_node_get(node, "quota"),
                  *window = mg_node_get(node, "window");
    mg_rate read = { 0 };

    if (rate && (quota || window))
        mg_finding_hint(
            mg_node_error(b->report, (quota ? quota : window)->key, "not-allowed", "stands beside \"rate\""),
            "keep the rate, or quota and window");
    else if (!rate && !quota && !window && limiter->mode != MG_CONFIG_DENY)
        miss(b, node, "rate", "how many requests in a period, such as 100/s; or write quota and window");
    else if (!rate && quota && !window)
        miss(b, node, "window", "how long the quota is for, such as 60s");
    else if (!rate && window && !quota)
        miss(b, node, "quota", "how many requests in the window");
    if (mg_node_is(rate, MG_NODE_STRING) && mg_units_rate(rate->text, &read, NULL) == MG_OK) {
        limiter->conf.limit = read.limit;
        limiter->conf.period_ms = read.period_ns / MG_NS_PER_MS;
        return rate;
    }
    limiter->conf.limit = mg_read_u32(node, "quota");
    limiter->conf.period_ms = mg_read_ms(node, "window");
    return !rate && mg_node_is(quota, MG_NODE_INT) && limiter->conf.period_ms > 0 ? quota : NULL;
}

/* `said` is where the count stands. */
static bool check_count(mg_building *b, const mg_config_limiter *limiter, const mg_node *said)
{
    const mg_limiter_conf *conf = &limiter->conf;
    const bool permits = conf->algorithm == MG_LIMITER_CONCURRENCY;

    if (conf->limit == 0 && limiter->mode != MG_CONFIG_DENY) {
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range", "a %.*s of 0 can never admit anything",
                                      MG_STR_ARGS(said->key->text)),
                        "write mode: deny to refuse all");
        return false;
    }
    if (!permits && conf->limit > conf->period_ms * (MG_NS_PER_MS / MIN_INTERVAL_NS)) {
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "%.*s%s is above the maximum 1000000/s",
                                      MG_STR_ARGS(mg_node_shown(said)),
                                      said->kind == MG_NODE_INT ? " in that window" : ""),
                        "write a lower rate, or leave the limiter out");
        return false;
    }
    return true;
}

/* What the algorithm has room for. */
static void check_room(mg_building *b, const mg_limiter_conf *conf, const mg_node *said)
{
    const bool window =
        conf->algorithm == MG_LIMITER_SLIDING_WINDOW || conf->algorithm == MG_LIMITER_FIXED_WINDOW;
    const bool log = conf->algorithm == MG_LIMITER_SLIDING_LOG && conf->max_entries > 0;

    if (window && conf->limit > MAX_IN_WINDOW)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "%llu is above the maximum of a window, %d",
                                      (unsigned long long)conf->limit, MAX_IN_WINDOW),
                        "write a shorter window with less, or algorithm: token_bucket");
    else if (log && conf->limit > MAX_ENTRIES)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "a sliding_log keeps each request, at most %d; %llu is more",
                                      MAX_ENTRIES, (unsigned long long)conf->limit),
                        "write algorithm: sliding_window");
    else if (log && conf->limit > conf->max_entries)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "a sliding_log keeps each request, and %llu is above max_entries (%u)",
                                      (unsigned long long)conf->limit, conf->max_entries),
                        "write max_entries: %llu", (unsigned long long)conf->limit);
}

/* `said` is where the burst stands, or the rate that it follows from. */
static void check_burst(mg_building *b, const mg_config_limiter *limiter, uint64_t burst, const mg_node *said)
{
    const uint64_t interval_ns =
        limiter->conf.limit
            ? (limiter->conf.period_ms * MG_NS_PER_MS + limiter->conf.limit - 1) / limiter->conf.limit
            : 0;

    if (burst > MAX_BURST)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "the burst, by default the count of the rate, is above the maximum %d",
                                      MAX_BURST),
                        "write burst: %d or less", MAX_BURST);
    else if (burst * interval_ns > MAX_BURST_NS)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "a burst of %llu takes more than 31 days to refill",
                                      (unsigned long long)burst),
                        "write a smaller burst or a higher rate");
}

static void take_burst(mg_building *b, mg_config_limiter *limiter, const mg_node *node, const mg_node *said)
{
    const mg_node *burst = mg_node_get(node, "burst");
    const uint64_t read = burst ? mg_read_u32(node, "burst") : limiter->conf.limit;

    check_burst(b, limiter, read, burst ? burst : said);
    limiter->conf.burst = mg_min_u64(read, MAX_BURST);
}

/* A leaky bucket lets any cost through, later. */
static void check_cost(mg_building *b, const mg_config_limiter *limiter, const mg_node *cost)
{
    const bool bucket = limiter->conf.algorithm == MG_LIMITER_TOKEN_BUCKET;
    const uint64_t most = bucket ? limiter->conf.burst : limiter->conf.limit;

    if (limiter->conf.algorithm == MG_LIMITER_LEAKY || most == 0 || limiter->cost <= most)
        return;
    mg_finding_hint(mg_node_error(b->report, cost, "out-of-range",
                                  "a cost of %u is above the %s of %llu: nothing would ever pass",
                                  limiter->cost, bucket ? "burst" : "quota", (unsigned long long)most),
                    "write a cost from 0 to %llu", (unsigned long long)most);
}

static void take_count(mg_building *b, mg_config_limiter *limiter, const mg_node *node)
{
    mg_limiter_conf *conf = &limiter->conf;
    const mg_node *said;

    conf->algorithm = (mg_limiter_algorithm)mg_read_word(node, "algorithm", mg_limiter_algorithm_words);
    conf->max_wait_ms = mg_read_ms(node, "max_wait");
    if (conf->algorithm == MG_LIMITER_SLIDING_LOG)
        conf->max_entries = mg_read_u32(node, "max_entries");
    limiter->cost = mg_read_u32(node, "cost");
    check_keys_of_some(b, limiter, node);
    said = conf->algorithm == MG_LIMITER_CONCURRENCY ? take_permits(b, limiter, node)
                                                     : take_rate(b, limiter, node);
    if (!said || !check_count(b, limiter, said))
        return;
    check_room(b, conf, said);
    if (conf->algorithm == MG_LIMITER_TOKEN_BUCKET)
        take_burst(b, limiter, node, said);
    check_cost(b, limiter, mg_node_get(node, "cost"));
}

uint64_t mg_config_limiter_bytes(const mg_config_limiter *limiter)
{
    return limiter->mode == MG_CONFIG_DENY ? 0 : mg_limiter_bytes(&limiter->conf);
}

static void build_limiter(mg_building *b, const mg_node *node)
{
    mg_config_limiter *limiter = MG_ARENA_NEW(&b->config->arena, mg_config_limiter);

    limiter->name = mg_keep_str(b, node->key->text);
    limiter->index = (unsigned)b->config->limiter_count;
    limiter->node = node;
    limiter->mode = (mg_config_limiter_mode)mg_read_word(node, "mode", mg_config_limiter_mode_words);
    limiter->key.on_missing =
        (mg_config_on_missing_key)mg_read_word(node, "on_missing_key", mg_config_on_missing_key_words);
    mg_limiter_conf_defaults(&limiter->conf);
    limiter->conf.on_full = (mg_limiter_on_full)mg_read_word(node, "on_full", mg_limiter_on_full_words);
    limiter->conf.max_keys = mg_read_u32(node, "max_keys");
    limiter->conf.overflow_cells = mg_read_u32(node, "overflow_cells");
    limiter->key.ipv4_prefix = mg_read_u32(node, "ipv4_prefix");
    limiter->key.ipv6_prefix = mg_read_u32(node, "ipv6_prefix");
    take_key(b, limiter, mg_node_get(node, "key"));
    if (mg_node_is(node, MG_NODE_MAP))
        take_count(b, limiter, node);
    b->config->limiters[b->config->limiter_count++] = limiter;
    mg_build_remember(b, b->limiters, limiter->name, limiter, node);
}

/* All of them together, when they are full of keys. The one that is too much is told. */
static void check_memory(mg_building *b)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < b->config->limiter_count; i++) {
        const mg_config_limiter *limiter = b->config->limiters[i];
        const mg_node *said = mg_node_get(limiter->node, "max_keys");
        const uint64_t own = mg_config_limiter_bytes(limiter);

        bytes += own;
        if (bytes <= MG_CONFIG_LIMITER_BYTES_MAX)
            continue;
        mg_finding_hint(
            mg_node_error(b->report, said && !said->defaulted ? said : limiter->node, "out-of-range",
                          "full of keys this limiter takes %llu MiB, and with those before it more "
                          "than the %llu MiB that all limiters may take",
                          (unsigned long long)(own >> 20), MG_CONFIG_LIMITER_BYTES_MAX >> 20),
            "lower max_keys, here or there");
        return;
    }
}

void mg_build_limiters(mg_building *b, const mg_node *limiters)
{
    b->config->limiters =
        MG_ARENA_NEW_N(&b->config->arena, const mg_config_limiter *, mg_node_count(limiters) + 1);
    for (const mg_node *it = mg_node_children(limiters); it && it->key; it = it->next)
        build_limiter(b, it);
    check_memory(b);
}
