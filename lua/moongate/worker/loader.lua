--- loader: from the sources of a plan to handlers. new runs for each instance. What stands outside of new may be shared
--- between instances of one source or not: state belongs into new.
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local sandbox = require("moongate.worker.sandbox")
local sdk = require("moongate.sdk.init")
local text_of = require("moongate.sdk.shown")

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

local function check_type(what, value, wanted, optional)
    if not (optional and value == nil) and type(value) ~= wanted then
        error(("%s is a %s, not %s"):format(what, wanted, type(value)), 0)
    end
end

--- The function that sees a streamed body, which is there exactly where one is declared.
local function filter_of(plugin, kind)
    local name = kind .. "_body"
    local declared = plugin.body and plugin.body[kind] == "stream"
    local filter = plugin[name]
    check_type("plugin." .. name, filter, "function", true)
    if declared and not filter then
        error(("body.%s is \"stream\": write plugin.%s(ctx, bytes, last), which sees each piece"):format(kind, name), 0)
    end
    if filter and not declared then
        error(("plugin.%s sees nothing: declare body = { %s = \"stream\" }"):format(name, kind), 0)
    end
    return filter
end

local known = {
    plugin = {
        "name", "version", "new", "log", "body", "request_body", "response_body", "capabilities", "description",
    },
    body = { "request", "response" },
}

--- Refuses members that nobody reads.
local function check_members(what, value, allowed)
    for key in pairs(value) do
        local found = later[key]
        for i = 1, #allowed do
            found = found or allowed[i] == key
        end
        if not found then
            error(("%s has no member '%s': %s"):format(what, tostring(key), object.choices(key, allowed)), 0)
        end
    end
end

local function check_plugin(plugin)
    if plugin == nil then
        error("what the file returns is a table, not nil: end it with `return plugin`, the table that has new(conf)", 0)
    end
    check_type("what the file returns", plugin, "table")
    check_members("plugin", plugin, known.plugin)
    check_type("plugin.new", plugin.new, "function")
    check_type("plugin.log", plugin.log, "function", true)
    check_type("plugin.name", plugin.name, "string", true)
    check_type("plugin.version", plugin.version, "string", true)
    check_type("plugin.body", plugin.body, "table", true)
    check_members("plugin.body", plugin.body or {}, known.body)
    buffered("request", (plugin.body or {}).request)
    buffered("response", (plugin.body or {}).response)
    filter_of(plugin, "request")
    filter_of(plugin, "response")
    for key, advice in pairs(later) do
        if rawget(plugin, key) ~= nil then
            error("plugin." .. key .. " is not run by this version: " .. advice, 0)
        end
    end
end

--- Where a text ends that lacks its last statement.
local function last_line(text)
    local _, ends = text:gsub("%s+$", ""):gsub("\n", "")
    return ends + 1
end

--- Runs a plugin's file.
local function run(wanted)
    local module = wanted.module or wanted.use:match("([^/]+)/*$")
    local env = sandbox.env(module, wanted.lib or {}, sdk)
    local chunk, problem = sandbox.load(wanted.source, wanted.chunkname, env)
    if not chunk then
        error(problem, 0)
    end
    local plugin = chunk()
    local ok, wrong = pcall(check_plugin, plugin)
    if not ok then
        local line = plugin == nil and last_line(wanted.source) .. ":" or ""
        error(wanted.chunkname .. ":" .. line .. " " .. wrong, 0)
    end
    return plugin
end

---@class moongate.Instance
---@field name string  in the configuration
---@field version string
---@field handler moongate.Handler
---@field log? fun(ctx: moongate.Ctx)
---@field request_body_bytes integer
---@field response_body_bytes integer

--- Loads one plugin of a plan and makes its handler.
---@param wanted table  as the plan has it
---@param loaded table<string, table>  by copy and source, filled as it goes
---@param copy integer
---@return moongate.Instance
function loader.instance(wanted, loaded, copy)
    local key = copy .. wanted.chunkname .. "\0" .. wanted.source
    local plugin = loaded[key] or run(wanted)
    loaded[key] = plugin
    local handler = plugin.new(sandbox.freeze(wanted.config or {}))
    if type(handler) ~= "function" then
        error(wanted.chunkname .. ": new returns the handler, a function, not " .. type(handler), 0)
    end
    local body = plugin.body or {}
    return {
        name = wanted.name,
        version = plugin.version or "",
        handler = handler,
        log = plugin.log,
        has_log = plugin.log ~= nil,
        request_filter = filter_of(plugin, "request"),
        response_filter = filter_of(plugin, "response"),
        request_body_bytes = buffered("request", body.request),
        response_body_bytes = buffered("response", body.response),
    }
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

--- Loads all plugins of a plan. Raises with the name of the one that failed and why.
---@param plugins table[]
---@param chains (integer|table)[][]
---@return moongate.Instance[]
function loader.all(plugins, chains)
    local instances, loaded = {}, {}
    local copy = copies(plugins, chains)
    for i, wanted in ipairs(plugins) do
        running.names[i] = wanted.name
        running.plugin, running.memory.owner = i - 1, i - 1
        running.turn = running.turn + 1
        local ok, result = pcall(loader.instance, wanted, loaded, copy[i - 1] or 1)
        running.plugin, running.memory.owner = -1, -1
        if not ok then
            error(("plugin %q: %s"):format(wanted.name, text_of(result)), 0)
        end
        instances[i] = result
    end
    return instances
end

return loader
