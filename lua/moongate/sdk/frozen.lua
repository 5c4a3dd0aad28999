--- frozen: read-only copies of configuration, and how the SDK and a plugin's own pairs and next see through them.
local getmetatable, setmetatable, next, pairs, type, error = getmetatable, setmetatable, next, pairs, type, error

local metatable_of, rawget = debug.getmetatable, rawget
local running = require("moongate.sdk.running")

local frozen = {}

-- Proxies of maps to what they stand for.
local behind = setmetatable({}, { __mode = "k" })

local function read_only(_, key)
    error("conf." .. tostring(key) .. " cannot be assigned: the configuration is frozen", 2)
end

--- Raises when a table is one that nobody changes: a frozen one, or an object of the SDK, which all plugins share.
--- Table functions do not see what forbids an assignment. Two levels up is the plugin's line.
---@param what string  the function that would change it
function frozen.check(what, list)
    local meta = type(list) == "table" and metatable_of(list)
    if meta and rawget(meta, "__metatable") ~= nil and rawget(meta, "__newindex") ~= nil then
        error(what .. ": this table is read-only: change a copy", 3)
    end
end

--- A read-only copy. Maps are proxies, which pairs, ipairs and next of plugins see through. Lists are tables, so that #
--- and table functions work: adding to one raises, and so do functions that change it; replacing an item by its index
--- is not noticed.
function frozen.freeze(value)
    if type(value) ~= "table" then
        return value
    end
    local copy = {}
    for key, member in pairs(value) do
        copy[key] = frozen.freeze(member)
    end
    if #copy > 0 or getmetatable(value) == "json.list" then
        return setmetatable(copy, { __newindex = read_only, __metatable = "json.list" })
    end
    local proxy = setmetatable({}, { __index = copy, __newindex = read_only, __metatable = "locked" })
    behind[proxy] = copy
    return proxy
end

--- The table behind a frozen map; any other value is itself.
function frozen.of(value)
    return behind[value] or value
end

function frozen.next(map, key)
    return next(behind[map] or map, key)
end

--- next as plugins call it: a table that was emptied is searched to its end.
function frozen.charged_next(map, key)
    running.charge(8)
    return next(behind[map] or map, key)
end

--- What it hands out is the map itself, never what stands behind it.
function frozen.pairs(map)
    running.charge(8)
    if behind[map] then
        return frozen.next, map, nil
    end
    return next, map, nil
end

return frozen
