--- http: outgoing requests of a call, as moongate.h gives them.
local ffi = require("ffi")
local c = require("moongate.ffi.c")
local maybe = require("moongate.ffi.problem").text

local add_header, start, status = c.mg_call_http_header, c.mg_call_http_start, c.mg_call_http_status
local begin, service, respond, read = c.mg_call_http_begin, c.mg_call_http_service, c.mg_call_http_respond,
    c.mg_call_http_read
local error_of, header_at, body = c.mg_call_http_error, c.mg_call_http_header_at, c.mg_call_http_body
local string_of = ffi.string
local slice, slice2, why = ffi.new("mg_slice"), ffi.new("mg_slice"), ffi.new("const char *[1]")

local http = {
    BODY_BYTES = c.MG_HTTP_BODY_BYTES,
    BODY_BYTES_MAX = c.MG_HTTP_BODY_BYTES_MAX,
    STREAM = c.MG_HTTP_STREAM,
    CLIENTS_BODY = c.MG_HTTP_CLIENTS_BODY,
    PIECE = c.MG_READ_PIECE,
    END = c.MG_READ_END,
    FAILED = c.MG_READ_FAILED,
    WAIT = c.MG_READ_WAIT,
    status = status,
    keep = c.mg_call_http_keep,
    close = c.mg_call_http_close,
}

---@return string? problem
function http.begin(call)
    return maybe(begin(call))
end

---@return string? problem
function http.header(call, name, value, replace)
    return maybe(add_header(call, name, #name, value, #value, replace))
end

---@return boolean found
function http.service(call, name)
    return service(call, name, #name)
end

---@param how integer  STREAM and CLIENTS_BODY, added up
---@return string? problem
function http.start(call, method, url, bytes, timeout_s, max_body, how)
    return maybe(start(call, method, #method, url, #url, bytes, #bytes, timeout_s, max_body, how))
end

function http.error(call)
    return maybe(error_of(call))
end

---@return string? name, string? value
function http.header_at(call, index)
    if header_at(call, index, slice, slice2) then
        return string_of(slice.p, slice.n), string_of(slice2.p, slice2.n)
    end
end

function http.body(call)
    body(call, slice)
    return slice.n > 0 and string_of(slice.p, slice.n) or ""
end

--- The next piece of an answer that was kept.
---@return integer what  PIECE, END, FAILED or WAIT
---@return string? text  the piece, or why there is none
function http.read(call, number)
    local what = read(call, number, slice, why)
    if what == http.PIECE then
        return what, string_of(slice.p, slice.n)
    end
    return what, what == http.FAILED and string_of(why[0]) or nil
end

---@return string? problem
function http.respond(call, code, number, with_fields)
    return maybe(respond(call, code, number, with_fields))
end

return http
