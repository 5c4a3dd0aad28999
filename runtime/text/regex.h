/* regex.h - regular expressions (pcre2) whose cost is bounded: matching stops at a number of steps, and says
 * so. Any thread. */
#ifndef MG_TEXT_REGEX_H
#define MG_TEXT_REGEX_H

#include "base/err.h"

typedef struct mg_regex mg_regex;

/* At most 1 KiB of pattern, over UTF-8. NULL with the reason and its place in the pattern in err. Read-only
 * once made: any thread may match with it. */
mg_regex *mg_regex_new(mg_str pattern, mg_error *err);
void mg_regex_free(mg_regex *regex);

/* Searches the text: MG_OK where it is found, MG_ERR_NOT_FOUND, MG_ERR_LIMIT when it took too many steps,
 * MG_ERR_INVALID for a text that is not UTF-8. */
MG_MUST_USE mg_result mg_regex_search(const mg_regex *regex, mg_str text);

#endif
