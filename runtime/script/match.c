/* match.c - Lua 5.1 patterns as LuaJIT has them, by backtracking that counts its steps. A step is one item
 * tried at one place, or sixteen bytes that a library function looks at; it costs a few nanoseconds.
 *
 * A search that runs out of steps stops between two items and says from which place it has to be begun again:
 * nothing is kept of the attempt, so that a match needs no memory but its captures. */
#include "script/match.h"

#include "base/check.h"

#include <stdbool.h>
#include <string.h>

enum { OPEN = -2, PLACE = -1 }; /* lengths of a capture that is not closed, and of () */

typedef struct search {
    mg_match *m;
    const char *text, *text_end;
    const char *pattern_end;
    int depth;
    bool stopped; /* out of steps, or m->problem is set */
} search;

static const char *try_items(search *s, const char *at, const char *p);

static const char *fails(search *s, const char *problem)
{
    s->m->problem = problem;
    s->stopped = true;
    return NULL;
}

/* False when there are no steps left. */
static bool spend(search *s, size_t steps)
{
    if (s->m->steps < steps) {
        s->m->steps = 0;
        s->stopped = true;
        return false;
    }
    s->m->steps -= (uint32_t)steps;
    return true;
}

/* ---- one item: a byte, a class or a set ---- */

static bool is_upper(int c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(int c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(int c)
{
    return is_upper(c) || is_lower(c) || is_digit(c);
}

static bool is_graphic(int c)
{
    return c > ' ' && c < 0x7f;
}

/* ASCII only, whatever the locale. `letter` is lower-case; a letter that names no class stands for itself. */
static bool in_named_class(int c, int letter, bool *known)
{
    *known = true;
    switch (letter) {
    case 'a': return is_upper(c) || is_lower(c);
    case 'c': return c < ' ' || c == 0x7f;
    case 'd': return is_digit(c);
    case 'g': return is_graphic(c);
    case 'l': return is_lower(c);
    case 'p': return is_graphic(c) && !is_alnum(c);
    case 's': return c == ' ' || (c >= '\t' && c <= '\r');
    case 'u': return is_upper(c);
    case 'w': return is_alnum(c);
    case 'x': return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    case 'z': return c == 0;
    default: *known = false; return false;
    }
}

/* What %letter says of c. */
static bool in_class(int c, int letter)
{
    bool known;
    const bool in = in_named_class(c, letter | 0x20, &known);

    if (!known || (!is_upper(letter) && !is_lower(letter)))
        return c == letter;
    return is_upper(letter) ? !in : in;
}

/* p is behind "[", end at the "]" that closes. */
static bool in_set(int c, const char *p, const char *end)
{
    const bool negated = *p == '^';

    for (p += negated; p < end; p++) {
        if (*p == '%') {
            p++;
            if (in_class(c, (unsigned char)*p))
                return !negated;
        } else if (end - p > 2 && p[1] == '-') {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
                return !negated;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return !negated;
        }
    }
    return negated;
}

/* Behind the set whose "[" is at p; NULL when it has no end. The first byte in it may be a "]". */
static const char *set_end(search *s, const char *p)
{
    const char *q = p + 1;

    if (q < s->pattern_end && *q == '^')
        q++;
    do {
        if (q >= s->pattern_end)
            return fails(s, "malformed pattern (missing ']')");
        if (*q++ == '%' && q < s->pattern_end)
            q++;
    } while (q >= s->pattern_end || *q != ']');
    return q + 1;
}

/* Behind the item at p. */
static const char *item_end(search *s, const char *p)
{
    if (*p == '[')
        return set_end(s, p);
    if (*p != '%')
        return p + 1;
    if (p + 1 >= s->pattern_end)
        return fails(s, "malformed pattern (ends with '%')");
    return p + 2;
}

/* Whether the item from p to p_end takes the byte at `at`. */
static bool takes(const search *s, const char *at, const char *p, const char *p_end)
{
    int c;

    if (at >= s->text_end)
        return false;
    c = (unsigned char)*at;
    switch (*p) {
    case '.': return true;
    case '%': return in_class(c, (unsigned char)p[1]);
    case '[': return in_set(c, p + 1, p_end - 1);
    default: return (unsigned char)*p == c;
    }
}

/* ---- items that repeat; p_end is behind the item, at its "*", "+" or "-" ---- */

static const char *most(search *s, const char *at, const char *p, const char *p_end)
{
    size_t n = 0;

    while (takes(s, at + n, p, p_end)) {
        if (!spend(s, 1))
            return NULL;
        n++;
    }
    for (;; n--) {
        const char *end = try_items(s, at + n, p_end + 1);

        if (end || s->stopped || n == 0)
            return end;
    }
}

static const char *least(search *s, const char *at, const char *p, const char *p_end)
{
    for (;;) {
        const char *end = try_items(s, at, p_end + 1);

        if (end || s->stopped || !takes(s, at, p, p_end))
            return end;
        at++;
    }
}

/* ---- captures ---- */

static const char *open_capture(search *s, const char *at, const char *p, int length)
{
    mg_match *m = s->m;
    const uint32_t index = m->captures;
    const char *end;

    if (index >= MG_MATCH_CAPTURES)
        return fails(s, "too many captures");
    m->start[index] = (int32_t)(at - s->text);
    m->length[index] = length;
    m->captures = index + 1;
    end = try_items(s, at, p);
    if (!end)
        m->captures = index;
    return end;
}

static const char *close_capture(search *s, const char *at, const char *p)
{
    mg_match *m = s->m;
    uint32_t index = m->captures;
    const char *end;

    while (index > 0 && m->length[index - 1] != OPEN)
        index--;
    if (index-- == 0)
        return fails(s, "invalid pattern capture");
    m->length[index] = (int32_t)(at - s->text) - m->start[index];
    end = try_items(s, at, p);
    if (!end)
        m->length[index] = OPEN;
    return end;
}

/* %1 to %9: behind a repetition of what was captured, or NULL. */
static const char *again(search *s, const char *at, char digit)
{
    const mg_match *m = s->m;
    const uint32_t index = (uint32_t)(digit - '1');
    size_t n;

    if (digit == '0' || index >= m->captures || m->length[index] == OPEN)
        return fails(s, "invalid capture index");
    if (m->length[index] == PLACE)
        return NULL;
    n = (size_t)m->length[index];
    if (n > (size_t)(s->text_end - at) || !spend(s, n / 16))
        return NULL;
    return memcmp(s->text + m->start[index], at, n) == 0 ? at + n : NULL;
}

/* ---- %b and %f ---- */

/* p is behind "%b": behind the text from p[0] to the p[1] that closes it. */
static const char *balanced(search *s, const char *at, const char *p)
{
    const char *start = at;
    size_t open = 1;

    if (s->pattern_end - p < 2)
        return fails(s, "unbalanced pattern");
    if (at >= s->text_end || *at != p[0])
        return NULL;
    while (++at < s->text_end) {
        if ((at - start) % 16 == 0 && !spend(s, 1))
            return NULL;
        if (*at == p[1]) {
            if (--open == 0)
                return at + 1;
        } else if (*at == p[0]) {
            open++;
        }
    }
    return NULL;
}

/* The set at p begins to hold here: it lacks the byte before and has this one. Both ends count as NUL. */
static bool at_frontier(const search *s, const char *at, const char *p, const char *p_end)
{
    const int before = at == s->text ? 0 : (unsigned char)at[-1];
    const int here = at == s->text_end ? 0 : (unsigned char)*at;

    return !in_set(before, p + 1, p_end - 1) && in_set(here, p + 1, p_end - 1);
}

/* %b, %f and %1: moves on behind it. False when `p` is none of these. */
static bool special(search *s, const char **at, const char **p)
{
    const char letter = s->pattern_end - *p > 1 ? (*p)[1] : 0;

    if (**p != '%' || (letter != 'b' && letter != 'f' && !is_digit(letter)))
        return false;
    if (letter == 'b') {
        *at = balanced(s, *at, *p + 2);
        *p += 4;
    } else if (letter == 'f') {
        const char *set = *p + 2;

        if (set >= s->pattern_end || *set != '[')
            *p = fails(s, "missing '[' after '%f' in pattern");
        else
            *p = set_end(s, set);
        if (!*p || !at_frontier(s, *at, set, *p))
            *at = NULL;
    } else {
        *at = again(s, *at, letter);
        *p += 2;
    }
    return true;
}

/* ---- the pattern ---- */

static const char *items_from(search *s, const char *at, const char *p)
{
    while (p < s->pattern_end) {
        const char *p_end;
        char suffix;

        if (!spend(s, 1))
            return NULL;
        if (*p == '(')
            return p + 1 < s->pattern_end && p[1] == ')' ? open_capture(s, at, p + 2, PLACE)
                                                         : open_capture(s, at, p + 1, OPEN);
        if (*p == ')')
            return close_capture(s, at, p + 1);
        if (*p == '$' && p + 1 == s->pattern_end)
            return at == s->text_end ? at : NULL;
        if (special(s, &at, &p)) {
            if (!at)
                return NULL;
            continue;
        }
        if (!(p_end = item_end(s, p)))
            return NULL;
        suffix = p_end < s->pattern_end ? *p_end : 0;
        if (suffix == '*')
            return most(s, at, p, p_end);
        if (suffix == '-')
            return least(s, at, p, p_end);
        if (suffix == '+')
            return takes(s, at, p, p_end) ? most(s, at + 1, p, p_end) : NULL;
        if (suffix == '?') {
            const char *end = takes(s, at, p, p_end) ? try_items(s, at + 1, p_end + 1) : NULL;

            if (end || s->stopped)
                return end;
            p = p_end + 1;
            continue;
        }
        if (!takes(s, at, p, p_end))
            return NULL;
        at++;
        p = p_end;
    }
    return at;
}

/* Behind what the pattern from p on takes at `at`; NULL when it does not match there, or stopped. */
static const char *try_items(search *s, const char *at, const char *p)
{
    const char *end;

    if (s->depth == MG_MATCH_DEPTH_MAX)
        return fails(s, "pattern too complex");
    s->depth++;
    end = items_from(s, at, p);
    s->depth--;
    return end;
}

static bool is_magic(char c)
{
    return c != 0 && strchr("^$*+?.([%-", c) != NULL;
}

static bool is_plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_magic(p[i]))
            return false;
    }
    return true;
}

