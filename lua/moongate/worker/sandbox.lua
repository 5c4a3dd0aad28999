--- sandbox: the world a plugin sees. Each plugin has an environment of its own; what it must not have is absent, with a
--- message that says what to use instead. It guards against mistakes, not against malice: plugins are trusted.
local frozen = require("moongate.sdk.frozen")
local random = require("moongate.sdk.random")
local running = require("moongate.sdk.running")

local error, pcall, xpcall, select, tostring, type = error, pcall, xpcall, select, tostring, type
local getmetatable, setmetatable, rawset, pairs, ipairs = getmetatable, setmetatable, rawset, pairs, ipairs
local load = load
local CANCELLED = running.CANCELLED
local here = running.here

local sandbox = {}

-- Name to advice.
local withheld = {
    io = "files are not a plugin's: keep data in ctx.kv, fetch it with ctx.http, or take it from conf",
    ffi = "native code is not a plugin's: what it needs from C is in ctx and require \"moongate\"",
    debug = "it reaches behind the sandbox: log with ctx.log; a plugin that raises gets its traceback logged",
    package = "modules of a plugin stand in its lib folder: require \"NAME.module\"",
    jit = "the compiler is the gateway's to tune",
    coroutine = "handlers may wait in plain calls (ctx:sleep, ctx.http, ctx.kv); no coroutine is needed",
    collectgarbage = "memory is the gateway's to manage",
    gcinfo = "memory is the gateway's to manage",
    getfenv = "environments are the gateway's",
    setfenv = "environments are the gateway's",
    module = "return a table from the file instead",
    dofile = "files are not a plugin's: put modules into its lib folder and require \"NAME.module\"",
    loadfile = "files are not a plugin's: put modules into its lib folder and require \"NAME.module\"",
    loadstring = "use load, which takes text",
    newproxy = "use setmetatable on a table",
    print = "log with ctx.log:info",
    _G = "globals are not shared: keep what is yours in locals, what is a request's in ctx.state",
}
local withheld_os = "a plugin has os.time, os.clock and os.date; "
local withheld_members = {
    string = { dump = "bytecode is not loaded by anybody here" },
    os = {
        execute = withheld_os .. "call a service with ctx.http instead of running programs",
        exit = withheld_os .. "raise an error, or answer with ctx:respond",
        getenv = withheld_os .. "write ${env:NAME} in the configuration and read conf",
        remove = withheld_os .. "files are not a plugin's",
        rename = withheld_os .. "files are not a plugin's",
        tmpname = withheld_os .. "files are not a plugin's",
        setlocale = withheld_os .. "the locale is the process's",
        difftime = withheld_os .. "subtract the two times",
    },
}

-- Set by sandbox.bound. Specs of plugins run without: unwoven, on Lua's own libraries.
local bounds = false ---@type table|false  worker.budget
local plain = { string = string, table = table, globals = { tonumber = tonumber, date = os.date } }
local libraries = plain

local function is_over()
    return bounds and bounds.is_over()
end

--- pcall as plugins have it: what ends a request is not caught, and whose code runs is put right again.
local function kept(plugin, ok, err, ...)
    here.plugin = plugin
    if not ok and (err == CANCELLED or is_over()) then
        if err == "error in error handling" then -- the budget was spent in a handler of xpcall: say that
            running.look()
        end
        error(err, 0)
    end
    return ok, err, ...
end

local function safe_pcall(...)
    return kept(here.plugin, pcall(...))
end

local function safe_xpcall(fn, handler, ...)
    if type(handler) ~= "function" then
        error("xpcall: a handler is a function, not " .. type(handler), 2)
    end
    return kept(here.plugin, xpcall(fn, function(err)
        if err == CANCELLED or is_over() then
            return err
        end
        return handler(err)
    end, ...))
end

local function safe_getmetatable(value)
    if type(value) == "string" then
        return "locked"
    end
    return getmetatable(value)
end

local function safe_rawset(map, key, value)
    local meta = getmetatable(map)
    if meta ~= nil and type(meta) ~= "table" then
        error("rawset: this table is read-only", 2)
    end
    return rawset(map, key, value)
end

--- A library's own copy for one plugin, so that plugins cannot change each other's.
local function copy_of(name, library, wanted)
    local advice = withheld_members[name]
    local copy = {}
    for key, value in pairs(library) do
        if (not wanted or wanted[key]) and not (advice and advice[key]) then
            copy[key] = value
        end
    end
    if advice then
        setmetatable(copy, {
            __index = function(_, key)
                if advice[key] then
                    error(name .. "." .. key .. " is not there for plugins: " .. advice[key], 2)
                end
            end,
        })
    end
    return copy
