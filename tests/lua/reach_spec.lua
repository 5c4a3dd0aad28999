--- What one plugin does to what it can reach, no other plugin sees. Each attempt runs as a plugin's own code does, and
--- then a second plugin looks at all that the two have in common.
require("tests.lua.machine")
local budget = require("moongate.worker.budget")
local sandbox = require("moongate.worker.sandbox")
local sdk = require("moongate.sdk.init")
local strings = require("moongate.worker.strings")

local LIB = { ["p.util"] = { chunkname = "plugins/p/lib/util.lua", source = "return { list = {}, n = 0 }" } }
local CONF = { list = { "b", "a" }, map = { deep = { list = { 3, 1, 2 } } }, none = setmetatable({}, {
    __metatable = "json.list" }) }

local function bound()
    sandbox.bound(budget, strings)
    getmetatable("").__index = strings.string
end

local function plain()
    sandbox.bound(false)
    getmetatable("").__index = string
end

--- Runs code as a plugin does, with conf and mg in its reach.
local function run(code, conf)
    local env = sandbox.env("p", LIB, sdk)
    local chunk = assert(sandbox.load("local conf, mg = ...\n" .. code, "plugins/p/plugin.lua", env))
    return pcall(chunk, conf or sandbox.freeze(CONF), sdk)
end

