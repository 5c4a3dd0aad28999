-- Plugins that raise, loop, or reach for what is not theirs: their own requests suffer, as configured, and no other.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local RAISES = [[
local plugin = { name = "own", version = "1.2.3" }
function plugin.new()
    return function(ctx, next)
        if ctx.request.path == "/bad" then
            local nothing
            return nothing.field
        end
        return next(ctx)
    end
end
return plugin
]]

local function with(source, settings, more)
    local opts = more or {}
    opts.files = opts.files or {}
    opts.files["plugins/own/plugin.lua"] = source
    settings = settings or {}
    settings.use = "./plugins/own"
    opts.plugins = { own = settings }
    opts.route = { plugins = { "own" } }
    return e2e.proxy(opts)
end

local function handler(body)
    return "return { name = 'own', version = '1', new = function() return function(ctx, next)\n" .. body
        .. "\nend end }\n"
end

local BAD = "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n"

describe("a plugin that mistakes what it made", function()
    it("raises, and takes nobody with it", function()
        local gw, up = with([[
local breaker
return { name = "own", version = "1", new = function()
    breaker = require "moongate".breaker {}
    return function(ctx, next)
        if ctx.request.path == "/bad" then breaker.ask({}) end
        return next(ctx)
    end
end }
]])
        local client = gw:send(BAD)
        assert.equal(500, client:response().status)
        gw:log "this is not a breaker"
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)

    it("opens no tunnel by ctx.http", function()
        local gw, up = with(handler [[
            local _, problem = pcall(ctx.http.request, ctx.http, { method = "CONNECT", url = "http://127.0.0.1:1/" })
            ctx:respond(200, problem)]])
        assert.truthy(gw:ask(e2e.GET).body:find("CONNECT is not sent", 1, true))
        up:expect_nobody()
    end)
end)

