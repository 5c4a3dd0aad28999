require("tests.lua.machine")
local loader = require("moongate.worker.loader")
local running = require("moongate.sdk.running")

local function plan(source, more)
    local plugin = { name = "greet", use = "./plugins/greet", chunkname = "plugins/greet/plugin.lua", source = source }
    for key, value in pairs(more or {}) do
        plugin[key] = value
    end
    return plugin
end

local function load(source, more)
    local ok, result = pcall(loader.all, { plan(source, more) }, { { 0 } })
    if ok then
        return result[1]
    end
    return nil, result
end

describe("the loader", function()
    it("notes the plugin, the file, the line and the message of what it does not load, apart", function()
        local long = "plugins/" .. ("long_"):rep(20) .. "/plugin.lua"
        local good = plan("return { new = function() return function() end end }", { name = "good" })
        local cases = {
            { "\nerror('at load')", 2, "at load" },
            { "return {", 1, "unexpected symbol near" },
            { "return { new = function()\n\nerror('no.lua:7: key') end }", 3, "no.lua:7: key" },
            { "return { new = function() error('no key', 0) end }", 1, "no key" },
            { "return { new = function()\nerror({ no = 'key' }) end }", 2, "a table: {no" },
            { "local plugin = {}\nreturn plugin", nil, "plugin.new is a function, not nil" },
            { "return {\nnew = function() end }", 2, "new returns the handler, a function, or a table of functions" },
        }
        for i, case in ipairs(cases) do
            for _, chunkname in ipairs { "plugins/greet/plugin.lua", long, "a b:7/plugin.lua" } do
                local noted
                local ok, problem = pcall(loader.all, { good, plan(case[1], { chunkname = chunkname }) }, {},
                    function(...) noted = { ... } end)
                assert.is_false(ok)
                assert.same({ 1, chunkname, case[2] }, { noted[1], noted[2], noted[3] }, i .. ": " .. problem)
                assert.equal(case[3], noted[4]:sub(1, #case[3]), i)
            end
        end
    end)

    it("makes a handler of each instance with its own configuration", function()
        local source = [[return { version = "1.0.0", new = function(conf) return function() return conf.n end end }]]
        local all = loader.all({
            plan(source, { config = { n = 1 } }), plan(source, { name = "other", config = { n = 2 } }),
        }, { { 0, 1 } })
        assert.equal(1, all[1].handler())
        assert.equal(2, all[2].handler())
        assert.equal("1.0.0", all[1].version)
        assert.same({ "greet", "other" }, running.names)
    end)

    it("gives plugins that share a chain functions of their own", function()
        local source = [[return { new = function(conf) return function() end end }]]
        local util = require("jit.util")
        local function proto(fn)
            return tostring(util.funcinfo(fn).proto)
        end
        local all = loader.all({ plan(source), plan(source), plan(source) }, { { 0, 1 }, { 2 } })
        assert.are_not.equal(proto(all[1].handler), proto(all[2].handler))
        assert.equal(proto(all[1].handler), proto(all[3].handler))
    end)

    it("freezes the configuration", function()
        local _, problem = load("return { new = function(conf) conf.n = 1 end }", { config = { n = 0 } })
        assert.truthy(problem:find('plugin "greet": plugins/greet/plugin.lua:1: conf.n cannot be assigned', 1, true))
    end)

    it("reads what bodies are declared", function()
        local instance = load([[return { body = { request = "buffer(64KiB)", response = "stream" },
            new = function() return { handler = function() end,
                response_body = function() return "seen" end } end }]])
        assert.equal(65536, instance.request_body_bytes)
        assert.equal(0, instance.response_body_bytes)
        assert.is_nil(instance.request_body)
        assert.equal("seen", instance.response_body())
    end)

    it("makes all functions of each instance, which close over its own configuration", function()
        local source = [[return { body = { request = "stream", response = "stream" }, new = function(conf)
            local function n() return conf.n end
            return { handler = n, request_body = n, response_body = n, log = n } end }]]
        local all = loader.all({
            plan(source, { config = { n = 1 } }), plan(source, { name = "other", config = { n = 2 } }),
        }, { { 0 }, { 1 } })
        for i = 1, 2 do
            for _, name in ipairs({ "handler", "request_body", "response_body", "log" }) do
                assert.equal(i, all[i][name]())
            end
            assert.is_true(all[i].has_log)
        end
    end)

    it("takes what new returned as it was then", function()
        local instance = load([[local made = { handler = function() return 1 end }
            return { new = function()
                made.handler = made.handler
                return setmetatable(made, { __index = function() return function() return 2 end end })
            end }]])
        assert.equal(1, instance.handler())
        assert.is_nil(instance.log)
        assert.is_false(instance.has_log)
    end)

    for what, case in pairs({
        ["a syntax error"] = { "return {", "plugins/greet/plugin.lua:1:" },
        ["bytecode"] = { string.dump(function() end), "bytecode is not loaded" },
        ["a file that returns nothing"] = {
            "local a = 1\n\n", "plugin.lua:1: what the file returns is a table, not nil: end it with `return plugin`",
        },
        ["a member that nobody reads"] = {
            "return { nwe = 1, new = function() return function() end end }",
            "plugin has no member 'nwe': did you mean 'new'?",
        },
        ["a body's member that nobody reads"] = {
            "return { body = { reponse = 'stream' }, new = function() return function() end end }",
            "plugin.body has no member 'reponse': did you mean 'response'? There are request, response",
        },
        ["a module in the wrong place"] = {
            "require 'greet.utils' return { new = function() return function() end end }",
            'lib/utils.lua, as require "greet.utils"',
        },
        ["a plugin without new"] = { "return {}", "plugin.new is a function, not nil" },
        ["new that returns no handler"] = {
            "return { new = function() end }", "plugin.lua:1: new returns the handler, a function, or a table",
        },
        ["new that raises"] = { "return { new = function() error('no key') end }", "plugin.lua:1: no key" },
        ["a file that raises"] = { "\nerror('at load')", "plugin.lua:2: at load" },
        ["a body that is none"] = {
            "return { body = { request = 'all' }, new = function() return function() end end }", "body.request is",
        },
        ["a body without bound"] = {
            "return { body = { request = 'buffer(900GiB)' }, new = function() return function() end end }",
            "up to 64MiB",
        },
        ["a stream that nobody sees"] = {
            "return { body = { request = 'stream' }, new = function() return function() end end }",
            'plugin.lua:1: body.request is "stream": return { handler = .., request_body = function(ctx, bytes, ',
        },
        ["a filter of no stream"] = {
            "return {\nnew = function() local function f() end\nreturn { handler = f, response_body = f } end }",
            'plugin.lua:2: response_body sees nothing: declare body = { response = "stream" }',
        },
        ["a log on the plugin's own table"] = {
            "local p = { new = function() return function() end end }\nfunction p.log() end\nreturn p",
            "plugin.lua:2: plugin.log is not read: it belongs to each instance, with its own conf: let new(conf) end "
                .. "with `return { handler = function(ctx, next) .. end, log = function(ctx) .. end }`",
        },
        ["a filter on the plugin's own table"] = {
            "return { body = { response = 'stream' }, new = function() return function() end end,\n"
                .. "response_body = function() end }",
            "plugin.lua:2: plugin.response_body is not read: it belongs to each instance",
        },
        ["a filter on the plugin's own table that is no function"] = {
            "return { request_body = 'all', new = function() return function() end end }",
            "plugin.lua: plugin.request_body is not read",
        },
        ["a function that new names wrongly"] = {
            "return { new = function() local function f() end return { handler = f, respose_body = f } end }",
            "plugin.lua:1: what new returned has no member 'respose_body': did you mean 'response_body'? There are "
                .. "handler, request_body, response_body, log",
        },
        ["a function that new gives a place of the plugin's table"] = {
            "return { new = function() local function f() end return { handler = f, init = f } end }",
            "what new returned has no member 'init'",
        },
        ["a list of functions"] = {
            "return { new = function() return { function() end } end }", "what new returned has no member '1'",
        },
        ["new that returns functions without a handler"] = {
            "return { new = function() return { log = function() end } end }",
            "what new returned has no handler: write { handler = function(ctx, next) next(ctx) end, .. }",
        },
        ["new that returns its configuration"] = {
            "return { new = function(conf) return conf end }", "what new returned has no handler",
        },
        ["a log that is no function"] = {
            "return { new = function() return { handler = function() end, log = 'yes' } end }",
            "the member 'log' of what new returned is a function, not string",
        },
        ["init"] = { "return { init = 1, new = function() return function() end end }", "plugin.init is not run" },
        ["ctx in new"] = { "return { new = function() require('moongate').time.now() end }", "needs a request" },
    }) do
        it("refuses " .. what .. ", naming plugin and place", function()
            local instance, problem = load(case[1])
            assert.is_nil(instance)
            assert.truthy(problem:find('^plugin "greet": '), problem)
            assert.truthy(problem:find(case[2], 1, true), problem)
            assert.truthy(problem:find("plugins/greet/plugin.lua", 1, true), problem)
        end)
    end
end)
