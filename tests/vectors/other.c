/* other.c - vectors of the balancer and of H(text, seed). */
#include "support/defaults.h"
#include "vectors.h"

#include "base/mem.h"
#include "policy/balancer.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOSTS_MAX = 256, PICKS_MAX = 1000 };

typedef struct hosts {
    mg_balancer *balancer;
    size_t count;
    const char *names[HOSTS_MAX]; /* borrowed: the vector */
} hosts;

static bool is_weight(const json_t *weight)
{
    return json_is_integer(weight) && json_integer_value(weight) >= 0 &&
           json_integer_value(weight) <= MG_BALANCER_WEIGHT_MAX;
}

static void *swrr_open(const json_t *cfg, mg_error *err)
{
    json_t *weights = json_object_get(cfg, "weights"), *weight;
    uint32_t numbers[HOSTS_MAX];
    hosts *h = MG_NEW(hosts);
    const char *name;

    json_object_foreach(weights, name, weight)
    {
        if (h->count == HOSTS_MAX || !is_weight(weight)) {
            mg_fail(err, MG_ERR_INVALID, "weights: wants at most 256 of 0 to 1000000");
            mg_free(h);
            return NULL;
        }
        numbers[h->count] = (uint32_t)json_integer_value(weight);
        h->names[h->count++] = name;
    }
    h->balancer = balancer_with(MG_BALANCER_ROUND_ROBIN, numbers, h->count, NULL);
    return h;
}

/* The names picked, one after the other; "-" where there was no one to pick. */
static json_t *picks_of(hosts *h, long long count)
{
    mg_text picks = { 0 };
    json_t *out;

    if (count < 0 || count > PICKS_MAX)
        return vector_bad_row("arg: at most 1000 picks");
    for (long long i = 0; i < count; i++) {
        const int host = mg_balancer_pick(h->balancer, NULL, 0, 0);

        mg_text_add_c(&picks, host < 0 ? "-" : h->names[host]);
    }
    out = json_pack("[s%]", picks.n ? picks.p : "", picks.n);
    mg_text_fini(&picks);
    return out;
}

static int host_of(const hosts *h, const char *name)
{
    for (size_t i = 0; i < h->count; i++) {
        if (name && strcmp(h->names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

static bool set_one(hosts *h, const char *name, const json_t *weight)
{
    if (host_of(h, name) < 0 || !is_weight(weight))
        return false;
    mg_balancer_set_weight(h->balancer, (size_t)host_of(h, name), (uint32_t)json_integer_value(weight));
    return true;
}

/* "a=3" or "a:3". */
static bool set_text(hosts *h, const char *text)
{
    const size_t name_n = strcspn(text, "=:");
    char name[64], *end;
    json_t *weight;
    bool fine;

    if (!text[name_n] || name_n >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)name_n, text);
    weight = json_integer(strtoll(text + name_n + 1, &end, 10));
    fine = end != text + name_n + 1 && !*end && set_one(h, name, weight);
    json_decref(weight);
    return fine;
}

/* `set` has hosts and their new weights in arg: {"a": 3, "b": 0}, ["a", 3] or "a=3"; or a host there and its
 * weight in a column of its own. */
static json_t *set_weights(hosts *h, const json_t *in)
{
    json_t *arg = json_object_get(in, "arg"), *weight;
    bool fine = true;
    const char *name;

    if (json_is_array(arg))
        fine = set_one(h, json_string_value(json_array_get(arg, 0)), json_array_get(arg, 1));
    else if (json_is_string(arg) && json_is_integer(json_object_get(in, "weight")))
        fine = set_one(h, json_string_value(arg), json_object_get(in, "weight"));
    else if (json_is_string(arg))
        fine = set_text(h, json_string_value(arg));
    else
        fine = json_object_size(arg) > 0;
    json_object_foreach(arg, name, weight)
    {
        fine = fine && set_one(h, name, weight);
    }
    return fine ? json_pack("[s]", "-") : vector_bad_row("set: wants hosts and their weights");
}

static json_t *swrr_row(void *self, const json_t *in)
{
    hosts *h = self;
    const char *op = vector_text(in, "op");
    const int host = host_of(h, vector_text(in, "arg"));

    if (strcmp(op, "pick") == 0)
        return picks_of(h, vector_int(in, "arg", 0));
    if (strcmp(op, "set") == 0)
        return set_weights(h, in);
    if (host < 0 || (strcmp(op, "up") != 0 && strcmp(op, "down") != 0))
        return vector_bad_row("op: pick, set, or up and down of a host");
    mg_balancer_set_usable(h->balancer, (size_t)host, op[0] == 'u');
    return json_pack("[s]", "-");
}

static void swrr_close(void *self)
{
    mg_balancer_free(((hosts *)self)->balancer);
    mg_free(self);
}

static json_t *hash_row(void *self, const json_t *in)
{
    char hex[17];

    (void)self;
    snprintf(
        hex, sizeof(hex), "%016llx",
        (unsigned long long)mg_hash(mg_str_of(vector_text(in, "text")), (uint64_t)vector_int(in, "seed", 0)));
    return json_pack("[s]", hex);
}

const vector_driver vector_other_drivers[] = {
    { "swrr", "weights", "op arg weight", swrr_open, swrr_row, swrr_close },
    { "hash", "", "text seed", vector_nothing_open, hash_row, vector_nothing_close },
    { 0 },
};
