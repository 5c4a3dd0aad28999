/* rand.h - a seeded generator (xoshiro256**, Blackman and Vigna 2018). Not for secrets. Any thread, one at a
 * time on one generator. */
#ifndef MG_BASE_RAND_H
#define MG_BASE_RAND_H

#include <stdint.h>

typedef struct mg_rand {
    uint64_t s[4];
} mg_rand;

void mg_rand_init(mg_rand *rand, uint64_t seed);
uint64_t mg_rand_next(mg_rand *rand);
uint64_t mg_rand_below(mg_rand *rand, uint64_t bound); /* 0..bound-1, unbiased; bound > 0 */
double mg_rand_unit(mg_rand *rand);                    /* [0, 1) */
/* A seed from the kernel, for a process that was given none. */
uint64_t mg_rand_system_seed(void);

#endif