describe("a plugin that raises a table", function()
    local RAISE = [[error({ code = 5, reason = "no seat", inner = { 1 } })]]
    local SHOWN = [[a table: {code = 5, inner = table, reason = \"no seat\"}]]

    it("has its fields in the log, and the client has none of them", function()
        local gw = with(handler(RAISE))
        local response = gw:ask(e2e.GET)
        assert.equal(500, response.status)
        assert.is_nil(response.body:find("seat", 1, true))
        gw:log(SHOWN)
    end)

    it("has them there whatever on_error says, and from log(ctx)", function()
        for _, on_error in ipairs { "open", "skip" } do
            local gw, up = with(handler(RAISE), { on_error = on_error })
            local _, response = e2e.exchange(gw:client(), up)
            assert.equal(200, response.status)
            gw:log(SHOWN)
        end
        local gw, up = with("return { name = 'own', version = '1', new = function() return {\n"
            .. "log = function() " .. RAISE .. " end, handler = function(ctx, next) return next(ctx) end } end }\n")
        e2e.exchange(gw:client(), up)
        gw:log(SHOWN)
    end)

    it("has them there from a body's filter", function()
        local gw, up = with("return { name = 'own', version = '1', body = { response = 'stream' },\n"
            .. "new = function() return { handler = function(ctx, next) return next(ctx) end,\n"
            .. "response_body = function() " .. RAISE .. " end } end }\n")
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send(e2e.OK)
        gw:log(SHOWN)
        client:recv_rest()
    end)

    it("has them in the message of a check when new raises", function()
        local files = { ["plugins/own/plugin.lua"] = "return { name = 'own', version = '1', new = function() " .. RAISE
            .. " end }\n", ["moongate.yaml"] = [[
version: 1
listeners: { web: { bind: "127.0.0.1:1" } }
plugins: { own: { use: ./plugins/own } }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [own] }]
]] }
        local result = e2e.run({ "check" }, { files = files })
        assert.equal(3, result.code)
        assert.truthy(result.err:find('{code = 5, inner = table, reason = "no seat"}', 1, true)
            or result.out:find('{code = 5, inner = table, reason = "no seat"}', 1, true), result.err .. result.out)
    end)

    it("has them in its own lines", function()
        local gw = with(handler [[ctx.log:warn({ code = 5 }) return ctx:respond(204)]])
        assert.equal(204, gw:ask(e2e.GET).status)
        gw:log "a table: {code = 5}"
    end)

    it("that takes for ever to say what it is, ends within its budget", function()
        local gw = with(handler [[
            error(setmetatable({ code = 5 }, { __tostring = function() while true do end end }))]])
        assert.equal(500, gw:ask(e2e.GET).status)
        gw:log "plugin_error"
        assert.equal(200, gw:status("/livez").status)
    end)
end)

describe("the line of what went wrong in a plugin", function()
    local SOURCE = "local plugin = { name = 'own', version = '1.2.3', body = { response = 'stream' } }\n"
        .. "local function fail(ctx, where)\nif ctx.request.path == '/' .. where then error(where) end end\n"
        .. "function plugin.new() return { handler = function(ctx, next)\nfail(ctx, 'handler')\n"
        .. "if ctx.request.path ~= '/silent' then next(ctx) end end,\n"
        .. "response_body = function(ctx) fail(ctx, 'filter') end,\n"
        .. "log = function(ctx) fail(ctx, 'log') end } end\nreturn plugin\n"

    --- Its members; `ask` is the head of a request to which the upstream answers, where it gets it.
    local function members(where, on_error, reaches, fields)
        local gw, up = with(SOURCE, { on_error = on_error }, { access_log = true })
        local client = gw:send("GET /" .. where .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "") .. "\r\n")
        if reaches then
            local conn = up:accept()
            conn:request()
            conn:send(e2e.OK)
        end
        local line = e2e.json.decode(gw:log "plugin_error")
        return line, gw:access(), client
    end

    for _, case in ipairs {
        { "handler", "closed", false }, { "handler", "open", true }, { "handler", "skip", true },
        { "silent", "closed", false }, { "filter", "closed", true }, { "log", "closed", true },
    } do
        local where, on_error, reaches = case[1], case[2], case[3]
        it("names plugin, version, route and request: " .. where .. ", " .. on_error, function()
            local line, access = members(where, on_error, reaches)
            assert.equal("own", line.plugin)
            assert.equal("1.2.3", line.version)
            assert.equal("all", line.route)
            assert.equal(access.trace_id, line.trace_id)
            assert.equal(access.trace_id, line.request_id)
        end)
    end

    -- What is raised without a line of its own; what the message then holds.
    for raises, holds in pairs {
        ["error(nil)"] = "error(nil) was raised",
        ["error({ code = 5 })"] = "a table: {code = 5}",
        ["error('no seat', 0)"] = "no seat",
        ["error('127.0.0.1:80: refused', 0)"] = "127.0.0.1:80: refused",
        ["assert(nil, 'no seat')"] = "no seat",
        ["error('own.lua:9', 0)"] = "own.lua:9",
        ["error(setmetatable({}, { __tostring = function() error('deep') end }))"] = "a table: {}",
        ["error(setmetatable({}, { __tostring = function() while true do end end }))"] = "a table: {}",
        ["error(setmetatable({}, { __tostring = function() return {} end }))"] = "a table: {}",
        ["error(setmetatable({}, { __tostring = function() return 'mine' end }))"] = "mine",
    } do
        it("begins with the line, whoever runs: " .. raises, function()
            local source = SOURCE:gsub("error%(where%)", function() return raises end)
            for _, case in ipairs {
                { "handler", "closed", false }, { "handler", "open", true }, { "filter", "closed", true },
                { "log", "closed", true },
            } do
                local where, on_error, reaches = unpack(case)
                local gw, up = with(source, { on_error = on_error })
                local client = gw:send("GET /" .. where .. " HTTP/1.1\r\nHost: a\r\n\r\n")
                if reaches then
                    local conn = up:accept()
                    conn:request()
                    conn:send(e2e.OK)
                end
                local line = e2e.json.decode(gw:log "plugin_error")
                assert.equal("own", line.plugin)
                assert.truthy(line.message:find("plugins/own/plugin.lua:3: " .. holds, 1, true), line.message)
                client:close()
            end
        end)
    end

    -- A tail call would have taken the handler's frame away.
    for call, holds in pairs {
        ["ctx:respond(200, { json = { a = { 1, next } } })"] = "respond: json.a[2]: a function has no JSON",
        ["ctx.respond(200)"] = "respond: call it with a colon: ctx:respond(..)",
        ["ctx.json:encode({})"] = "encode: call it with a dot: ctx.json.encode(..)",
        ["ctx.log.info 'x'"] = "info: call it with a colon: ctx.log:info(..)",
        ["ctx.kv:get(5)"] = "get: a key is a string, not number",
        ["ctx.http:request {}"] = "http: a request is a table with a url",
        ["next()"] = "next wants the ctx of this request: call next(ctx)",
    } do
        it("is that of a call whose results are returned: " .. call, function()
            local gw = with(handler("if ctx then\nreturn " .. call .. "\nend"))
            assert.equal(500, gw:ask(e2e.GET).status)
            local message = e2e.json.decode(gw:log "plugin_error").message
            assert.truthy(message:find("plugins/own/plugin.lua:3: " .. holds, 1, true), message)
            assert.is_nil(message:find("^lua/moongate"), message)
        end)
    end

    it("is no line of the SDK's where a tail call of next(ctx) has lost it", function()
        local gw = with(handler "ctx:respond(204)\nreturn next(ctx)")
        assert.equal(500, gw:ask(e2e.GET).status)
        local message = e2e.json.decode(gw:log "plugin_error").message
        assert.truthy(message:find(": this request is answered: return after ctx:respond", 1, true), message)
        assert.is_nil(message:match("^[^\n]*"):find("lua/moongate", 1, true), message)
    end)

    it("leaves all results of a call of ctx's that is returned", function()
        local gw = with(handler [[local function get() return ctx.http:get("http://127.0.0.1:1/") end
            local answer, problem = get()
            local function say(...) ctx:respond(200, select("#", ...) .. tostring(answer) .. problem) end
            say(get())]])
        assert.equal("2nilupstream_connect", gw:ask(e2e.GET).body)
    end)

    it("names the filter that returned no text", function()
        local gw, up = with("return { name = 'own', body = { response = 'stream' },\n"
            .. "new = function() return { handler = function(ctx, next) return next(ctx) end,\n"
            .. "response_body = function() return 5 end } end }\n")
        gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send(e2e.OK)
        gw:log "plugins/own/plugin.lua:3: a body's filter returns a string"
    end)

    it("has the instance of the answer, which is the client's own id where it sent one", function()
        local line, access, client = members("handler", "closed", false, "X-Request-Id: order-7\r\n")
        local problem = e2e.json.decode(client:response().body)
        assert.equal("order-7", problem.instance)
        assert.equal("order-7", line.request_id)
        assert.equal(access.trace_id, line.trace_id)
    end)
end)

