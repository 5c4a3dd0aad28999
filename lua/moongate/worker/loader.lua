--- loader: from the sources of a plan to their functions. new runs for each instance. What stands outside of new may be
--- shared between instances of one source or not: state belongs into new.
local frozen = require("moongate.sdk.frozen")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local sandbox = require("moongate.worker.sandbox")
local sdk = require("moongate.sdk.init")
local raised = require("moongate.worker.raised")
local text_of = require("moongate.sdk.shown")

local getinfo = debug.getinfo

local loader = {}

local KIB = { B = 1, KiB = 1024, MiB = 1048576 }
local later = { init = "do it in new(conf)", close = "there is nothing to close yet" }

--- Bytes that `body.request` or `body.response` declares to buffer; 0: they pass by.
local function buffered(kind, declared)
    if declared == nil or declared == "none" or declared == "stream" then
        return 0
    end
    local count, unit = tostring(declared):match("^buffer%((%d+)%s*(%a+)%)$")
    local bytes = count and KIB[unit] and tonumber(count) * KIB[unit]
    if not bytes or bytes < 1 or bytes > 64 * 1048576 then
        error(("body.%s is \"none\", \"stream\" or \"buffer(64KiB)\" up to 64MiB, not %q")
            :format(kind, tostring(declared)), 0)
    end
    return bytes
end

--- What C is told of a plugin that cannot be loaded.
---@class moongate.Fault
---@field file string?
---@field line integer?
---@field message string
local fault = {}
fault.__index = fault

--- Raises something whose place is known.
local function raise_at(file, line, message)
    error(setmetatable({ file = file, line = line, message = message }, fault), 0)
end

local function check_type(what, value, wanted, optional)
    if not (optional and value == nil) and type(value) ~= wanted then
        error(("%s is a %s, not %s"):format(what, wanted, type(value)), 0)
    end
end

local known = {
    plugin = { "name", "version", "new", "body", "capabilities", "description" },
    body = { "request", "response" },
    made = { "handler", "request_body", "response_body", "log" },
}

-- What stood on the plugin's own table, where every instance had the same: how each is written now.
local moved = {
    request_body = "request_body = function(ctx, bytes, last) .. end",
    response_body = "response_body = function(ctx, bytes, last) .. end",
    log = "log = function(ctx) .. end",
}

--- Refuses members that nobody reads.
local function check_members(what, value, allowed)
    for key in frozen.pairs(value) do
        local found = false
        for i = 1, #allowed do
            found = found or allowed[i] == key
        end
        if not found then
            error(("%s has no member '%s': %s"):format(what, tostring(key), object.choices(key, allowed)), 0)
        end
    end
end

--- The first member of the plugin's own table that belongs to what new returns; and its value.
local function misplaced(plugin)
    for i = 2, #known.made do
        local key = known.made[i]
        local value = type(plugin) == "table" and rawget(plugin, key)
        if value then
            return key, value
        end
    end
end

--- Refuses what the plugin's own table has no place for, and says where it goes.
local function check_places(plugin)
    local key = misplaced(plugin)
    if key then
        error(("plugin.%s is not read: it belongs to each instance, with its own conf: let new(conf) end with "
            .. "`return { handler = function(ctx, next) .. end, %s }`"):format(key, moved[key]), 0)
    end
    for name, advice in pairs(later) do
        if rawget(plugin, name) ~= nil then
            error("plugin." .. name .. " is not run by this version: " .. advice, 0)
        end
    end
end

local function check_plugin(plugin)
    if plugin == nil then
        error("what the file returns is a table, not nil: end it with `return plugin`, the table that has new(conf)", 0)
    end
    check_type("what the file returns", plugin, "table")
    check_places(plugin)
    check_members("plugin", plugin, known.plugin)
    check_type("plugin.new", plugin.new, "function")
    check_type("plugin.name", plugin.name, "string", true)
    check_type("plugin.version", plugin.version, "string", true)
    check_type("plugin.body", plugin.body, "table", true)
    check_members("plugin.body", plugin.body or {}, known.body)
    buffered("request", (plugin.body or {}).request)
    buffered("response", (plugin.body or {}).response)
end

--- The line that a message of check_plugin is about, where there is one: where the text ends that lacks its last
--- statement, or where what is misplaced stands.
local function line_of(plugin, text)
    if plugin == nil then
        local _, ends = text:gsub("%s+$", ""):gsub("\n", "")
        return ends + 1
    end
    local _, value = misplaced(plugin)
    return type(value) == "function" and getinfo(value, "S").linedefined or nil
end

--- Runs a plugin's file.
local function run(wanted)
    local module = wanted.module or wanted.use:match("([^/]+)/*$")
    local env = sandbox.env(module, wanted.lib or {}, sdk)
    raised.know(wanted.chunkname)
    for _, part in pairs(wanted.lib or {}) do
        raised.know(part.chunkname)
    end
    local chunk, problem = sandbox.load(wanted.source, wanted.chunkname, env)
    if not chunk then
        error(problem, 0)
    end
    local plugin = chunk()
    local ok, wrong = pcall(check_plugin, plugin)
    if not ok then
        raise_at(wanted.chunkname, line_of(plugin, wanted.source), wrong)
    end
    return plugin
