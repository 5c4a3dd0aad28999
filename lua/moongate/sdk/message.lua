--- message: what ctx.request and ctx.response have in common: fields and a body.
local call = require("moongate.ffi.call")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local header, header_at, set_header, remove_header = call.header, call.header_at, call.set_header, call.remove_header
local get_body, set_body, bodiless = call.body, call.set_body, call.bodiless
local wide_digits = require("moongate.ffi.json").digits
local header_values, lower, list = call.header_values, string.lower, require("moongate.sdk.json").list
local BODY = call.wait_for.BODY
local WARN = call.log_levels.warn
local LARGE, VALUES_MAX = 1024, 1000 -- bytes of a value that are charged; values of a list
local type, error, tostring, pairs, floor = type, error, tostring, pairs, math.floor
local find, format, gsub = string.find, string.format, string.gsub
local stale = object.stale -- a slot serves one request after another: nothing kept of one may read the next

local message = {}

--- The line of the plugin that runs, as "plugins/own/plugin.lua:7: ".
local function plugins_line()
    local level = 3
    local at = debug.getinfo(level, "Sl")
    while at do
        if at.what ~= "C" and not at.short_src:find("^lua/moongate/") then
            return ("%s:%d: "):format(at.short_src, at.currentline)
        end
        level = level + 1
        at = debug.getinfo(level, "Sl")
    end
    return ""
end

--- A body was set where none can be.
---@param why string  of call.bodiless
local function warn_bodiless(why)
    local what = why == "HEAD" and "the answer to HEAD" or "a " .. why
    call.enter(running.call, running.here.plugin)
    call.log(running.call, WARN, plugins_line() .. "set_body has no effect: " .. what .. " has no body")
end

---@alias moongate.FieldValue string|number|(string|number)[]  a 64-bit integer too; a list: one field for each

--- A number as digits, never with an exponent.
local function digits(value)
    if value == floor(value) then
        return format("%.0f", value)
    end
    local text = tostring(value)
    return not find(text, "e", 1, true) and text or (gsub(format("%.20f", value), "0+$", ""))
end

--- A field's value as text.
local function value_text(what, name, value, level)
    if type(value) == "string" then
        return value
    elseif type(value) == "cdata" and wide_digits(value) then
        return wide_digits(value)
    elseif type(value) == "number" then
        if value ~= value or value == math.huge or value == -math.huge then
            error(what .. ": the value of " .. name .. " is not a number with digits: " .. tostring(value), level)
        end
        return digits(value)
    end
    error(what .. ": the value of " .. name .. " is a string or a number, not " .. type(value)
        .. "; or a list of these", level)
end

local function put_text(what, put, pointer, which, name, text, replace, level)
    local wrong = put(pointer, which, name, text, replace)
    if wrong then
        error(what .. " " .. ("%q"):format(name) .. ": " .. wrong, level)
    end
end

--- A list has no gap, and nothing else beside its values: none of them is dropped unseen.
local function check_list(what, name, value, level)
    for key in pairs(value) do
        running.charge(2)
        if type(key) ~= "number" or key < 1 or key > #value or key ~= floor(key) then
            error(what .. ": the value of " .. name .. " is a list of " .. #value .. " that has the key "
                .. (type(key) == "table" and "table" or tostring(key)) .. " too: give a list without gaps", level)
        end
    end
end