static int found(mg_match *m, size_t begin, size_t end)
{
    m->begin = (int32_t)begin;
    m->past = (int32_t)end;
    return MG_MATCH_FOUND;
}

static int find_plain(mg_match *m, const char *text, uint32_t n, const char *wanted, uint32_t wanted_n,
                      uint32_t from)
{
    const bool fits = wanted_n <= n - from;
    const char *at = wanted_n == 0 ? text + from
                     : fits        ? memmem(text + from, n - from, wanted, wanted_n)
                                   : NULL;
    const uint32_t steps = fits ? ((at ? (uint32_t)(at - text) - from : n - from) + wanted_n) / 16 : 0;

    m->captures = 0;
    m->steps -= steps < m->steps ? steps : m->steps;
    return at ? found(m, (size_t)(at - text), (size_t)(at - text) + wanted_n) : MG_MATCH_NONE;
}

/* Where a match can begin at the soonest when the pattern begins with a byte that stands for itself once. */
static const char *soonest(search *s, const char *at, const char *p)
{
    const char *found_at;

    if (p == s->pattern_end || is_magic(*p) || *p == ')' || (p + 1 < s->pattern_end && strchr("*?-", p[1])))
        return at;
    found_at = memchr(at, *p, (size_t)(s->text_end - at));
    (void)spend(s, (size_t)((found_at ? found_at : s->text_end) - at) / 16);
    return found_at;
}

