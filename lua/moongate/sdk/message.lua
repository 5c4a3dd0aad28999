--- message: what ctx.request and ctx.response have in common: fields and a body.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")

local header, header_at, set_header, remove_header = call.header, call.header_at, call.set_header, call.remove_header
local get_body, set_body = call.body, call.set_body
local BODY = call.wait_for.BODY
local type, error = type, error

local message = {}

--- A slot serves one request after another; what a plugin kept of an earlier one must not read the next.
---@param name string
function message.stale(name)
    error(name .. " belongs to another request, or to none: use the ctx that the handler was given", 3)
end
local stale = message.stale

--- The metatable of an object that plugins read and cannot change.
function message.meta(name, index)
    return {
        __index = index,
        __newindex = function(_, key)
            error(name .. "." .. tostring(key) .. " cannot be assigned: keep what is yours in ctx.state", 2)
        end,
        __metatable = "locked",
    }
end

--- A field's value as text; two levels up is the plugin's line.
local function value_text(what, name, value)
    if type(name) ~= "string" then
        error(what .. ": the name is a string, not " .. type(name), 3)
    end
    if type(value) == "string" then
        return value
    elseif type(value) == "number" then
        return tostring(value)
    end
    error(what .. ": the value of " .. name .. " is a string or a number, not " .. type(value), 3)
end

local function step(walk)
    if running[walk.of] ~= walk.message then
        stale("ctx." .. walk.of)
    end
    local at = walk.at
    walk.at = at + 1
    return header_at(running.call, walk.which, at)
end

---@class moongate.Message
---@param of "request"|"response"
---@param which integer
function message.methods(of, which)
    local methods = {}
    local shown = "ctx." .. of

    --- The first value of a field; nil when it is absent.
    ---@param name string  in any case
    ---@return string? value
    function methods:header(name)
        if running[of] ~= self then
            stale(shown)
        end
        if type(name) ~= "string" then
            error("header: the name is a string, not " .. type(name), 2)
        end
        return (header(running.call, which, name))
    end

    --- Walks all fields in order: for name, value in ctx.request:headers() do. Names are lower-case. Do not change
    --- fields while walking.
    ---@return fun(): string?, string?
    function methods:headers()
        if running[of] ~= self then
            stale(shown)
        end
        return step, { of = of, message = self, which = which, at = 0 }
    end

    --- Sets a field in place of all of that name.
    ---@param name string
    ---@param value string|number
    function methods:set_header(name, value)
        if running[of] ~= self then
            stale(shown)
        end
        if type(name) ~= "string" or type(value) ~= "string" then
            value = value_text("set_header", name, value)
        end
        local wrong = set_header(running.call, which, name, value, true)
        if wrong then
            error("set_header " .. ("%q"):format(name) .. ": " .. wrong, 2)
        end
    end

    --- Adds a field behind those of that name.
    ---@param name string
    ---@param value string|number
    function methods:add_header(name, value)
        if running[of] ~= self then
            stale(shown)
        end
        local wrong = set_header(running.call, which, name, value_text("add_header", name, value), false)
        if wrong then
            error("add_header " .. ("%q"):format(name) .. ": " .. wrong, 2)
        end
    end

    --- Removes all fields of that name.
    ---@param name string
    ---@return integer count  how many there were
    function methods:remove_header(name)
        if running[of] ~= self then
            stale(shown)
        end
        if type(name) ~= "string" then
            error("remove_header: the name is a string, not " .. type(name), 2)
        end
        return (remove_header(running.call, which, name))
    end

    --- The whole body, when the plugin declared body = { request = "buffer(64KiB)" }. May wait for it.
    ---@return string bytes
    function methods:body()
        if running[of] ~= self then
            stale(shown)
        end
        local bytes, wrong = get_body(running.call, which)
        while not bytes do
            if wrong then
                error("body: " .. wrong, 2)
            end
            running.await(BODY)
            bytes, wrong = get_body(running.call, which)
        end
        return bytes
    end

    --- Another body in place of the one that is there.
    ---@param bytes string
    function methods:set_body(bytes)
        if running[of] ~= self then
            stale(shown)
        end
        if type(bytes) ~= "string" then
            error("set_body: a body is a string, not " .. type(bytes), 2)
        end
        local wrong = set_body(running.call, which, bytes)
        if wrong then
            error("set_body: " .. wrong, 2)
        end
    end

    return methods
end

return message
