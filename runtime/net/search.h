/* search.h - which names to ask for a relative one (resolv.conf(5): search, domain, ndots); for the resolver.
 * Any thread, one at a time on one object. */
#ifndef MG_NET_SEARCH_H
#define MG_NET_SEARCH_H

#include "base/str.h"

enum { MG_SEARCH_MAX = 6, MG_SEARCH_NAME_MAX = 253 };

typedef struct mg_search {
    char domains[MG_SEARCH_MAX][MG_SEARCH_NAME_MAX + 1]; /* in lower case, without a dot at their end */
    unsigned count, ndots;
} mg_search;

/* None, when there is no such file. What is no name is passed over, and what is past a bound. */
void mg_search_read(mg_search *search, const char *path);
/* The n-th name to ask for `name`, which is in lower case; false when there is none. An `absolute` one is
 * asked as it stands. One that would be too long is empty: there is no such name. */
bool mg_search_name(const mg_search *search, mg_str name, bool absolute, unsigned n,
                    char out[MG_SEARCH_NAME_MAX + 1]);

#endif
