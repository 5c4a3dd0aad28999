--- scope: whose the named things are that plugins make. A name belongs to the plugin's name in the configuration.
local frozen = require("moongate.sdk.frozen")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local scope = {
    classes = {}, -- the methods of each kind of object, for the reference; out of a plugin's reach
}

--- The full name of something that a plugin makes; `what` and level are for its error.
---@param what string  "limiter"
---@param name string?
---@return string
function scope.name(what, name)
    local owner = running.names[running.here.plugin + 1]
    if running.ctx then
        error(what .. ": make it when the plugin is loaded, in new(conf), not for a request", 3)
    end
    if not owner then
        error(what .. ": only a plugin makes one", 3)
    end
    if name ~= nil and (type(name) ~= "string" or #name > 64 or not name:find("^[%w._%-]+$")) then
        error(what .. ": a name has 1 to 64 letters, digits, '.', '_' or '-'", 3)
    end
    return owner .. "/" .. (name or what)
end

--- A metatable for an object whose handle stands in a private table.
function scope.meta(what, methods)
    scope.classes[what] = methods
    return {
        __index = object.strict("a " .. what, methods),
        __newindex = function()
            error("a " .. what .. " cannot be assigned to", 2)
        end,
        __metatable = "locked",
    }
end

--- What stands for an object in C. A method that was called on anything else raises: C would get a null pointer.
---@param handles table  by object
---@param level integer  of the plugin's line, as error counts from the method
function scope.handle(handles, self, what, level)
    local handle = self ~= nil and handles[self]
    if not handle then
        error("this is not a " .. what .. ": its methods are called with a colon, on what moongate." .. what .. " made",
            (level or 2) + 1)
    end
    return handle
end

--- Refuses members that nobody reads.
function scope.check(what, options, allowed)
    object.dot(options, "moongate", what, 3)
    if type(options) ~= "table" then
        error(what .. ": options are a table, not " .. type(options), 3)
    end
    for key, value in frozen.pairs(options) do
        local kind = allowed[key]
        if not kind then
            error(what .. ": no option '" .. tostring(key) .. "': " .. object.choices(key, object.members(allowed)), 3)
        end
        if kind ~= "any" and type(value) ~= kind then
            error(what .. ": " .. key .. " is a " .. kind .. ", not a " .. type(value), 3)
        end
    end
end

return scope
