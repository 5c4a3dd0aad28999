/* detector.c - robust z, an isolation forest of one question, and the guards that both need. */
#include "policy/detector.h"

#include "base/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const mg_detector_kind_words[] = { MG_DETECTOR_KINDS(MG_WORD_TEXT) NULL };

enum { TREES = 50, SAMPLE = 32, DEPTH_MAX = 5 /* log2 of SAMPLE */, TICKS_MIN = 10, BAD_RUN = 2 };

#define Z_BAD     6.0
#define SCORE_BAD 0.6

typedef double point[MG_DETECTOR_FEATURES];

static const double floors[MG_DETECTOR_FEATURES] = { 1, 0.005, 0.002 };

static int ascending(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(const double *values, size_t count)
{
    double sorted[MG_DETECTOR_TICKS];

    MG_CHECK(count >= 1 && count <= MG_DETECTOR_TICKS);
    memcpy(sorted, values, count * sizeof(*values));
    qsort(sorted, count, sizeof(*sorted), ascending);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

double mg_robust_z(const double *history, size_t count, double x, double floor)
{
    const double middle = median(history, count);
    double away[MG_DETECTOR_TICKS];

    for (size_t i = 0; i < count; i++)
        away[i] = fabs(history[i] - middle);
    return 0.6745 * (x - middle) / fmax(fmax(median(away, count), 0.01 * fabs(middle)), floor);
}

double mg_iforest_c(double n)
{
    if (n <= 1)
        return 0;
    if (n <= 2)
        return 1;
    return 2 * (log(n - 1) + 0.5772156649) - 2 * (n - 1) / n;
}

double mg_iforest_score(double mean_path, double n)
{
    return exp2(-mean_path / mg_iforest_c(n));
}

void mg_detector_init(mg_detector *detector, mg_detector_kind kind)
{
    *detector = (mg_detector){ .kind = kind };
}

/* A feature in which the sample differs, or -1. */
static int feature_to_cut(point *sample, size_t count, mg_rand *rand, double *least, double *most)
{
    int varying[MG_DETECTOR_FEATURES], n = 0;
    double low[MG_DETECTOR_FEATURES], high[MG_DETECTOR_FEATURES];

    for (int f = 0; f < MG_DETECTOR_FEATURES; f++) {
        low[f] = high[f] = sample[0][f];
        for (size_t i = 1; i < count; i++) {
            low[f] = fmin(low[f], sample[i][f]);
            high[f] = fmax(high[f], sample[i][f]);
        }
        if (low[f] < high[f])
            varying[n++] = f;
    }
    if (!n)
        return -1;
    n = varying[mg_rand_below(rand, (uint64_t)n)];
    *least = low[n];
    *most = high[n];
    return n;
}

/* How deep x lies in one tree. Only its own way down is grown: nobody asks about the others. */
static double path_of(point *sample, size_t count, const double *x, mg_rand *rand)
{
    int depth = 0;

    for (; depth < DEPTH_MAX && count > 1; depth++) {
        double least, most, cut;
        const int f = feature_to_cut(sample, count, rand, &least, &most);
        size_t kept = 0;

        if (f < 0)
            break;
        cut = least + (most - least) * mg_rand_unit(rand);
        for (size_t i = 0; i < count; i++) {
            if ((sample[i][f] <= cut) == (x[f] <= cut))
                memmove(sample[kept++], sample[i], sizeof(point));
        }
        count = kept;
    }
    return depth + mg_iforest_c((double)count);
}

/* Draws without putting back, from the history and x as its last; returns how many. */
static size_t draw(const mg_detector *d, const double *x, point *sample, mg_rand *rand)
{
    uint8_t places[MG_DETECTOR_TICKS + 1];
    const size_t all = d->count + 1, count = all < SAMPLE ? all : SAMPLE;

    for (size_t i = 0; i < all; i++)
        places[i] = (uint8_t)i;
    for (size_t i = 0; i < count; i++) {
        const size_t other = i + mg_rand_below(rand, all - i);
        const uint8_t place = places[other];

        places[other] = places[i];
        for (int f = 0; f < MG_DETECTOR_FEATURES; f++)
            sample[i][f] = place == d->count ? x[f] : d->history[f][place];
    }
    return count;
}

static double score_of(const mg_detector *d, const double *x, mg_rand *rand)
{
    point sample[SAMPLE];
    double sum = 0;
    size_t count = 0;

    for (int tree = 0; tree < TREES; tree++) {
        count = draw(d, x, sample, rand);
        sum += path_of(sample, count, x, rand);
    }
    return mg_iforest_score(sum / TREES, (double)count);
}

/* A forest flags unusually good ticks as well, and z what is far from next to nothing. What is no worse than
 * on most ticks is guarded whatever its size: z says so by itself, a forest does not. */
static bool passes_guard(const mg_detector *d, const double *x, int feature)
{
    if (x[feature] <= median(d->history[feature], d->count))
        return false;
    switch (feature) {
    case 0: return x[0] >= 2 * median(d->history[0], d->count);
    case 1: return x[1] >= 0.05;
    default: return x[2] >= 0.02;
    }
}

static bool is_bad(const mg_detector *d, const double *x, mg_rand *rand)
{
    bool guarded = false;

    for (int f = 0; f < MG_DETECTOR_FEATURES; f++) {
        if (!passes_guard(d, x, f))
            continue;
        guarded = true;
        if (d->kind == MG_DETECTOR_ROBUST_Z && mg_robust_z(d->history[f], d->count, x[f], floors[f]) >= Z_BAD)
            return true;
    }
    return d->kind == MG_DETECTOR_IFOREST && guarded && score_of(d, x, rand) >= SCORE_BAD;
}

bool mg_detector_add(mg_detector *detector, const mg_detector_tick *tick, mg_rand *rand)
{
    const point x = { tick->p95_ms, tick->error_ratio, tick->timeout_ratio };
    bool bad;

    if (tick->open || !tick->enough) {
        detector->bad_run = 0;
        return false;
    }
    bad = detector->count >= TICKS_MIN && is_bad(detector, x, rand);
    for (int f = 0; f < MG_DETECTOR_FEATURES; f++)
        detector->history[f][detector->next] = x[f];
    detector->next = (detector->next + 1) % MG_DETECTOR_TICKS;
    detector->count += detector->count < MG_DETECTOR_TICKS;
    detector->bad_run = bad ? detector->bad_run + 1 : 0;
    if (detector->bad_run < BAD_RUN)
        return false;
    detector->bad_run = 0;
    return true;
}