describe("what is raised while a plugin is loaded", function()
    local YAML = [[
version: 1
listeners: { web: { bind: "127.0.0.1:1" } }
plugins: { own: { use: ./plugins/own } }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [own] }]
]]
    for raises, holds in pairs {
        ["error('no rate', 0)"] = "no rate",
        ["error()"] = "error(nil) was raised: give error a text",
        ["error({ code = 5 })"] = "a table: {code = 5}",
        ["error(setmetatable({}, { __tostring = function() while true do end end }))"] = "a table: {}",
        ["error(setmetatable({}, { __tostring = function() error('deep') end }))"] = "a table: {}",
        ["assert(nil, 'no rate')"] = "no rate",
    } do
        it("is told at its line, and ends: " .. raises, function()
            for _, source in ipairs {
                "local own = {}\n" .. raises .. "\nreturn own\n",
                "return { new = function()\n" .. raises .. "\nend }\n",
            } do
                local result = e2e.run({ "check" },
                    { files = { ["plugins/own/plugin.lua"] = source, ["moongate.yaml"] = YAML } })
                assert.equal(3, result.code)
                local text = result.err .. result.out
                assert.truthy(text:find("plugins/own/plugin.lua:2:1: ", 1, true), text)
                assert.truthy(text:find(holds, 1, true), text)
            end
        end)
    end
end)