--- All that plugins have in common or are given, as the second one sees it.
local LOOK = [[
    local seen = {}
    for _, name in ipairs({ "string", "table", "math", "os", "bit", "moongate" }) do
        local lib = require(name)
        for key, value in pairs(lib) do
            if type(key) ~= "string" or type(value) ~= "function" and value ~= math.pi and value ~= math.huge then
                seen[#seen + 1] = name .. "." .. tostring(key)
            end
        end
        if rawget(lib, 1) or rawget(lib, "mine") then seen[#seen + 1] = name end
    end
    if ("x"):upper() ~= "X" or ("x").mine or #("x"):rep(2) ~= 2 then seen[#seen + 1] = "texts" end
    for _, name in ipairs({ "json", "url", "base64", "hex", "time", "cookie" }) do
        if rawget(mg[name], 1) or pcall(function() return mg[name].mine.x end) then seen[#seen + 1] = name end
    end
    if mg.json.encode({ mg.json.null }) ~= "[null]" or rawget(mg.json.null, 1) then seen[#seen + 1] = "null" end
    if mg.json.decode("[]")[1] or next(mg.json.decode("{}")) then seen[#seen + 1] = "decoded" end
    local util = require("p.util")
    if util.n ~= 0 or #util.list ~= 0 then seen[#seen + 1] = "lib" end
    if mg.json.encode(conf.list) ~= '["b","a"]' or mg.json.encode(conf.map) ~= '{"deep":{"list":[3,1,2]}}' or conf[1]
        or conf.mine or conf.none[1] or mg.json.encode(conf.none) ~= "[]" then
        seen[#seen + 1] = "conf"
    end
    return table.concat(seen, ", ")
]]

local READ_ONLY = "this table is read-only"

describe("a plugin reaches no other", function()
    setup(bound)
    teardown(plain)

    for attempt, problem in pairs {
        ["table.insert(conf.list, 'c')"] = "insert: " .. READ_ONLY,
        ["table.insert(conf.list, 1, 'c')"] = "insert: " .. READ_ONLY,
        ["table.insert(conf.none, 'c')"] = "insert: " .. READ_ONLY,
        ["table.insert(conf, 'c')"] = "insert: " .. READ_ONLY,
        ["table.insert(conf.map, 'c')"] = "insert: " .. READ_ONLY,
        ["table.remove(conf.list)"] = "remove: " .. READ_ONLY,
        ["table.remove(conf.list, 1)"] = "remove: " .. READ_ONLY,
        ["table.sort(conf.list)"] = "sort: " .. READ_ONLY,
        ["table.sort(conf.map.deep.list, function(a, b) return a > b end)"] = "sort: " .. READ_ONLY,
        ["for _, deep in pairs(conf.map) do table.sort(deep.list) end"] = "sort: " .. READ_ONLY,
        ["local _, deep = next(conf.map) table.remove(deep.list)"] = "remove: " .. READ_ONLY,
        ["rawset(conf, 'mine', 1)"] = READ_ONLY,
        ["rawset(conf.list, 1, 'c')"] = READ_ONLY,
        ["rawset(conf.map.deep, 'list', 1)"] = READ_ONLY,
        ["conf.mine = 1"] = "cannot be assigned",
        ["conf.map.deep.list = nil"] = "cannot be assigned",
        ["conf.list[3] = 'c'"] = "cannot be assigned",
        ["setmetatable(conf, { __index = { mine = 1 } })"] = "protected metatable",
        ["setmetatable(conf.list, nil)"] = "protected metatable",
        ["mg.json.list(conf.list).x = 1"] = "protected metatable",
        ["getmetatable(conf).__index.mine = 1"] = "attempt to index",
        ["getmetatable(conf.list).__newindex = nil"] = "attempt to",
        ["mg.mine = 1"] = "cannot be assigned",
        ["rawset(mg, 'mine', 1)"] = READ_ONLY,
        ["table.insert(mg, 1)"] = "insert: " .. READ_ONLY,
        ["mg.json.mine = 1"] = "cannot be assigned",
        ["mg.json.encode = nil"] = "cannot be assigned",
        ["table.insert(mg.json, 1)"] = "insert: " .. READ_ONLY,
        ["table.insert(mg.url, 1)"] = "insert: " .. READ_ONLY,
        ["mg.json.null.x = 1"] = "cannot be assigned",
        ["rawset(mg.json.null, 1, 1)"] = READ_ONLY,
        ["table.insert(mg.json.null, 1)"] = "insert: " .. READ_ONLY,
        ["setmetatable(mg.json.null, nil)"] = "protected metatable",
        ["getmetatable(mg.json.decode('[]')).__index = { 1 }"] = "attempt to",
        ["getmetatable('').__index.mine = 1"] = "attempt to index",
        ["getmetatable('').__index = { upper = 1 }"] = "attempt to",
        ["setmetatable('', {})"] = "bad argument",
        ["rawset(getmetatable(''), 'mine', 1)"] = "bad argument",
        ["_G.mine = 1"] = "_G is not there",
        ["mine = 1"] = "assigning to the global",
        ["debug.setmetatable(0, {})"] = "debug is not there",
        ["debug.getregistry()"] = "debug is not there",
        ["newproxy(true)"] = "newproxy is not there",
        ["setfenv(1, {})"] = "setfenv is not there",
        ["getfenv(pairs).mine = 1"] = "getfenv is not there",
        ["package.loaded.string.upper = nil"] = "package is not there",
        ["string.dump(function() end)"] = "string.dump is not there",
        ["return ('x').dump.x"] = "attempt to index",
        ["coroutine.wrap(function() end)()"] = "coroutine is not there",
        ["collectgarbage('stop')"] = "collectgarbage is not there",
        ["require('ffi').cdef('')"] = "no module 'ffi'",
        ["require('moongate.sdk.running').plugin = 1"] = "no module",
        ["require('jit').off()"] = "no module",
        ["load('\\27LJ')()"] = "attempt to call",
        ["load(function() end)"] = "give text",
        ["load('mine = 1')()"] = "assigning to the global",
        ["load('string.upper = nil return debug.x')()"] = "debug is not there",
    } do
        it("with " .. attempt, function()
            local shared = sandbox.freeze(CONF)
            local ok, wrong = run(attempt, shared)
            assert.is_false(ok)
            assert.truthy(tostring(wrong):find(problem, 1, true), tostring(wrong))
            assert.truthy(tostring(wrong):find("plugins/p/plugin.lua:2: ", 1, true)
                or tostring(wrong):find("load", 1, true), tostring(wrong))
            assert.same({ true, "" }, { run(LOOK, shared) })
        end)
    end

    for _, attempt in ipairs {
        "string.upper = nil string.format = 1 string.mine = 1",
        "table.insert = nil table.sort = 1 table[1] = 1",
        "math.floor = nil math.mine = 1 math.randomseed(1)",
        "os.time = nil bit.band = nil",
        "for _, lib in ipairs({ string, table, math, os, bit }) do table.insert(lib, 1) rawset(lib, 'mine', 1) end",
        "for name in pairs(string) do string[name] = nil end",
        "setmetatable(string, { __index = { mine = 1 } }) setmetatable(table, { __newindex = error })",
        "local util = require('p.util') util.n = 1 util.list[1] = 1 setmetatable(util, { __index = error })",
        "mg.json.decode('[]')[1] = 1 mg.json.decode('{}').mine = 1",
        "local list = mg.json.list() list[1] = 1 table.insert(list, 2) table.sort(list) table.remove(list)",
        "setmetatable({}, { __gc = function() mine = 1 end, __mode = 'kv' })",
        "pcall(error, setmetatable({}, { __tostring = function() string.upper = nil end }))",
    } do
        it("with what is its own: " .. attempt, function()
            local shared = sandbox.freeze(CONF)
            assert.same({ true }, { run(attempt, shared) })
            assert.same({ true, "" }, { run(LOOK, shared) })
        end)
    end

    it("and reads its configuration with all that Lua has for it", function()
        assert.same({ true, "b,a 2 b a deep 3 3" }, { run([[
            local all = {}
            for i, item in ipairs(conf.list) do all[i] = item end
            local first, second = unpack(conf.list)
            local key, deep = next(conf.map)
            local copy = {}
            for i, n in ipairs(deep.list) do copy[i] = n end
            table.sort(copy, function(a, b) return a > b end)
            return table.concat(all, ",") .. " " .. #conf.list .. " " .. first .. " " .. second .. " " .. key .. " "
                .. copy[1] .. " " .. math.max(unpack(conf.map.deep.list))]]) })
    end)
end)
