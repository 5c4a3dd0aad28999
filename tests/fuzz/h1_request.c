/* Any bytes as a request head: refused with a status, or a head of which the rules hold. */
#include "support/h1_rules.h"

/* A head that is accepted was never given up while it came. */
static void check_prefixes(const mg_h1_limits *limits, const char *head, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mg_h1_fault fault = { 0 };
        MG_CHECK(mg_h1_may_be_request(limits, head, i, &fault));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;
    char *head = mg_alloc(size ? size : 1); /* its own block, so that a read beyond it shows */
    size_t n, scanned = 0;
    mg_arena arena;
    mg_request request;
    mg_h1_info info;
    mg_h1_fault fault = { 0 };

    if (size)
        memcpy(head, data, size);
    mg_arena_init(&arena, NULL, 0);
    n = mg_h1_head_end(head, size, &scanned);
    if (n == 0)
        n = size;
    char *as_sent = mg_memdup0(head, n); /* parsing changes it in place */
    const bool accepted =
        mg_h1_parse_request(&arena, &limits, head, n, MG_STR("http"), &request, &info, &fault);
    if (accepted)
        check_prefixes(&limits, as_sent, n);
    mg_free(as_sent);
    if (accepted)
        h1_check_request(&arena, &request, info.keep_alive);
    else
        MG_CHECK(fault.status >= 400 && fault.status < 600 && fault.why);
    mg_arena_fini(&arena);
    mg_free(head);
    return 0;
}
