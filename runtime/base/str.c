/* str.c - borrowed bytes: comparing, cutting, hashing, numbers. */
#include "base/str.h"

bool mg_str_eq_nocase(mg_str a, mg_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (mg_lower(a.p[i]) != mg_lower(b.p[i]))
            return false;
    return true;
}

bool mg_str_starts(mg_str s, mg_str prefix)
{
    return prefix.n == 0 || (s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool mg_str_ends(mg_str s, mg_str suffix)
{
    return suffix.n == 0 || (s.n >= suffix.n && memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

int mg_str_cmp(mg_str a, mg_str b)
{
    const size_t n = a.n < b.n ? a.n : b.n;
    const int order = n ? memcmp(a.p, b.p, n) : 0;

    if (order)
        return order;
    return (a.n > b.n) - (a.n < b.n);
}

/* Both ends are cut to the string's. */
mg_str mg_str_sub(mg_str s, size_t from, size_t to)
{
    if (to > s.n)
        to = s.n;
    if (from > to)
        from = to;
    return (mg_str){ s.p ? s.p + from : NULL, to - from };
}

static bool in_set(const char *set, char c)
{
    return c != '\0' && strchr(set, c) != NULL;
}

mg_str mg_str_trim(mg_str s, const char *set)
{
    while (s.n && in_set(set, s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && in_set(set, s.p[s.n - 1]))
        s.n--;
    return s;
}

/* What is left after the last part is the absent string; "a," has two parts, "" has one, both of them empty
 * at the end, as a list that was joined with `sep` would have. */
bool mg_str_cut(mg_str *rest, char sep, mg_str *part)
{
    size_t at;

    if (!rest->p)
        return false;
    at = mg_str_find(*rest, sep);
    if (at == SIZE_MAX) {
        *part = *rest;
        *rest = MG_STR_NONE;
    } else {
        *part = mg_str_make(rest->p, at);
        *rest = mg_str_make(rest->p + at + 1, rest->n - at - 1);
    }
    return true;
}

size_t mg_str_find(mg_str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

bool mg_str_u64(mg_str s, uint64_t *out)
{
    uint64_t number = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(s.p[i] - '0'), &number))
            return false;
    }
    *out = number;
    return true;
}

enum { DISTANCE_MAX_BYTES = 64 };

/* Wagner and Fischer 1974, with neighbours that changed places as one edit (optimal string alignment); the
 * last three rows are held. */
unsigned mg_str_distance(mg_str a, mg_str b)
{
    unsigned rows[3][DISTANCE_MAX_BYTES + 1], *row = rows[0], *before = rows[1], *earlier = rows[2];

    if (a.n > DISTANCE_MAX_BYTES || b.n > DISTANCE_MAX_BYTES)
        return 1000;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = before[j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned *oldest = earlier;

        earlier = before;
        before = row;
        row = oldest;
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            const bool same = mg_lower(a.p[i - 1]) == mg_lower(b.p[j - 1]);

            row[j] = before[j - 1] + !same;
            row[j] = before[j] + 1 < row[j] ? before[j] + 1 : row[j];
            row[j] = row[j - 1] + 1 < row[j] ? row[j - 1] + 1 : row[j];
            if (i > 1 && j > 1 && mg_lower(a.p[i - 1]) == mg_lower(b.p[j - 2]) &&
                mg_lower(a.p[i - 2]) == mg_lower(b.p[j - 1]) && earlier[j - 2] + 1 < row[j])
                row[j] = earlier[j - 2] + 1;
        }
    }
    return row[b.n];
}

void mg_guess_offer(mg_guess *guess, mg_str known)
{
    const mg_str longer = known.n > guess->name.n ? known : guess->name;
    const mg_str shorter = known.n > guess->name.n ? guess->name : known;
    const bool begins = shorter.n >= 3 && 2 * shorter.n >= longer.n &&
                        mg_str_eq_nocase(mg_str_make(longer.p, shorter.n), shorter);
    unsigned cost = mg_str_distance(guess->name, known);

    if (3 * (size_t)cost > longer.n) {
        if (!begins)
            return;
        cost = DISTANCE_MAX_BYTES; /* what is an edit or two away comes before */
    }
    if (!guess->best.p || cost < guess->cost || (cost == guess->cost && mg_str_cmp(known, guess->best) < 0)) {
        guess->best = known;
        guess->cost = cost;
    }
}

uint64_t mg_hash(mg_str s, uint64_t seed)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    h ^= seed * 0x9e3779b97f4a7c15u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    h ^= h >> 33;
    return h;
}

static size_t digits_of(uint64_t number)
{
    size_t n = 1;

    for (uint64_t power = 10; n < 20 && number >= power; power *= 10)
        n++;
    return n;
}

size_t mg_u64_write(char out[20], uint64_t number)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    const size_t n = digits_of(number);
    char *at = out + n;

    for (; number >= 100; number /= 100)
        memcpy(at -= 2, pairs + number % 100 * 2, 2);
    if (number >= 10)
        memcpy(out, pairs + number * 2, 2);
    else
        out[0] = (char)('0' + number);
    return n;
}
