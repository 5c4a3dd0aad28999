/* Any bytes as a response head. The first byte chooses what it answers. */
#include "support/h1_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;
    const unsigned choice = size ? data[0] : 0;
    const mg_method method = choice & 1 ? MG_METHOD_HEAD : MG_METHOD_GET;
    const mg_str upgrade = choice & 2 ? MG_STR("websocket") : MG_STR_NONE;
    const size_t bytes = size ? size - 1 : 0;
    char *head = mg_alloc(bytes ? bytes : 1);
    size_t n, scanned = 0;
    mg_h1_framing framing;
    mg_arena arena;
    mg_response response;
    mg_h1_info info;
    mg_h1_fault fault = { 0 };

    if (bytes)
        memcpy(head, data + 1, bytes);
    mg_arena_init(&arena, NULL, 0);
    n = mg_h1_head_end(head, bytes, &scanned);
    if (n == 0)
        n = bytes;
    if (mg_h1_parse_response(&arena, &limits, head, n, method, upgrade, &response, &framing, &info, &fault)) {
        MG_CHECK(!info.keep_alive || framing != MG_H1_UNTIL_CLOSE);
        h1_check_response(&arena, &response, method, upgrade, info.keep_alive);
    } else {
        MG_CHECK(fault.status == 502 && fault.why);
    }
    mg_arena_fini(&arena);
    mg_free(head);
    return 0;
}
