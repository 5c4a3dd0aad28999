/* search.c - the search list of resolv.conf. */
#include "net/search.h"

#include "base/mem.h"
#include <stdio.h>

enum { NDOTS_MAX = 15, LINE_MAX_BYTES = 4096 };

static bool next_word(mg_str *line, mg_str *word)
{
    *line = mg_str_trim(*line, " \t\r\n");
    size_t n = 0;

    while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t')
        n++;
    *word = mg_str_sub(*line, 0, n);
    *line = mg_str_sub(*line, n, line->n);
    return n > 0;
}

static void add_domain(mg_search *search, mg_str domain)
{
    char *out = search->domains[search->count];

    if (domain.n && domain.p[domain.n - 1] == '.')
        domain.n--;
    if (!domain.n || domain.n > MG_SEARCH_NAME_MAX || search->count == MG_SEARCH_MAX)
        return;
    for (size_t i = 0; i < domain.n; i++)
        out[i] = mg_lower(domain.p[i]);
    out[domain.n] = 0;
    search->count++;
}

/* The last of search and domain counts. */
static void read_line(mg_search *search, mg_str line)
{
    const bool list = mg_str_starts(line, MG_STR("search"));
    uint64_t dots;
    mg_str word;

    if (!next_word(&line, &word))
        return;
    if (mg_str_eq_c(word, "search") || mg_str_eq_c(word, "domain")) {
        search->count = 0;
        while (next_word(&line, &word)) {
            add_domain(search, word);
            if (!list)
                break;
        }
    } else if (mg_str_eq_c(word, "options")) {
        while (next_word(&line, &word))
            if (mg_str_starts(word, MG_STR("ndots:")) && mg_str_u64(mg_str_sub(word, 6, word.n), &dots))
                search->ndots = dots < NDOTS_MAX ? (unsigned)dots : NDOTS_MAX;
    }
}

void mg_search_read(mg_search *search, const char *path)
{
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(path, "re");

    *search = (mg_search){ .ndots = 1 };
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        read_line(search, mg_str_of(line));
    fclose(file);
}

static void join(mg_str name, const char *domain, char out[MG_SEARCH_NAME_MAX + 1])
{
    const int n =
        snprintf(out, MG_SEARCH_NAME_MAX + 1, "%.*s%s%s", MG_STR_ARGS(name), *domain ? "." : "", domain);

    if (n > MG_SEARCH_NAME_MAX)
        out[0] = 0;
}

bool mg_search_name(const mg_search *search, mg_str name, bool absolute, unsigned n,
                    char out[MG_SEARCH_NAME_MAX + 1])
{
    unsigned dots = 0;

    for (size_t i = 0; i < name.n; i++)
        dots += name.p[i] == '.';
    const unsigned own =
        absolute || dots >= search->ndots ? 0 : search->count; /* the place of the name itself */
    if (n > (absolute ? 0 : search->count))
        return false;
    join(name, n == own ? "" : search->domains[n - (n > own)], out);
    return true;
}