--- Puts what a plugin gave as a field's value: `put(pointer, which, name, text, replace)` for each of its texts.
---@param what string  the function it was given to
---@param value moongate.FieldValue
---@param level? integer  how many levels up the plugin's line is; 2 when left out
function message.put(what, put, pointer, which, name, value, replace, level)
    level = (level or 2) + 1
    if type(name) ~= "string" then
        error(what .. ": the name is a string, not " .. type(name), level)
    end
    if type(value) ~= "table" then
        put_text(what, put, pointer, which, name, value_text(what, name, value, level + 1), replace, level + 1)
        return
    end
    if #value == 0 then
        error(what .. ": the value of " .. name .. " is a string or a number, not table; or a list of at least one "
            .. "of these", level)
    end
    if #value > VALUES_MAX then
        error(what .. ": " .. #value .. " values of " .. name .. ", more than " .. VALUES_MAX, level)
    end
    running.charge(16 * #value)
    check_list(what, name, value, level + 1)
    local texts = {}
    for i = 1, #value do
        texts[i] = value_text(what, name, value[i], level + 1)
    end
    for i = 1, #texts do
        put_text(what, put, pointer, which, name, texts[i], replace and i == 1, level + 1)
    end
end
local put = message.put

local function step(walk)
    if running[walk.of] ~= walk.message then
        stale(walk.message, "ctx." .. walk.of, nil, 2)
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

    --- The value of a field; nil when it is absent. Several fields of a name are one value, joined with ", " (those of
    --- cookie with "; "), so that none passes unread; of set-cookie it is the first: header_values() has all.
    ---@param name string  in any case
    ---@return string? value
    function methods:header(name)
        if running[of] ~= self then
            stale(self, shown, "header", 2)
        end
        if type(name) ~= "string" then
            error("header: the name is a string, not " .. type(name), 2)
        end
        return (header(running.call, which, name))
    end

    --- The values of all fields of a name, in order, each as it stands; empty when it is absent. For what is no list,
    --- as set-cookie: header() has one value.
    ---@param name string  in any case
    ---@return string[] values
    function methods:header_values(name)
        if running[of] ~= self then
            stale(self, shown, "header_values", 2)
        end
        if type(name) ~= "string" then
            error("header_values: the name is a string, not " .. type(name), 2)
        end
        running.charge(100)
        return (list(header_values(running.call, which, lower(name))))
    end

    --- Walks all fields in order: for name, value in ctx.request:headers() do. Names are lower-case. Do not change
    --- fields while walking.
    ---@return fun(): string?, string?
    function methods:headers()
        if running[of] ~= self then
            stale(self, shown, "headers", 2)
        end
        return step, { of = of, message = self, which = which, at = 0 }
    end

    --- Sets a field in place of all of that name. Via and what tells an upstream its time (grpc-timeout,
    --- x-moongate-deadline-ms, x-moongate-attempt) are the gateway's to write on a request: an error.
    ---@param name string
    ---@param value moongate.FieldValue
    function methods:set_header(name, value)
        if running[of] ~= self then
            stale(self, shown, "set_header", 2)
        end
        if type(name) ~= "string" or type(value) ~= "string" then
            put("set_header", set_header, running.call, which, name, value, true)
            return
        end
        if #value > LARGE then
            running.charge(#value / 8)
        end
        local wrong = set_header(running.call, which, name, value, true)
        if wrong then
            error("set_header " .. ("%q"):format(name) .. ": " .. wrong, 2)
        end
    end

    --- Adds a field behind those of that name.
    ---@param name string
    ---@param value moongate.FieldValue
    function methods:add_header(name, value)
        if running[of] ~= self then
            stale(self, shown, "add_header", 2)
        end
        if type(name) ~= "string" or type(value) ~= "string" then
            put("add_header", set_header, running.call, which, name, value, false)
            return
        end
        if #value > LARGE then
            running.charge(#value / 8)
        end
        local wrong = set_header(running.call, which, name, value, false)
        if wrong then
            error("add_header " .. ("%q"):format(name) .. ": " .. wrong, 2)
        end
    end

    --- Removes all fields of that name.
    ---@param name string
    ---@return integer count  how many there were
    function methods:remove_header(name)
        if running[of] ~= self then
            stale(self, shown, "remove_header", 2)
        end
        if type(name) ~= "string" then
            error("remove_header: the name is a string, not " .. type(name), 2)
        end
        local count, wrong = remove_header(running.call, which, name)
        if wrong then
            error("remove_header " .. ("%q"):format(name) .. ": " .. wrong, 2)
        end
        return count
    end

    --- The whole body, when the plugin declared body = { request = "buffer(64KiB)" }. May wait for it. "" where an
    --- upstream's answer has none: to HEAD, and with 204, 205 and 304.
    --- A request's body is there behind next(ctx) and in log(ctx) too, also where nobody read it before, or no upstream
    --- got it: as the handlers left it, not as filters of other plugins changed it on its way. One that is larger than
    --- declared passes when nobody reads it before next(ctx); reading it behind raises.
    ---@return string bytes
    function methods:body()
        if running[of] ~= self then
            stale(self, shown, "body", 2)
        end
        local bytes, wrong = get_body(running.call, which)
        while not bytes do
            if wrong then
                error("body: " .. wrong, 2)
            end
            running.await(BODY)
            bytes, wrong = get_body(running.call, which)
        end
        running.bytes(#bytes)
        return bytes
    end

    --- Another body in place of the one that is there. The fields that speak of the old bytes are dropped:
    --- Content-Encoding, Content-MD5, Digest, Content-Digest, Repr-Digest; of a response also ETag, Content-Range and
    --- Accept-Ranges, and a 206 becomes a 200. What is true of the new bytes is set after it. Where an answer has no
    --- body (HEAD, 204, 205, 304) nothing changes, and the log has a warning.
    ---@param bytes string
    function methods:set_body(bytes)
        if running[of] ~= self then
            stale(self, shown, "set_body", 2)
        end
        if type(bytes) ~= "string" then
            error("set_body: a body is a string, not " .. type(bytes), 2)
        end
        running.bytes(#bytes)
        local wrong = set_body(running.call, which, bytes)
        if wrong then
            error("set_body: " .. wrong, 2)
        end
        local none = bodiless(running.call, which)
        if none and not (bytes == "" and (none == "204" or none == "205")) then
            warn_bodiless(none)
        end
    end

    return methods
end

return message