describe("a handler that neither answers nor calls next", function()
    local QUIET = handler "if ctx.request.path ~= '/bad' then return next(ctx) end"

    it("is named, with its line and both ways out", function()
        local gw, up = with(QUIET)
        local client = gw:send(BAD)
        assert.equal(500, client:response().status)
        local line = gw:log "plugins/own/plugin.lua:1: the handler neither"
        assert.truthy(line:find("next(ctx)", 1, true))
        assert.truthy(line:find("ctx:respond(", 1, true))
        assert.equal(1, gw:metric("moongate_plugin_errors_total"))
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
    end)

    it("is the innermost that ran, whoever called it", function()
        local gw = e2e.proxy({
            files = { ["plugins/own/plugin.lua"] = QUIET, ["plugins/outer/plugin.lua"] = handler "next(ctx)" },
            plugins = { own = { use = "./plugins/own" }, outer = { use = "./plugins/outer" } },
            route = { plugins = { "outer", "own" } },
        })
        assert.equal(500, gw:ask(BAD).status)
        assert.equal("own", e2e.json.decode(gw:log "neither answered").plugin)
    end)

    it("may leave the answer to the one around it", function()
        local gw = e2e.proxy({
            files = {
                ["plugins/own/plugin.lua"] = QUIET,
                ["plugins/outer/plugin.lua"] = handler "next(ctx) ctx:respond(202)",
            },
            plugins = { own = { use = "./plugins/own" }, outer = { use = "./plugins/outer" } },
            route = { plugins = { "outer", "own" } },
        })
        assert.equal(202, gw:ask(BAD).status)
    end)
end)

describe("a plugin that raises", function()
    it("answers 500 that tells the client nothing, and the log everything", function()
        local gw, up = with(RAISES)
        local client = gw:send(BAD)
        local response = client:response()
        assert.equal(500, response.status)
        assert.is_nil(response.body:find("nothing", 1, true))
        assert.is_nil(response.body:find("plugin", 1, true))
        local line = gw:log "plugin.lua:6"
        assert.truthy(line:find("own", 1, true))
        assert.truthy(line:find("1.2.3", 1, true))
        assert.truthy(line:find("all", 1, true))
        up:expect_nobody()
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
        assert.equal(1, gw:metric("moongate_plugin_errors_total"))
    end)

    it("is passed over when it is open", function()
        local gw, up = with(RAISES, { on_error = "open" })
        local client = gw:client()
        local seen, response, conn = e2e.exchange(client, up, BAD)
        assert.equal("/bad", seen.target)
        assert.equal(200, response.status)
        local _, second = e2e.exchange(client, up, BAD, nil, conn)
        assert.equal(200, second.status)
        gw:log "plugin.lua:6"
        gw:log "plugin.lua:6"
    end)

    it("is passed over and then not run for a while when it is to be skipped", function()
        local source = RAISES:gsub("return next%(ctx%)", "ctx.request:set_header('x-ran', '1') return next(ctx)")
        local gw, up = with(source, { on_error = "skip" })
        local client = gw:client()
        local before, _, conn = e2e.exchange(client, up)
        assert.equal("1", before.fields["x-ran"])
        local bad = e2e.exchange(client, up, BAD, nil, conn)
        assert.equal("/bad", bad.target)
        local after = e2e.exchange(client, up, nil, nil, conn)
        assert.is_nil(after.fields["x-ran"])
    end)

    it("after next loses the response, not the gateway", function()
        local gw, up = with(handler "next(ctx) error('after')")
        local client = gw:client()
        local _, response = e2e.exchange(client, up, nil, e2e.LAST)
        assert.equal(500, response.status)
        assert.equal("application/problem+json", response.fields["content-type"])
        local _, second = e2e.exchange(client, up, nil, e2e.LAST)
        assert.equal(500, second.status)
    end)

    it("by calling next twice is told so", function()
        local gw, up = with(handler "next(ctx) next(ctx)")
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal(500, response.status)
        gw:log "next"
    end)
end)

