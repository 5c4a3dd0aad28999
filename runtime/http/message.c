/* message.c - the words of a start line. */
#include "http/message.h"

#include "base/check.h"
#include "base/mem.h"

static const mg_str method_texts[MG_METHOD_COUNT] = {
    [MG_METHOD_OTHER] = { "", 0 },          [MG_METHOD_GET] = { "GET", 3 },
    [MG_METHOD_HEAD] = { "HEAD", 4 },       [MG_METHOD_POST] = { "POST", 4 },
    [MG_METHOD_PUT] = { "PUT", 3 },         [MG_METHOD_DELETE] = { "DELETE", 6 },
    [MG_METHOD_CONNECT] = { "CONNECT", 7 }, [MG_METHOD_OPTIONS] = { "OPTIONS", 7 },
    [MG_METHOD_TRACE] = { "TRACE", 5 },     [MG_METHOD_PATCH] = { "PATCH", 5 },
};

mg_method mg_method_find(mg_str text)
{
    for (unsigned i = MG_METHOD_GET; i < MG_METHOD_COUNT; i++)
        if (mg_str_eq(text, method_texts[i]))
            return (mg_method)i;
    return MG_METHOD_OTHER;
}

mg_str mg_method_text(mg_method method)
{
    MG_CHECK(method < MG_METHOD_COUNT);
    return method_texts[method];
}

bool mg_method_is_idempotent(mg_method method)
{
    switch (method) {
    case MG_METHOD_GET:
    case MG_METHOD_HEAD:
    case MG_METHOD_PUT:
    case MG_METHOD_DELETE:
    case MG_METHOD_OPTIONS:
    case MG_METHOD_TRACE: return true;
    default: return false;
    }
}

/* The registry of RFC 9110 16.2.1, and the few that other RFCs added; sorted. */
static const struct {
    uint16_t status;
    const char *text;
} statuses[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 102, "Processing" },
    { 103, "Early Hints" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 203, "Non-Authoritative Information" },
    { 204, "No Content" },
    { 205, "Reset Content" },
    { 206, "Partial Content" },
    { 207, "Multi-Status" },
    { 208, "Already Reported" },
    { 226, "IM Used" },
    { 300, "Multiple Choices" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 305, "Use Proxy" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" },
    { 423, "Locked" },
    { 424, "Failed Dependency" },
    { 425, "Too Early" },
    { 426, "Upgrade Required" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 451, "Unavailable For Legal Reasons" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 506, "Variant Also Negotiates" },
    { 507, "Insufficient Storage" },
    { 508, "Loop Detected" },
    { 511, "Network Authentication Required" },
};

bool mg_status_has_body(uint16_t status)
{
    return status != 204 && status != 205 && status != 304;
}

mg_str mg_request_protocol(const mg_request *request)
{
    return request->minor ? MG_STR("HTTP/1.1") : MG_STR("HTTP/1.0");
}

mg_str mg_status_text(uint16_t status)
{
    size_t low = 0, high = mg_countof(statuses);

    if (status == 200)
        return MG_STR("OK");
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (statuses[middle].status == status)
            return mg_str_of(statuses[middle].text);
        if (statuses[middle].status < status)
            low = middle + 1;
        else
            high = middle;
    }
    return MG_STR("");
}
