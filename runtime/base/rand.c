/* rand.c - xoshiro256** 1.0 (Blackman and Vigna 2018), seeded by splitmix64 as its authors advise. */
#include "base/rand.h"

#include "base/check.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

void mg_rand_init(mg_rand *rand, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rand->s[i] = splitmix(&seed);
}

uint64_t mg_rand_next(mg_rand *rand)
{
    uint64_t *s = rand->s;
    const uint64_t result = rotl(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Lemire, "Fast random integer generation in an interval", 2019: the high half of a product, and a second
 * draw in the few cases that would favour small numbers. */
uint64_t mg_rand_below(mg_rand *rand, uint64_t bound)
{
    __extension__ typedef unsigned __int128 u128;
    u128 product;

    MG_CHECK(bound > 0);
    product = (u128)mg_rand_next(rand) * bound;
    if ((uint64_t)product < bound) {
        const uint64_t unfair = -bound % bound;
        while ((uint64_t)product < unfair)
            product = (u128)mg_rand_next(rand) * bound;
    }
    return (uint64_t)(product >> 64);
}

double mg_rand_unit(mg_rand *rand)
{
    return (double)(mg_rand_next(rand) >> 11) * 0x1.0p-53;
}

uint64_t mg_rand_system_seed(void)
{
    uint64_t seed;
    struct timespec now;

    if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
        return seed;
    clock_gettime(CLOCK_REALTIME, &now); /* a kernel without getrandom: different from run to run, no more */
    seed = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec ^ ((uint64_t)getpid() << 40);
    return splitmix(&seed);
}