describe("what a plugin sets", function()
    -- Lua expressions for names and values that would split a message in two.
    local SPLITTING = {
        { "CR and LF in a value", [["x-a", "1\r\nx-evil: 1"]] },
        { "LF in a value", [["x-a", "1\nx-evil: 1"]] },
        { "CR in a value", [["x-a", "1\rx-evil: 1"]] },
        { "NUL in a value", [["x-a", "1\0"]] },
        { "LF in a name", [["x-a: 1\nx-evil", "1"]] },
        { "a space in a name", [["x a", "1"]] },
        { "an empty name", [["", "1"]] },
        { "what frames a message", [["transfer-encoding", "chunked"]] },
        { "a length", [["content-length", "5"]] },
        { "a connection's field", [["connection", "x-forwarded-for"]] },
    }
    for _, case in ipairs(SPLITTING) do
        it("is refused with its line on the way in for " .. case[1], function()
            local gw, up = with(handler("ctx.request:set_header(" .. case[2] .. ")\nreturn next(ctx)"))
            assert.equal(500, gw:ask(e2e.GET).status)
            gw:log "plugin.lua:2"
            up:expect_nobody()
        end)
    end

    it("is refused on the way out too", function()
        local gw, up = with(handler "next(ctx)\nctx.response:add_header('x-a', '1\\r\\n\\r\\nbody')")
        local client = gw:client()
        local _, response = e2e.exchange(client, up)
        assert.equal(500, response.status)
        assert.is_nil(response.fields["x-a"])
        gw:log "plugin.lua:3"
    end)

    it("is refused as a path with a line end", function()
        local gw, up = with(handler "ctx.request:set_path('/a HTTP/1.1\\r\\nx: y')\nreturn next(ctx)")
        assert.equal(500, gw:ask(e2e.GET).status)
        gw:log "plugin.lua:2"
        up:expect_nobody()
    end)
end)

describe("the sandbox", function()
    -- What a handler does, and what the log then says about it.
    local WITHHELD = {
        { "io.open('/etc/passwd')", "ctx.kv" },
        { "os.execute('true')", "ctx.http" },
        { "require 'ffi'", "ffi" },
        { "debug.traceback()", "debug" },
        { "print('x')", "ctx.log" },
        { "loadstring('return 1')()", "load" },
        { "load('\\27LJ')()", "" },
        { "mine = 1", "declare it local" },
        { "return unknown_name", "unknown_name" },
        { "collectgarbage()", "collectgarbage" },
        { "coroutine.create(print)", "coroutine" },
        { "ctx.own = 1", "ctx.state" },
        { "string.dump(next)", "" },
        { "getmetatable('').__index.len = nil", "" },
    }
    for _, case in ipairs(WITHHELD) do
        it("stops " .. case[1], function()
            local gw, up = with(handler("if ctx.request.path == '/bad' then\n" .. case[1]
                .. (case[1]:find "^return" and "" or "\nreturn ctx:respond(200, 'went through')")
                .. "\nend\nreturn next(ctx)"))
            assert.equal(500, gw:ask(BAD).status)
            gw:log(case[2])
            local _, response = e2e.exchange(gw:client(), up)
            assert.equal(200, response.status)
        end)
    end

    it("lets the configuration be read and not written", function()
        local source = "return { name = 'own', version = '1', new = function(conf) return function(ctx)\n"
            .. "local before = conf.word\nif ctx.request.path == '/bad' then conf.word = 'other' end\n"
            .. "return ctx:respond(200, before) end end }\n"
        local schema = "{ \"type\": \"object\", \"properties\": { \"word\": { \"type\": \"string\" } } }"
        local gw = with(source, { config = { word = "mine" } }, { files = { ["plugins/own/schema.json"] = schema } })
        assert.equal("mine", gw:ask(e2e.GET).body)
        assert.equal(500, gw:ask(BAD).status)
        assert.equal("mine", gw:ask(e2e.GET).body)
    end)
end)

describe("a plugin that never ends", function()
    local LOOPS = { "while true do end", "repeat until false", "for i = 1, math.huge do end",
        "local function f() return f() end f()", "::again:: goto again", "pcall(function() while true do end end)" }
    for _, loop in ipairs(LOOPS) do
        it("is ended: " .. loop, function()
            local gw, up = with(handler("if ctx.request.path == '/bad' then\n" .. loop .. "\nend\nreturn next(ctx)"))
            assert.equal(500, gw:ask(BAD).status)
            local _, response = e2e.exchange(gw:client(), up)
            assert.equal(200, response.status)
        end)
    end

    it("and eats memory meets its bound", function()
        local gw, up = with(handler [[
            if ctx.request.path == "/bad" then
                local all = {}
                for i = 1, 1e7 do all[i] = ("x"):rep(1000) .. i end
            end
            return next(ctx)]], { cpu = "10s" })
        assert.equal(500, gw:ask(BAD).status)
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal(200, response.status)
    end)
end)