end

local function env_meta(name)
    return {
        __index = function(_, key)
            if withheld[key] then
                error(key .. " is not there for plugins: " .. withheld[key], 2)
            end
            error("reading the unknown global '" .. tostring(key) .. "'", 2)
        end,
        __newindex = function(_, key)
            error("assigning to the global '" .. tostring(key) .. "': declare it local", 2)
        end,
        __metatable = "environment of " .. name,
    }
end

--- Loads text, and never bytecode, into an environment.
---@param text string
---@param chunkname string  as messages show it
---@return function? chunk, string? problem
function sandbox.load(text, chunkname, env)
    if text:byte(1) == 27 then
        return nil, chunkname .. ": bytecode is not loaded; give the source"
    end
    local chunk, problem = load(text, "@" .. chunkname, "t", env)
    if not chunk or not bounds then
        return chunk, problem
    end
    return bounds.load(text, "@" .. chunkname, env)
end

--- Bounds what is loaded from now on; without arguments nothing is.
---@param budget? table  worker.budget
---@param bounded? { string: table, table: table, globals: table }  worker.strings
function sandbox.bound(budget, bounded)
    bounds, libraries = budget, bounded or plain
end

--- Makes the environment of a plugin.
---@param name string  as it is required: "greet" in require "greet.util"
---@param lib table<string, { chunkname: string, source: string }>  its modules by full name
---@param sdk table  what require "moongate" gives
function sandbox.env(name, lib, sdk)
    local loaded = { moongate = sdk }
    local env

    local function safe_require(module)
        if loaded[module] ~= nil then
            return loaded[module]
        end
        local part = lib[module]
        if not part then
            local all = { "moongate" }
            for full in pairs(lib) do
                all[#all + 1] = full
            end
            table.sort(all)
            local part_of = tostring(module):gsub("%.lua$", ""):gsub("^%./", ""):gsub("/", ".")
                :gsub("^" .. name:gsub("%p", "%%%0") .. "%.", ""):gsub("^lib%.", "")
            error("no module '" .. tostring(module) .. "' for plugin " .. name .. "; there are: "
                .. table.concat(all, ", ") .. "; a module of the plugin's own is a file in its lib folder: lib/"
                .. part_of .. ".lua, as require \"" .. name .. "." .. part_of .. "\"", 2)
        end
        local chunk, problem = sandbox.load(part.source, part.chunkname, env)
        if not chunk then
            error(problem, 0)
        end
        loaded[module] = true -- as require has it for a module that requires itself
        local value = chunk(module)
        loaded[module] = value == nil and true or value
        return loaded[module]
    end

    local function safe_load(text, shown, mode)
        if type(text) == "function" then
            error("load: give text", 2)
        end
        if mode ~= nil and mode ~= "t" then
            error("load: only text is loaded, mode \"t\"", 2)
        end
        return sandbox.load(tostring(text), tostring(shown or "load"), env)
    end

    env = {
        assert = assert, error = error, ipairs = ipairs, rawequal = rawequal, rawget = rawget, select = select,
        setmetatable = setmetatable, tonumber = libraries.globals.tonumber, tostring = tostring, type = type,
        unpack = unpack, _VERSION = _VERSION,
        pcall = safe_pcall, xpcall = safe_xpcall, next = frozen.charged_next, pairs = frozen.pairs,
        rawset = safe_rawset, getmetatable = safe_getmetatable, require = safe_require, load = safe_load,
        string = copy_of("string", libraries.string),
        table = copy_of("table", libraries.table),
        math = copy_of("math", math),
        bit = copy_of("bit", require("bit")),
        os = copy_of("os", { time = os.time, clock = os.clock, date = libraries.globals.date }),
    }
    env.math.random, env.math.randomseed = random.functions()
    if bounds then
        bounds.equip(env)
    end
    for _, library in ipairs({ "bit", "math", "os", "string", "table" }) do
        loaded[library] = env[library] -- the same that the global is
    end
    return setmetatable(env, env_meta(name))
end

--- Once a VM, before any plugin: text methods are those of a table that no plugin can reach, without dump.
function sandbox.lock()
    local methods = {}
    for key, value in pairs(libraries.string) do
        if key ~= "dump" then
            methods[key] = value
        end
    end
    local meta = getmetatable("")
    meta.__index = methods
    meta.__metatable = "locked"
end

sandbox.freeze = frozen.freeze
return sandbox
