--- object: what plugins read and cannot change, and what is said to a plugin that uses one wrongly: at its own line,
--- and with what to type. All of it is the way of errors; nothing here runs for a call that is right.

local running = require("moongate.sdk.running")

local type, error, tostring, pairs, setmetatable = type, error, tostring, pairs, setmetatable
local getmetatable, getinfo = debug.getmetatable, debug.getinfo -- metatables of ours are locked
local sort, concat, min = table.sort, table.concat, math.min
local lower, byte, sub, format, gsub = string.lower, string.byte, string.sub, string.format, string.gsub
local ipairs, pcall, rawget = ipairs, pcall, rawget

local object = {}

local MAX_NAME_BYTES = 40
local SHOWN = 32 -- names of a list
local names = setmetatable({}, { __mode = "k" }) -- by metatable: how plugins call the object

--- The name of an object of the SDK: "ctx.kv"; nil for any other value.
---@return string?
function object.name(value)
    local meta = type(value) == "table" and getmetatable(value)
    return meta and names[meta] or nil
end

--- How many edits make one of the other: a byte more, less or another, or two neighbours that changed places.
local function distance(a, b)
    local before, row, last = {}, {}, {}
    for j = 0, #b do
        row[j] = j
    end
    for i = 1, #a do
        before, last, row = last, row, before
        row[0] = i
        for j = 1, #b do
            local same = byte(a, i) == byte(b, j)
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
            if i > 1 and j > 1 and byte(a, i) == byte(b, j - 1) and byte(a, i - 1) == byte(b, j) then
                row[j] = min(row[j], before[j - 2] + 1)
            end
        end
    end
    return row[#b]
end

--- The known name that was most likely meant, as the configuration guesses: an edit for every three bytes, or the
--- beginning of a name that is at most twice as long.
---@param name string
---@param known string[]
---@return string?
function object.nearest(name, known)
    local best, least
    for i = 1, #known do
        local a, b = lower(sub(name, 1, 64)), lower(known[i])
        local longer, shorter = #a > #b and a or b, #a > #b and b or a
        local cost = distance(a, b)
        if 3 * cost > #longer then
            local begins = #shorter >= 3 and 2 * #shorter >= #longer and sub(longer, 1, #shorter) == shorter
            cost = begins and 64 or nil
        end
        if cost and (not least or cost < least) then
            best, least = known[i], cost
        end
    end
    return best
end

local function line_of(value)
    return type(value) == "function" and getinfo(value, "S").linedefined or 0
end

--- The names of some tables, functions in the order in which they are written, then the others.
---@param ... table
---@return string[]
function object.members(...)
    local all, lines = {}, {}
    for i = 1, select("#", ...) do
        for key, value in pairs((select(i, ...))) do
            if type(key) == "string" then
                all[#all + 1] = key
                lines[key] = line_of(value)
            end
        end
    end
    sort(all, function(a, b)
        if lines[a] ~= lines[b] then
            return lines[a] < lines[b]
        end
        return a < b
    end)
    return all
end

--- A name that a plugin gave, in quotes and cut where it is long.
---@return string
function object.quoted(name)
    if type(name) ~= "string" then
        return "'" .. (type(name) == "number" and tostring(name) or type(name)) .. "'"
    end
    return "'" .. (#name > MAX_NAME_BYTES and sub(name, 1, MAX_NAME_BYTES) .. ".." or name) .. "'"
end

--- " 'get' is near" and all there is: what follows a name that nobody knows.
---@param name any
---@param known string[]
---@return string
function object.choices(name, known)
    local near = type(name) == "string" and object.nearest(name, known)
    return (near and "did you mean '" .. near .. "'? There are " or "") .. concat(known, ", ", 1, min(#known, SHOWN))
        .. (#known > SHOWN and ", .." or "")
end

--- Raises that there is no such member.
---@param what string  "ctx.kv"
---@param key any
---@param known string[]
---@param level integer  of the plugin's line, as error counts from the caller
function object.unknown(what, key, known, level)
    error(what .. " has no " .. object.quoted(key) .. ": " .. object.choices(key, known), level + 1)
end

--- Makes an object's methods raise for a name that is not among them. What is there costs nothing more.
---@param what string
---@param methods table
---@param ... table  of further names that there are
---@return table methods
function object.strict(what, methods, ...)
    local more = { ... }
    return setmetatable(methods, {
        __index = function(_, key)
            object.unknown(what, key, object.members(methods, unpack(more)), 2)
        end,
    })
end

--- What to write in place of an assignment: the method that sets the member, if there is one.
local function setter(self, name, index, key)
    if name .. "." .. tostring(key) == "ctx.state" then
        return "assign its members, as in ctx.state.user = .."
    end
    for _, method in ipairs({ "set_" .. tostring(key), "set_" .. gsub(tostring(key), "s$", "") }) do
        local ok, found
        if type(index) == "table" then
            ok, found = true, rawget(index, method)
        else
            ok, found = pcall(index, self, method)
        end
        if ok and found then
            return "call " .. name .. ":" .. method .. "(..)"
        end
    end
    return "keep what is yours in ctx.state"
end

--- The metatable of an object that plugins read and cannot change.
---@param name string  how plugins call it
---@param index table|function
function object.meta(name, index)
    local meta = {
        __index = index,
        __newindex = function(self, key)
            error(name .. "." .. tostring(key) .. " cannot be assigned: " .. setter(self, name, index, key), 2)
        end,
        __metatable = "locked",
    }
    names[meta] = name
    return meta
end

--- Raises when what a method got as self is not its object: it was called with a dot.
---@param name string  of the object: "ctx.kv"
---@param method string
---@param level integer
function object.colon(self, name, method, level)
    if object.name(self) ~= name then
        error(format("%s: call it with a colon: %s:%s(..)", method, name, method), level + 1)
    end
end

--- Raises when the first argument of a function is the object it stands in: it was called with a colon.
---@param first any
---@param name string  of the object: "ctx.json"
---@param method string
---@param level integer
function object.dot(first, name, method, level)
    local found = object.name(first)
    if found == name or found and sub(found, -#name - 1) == "." .. name then
        error(format("%s: call it with a dot: %s.%s(..)", method, found, method), level + 1)
    end
end

--- Raises when a method of what is a request's got another self.
---@param name string  "ctx.request"
---@param method? string  nil: a member was read
---@param level integer
function object.stale(self, name, method, level)
    if method then
        object.colon(self, name, method, level + 1)
    end
    error(name .. (running.slot and running.slot.is_task
        and " belongs to a request: a task has a ctx of its own, the first argument of its function"
        or " belongs to another request, or to none: use the ctx that the handler was given"), level + 1)
end

return object
