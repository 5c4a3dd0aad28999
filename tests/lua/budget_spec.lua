--- Plugin code that never ends does end: at its line, as configured, and without harm to what runs after it. The clock
--- stands still here, so budgets count checks and every run is the same.
local machine = require("tests.lua.machine")
local bounds = require("moongate.ffi.bounds")
local budget = require("moongate.worker.budget")
local loader = require("moongate.worker.loader")
local running = require("moongate.sdk.running")
local sandbox = require("moongate.worker.sandbox")
local strings = require("moongate.worker.strings")

local function plain()
    sandbox.bound(false)
    getmetatable("").__index = string
end

local function bound()
    sandbox.bound(budget, strings)
    getmetatable("").__index = strings.string -- as sandbox.lock does for good
end

--- What the body of a handler is in a plugin's file; its first line is line 3.
local function source(body)
    return "local plugin = {}\nfunction plugin.new() return function(ctx, next)\n" .. body
        .. "\nend end\nreturn plugin\n"
end

--- A worker over plugins of these sources.
local function worker(sources, on_error)
    bound()
    local plugins, items, layers = {}, {}, {}
    for i, text in ipairs(sources) do
        plugins[i] = { name = "p" .. i, use = "./p" .. i, chunkname = "plugins/p" .. i .. "/plugin.lua", source = text }
        items[i] = i - 1
        budget.limit(i - 1, nil)
    end
    local lent = machine.new({})
    local ok, made = pcall(loader.all, plugins, { items })
    if not ok then
        return nil, made
    end
    for i, instance in ipairs(made) do
        layers[i] = { handler = instance.handler, index = i - 1, on_error = on_error and on_error[i] or "closed" }
    end
    local m = machine.new(layers)
    m.lent = lent
    for i in ipairs(sources) do
        running.names[i] = "p" .. i
    end
    return m
end

local SPENT = 'plugin "p1" used more than 10 ms of CPU between two waits (cpu: raise it, or yield with ctx:sleep(0))'

describe("a plugin that never ends", function()
    after_each(plain)

    for _, body in ipairs({
        "while true do end",
        "repeat until false",
        "for i = 1, math.huge do end",
        "for _ in function() return 1 end do end",
        "::again:: goto again",
        "::again:: do local x = 1 if x then goto again end end",
        "local function f() return f() end f()",
        "local f, g\nfunction f() return g() end\nfunction g() return f() end\nf()",
        "while true do local function f() f() f() end pcall(f) end",
        "pcall(function() while true do end end)",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do pcall(error, 'x') end",
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) "
            .. "while true do pcall(function() return t[1] end) end",
        "load('while true do end')()",
        "local a = {} for i = 1, 2000 do a[i] = -i end table.sort(a, function(x, y) while true do end end)",
        "('x'):rep(30):gsub('x', function() while true do end end)",
        "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
        "local _ = (('a'):rep(30)):find(('a-'):rep(30) .. 'b')",
        "local _ = string.match(('a'):rep(3000), '.-.-.-.-b')",
        "local _ = (('a'):rep(3000):gsub('.-.-.-.-b', 'x'))",
        "for w in ('a'):rep(3000):gmatch('.-.-.-.-b') do end",
        "while true do local s = ('x'):rep(1e6) end",
        "local s = ('x'):rep(1e6) while true do local _ = s:lower() end",
        "local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end",
    }) do
        it("is ended: " .. body:gsub("\n", " "), function()
            local m = worker({ source(body .. "\nnext(ctx)") })
            local _, err = m:run()
            assert.truthy(err, "it ended by itself")
            assert.truthy(err.message:find(SPENT, 1, true), err.message)
            assert.equal(0, err.plugin)
        end)
    end

    it("is named with its line, and so are those below it", function()
        local body = "\nlocal function spin()\n    while true do\n    end\nend\n\nspin()\nnext(ctx)"
        local _, err = worker({ source(body) }):run()
        assert.equal("plugins/p1/plugin.lua:5: " .. SPENT, err.message)
        assert.truthy(err.traceback:find("plugins/p1/plugin.lua:5: in function 'spin'", 1, true), err.traceback)
        assert.truthy(err.traceback:find("plugins/p1/plugin.lua:9: in function", 1, true), err.traceback)
    end)

    it("has the budget that is configured", function()
        local m = worker({ source("for i = 1, 2e6 do end next(ctx)") })
        assert.is_nil((m:run()))
        budget.limit(0, 100)
        assert.equal("NEXT DONE", (m:run()))
        budget.limit(0, 2)
        local _, err = m:run()
        assert.truthy(err.message:find("more than 2 ms", 1, true), err.message)
    end)

    it("has a whole budget again after each wait, and for each request", function()
        local m = worker({ source("for _ = 1, 20 do for i = 1, 3e5 do end ctx:sleep(0) end next(ctx)") })
        for _ = 1, 3 do
            assert.truthy((m:run()))
        end
    end)

    it("spends nobody else's: what is passed over leaves the rest of the chain whole", function()
        local count = source("for i = 1, 9e5 do end next(ctx) for i = 1, 9e5 do end")
        local m = worker({ source("while true do end"), count, count }, { "open" })
        for _ = 1, 3 do
            assert.equal("NEXT DONE", (m:run()))
        end
        assert.truthy(machine.lib.mg_support_log(m.fixture))
    end)

    it("is not caught by its own pcall, but by that of a plugin around it", function()
        local m = worker({
            source("local ok, problem = pcall(next, ctx)\n"
                .. "if ok or not problem:find('used more than') then error('?') end\n"
                .. "for i = 1, 5e5 do end ctx:respond(503)"),
            source("pcall(function() while true do end end) error('it was kept')"),
        })
        assert.equal("DONE", (m:run()))
    end)

    it("does not begin what is known to take longer than it has", function()
        local look = "local p = ('x'):rep(%d) local at = (p .. 'y'):find(p, 1, true) next(ctx)"
        assert.equal("NEXT DONE", (worker({ source(look:format(1e6)) }):run()))
        local _, err = worker({ source(look:format(6e6)) }):run()
        assert.equal("plugins/p1/plugin.lua:3: " .. SPENT, err and err.message)
    end)

    it("is refused when it does not end while it is loaded", function()
        for _, text in ipairs({ "while true do end", "return { new = function()\nwhile true do end end }" }) do
            local m, problem = worker({ text })
            assert.is_nil(m)
            local wanted = '^plugin "p1": plugins/p1/plugin.lua:%d: loading plugin "p1" used more than 1000 ms'
            assert.truthy(problem:find(wanted), problem)
        end
    end)

    it("may have used much less than its budget, and is left alone", function()
        local m = worker({ source("for i = 1, 5e5 do end next(ctx) for i = 1, 5e5 do end") })
        assert.equal("NEXT DONE", (m:run()))
    end)
