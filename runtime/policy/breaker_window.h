/* breaker_window.h - what a breaker remembers of the calls before: those of the last seconds, or the last so
 * many (docs/policies.md 5). Breaker.c alone includes this. Any thread may record; nothing locks. What was
 * recorded under another version of the breaker's state reads as nothing. */
#ifndef MG_POLICY_BREAKER_WINDOW_H
#define MG_POLICY_BREAKER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mg_breaker_window mg_breaker_window;

typedef struct mg_breaker_sums {
    uint64_t calls, failures, slow;
} mg_breaker_sums;

mg_breaker_window *mg_breaker_window_of_time(uint64_t bucket_ns, uint32_t buckets);
mg_breaker_window *mg_breaker_window_of_calls(uint32_t calls);
mg_breaker_window *mg_breaker_window_ref(mg_breaker_window *window);
void mg_breaker_window_unref(mg_breaker_window *window); /* NULL is fine */
/* Whether it remembers as one made with these would; bucket_ns is 0 for a window of calls. */
bool mg_breaker_window_is(const mg_breaker_window *window, uint64_t bucket_ns, uint32_t size);

/* Adds one outcome and returns the sums with it. */
mg_breaker_sums mg_breaker_window_record(mg_breaker_window *window, uint32_t version, bool failed, bool slow,
                                         uint64_t now_ns);

#endif
