/* Any bytes as a Lua pattern and a text: how it is searched, how long the pattern is, the pattern, the text.
 * Whatever comes of it, it takes no more steps than were given, and what it says it found lies in the text.
 */
#include "base/check.h"
#include "script/match.h"

enum { STEPS = 20000 };

static void check_found(const mg_match *m, uint32_t n)
{
    MG_CHECK(m->begin >= 0 && m->begin <= m->past && (uint32_t)m->past <= n);
    MG_CHECK(m->captures <= MG_MATCH_CAPTURES);
    for (uint32_t i = 0; i < m->captures; i++) {
        MG_CHECK(m->start[i] >= m->begin && m->start[i] <= m->past && m->length[i] >= -2);
        MG_CHECK(m->length[i] < 0 || m->start[i] + m->length[i] <= m->past);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *pattern = (const char *)data + 2;
    uint32_t pattern_n, text_n, from = 0;
    mg_match m;
    int is;

    if (size < 2 || size > 1 << 16)
        return 0;
    pattern_n = data[1] < size - 2 ? data[1] : (uint32_t)(size - 2);
    text_n = (uint32_t)(size - 2) - pattern_n;
    for (int tries = 0; tries < 3; tries++) {
        m.steps = STEPS;
        is = mg_pattern_find(&m, pattern + pattern_n, text_n, pattern, pattern_n, from, data[0] & 7);
        MG_CHECK(m.steps <= STEPS && (is != MG_MATCH_INVALID) == !m.problem);
        if (is == MG_MATCH_FOUND)
            check_found(&m, text_n);
        if (is != MG_MATCH_TIRED)
            break;
        MG_CHECK(m.steps == 0 && m.at >= from && m.at <= text_n);
        from = m.at;
    }
    return 0;
}
