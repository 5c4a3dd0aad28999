package.path = "lua/?.lua;" .. package.path
local running = require("moongate.sdk.running")
local sandbox = require("moongate.worker.sandbox")

--- Runs text as a plugin's file.
local function run(text, lib)
    local env = sandbox.env("greet", lib or {}, { sdk = true })
    local chunk, problem = sandbox.load(text, "plugins/greet/plugin.lua", env)
    if not chunk then
        return nil, problem
    end
    local ok, result = pcall(chunk)
    if ok then
        return result
    end
    return nil, result
end

describe("a plugin's environment", function()
    it("has the language", function()
        assert.equal("3 b 42", run([[
            local t = { 1, 2, 3 }
            table.sort(t)
            local s = ("abc"):sub(2, 2)
            assert(math.floor(1.5) == 1 and bit.band(7, 2) == 2 and type(os.time()) == "number")
            assert(select("#", 1, 2) == 2 and tonumber("3") == 3 and os.date("%Y", 0) == "1970")
            return #t .. " " .. s .. " " .. tostring(42)]]))
    end)

    it("refuses writing a global, with its name and line", function()
        local _, problem = run("local a\nmistake = 1")
        assert.equal("plugins/greet/plugin.lua:2: assigning to the global 'mistake': declare it local", problem)
    end)

    it("refuses reading an unknown global, with its name and line", function()
        local _, problem = run("\n\nreturn mistake")
        assert.equal("plugins/greet/plugin.lua:3: reading the unknown global 'mistake'", problem)
    end)

    for name, hint in pairs({
        io = "ctx.kv", ffi = "ctx", debug = "ctx.log", package = "lib folder", jit = "compiler",
        coroutine = "ctx:sleep",
        collectgarbage = "memory", getfenv = "environments", setfenv = "environments", dofile = "lib folder",
        loadfile = "lib folder", loadstring = "use load", newproxy = "setmetatable", print = "ctx.log",
        module = "return a table", _G = "locals",
    }) do
        it("has no " .. name .. ", and says what to use instead", function()
            local _, problem = run("return " .. name)
            local start = "plugins/greet/plugin.lua:1: " .. name .. " is not there for plugins: "
            assert.equal(start, problem:sub(1, #start))
            assert.truthy(problem:find(hint, 1, true), problem)
        end)
    end

    for name, hint in pairs({
        ["os.execute"] = "ctx.http", ["os.exit"] = "ctx:respond", ["os.getenv"] = "${env:NAME}",
        ["os.remove"] = "files", ["os.rename"] = "files", ["os.tmpname"] = "files", ["string.dump"] = "bytecode",
    }) do
        it("has no " .. name .. ", and says what to use instead", function()
            local _, problem = run("return " .. name .. "('x')")
            assert.truthy(problem:find(name .. " is not there for plugins: ", 1, true), problem)
            assert.truthy(problem:find(hint, 1, true), problem)
        end)
    end

    it("cannot be reached from outside, nor reach other plugins", function()
        local one = sandbox.env("one", {}, {})
        local two = sandbox.env("two", {}, {})
        one.string.upper = nil
        one.table.mine = true
        assert.is_function(two.string.upper)
        assert.is_nil(two.table.mine)
        assert.is_function(string.upper)
    end)

    it("does not give text's metatable away", function()
        assert.equal("locked", run("return getmetatable('')"))
        assert.truthy(select(2, run("getmetatable('').__index = nil")))
        assert.truthy(select(2, run("setmetatable('', {})")))
    end)

    it("does not change what is read-only by rawset", function()
        local env = sandbox.env("p", {}, {})
        local locked = setmetatable({}, { __metatable = "locked" })
        assert.is_false(pcall(env.rawset, locked, "a", 1))
        assert.equal(1, env.rawset({}, "a", 1).a)
    end)

    it("loads text in the same environment, and never bytecode", function()
        assert.equal(3, run("return load('return 1 + 2')()"))
        assert.truthy(select(2, run("load('mistake = 1')()")):find("assigning to the global"))
        local _, problem = run("return assert(load('\\27LJ'))")
        assert.truthy(problem:find("bytecode is not loaded"))
        assert.truthy(select(2, run("load('return 1', 'x', 'b')")):find("only text is loaded"))
        assert.truthy(select(2, sandbox.load(string.dump(function() end), "p.lua", {})):find("p.lua: bytecode"))
    end)

    it("requires the SDK and its own modules, once", function()
        local lib = {
            ["greet.a"] = { chunkname = "plugins/greet/lib/a.lua", source = "return { n = 1 }" },
            ["greet.bad"] = { chunkname = "plugins/greet/lib/bad.lua", source = "return +" },
        }
        assert.is_true(run([[return require("moongate").sdk]], lib))
        assert.is_true(run([[return require("greet.a") == require("greet.a")]], lib))
        local _, problem = run([[return require("other.a")]], lib)
        assert.truthy(problem:find("no module 'other.a' for plugin greet; there are: greet.a, greet.bad, moongate", 1,
            true))
        _, problem = run([[return require("greet.bad")]], lib)
        assert.truthy(problem:find("plugins/greet/lib/bad.lua:1:", 1, true))
        assert.truthy(select(2, run([[return require("ffi")]], lib)):find("no module 'ffi'"))
        assert.truthy(select(2, run([[return require("io")]], lib)):find("no module 'io'"))
    end)

    it("requires the libraries that are its globals", function()
        for _, library in ipairs({ "bit", "math", "os", "string", "table" }) do
            assert.is_true(run(("return require %q == %s"):format(library, library)))
        end
        assert.equal(6, run([[local bit = require "bit" return bit.bor(2, 4)]]))
        assert.truthy(select(2, run([[return require("string").dump]])):find("string.dump is not there"))
    end)

    it("has a pcall that does not catch the end of a request", function()
        local env = sandbox.env("p", {}, {})
        local function ends()
            error(running.CANCELLED, 0)
        end
        for _, call in ipairs({ env.pcall, function(fn) return env.xpcall(fn, tostring) end }) do
            local ok, err = pcall(call, ends)
            assert.is_false(ok)
            assert.equal(running.CANCELLED, err)
        end
        assert.same({ true, 1, 2 }, { env.pcall(function() return 1, 2 end) })
        assert.same({ false, "x" }, { env.pcall(error, "x") })
        assert.same({ false, "X" }, { env.xpcall(function() error("x", 0) end, string.upper) })
    end)

    it("has a pcall that puts the plugin that runs right again", function()
        local env = sandbox.env("p", {}, {})
        running.here.plugin = 3
        env.pcall(function()
            running.here.plugin = 5
            error("inner")
        end)
        assert.equal(3, running.here.plugin)
        running.here.plugin = -1
    end)
end)

describe("a frozen configuration", function()
    local conf = sandbox.freeze({ name = "a", list = { 1, 2, 3 }, map = { x = 1, y = { z = 2 } }, empty = {} })
    local env = sandbox.env("p", {}, {})

    it("reads as what it was", function()
        assert.equal("a", conf.name)
        assert.equal(3, #conf.list)
        assert.equal(2, conf.map.y.z)
        local keys = {}
        for key in env.pairs(conf.map) do
            keys[#keys + 1] = key
        end
        table.sort(keys)
        assert.same({ "x", "y" }, keys)
        local sum = 0
        for _, value in env.ipairs(conf.list) do
            sum = sum + value
        end
        assert.equal(6, sum)
        assert.equal("1,2,3", env.table.concat(conf.list, ","))
        assert.is_nil(env.next(conf.empty))
        assert.is_not_nil(env.next(conf.map))
    end)

    it("refuses writes, at their line", function()
        for _, write in ipairs({
            function() conf.name = "b" end,
            function() conf.new = 1 end,
            function() conf.map.x = 2 end,
            function() conf.map.y.z = 2 end,
            function() conf.list[4] = 4 end,
            function() env.rawset(conf, "name", "b") end,
            function() env.setmetatable(conf, {}) end,
            function() select(2, env.pairs(conf)).name = "b" end,
        }) do
            local ok, problem = pcall(write)
            assert.is_false(ok)
            assert.truthy(problem:find("frozen") or problem:find("read%-only") or problem:find("protected"), problem)
        end
        assert.equal("a", conf.name)
    end)
end)
