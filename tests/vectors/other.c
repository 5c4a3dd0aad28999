/* other.c - vectors of the balancer and of H(text, seed). */
#include "vectors.h"

#include "base/check.h"
#include "base/mem.h"
#include "policy/balancer.h"

#include "base/str.h"

#include <stdio.h>

enum { HOSTS_MAX = 26, PICKS_MAX = 64 };

typedef struct hosts {
    mg_balancer *balancer;
    size_t count;
    const char *names[HOSTS_MAX]; /* borrowed: the vector; one letter each */
} hosts;

static void *swrr_open(const json_t *cfg)
{
    json_t *weights = json_object_get(cfg, "weights"), *weight;
    uint32_t numbers[HOSTS_MAX];
    hosts *h = MG_NEW(hosts);
    const char *name;

    json_object_foreach(weights, name, weight)
    {
        MG_CHECK(h->count < HOSTS_MAX);
        numbers[h->count] = (uint32_t)json_integer_value(weight);
        h->names[h->count++] = name;
    }
    h->balancer = mg_balancer_new(MG_BALANCER_ROUND_ROBIN, numbers, h->count, NULL);
    return h;
}

static json_t *swrr_row(void *self, const json_t *in)
{
    hosts *h = self;
    char picks[PICKS_MAX + 1] = { 0 };

    if (strcmp(vector_text(in, "op"), "pick") == 0) {
        for (long long i = 0; i < vector_int(in, "arg", 0) && i < PICKS_MAX; i++)
            picks[i] = h->names[mg_balancer_pick(h->balancer, NULL, 0, 0)][0];
        return json_pack("[s]", picks);
    }
    for (size_t i = 0; i < h->count; i++) {
        if (strcmp(h->names[i], vector_text(in, "arg")) == 0)
            mg_balancer_set_usable(h->balancer, i, strcmp(vector_text(in, "op"), "up") == 0);
    }
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
    { "swrr", swrr_open, swrr_row, swrr_close },
    { "hash", vector_nothing_open, hash_row, vector_nothing_close },
    { NULL, NULL, NULL, NULL },
};