end

--- A filter is there exactly where the body is declared to stream.
local function check_filter(plugin, made, kind)
    local name = kind .. "_body"
    local declared = plugin.body and plugin.body[kind] == "stream"
    if declared and not made[name] then
        error(("body.%s is \"stream\": return { handler = .., %s } from new: it sees each piece")
            :format(kind, moved[name]), 0)
    end
    if made[name] and not declared then
        error(("%s sees nothing: declare body = { %s = \"stream\" } in the plugin's table"):format(name, kind), 0)
    end
end

--- The functions of an instance, copied: what the plugin does with its table later changes nothing.
---@param made any  what new returned
---@return moongate.Functions
local function functions_of(plugin, made)
    if type(made) == "function" then
        made = { handler = made }
    elseif type(made) ~= "table" then
        error("new returns the handler, a function, or a table of functions: { handler = function(ctx, next) .. end, "
            .. "log = .. }; not " .. type(made), 0)
    end
    check_members("what new returned", made, known.made)
    if rawget(made, "handler") == nil then
        error("what new returned has no handler: write { handler = function(ctx, next) next(ctx) end, .. }", 0)
    end
    local copy = {}
    for _, name in ipairs(known.made) do
        copy[name] = rawget(made, name)
        check_type("the member '" .. name .. "' of what new returned", copy[name], "function", true)
    end
    check_filter(plugin, copy, "request")
    check_filter(plugin, copy, "response")
    return copy
end

--- The line where new begins, if it stands in that file.
local function line_of_new(new, chunkname)
    local info = getinfo(new, "S")
    return info.source == "@" .. chunkname and info.linedefined or nil
end

---@class moongate.Instance : moongate.Functions
---@field name string  in the configuration
---@field version string
---@field has_log boolean
---@field place string  where its handler begins: "plugins/own/plugin.lua:3"
---@field request_body_bytes integer
---@field response_body_bytes integer

--- Loads one plugin of a plan and makes its functions.
---@param wanted table  as the plan has it
---@param loaded table<string, table>  by copy and source, filled as it goes
---@param copy integer
---@return moongate.Instance
function loader.instance(wanted, loaded, copy)
    local key = copy .. wanted.chunkname .. "\0" .. wanted.source
    local plugin = loaded[key] or run(wanted)
    loaded[key] = plugin
    local ok, made = pcall(functions_of, plugin, (plugin.new(sandbox.freeze(wanted.config or {}))))
    if not ok then
        raise_at(wanted.chunkname, line_of_new(plugin.new, wanted.chunkname), made)
    end
    local body, instance = plugin.body or {}, made
    instance.name = wanted.name
    instance.version = plugin.version or ""
    instance.has_log = made.log ~= nil
    local where = debug.getinfo(made.handler, "S")
    instance.place = where.short_src .. ":" .. where.linedefined
    instance.request_body_bytes = buffered("request", body.request)
    instance.response_body_bytes = buffered("response", body.response)
    return instance
end

--- Which copy of its source an instance runs, by index from 0. One that stands behind another of the same source in a
--- chain gets the next copy: the compiler takes a function that stands twice on the stack for recursion.
local function copies(plugins, chains)
    local copy = {}
    for _, items in ipairs(chains) do
        local seen = {}
        for _, item in ipairs(items) do
            if type(item) == "number" then
                local source = plugins[item + 1].source
                seen[source] = (seen[source] or 0) + 1
                copy[item] = copy[item] or seen[source]
            end
        end
    end
    return copy
end

--- What was raised, while the stack stands and the plugin's budget bounds what its __tostring does.
---@return moongate.Fault
local function described(err)
    if getmetatable(err) == fault then
        return err
    end
    local file, line, message = raised.place(err, text_of(err), debug.traceback("", 2))
    return { file = file, line = line, message = message }
end

--- Loads all plugins of a plan. Raises with the name of the one that failed and why, and notes that.
---@param plugins table[]
---@param chains (integer|table)[][]
---@param note? fun(plugin: integer, file: string?, line: integer?, message: string)
---@return moongate.Instance[]
function loader.all(plugins, chains, note)
    local instances, loaded = {}, {}
    local copy = copies(plugins, chains)
    for i, wanted in ipairs(plugins) do
        running.names[i] = wanted.name
        running.here.plugin, running.memory.owner = i - 1, i - 1
        running.turn = running.turn + 1
        local ok, result = xpcall(loader.instance, described, wanted, loaded, copy[i - 1] or 1)
        running.here.plugin, running.memory.owner = -1, -1
        if not ok then
            if note then
                note(i - 1, result.file, result.line, result.message)
            end
            error(("plugin %q: %s"):format(wanted.name, raised.text(result.file, result.line, result.message)), 0)
        end
        instances[i] = result
    end
    return instances
end

return loader
