/* config_limiter.c - limiters: whose requests are counted, and how fast they may come. */
#include "gateway/config_build.h"
#include "base/time.h"
#include "text/units.h"

static const uint64_t MAX_BURST_NS = 31ull * 86400 * MG_NS_PER_S; /* POLICIES 4: burst times interval */
enum { MIN_INTERVAL_NS = 1000, MAX_BURST = 1000000 };             /* at most 1,000,000 a second */

/* "header:X" and "cookie:X" */
static bool take_field_part(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    const bool header = mg_str_starts(text, MG_STR("header:")),
               cookie = mg_str_starts(text, MG_STR("cookie:"));
    const mg_str name = mg_str_sub(text, 7, text.n);
    char *lower;

    if ((!header && !cookie) || name.n == 0 || name.n > 128)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] == 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name.p[i]))
            return false;
    }
    part->kind = header ? MG_CONFIG_KEY_HEADER : MG_CONFIG_KEY_COOKIE;
    lower = mg_arena_bytes(arena, name.n + 1);
    for (size_t i = 0; i < name.n; i++)
        lower[i] = header ? mg_lower(name.p[i]) : name.p[i];
    lower[name.n] = 0;
    part->name = mg_str_make(lower, name.n);
    return true;
}

bool mg_build_key_part(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    static const struct {
        const char *word;
        mg_config_key_kind kind;
    } words[] = { { "ip", MG_CONFIG_KEY_IP },
                  { "consumer", MG_CONFIG_KEY_CONSUMER },
                  { "route", MG_CONFIG_KEY_ROUTE },
                  { "global", MG_CONFIG_KEY_GLOBAL } };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (mg_str_eq_c(text, words[i].word)) {
            part->kind = words[i].kind;
            return true;
        }
    }
    return take_field_part(arena, part, text);
}

static void take_key(mg_building *b, mg_config_limiter *limiter, const mg_node *key)
{
    mg_str rest, part;

    if (!mg_node_is(key, MG_NODE_STRING) || key->text.n == 0)
        return;
    rest = key->text;
    while (mg_str_cut(&rest, '+', &part)) {
        if (limiter->key_parts == MG_CONFIG_KEY_PARTS) {
            mg_node_error(b->report, key, "not-allowed", "a key has at most %d parts", MG_CONFIG_KEY_PARTS);
            return;
        }
        if (mg_build_key_part(&b->config->arena, &limiter->key[limiter->key_parts], part)) {
            limiter->key_parts++;
            continue;
        }
        mg_finding_hint(mg_node_error(b->report, key, "not-allowed",
                                      mg_str_eq_c(part, "tenant")
                                          ? "tenants are not in this build"
                                          : "\"%.*s\" names nothing that can be counted",
                                      MG_STR_ARGS(mg_str_sub(part, 0, 60))),
                        "write ip, header:X, cookie:X, consumer, route or global, or several joined by +");
        return;
    }
}

static bool check_rate(mg_building *b, const mg_config_limiter *limiter, const mg_node *rate)
{
    if (limiter->conf.limit == 0 && limiter->mode != MG_CONFIG_DENY)
        mg_finding_hint(
            mg_node_error(b->report, rate, "out-of-range", "a rate of 0 can never admit anything"),
            "write mode: deny to refuse all");
    else if (limiter->conf.limit > limiter->conf.period_ms * (MG_NS_PER_MS / MIN_INTERVAL_NS))
        mg_finding_hint(mg_node_error(b->report, rate, "out-of-range", "%.*s is above the maximum 1000000/s",
                                      MG_STR_ARGS(mg_node_shown(rate))),
                        "write a lower rate, or leave the limiter out");
    else
        return true;
    return false;
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

static void take_rate(mg_building *b, mg_config_limiter *limiter, const mg_node *node)
{
    const mg_node *rate = mg_node_get(node, "rate"), *burst = mg_node_get(node, "burst");
    mg_rate read = { 0 };

    if (!rate && limiter->mode != MG_CONFIG_DENY)
        mg_finding_hint(mg_node_error(b->report, node, "missing-key", "the key \"rate\" is missing"),
                        "rate: how many requests in a period, such as 100/s");
    if (!mg_node_is(rate, MG_NODE_STRING) || mg_units_rate(rate->text, &read, NULL) != MG_OK)
        return;
    limiter->conf.limit = read.limit;
    limiter->conf.period_ms = read.period_ns / MG_NS_PER_MS;
    if (check_rate(b, limiter, rate))
        check_burst(b, limiter, burst ? mg_read_u32(node, "burst") : read.limit, burst ? burst : rate);
    limiter->conf.burst = burst ? mg_read_u32(node, "burst") : mg_min_u64(read.limit, MAX_BURST);
    limiter->cost = mg_read_u32(node, "cost");
    if (limiter->cost > limiter->conf.burst && limiter->conf.burst > 0)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "cost"), "out-of-range",
                                      "a cost of %u is above the burst of %llu: nothing would ever pass",
                                      limiter->cost, (unsigned long long)limiter->conf.burst),
                        "write a cost from 0 to %llu", (unsigned long long)limiter->conf.burst);
}

static void build_limiter(mg_building *b, const mg_node *node)
{
    static const char *const missing[] = { "ip", "skip", "deny", NULL };
    static const char *const full[] = { "overflow", "allow", "deny", NULL };
    static const char *const modes[] = { "enforce", "shadow", "deny", NULL };
    mg_config_limiter *limiter = MG_ARENA_NEW(&b->config->arena, mg_config_limiter);

    limiter->name = node->key->text;
    limiter->index = (unsigned)b->config->limiter_count;
    limiter->node = node;
    limiter->mode = (mg_config_limiter_mode)mg_read_word(node, "mode", modes);
    limiter->on_missing_key = (mg_config_on_missing_key)mg_read_word(node, "on_missing_key", missing);
    mg_limiter_conf_defaults(&limiter->conf);
    limiter->conf.on_full = (mg_limiter_on_full)mg_read_word(node, "on_full", full);
    limiter->conf.max_keys = mg_read_u32(node, "max_keys");
    limiter->conf.overflow_cells = mg_read_u32(node, "overflow_cells");
    limiter->ipv4_prefix = mg_read_u32(node, "ipv4_prefix");
    limiter->ipv6_prefix = mg_read_u32(node, "ipv6_prefix");
    take_key(b, limiter, mg_node_get(node, "key"));
    if (mg_node_is(node, MG_NODE_MAP))
        take_rate(b, limiter, node);
    b->config->limiters[b->config->limiter_count++] = limiter;
    mg_build_remember(b, b->limiters, limiter->name, limiter, node);
}

void mg_build_limiters(mg_building *b, const mg_node *limiters)
{
    b->config->limiters =
        MG_ARENA_NEW_N(&b->config->arena, const mg_config_limiter *, mg_node_count(limiters) + 1);
    for (const mg_node *it = mg_node_children(limiters); it && it->key; it = it->next)
        build_limiter(b, it);
}
