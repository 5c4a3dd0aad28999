--- http: one outgoing request of a call, as moongate.h gives it.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local add_header, start, status = c.mg_call_http_header, c.mg_call_http_start, c.mg_call_http_status
local error_of, header_at, body = c.mg_call_http_error, c.mg_call_http_header_at, c.mg_call_http_body
local string_of = ffi.string
local slice, slice2 = ffi.new("mg_slice"), ffi.new("mg_slice")

local http = { status = status }

local function maybe(chars)
    if chars ~= nil then
        return string_of(chars)
    end
end

---@return string? problem
function http.header(call, name, value, replace)
    return maybe(add_header(call, name, #name, value, #value, replace))
end

---@return string? problem
function http.start(call, method, url, bytes, timeout_s, max_body)
    return maybe(start(call, method, #method, url, #url, bytes, #bytes, timeout_s, max_body))
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

return http