end)

describe("a woven chunk", function()
    after_each(plain)

    local function load_woven(text)
        bound()
        return sandbox.load(text, "p.lua", sandbox.env("p", {}, {}))
    end

    --- What the text returns or raises, plain and woven.
    local function same(text)
        plain()
        local stock = { pcall(assert(sandbox.load(text, "p.lua", sandbox.env("p", {}, {})), text), 7) }
        assert.same(stock, { pcall(assert(load_woven(text)), 7) }, text)
    end

    it("does what the plain one does, on the same lines", function()
        for _, text in ipairs({
            "return ...",
            "local n = 0 for i = 1, 10 do n = n + i end return n",
            "local n = 0 repeat local m = n n = n + 1 until m >= 5 return n",
            "local n = 0 while n < 5 do n = n + 1 if n == 3 then break end end return n",
            "local n = 0 while (function() n = n + 1 return n < 3 end)() do end return n",
            "for k, v in (function() return next end)(), { 1 } do return k, v end",
            "local t = { ['do'] = 1, f = function(a, ...) return a, ... end } return t['do'], t.f(1, 2, 3)",
            "local o = { x = 1 } function o:m(n) return self.x + n end return o:m(2)",
            "local n = 0 ::top:: n = n + 1 if n < 5 then goto top end return n",
            "for i = 1, 3 do if i == 2 then goto continue end local x = 1 ::continue:: end return 'ok'",
            "local goto = 1 local x = goto return x",
            "local s = 'do repeat function() goto x' return s, [[ do\nrepeat ]], [==[ do ]] ]==]",
            "-- do while\n--[[ do\nrepeat ]] return 3",
            "return 0x1F, 1e3, 1E-2, .5, 3 ..'x'",
            "do local x = 1 end\n\n\nerror('here')",
            "local function f()\n\nerror('deep')\nend\nf()",
            "local function f(n)\nif n > 0 then return 1 + f(n - 1) end\nreturn {} + 1 end\nreturn f(3)",
            "#!/usr/bin/lua\nreturn 1",
            "local a, b = 1, 2\n;(function(...) a, b = ... end)(3, 4) return a, b",
        }) do
            same(text)
        end
    end)

    it("may be as large as Lua lets it be", function()
        local locals, upvalues = {}, {}
        for i = 1, 200 do
            locals[i] = "local a" .. i .. " = " .. i
        end
        for i = 1, 60 do
            upvalues[i] = "a" .. i
        end
        same(table.concat(locals, "\n") .. " return a1 + a200")
        same(table.concat(locals, "\n", 1, 196) .. " for i = 1, 3 do a1 = a1 + 1 end return (function() return "
            .. table.concat(upvalues, "+") .. " end)()")
        local chunk = load_woven(table.concat(locals, "\n") .. " while true do end")
        running.here.plugin, running.names[1] = 0, "p1"
        local ok, problem = pcall(chunk)
        running.here.plugin = -1
        assert.is_false(ok)
        assert.truthy(problem:find("p.lua:200: ", 1, true), problem)
    end)

    it("cannot name the budget", function()
        for _, text in ipairs({ "__mg_left = 1e9", "local __mg_more", "return x.__mg_spend" }) do
            local chunk, problem = load_woven("\n" .. text)
            assert.is_nil(chunk)
            assert.truthy(problem:find("^p.lua:2: .*are the gateway's"), problem)
        end
        assert.equal("raise", pcall(load_woven("return load('__mg_left = 1')()")) and "pass" or "raise")
    end)

    it("tells of a mistake in what was written, not in what is woven", function()
        local chunk, problem = load_woven("local a = 1\nend")
        assert.is_nil(chunk)
        assert.equal("p.lua:2: '<eof>' expected near 'end'", problem)
    end)

    it("is made of every file of this tree", function()
        for path in io.popen("find lua plugins tests examples -name '*.lua'"):lines() do
            local file = assert(io.open(path, "rb"))
            local text = file:read("*a")
            file:close()
            if not text:find("__mg_", 1, true) then
                for how = 0, 1 do
                    local woven = assert(bounds.weave(text, how))
                    assert(loadstring(woven, "@" .. path))
                    assert.equal(select(2, text:gsub("\n", "")), (select(2, woven:gsub("\n", ""))), path)
                end
            end
        end
    end)
end)
