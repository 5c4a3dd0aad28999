--- key: what tells one requester from another, read as the limiters of the configuration read their `key`.
local bind = require("moongate.ffi.key")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local read, type, error = bind.read, type, error
local CHARGE = 32 -- of looking for it, and more by its length

local handles = setmetatable({}, { __mode = "k" })

---@class moongate.Key
local key = {}

--- The key of the request that runs.
---@return string? key  nil: the request lacks a part, and the key was made to say so
function key:read()
    local handle = scope.handle(handles, self, "key")
    if not running.call then
        error("read: a key is of a request: here is none", 2)
    end
    local text, problem = read(handle, running.call)
    if problem then
        error("read: " .. problem, 2)
    end
    running.charge(CHARGE + (text and #text / 8 or 0))
    return text
end

local meta = scope.meta("key", key)

local M = {}

--- Makes a reader of keys. In new(conf).
---@param text string  "ip", "consumer", "route", "global", "header:X", "cookie:X", or up to four joined by "+"
---@param on_missing? "ip"|"skip"|"deny"  where a request lacks a part: "ip", as when left out, its address stands in;
---with the others read() returns nil
---@return moongate.Key
function M.new(text, on_missing)
    object.dot(text, "moongate", "key", 2)
    if type(text) ~= "string" then
        error("key: a key is a text such as \"header:x-user+route\", not " .. type(text), 2)
    end
    if on_missing ~= nil and type(on_missing) ~= "string" then
        error("key: a missing part means \"ip\", \"skip\" or \"deny\", not a " .. type(on_missing), 2)
    end
    scope.name("key")
    local handle, problem = bind.new(text, on_missing or "ip")
    if not handle then
        error("key: " .. problem, 2)
    end
    local self = setmetatable({}, meta)
    handles[self] = handle
    return self
end

return M
