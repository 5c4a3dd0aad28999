/* persist_bench.c - how long a gateway with a million limiter keys takes to store them and to come back with
 * them: persist_bench DIRECTORY [KEYS]. What is stored in the directory goes, before and after. */
#include "state/persist.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYS = 1000000, MAX_BYTES = 1 << 30 };

static mg_policy_clock policy_clock;

static mg_persist *open_in(const char *path)
{
    const mg_persist_options options = { .path = path, .max_bytes = MAX_BYTES, .clock = &mg_clock_real };
    mg_error err = MG_ERROR_INIT;
    mg_persist *persist = mg_persist_open(&options, &policy_clock, &err);

    if (!persist) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    return persist;
}

static mg_limiter *keep(mg_persist *persist, mg_limiter_algorithm algorithm)
{
    mg_limiter_conf conf;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = 10;
    conf.period_ms = 24 * 3600 * 1000;
    conf.max_keys = KEYS * 5 / 4;
    memcpy(conf.secret, mg_persist_secret(persist), sizeof(conf.secret));
    limiter = mg_limiter_new(&conf, NULL);
    MG_CHECK(limiter);
    mg_persist_keep_limiter(persist, MG_STR("per-ip"), 1, &conf, limiter);
    return limiter;
}

static double seconds_since(uint64_t from_ns)
{
    return (double)(mg_clock_real.mono_ns(&mg_clock_real) - from_ns) / 1e9;
}

static uint64_t now(void)
{
    return mg_clock_real.mono_ns(&mg_clock_real);
}

static void charge(mg_limiter *limiter, uint64_t keys)
{
    mg_limiter_answer answer;

    for (uint64_t key = 0; key < keys; key++)
        mg_limiter_take(limiter, (const char *)&key, sizeof(key), 3, mg_policy_clock_now(&policy_clock),
                        &answer);
}

static void clean(const char *path)
{
    static const char *const files[] = { "data.mdb", "lock.mdb", "lock" };
    char file[4096];

    for (size_t i = 0; i < mg_countof(files); i++) {
        snprintf(file, sizeof(file), "%s/%s", path, files[i]);
        unlink(file);
    }
    rmdir(path);
}

static void measure(const char *path, const char *name, mg_limiter_algorithm algorithm, uint64_t keys)
{
    mg_persist *persist = open_in(path);
    mg_limiter *limiter = keep(persist, algorithm);
    mg_persist_stats stats;
    uint64_t from_ns = now();

    charge(limiter, keys);
    printf("%-16s charged %.3f s", name, seconds_since(from_ns));
    from_ns = now();
    MG_CHECK(mg_persist_flush(persist, NULL) == MG_OK);
    mg_persist_stats_get(persist, &stats);
    printf(", stored %llu rows %.3f s in %llu MiB", (unsigned long long)stats.rows, seconds_since(from_ns),
           (unsigned long long)stats.used_bytes >> 20);
    mg_persist_drop_limiter(persist, limiter);
    mg_limiter_free(limiter);
    mg_persist_free(persist);

    from_ns = now();
    persist = open_in(path);
    printf(", opened %.3f s", seconds_since(from_ns));
    from_ns = now();
    limiter = keep(persist, algorithm);
    mg_persist_stats_get(persist, &stats);
    printf(", restored %llu %.3f s", (unsigned long long)stats.restored_keys, seconds_since(from_ns));
    from_ns = now();
    MG_CHECK(mg_persist_flush(persist, NULL) == MG_OK);
    printf(", flushed again %.3f s\n", seconds_since(from_ns));
    mg_persist_drop_limiter(persist, limiter);
    mg_limiter_free(limiter);
    mg_persist_free(persist);
    clean(path);
}

int main(int argc, char **argv)
{
    const uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : KEYS;

    if (argc < 2) {
        fprintf(stderr, "usage: persist_bench DIRECTORY [KEYS]\n");
        return 2;
    }
    clean(argv[1]);
    measure(argv[1], "token_bucket", MG_LIMITER_TOKEN_BUCKET, keys);
    measure(argv[1], "sliding_window", MG_LIMITER_SLIDING_WINDOW, keys);
    return 0;
}