int mg_pattern_find(mg_match *m, const char *text, uint32_t n, const char *pattern, uint32_t pattern_n,
                    uint32_t from, int how)
{
    search s = { .m = m, .text = text, .text_end = text + n };
    const char *at = text + from, *p = pattern;
    bool anchored = false;

    MG_CHECK(from <= n);
    m->problem = NULL;
    m->at = from;
    if ((how & MG_MATCH_PLAIN) || ((how & MG_MATCH_MAYBE_PLAIN) && is_plain(pattern, pattern_n)))
        return find_plain(m, text, n, pattern, pattern_n, from);
    s.pattern_end = pattern + strnlen(pattern, pattern_n); /* NUL ends a pattern; text may have it, as %z */
    if ((how & MG_MATCH_ANCHORS) && p < s.pattern_end && *p == '^') {
        anchored = true;
        p++;
    }
    for (;; at++) {
        const char *end;

        if (!anchored && !(at = soonest(&s, at, p)))
            return MG_MATCH_NONE;
        m->at = (uint32_t)(at - text);
        m->captures = 0;
        end = s.stopped ? NULL : try_items(&s, at, p);
        if (end)
            return found(m, (size_t)(at - text), (size_t)(end - text));
        if (s.stopped)
            return m->problem ? MG_MATCH_INVALID : MG_MATCH_TIRED;
        if (anchored || at == s.text_end)
            return MG_MATCH_NONE;
    }
}
