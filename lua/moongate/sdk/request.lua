--- request: ctx.request, the request as the plugins before left it and as the upstream will get it.
local call = require("moongate.ffi.call")
local cookie = require("moongate.sdk.cookie").members
local list = require("moongate.sdk.json").list
local message = require("moongate.sdk.message")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local setmetatable = setmetatable
local REQUEST, text_of = call.REQUEST, call.text_of
local text, set_text, param, query = call.text, call.set_text, call.param, call.query
local stale = object.stale
local BYTES = -1 -- no text
local QUERY_COST = 50 -- checks: a query may have 64 KiB

---@class moongate.Request : moongate.Message
---@field method string  "GET"
---@field scheme string  "http" or "https"
---@field host string  lower-case, without a port
---@field path string  normalised: what was matched and what the upstream gets
---@field query? string  behind the "?", with escapes where a URI must have them; nil without one
---@field target string  as the client sent it
---@field client_address string  after trusted proxies
---@field bytes integer  of it on the client's wire so far, head and body
local request = message.methods("request", REQUEST)

local function set(self, what, name, value)
    if running.request ~= self then
        stale(self, "ctx.request", "set_" .. name, 3)
    end
    if type(value) ~= "string" then
        error("set_" .. name .. ": it is a string, not " .. type(value), 3)
    end
    running.charge(#value / 8)
    local wrong = set_text(running.call, what, value)
    if wrong then
        error("set_" .. name .. ": " .. wrong, 3)
    end
end

--- Another method for the upstream. The route stays.
---@param method string  a token
function request:set_method(method)
    set(self, text_of.method, "method", method)
end

--- Another path for the upstream, which is normalised. The route stays.
---@param path string  begins with "/", no "?"; at most the route's max_path, as it is passed on
function request:set_path(path)
    set(self, text_of.path, "path", path)
end

--- Another query for the upstream. Bytes that a query has only as escapes (those beyond ASCII, '"', "{", ..) are
--- escaped.
---@param value string  without the "?"; "" is none; with the path at most the listener's max_head_bytes
function request:set_query(value)
    set(self, text_of.query, "query", value)
end

--- A parameter of the route's template, percent-decoded.
---@param name string
---@return string? value
function request:param(name)
    if running.request ~= self then
        stale(self, "ctx.request", "param", 2)
    end
    if type(name) ~= "string" then
        error("param: the name is a string, not " .. type(name), 2)
    end
    return (param(running.call, name))
end

--- The first parameter of that name in the query, percent-decoded, with "+" as a space.
---@param name string
---@return string? value
function request:query_param(name)
    if running.request ~= self then
        stale(self, "ctx.request", "query_param", 2)
    end
    if type(name) ~= "string" then
        error("query_param: the name is a string, not " .. type(name), 2)
    end
    running.charge(QUERY_COST)
    return (query(running.call, name))
end

--- All parameters of that name in the query, in order, percent-decoded, with "+" as a space; empty when there is none.
---@param name string
---@return string[] values
function request:query_params(name)
    if running.request ~= self then
        stale(self, "ctx.request", "query_params", 2)
    end
    if type(name) ~= "string" then
        error("query_params: the name is a string, not " .. type(name), 2)
    end
    running.charge(QUERY_COST)
    local values = call.queries(running.call, name)
    running.charge(16 * #values)
    return (list(values))
end

local function cookies_of()
    return (cookie.parse(call.header(running.call, REQUEST, "cookie") or ""))
end

--- The value of the first cookie of that name, as it stands, quotes and escapes and all; nil when there is none.
---@param name string  in this case
---@return string? value
function request:cookie(name)
    if running.request ~= self then
        stale(self, "ctx.request", "cookie", 2)
    end
    if type(name) ~= "string" then
        error("cookie: the name is a string, not " .. type(name), 2)
    end
    local values = cookies_of()[name]
    return values and values[1]
end

--- All cookies of the request by name. Of several of one name it is the first, as cookie() has it; all are in
--- moongate.cookie.parse(ctx.request:header("cookie")).
---@return table<string, string> cookies
function request:cookies()
    if running.request ~= self then
        stale(self, "ctx.request", "cookies", 2)
    end
    local cookies = cookies_of()
    for name, values in pairs(cookies) do
        cookies[name] = values[1]
    end
    return cookies
end

local properties = {
    method = text_of.method,
    scheme = text_of.scheme,
    host = text_of.host,
    path = text_of.path,
    query = text_of.query,
    target = text_of.target,
    client_address = text_of.client_address,
    bytes = BYTES,
}

local function index(self, key)
    local member = request[key]
    if member ~= nil then
        return member
    end
    local what = properties[key]
    if what == nil then
        object.unknown("ctx.request", key, object.members(request, properties), 2)
    end
    if running.request ~= self then
        stale(self, "ctx.request", nil, 2)
    end
    if what == BYTES then
        return (call.bytes(running.call, REQUEST))
    end
    return (text(running.call, what))
end

local meta = object.meta("ctx.request", index)

return {
    new = function()
        return setmetatable({}, meta)
    end,
    members = request,
    properties = properties,
}
