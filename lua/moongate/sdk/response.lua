--- response: ctx.response, what goes back to the client. It is there after next(ctx), and after ctx:respond. Fields
--- that a handler sets, adds or removes before are kept, and made on whatever answer comes: the upstream's, one of a
--- plugin further in, a refusal, a time-out or an error of the gateway. They are made over the answer's own fields in
--- the order in which they were called, all plugins together; what ctx:respond has as headers, and what is set behind
--- next(ctx), comes after them. Only what a problem document of the gateway says of itself stays as it is:
--- content-type, x-request-id, retry-after.
local call = require("moongate.ffi.call")
local cookie = require("moongate.sdk.cookie")
local message = require("moongate.sdk.message")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local setmetatable = setmetatable
local status, set_status = call.status, call.set_status
local stale = object.stale

---@class moongate.Response : moongate.Message
---@field status? integer  nil before there is a response; in log(ctx) what the client got, 499 when it was gone before
---@field error? string  why the gateway answered in the upstream's place ("upstream_connect", ..); nil when it did not.
--- In log(ctx) as `error` of the access log: also why the response was cut
---@field bytes integer  of it on the client's wire so far, head and body
local response = message.methods("response", call.RESPONSE)

---@param value integer  200..599
function response:set_status(value)
    if running.response ~= self then
        stale(self, "ctx.response", "set_status", 2)
    end
    if type(value) ~= "number" then
        error("set_status: a status is a number, not " .. type(value), 2)
    elseif value % 1 ~= 0 then
        error("set_status: a status is a whole number, not " .. tostring(value), 2)
    end
    local wrong = set_status(running.call, value)
    if wrong then
        error("set_status: " .. wrong, 2)
    end
end

--- Adds a cookie (RFC 6265). Raises on a name, value or option that no browser takes as it is meant.
---@param name string  a token
---@param value string  no blanks, quotes, commas, semicolons or backslashes; quotes may stand around all of it
---@param options? moongate.CookieOptions
function response:set_cookie(name, value, options)
    if running.response ~= self then
        stale(self, "ctx.response", "set_cookie", 2)
    end
    local text = cookie.text_of("set_cookie", name, value, options, 2)
    local wrong = call.set_header(running.call, call.RESPONSE, "set-cookie", text, false)
    if wrong then
        error("set_cookie: " .. wrong, 2)
    end
end

local properties = {
    status = function()
        local value = status(running.call)
        if value ~= 0 then
            return value
        end
    end,
    error = function()
        return (call.text(running.call, call.text_of.error))
    end,
    bytes = function()
        return (call.bytes(running.call, call.RESPONSE))
    end,
}

local function index(self, key)
    local member = response[key]
    if member ~= nil then
        return member
    end
    local get = properties[key]
    if get == nil then
        object.unknown("ctx.response", key, object.members(response, properties), 2)
    end
    if running.response ~= self then
        stale(self, "ctx.response", nil, 2)
    end
    return (get())
end

local meta = object.meta("ctx.response", index)

return {
    new = function()
        return setmetatable({}, meta)
    end,
    members = response,
    properties = properties,
}
