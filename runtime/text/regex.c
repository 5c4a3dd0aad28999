/* regex.c - pcre2 with limits. Without its JIT: a pattern runs a few times a document, and the limits count
 * alike everywhere. */
#include "text/regex.h"
#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    MAX_PATTERN_BYTES = 1024,
    MAX_STEPS = 200000,
    MAX_DEPTH = 2000,
    MAX_HEAP_KIB = 1024,
};

struct mg_regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

mg_regex *mg_regex_new(mg_str pattern, mg_error *err)
{
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
    PCRE2_UCHAR why[160];
    mg_regex *regex;
    pcre2_code *code;
    PCRE2_SIZE where;
    int number;

    if (pattern.n > MAX_PATTERN_BYTES) {
        (void)mg_fail(err, MG_ERR_LIMIT, "longer than %d bytes", MAX_PATTERN_BYTES);
        return NULL;
    }
    code = pcre2_compile((PCRE2_SPTR)(pattern.p ? pattern.p : ""), pattern.n, options, &number, &where, NULL);
    if (!code) {
        pcre2_get_error_message(number, why, sizeof why);
        (void)mg_fail(err, MG_ERR_INVALID, "%s, at byte %zu", (const char *)why, (size_t)where + 1);
        return NULL;
    }
    regex = MG_NEW(mg_regex);
    regex->code = code;
    regex->limits = pcre2_match_context_create(NULL);
    if (regex->limits) {
        pcre2_set_match_limit(regex->limits, MAX_STEPS);
        pcre2_set_depth_limit(regex->limits, MAX_DEPTH);
        pcre2_set_heap_limit(regex->limits, MAX_HEAP_KIB);
        return regex;
    }
    mg_regex_free(regex);
    (void)mg_fail(err, MG_ERR_LIMIT, "not enough memory");
    return NULL;
}

void mg_regex_free(mg_regex *regex)
{
    if (!regex)
        return;
    pcre2_match_context_free(regex->limits);
    pcre2_code_free(regex->code);
    mg_free(regex);
}

static mg_result result_of(int found)
{
    if (found >= 0)
        return MG_OK;
    switch (found) {
    case PCRE2_ERROR_NOMATCH: return MG_ERR_NOT_FOUND;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_NOMEMORY: return MG_ERR_LIMIT;
    default: return MG_ERR_INVALID;
    }
}

mg_result mg_regex_search(const mg_regex *regex, mg_str text)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int found;

    if (!data)
        return MG_ERR_LIMIT;
    found = pcre2_match(regex->code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, 0, 0, data, regex->limits);
    pcre2_match_data_free(data);
    return result_of(found);
}
