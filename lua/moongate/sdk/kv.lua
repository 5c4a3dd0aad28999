--- kv: ctx.kv, text to text in a namespace of the plugin's own. All workers see it at once, and it survives a restart:
--- what is set reaches the disk within a second, or when barrier returns. While the store is full, deleting works, and
--- what is set is served from memory until there is room.
local bind = require("moongate.ffi.kv")
local call = require("moongate.ffi.call")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, error = type, error
local colon = object.colon
local BARRIER = call.wait_for.BARRIER
local COST = 100 -- checks for each call

--- The namespace of the plugin that runs.
local function space()
    local name = running.names[running.here.plugin + 1]
    if not running.ctx or not name then
        error("kv needs a request: no request is served here", 3)
    end
    local found = running.spaces[name]
    if not found then
        found = bind.open(running.host, name)
        if not found then
            error("kv: there is no store, or there are too many namespaces", 3)
        end
        running.spaces[name] = found
    end
    return found
end

--- Two levels up is the plugin's line. A call with a dot shows as an argument that is missing.
local function check(self, what, key, value, ttl)
    running.charge(COST)
    if type(key) ~= "string" then
        colon(self, "ctx.kv", what, 3)
        error(what .. ": a key is a string, not " .. type(key), 3)
    end
    if type(value) ~= "string" then
        colon(self, "ctx.kv", what, 3)
        error(what .. ": a value is a string, not " .. type(value) .. ": encode it, as with ctx.json", 3)
    end
    if ttl ~= nil and type(ttl) ~= "number" then
        colon(self, "ctx.kv", what, 3)
        error(what .. ": ttl is a number of seconds, not " .. type(ttl), 3)
    end
end

---@class moongate.Kv
local kv = {}

---@param key string  1 to 255 bytes
---@return string? value  nil when it is absent
---@return string? problem
function kv:get(key)
    check(self, "get", key, "")
    local value, problem = bind.get(space(), key)
    return value, problem
end

---@param key string  1 to 255 bytes
---@param value string  up to 64 KiB
---@param ttl? number  seconds until it is gone; it stays when left out
---@return true? done
---@return string? problem  the namespace is full; the store is full, and memory holds enough of what waits; ..
function kv:set(key, value, ttl)
    check(self, "set", key, value, ttl)
    local problem = bind.set(space(), key, value, ttl or 0)
    if problem then
        return nil, problem
    end
    return true
end

---@param key string
---@return true? done
---@return string? problem
function kv:delete(key)
    check(self, "delete", key, "")
    local problem = bind.delete(space(), key)
    if problem then
        return nil, problem
    end
    return true
end

--- Adds to a number that is kept as decimal text; an absent one counts as 0.
---@param key string
---@param by? integer  1 when left out; may be below 0
---@param ttl? number  seconds, used when the key is made
---@return integer? result
---@return string? problem
function kv:incr(key, by, ttl)
    by = by or 1
    check(self, "incr", key, "", ttl)
    if type(by) ~= "number" then
        error("incr: it adds a number, not " .. type(by), 2)
    end
    local result, problem = bind.incr(space(), key, by, ttl or 0)
    return result, problem
end

--- Sets the key only while its value is the expected one.
---@param key string
---@param expected? string  nil: only while it is absent
---@param value? string  nil: deletes
---@param ttl? number  seconds
---@return boolean? swapped
---@return string? problem
function kv:cas(key, expected, value, ttl)
    if value == nil then -- as with a dot, where it would delete
        colon(self, "ctx.kv", "cas", 2)
    end
    check(self, "cas", key, value or "", ttl)
    if expected ~= nil and type(expected) ~= "string" then
        error("cas: the expected value is a string or nil, not " .. type(expected), 2)
    end
    local swapped, problem = bind.cas(space(), key, expected, value, ttl or 0)
    return swapped, problem
end

--- Waits until all that this plugin's namespace was told before is on the disk.
---@return true? done
---@return string? problem  some of it is not, and is tried again: the store is full, ..
function kv:barrier() -- luacheck: ignore self
    local mine = space()
    running.await(BARRIER)
    local problem = bind.flush_error(mine)
    if problem then
        return nil, problem
    end
    return true
end

return kv
