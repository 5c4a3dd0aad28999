-- Work beside requests: a mirror, a batch of logs and a cache, on the real binary with real servers.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local EVERYTHING = { paths = { { prefix = "/" } } }
local OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

--- A gateway whose one route has one plugin, with its configuration, before `up`.
local function behind(source, config, opts)
    opts = opts or {}
    opts.clock = true
    opts.plugins = { own = { use = "./plugins/own", config = config, cpu = opts.cpu } }
    opts.routes = { { name = "all", match = EVERYTHING, plugins = { "own" }, service = "up" } }
    opts.files = { ["plugins/own/plugin.lua"] = source,
        ["plugins/own/schema.json"] = [[{ "type": "object", "properties": { "url": { "type": "string" } } }]] }
    return e2e.proxy(opts)
end

local MIRROR = [[
local plugin = { name = "mirror", version = "1.0.0", body = { request = "buffer(64KiB)" } }

function plugin.new(conf)
    return function(ctx, next)
        local request = ctx.request
        local copy = { method = request.method, url = conf.url .. request.path, body = request:body() }
        ctx:task(function(ctx, copy)
            local answer, why = ctx.http:request(copy)
            ctx.log:info("mirrored: %s", answer and answer.status or why)
        end, copy):detach()
        next(ctx)
    end
end

return plugin]]

describe("a mirror", function()
    it("sends a copy, for which no client waits", function()
        local mirror = e2e.upstream()
        local gw, up = behind(MIRROR, { url = mirror:url() })
        local client = gw:send "POST /a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        local copied = mirror:accept()
        local copy = copied:request()
        local conn = up:accept()
        assert.equal("hello", conn:request().body)
        conn:send(OK)
        assert.equal(200, client:response().status) -- the mirror has not said a word
        client:close()
        assert.equal("POST", copy.method)
        assert.equal("/a/b", copy.target)
        assert.equal("hello", copy.body)
        assert.equal(1, gw:metric("moongate_tasks_running", { kind = "task" }))
        copied:send "HTTP/1.1 204 No Content\r\n\r\n"
        gw:log "mirrored: 204"
        gw:await_metric("moongate_tasks_total", { kind = "task", outcome = "ok" }, 1)
    end)

    it("that hangs takes nothing from the requests behind it, and ends in time", function()
        local mirror = e2e.upstream()
        local gw, up = behind(MIRROR, { url = mirror:url() })
        local client, conn = gw:client(), nil
        for _ = 1, 50 do
            client:send(e2e.GET)
            conn = conn or up:accept()
            conn:request()
            conn:send(OK)
            assert.equal(200, client:response().status)
        end
        assert.equal(50, gw:metric("moongate_tasks_running", { kind = "task" }))
        gw:advance(31000)
        gw:await_metric("moongate_tasks_total", { kind = "task", outcome = "deadline" }, 50)
        gw:log "was ended: its time was over"
    end)

    it("has as much time as is stated when the configuration is swapped beneath it", function()
        local mirror = e2e.upstream()
        local gw, up = behind(MIRROR:gsub("ctx:task%(", "ctx:task({ timeout = 600 }, "), { url = mirror:url() })
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send(OK)
        assert.equal(200, client:response().status)
        client:close()
        assert.equal("ok", gw:reload { up = up })
        assert.equal(1, gw:metric("moongate_tasks_running", { kind = "task" }))
        gw:advance(31000)
        gw:await_metric("moongate_tasks_total", { kind = "task", outcome = "retired" }, 1)
        gw:log "was ended: its Lua state is retired"
    end)
end)

local SHIP = [[
local mg = require "moongate"
local plugin = { name = "ship", version = "1.0.0" }
local MOST = 3

function plugin.new(conf)
    local queue, dropped = {}, 0

    mg.every(5, function(ctx)
        if #queue == 0 then
            return
        end
        local batch = { lines = queue, dropped = dropped }
        queue, dropped = {}, 0
        assert(ctx.http:post(conf.url, ctx.json.encode(batch)))
    end)

    return {
        handler = function(ctx, next)
            next(ctx)
        end,
        log = function(ctx)
            if #queue < MOST then
                queue[#queue + 1] = ctx.request.path .. " " .. ctx.response.status
            else
                dropped = dropped + 1
            end
        end,
    }
end

return plugin]]

--- So many requests, one after the other, of one client.
local function ask(gw, up, count, conn)
    local client = gw:client()
    for i = 1, count do
        client:send("GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        conn = conn or up:accept()
        conn:request()
        conn:send(OK)
        assert.equal(200, client:response().status)
    end
    client:close()
    return conn
end

describe("a batch of logs", function()
    it("is shipped from time to time, and bounded", function()
        local collector = e2e.upstream()
        local gw, up = behind(SHIP, { url = collector:url() }, { workers = 1 })
        ask(gw, up, 5)
        gw:advance(6000)
        local shipped = collector:accept()
        assert.same({ dropped = 2, lines = { "/1 200", "/2 200", "/3 200" } }, e2e.json.decode(shipped:request().body))
        shipped:send "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    end)

    it("goes out when the gateway stops, and the stop waits for it", function()
        local collector = e2e.upstream()
        local gw, up = behind(SHIP, { url = collector:url() }, { workers = 1 })
        ask(gw, up, 2)
        gw.process:signal(e2e.SIGTERM)
        local shipped = collector:accept()
        assert.same({ dropped = 0, lines = { "/1 200", "/2 200" } }, e2e.json.decode(shipped:request().body))
        assert.is_false(gw.process:ended())
        shipped:send(OK)
        gw:finish()
    end)

    it("goes out when a reload takes the plugin away, with the lines of requests that were under way", function()
        local collector = e2e.upstream()
        local gw, up = behind(SHIP, { url = collector:url() }, { workers = 1 })
        local conn = ask(gw, up, 1)
        local late = gw:send "GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
        conn:request()
        assert.equal("ok", gw:reload { up = up })
        conn:send(OK)
        assert.equal(200, late:response().status)
        local shipped = collector:accept()
        assert.same({ dropped = 0, lines = { "/1 200", "/late 200" } }, e2e.json.decode(shipped:request().body))
        shipped:send(OK)
    end)

    it("that cannot be shipped is told of, and the next one is tried", function()
        local collector = e2e.upstream()
        local url = collector:url()
        collector:close()
        local gw, up = behind(SHIP, { url = url }, { workers = 1 })
        local conn
        for failures = 1, 2 do
            conn = ask(gw, up, 1, conn)
            gw:advance(6000)
            gw:await_metric("moongate_tasks_total", { kind = "every", outcome = "failed" }, failures)
            local line = gw:log "plugins/own/plugin.lua:14: upstream_connect"
            assert.truthy(line:find("in the run of %S+/own/plugin.lua:8: "))
            assert.truthy(line:find('"event":"plugin_error"', 1, true))
        end
    end)
end)

local CACHE = [[
local mg = require "moongate"
local plugin = { name = "flags", version = "1.0.0" }

function plugin.new(conf)
    local flags

    mg.every(60, function(ctx)
        local answer = assert(ctx.http:get(conf.url))
        if answer.status == 200 then
            flags = ctx.json.decode(answer.body)
        end
    end, { timeout = 10 })

    return function(ctx)
        if not flags then
            return ctx:respond(503, { title = "No flags yet" })
        end
        ctx:respond(200, { json = flags })
    end
end

return plugin]]

describe("a cache", function()
    it("is filled when the gateway starts, and refreshed while nobody waits", function()
        local source = e2e.upstream()
        local gw = behind(CACHE, { url = source:url() }, { workers = 1 })
        local conn = source:accept()
        conn:request()
        assert.equal(503, gw:ask(e2e.GET).status)
        conn:send 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"dark":1}'
        e2e.eventually("the flags", function() return gw:ask(e2e.GET).status == 200 end)
    end)

    it("keeps what it has while its source does not answer", function()
        local source = e2e.server "source"
        local gw = behind(CACHE:gsub("ctx.json.decode%(answer.body%)", "{ at = 1 }"), { url = source:url() },
            { workers = 1 })
        e2e.eventually("the flags", function() return gw:ask(e2e.GET).status == 200 end)
        source:does "hang"
        gw:advance(70000)
        gw:advance(11000)
        e2e.eventually("a run that took too long", function()
            gw:ask(e2e.GET)
            return gw:metric("moongate_tasks_total", { kind = "every", outcome = "deadline" })
        end)
        assert.equal('{"at":1}', gw:ask(e2e.GET).body)
    end)
end)

describe("check", function()
    it("loads what runs again and again, and runs nothing", function()
        local source = e2e.upstream()
        local result = e2e.run({ "check", "moongate.yaml" }, { files = {
            ["moongate.yaml"] = [[
version: 1
listeners: { web: { bind: "127.0.0.1:0" } }
plugins: { own: { use: ./plugins/own, config: { url: "]] .. source:url() .. [[" } } }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [own] }]
]],
            ["plugins/own/plugin.lua"] = CACHE,
            ["plugins/own/schema.json"] = [[{ "type": "object", "properties": { "url": { "type": "string" } } }]],
        } })
        assert.equal(0, result.code, result.err)
        assert.is_false(source:has_caller())
    end)
end)

describe("tasks that compute", function()
    it("have a turn each, between which others go on", function()
        local gw = behind([[
return { name = "own", version = "1.0.0", new = function()
    return function(ctx)
        local burnt = 0
        local function burn(ctx)
            local begun = os.clock()
            while os.clock() - begun < 0.02 do end
            burnt = burnt + 1
        end
        for _ = 1, 30 do
            ctx:task(burn):detach()
        end
        for _ = 1, 5 do
            ctx:sleep(0)
        end
        ctx:respond(200, tostring(burnt))
    end
end }]], nil, { workers = 1, cpu = "60ms" })
        local burnt = tonumber(gw:ask(e2e.GET).body)
        assert.is_true(burnt > 0 and burnt < 30, burnt .. " had burnt before the request went on")
        gw:await_metric("moongate_tasks_total", { kind = "task", outcome = "ok" }, 30)
    end)
end)

describe("a handler that forgets its task", function()
    it("is told of it at its line", function()
        local gw, up = behind([[
return { name = "own", version = "1.0.0", new = function()
    return function(ctx, next)
        ctx:task(function(ctx)
            ctx:sleep(3600)
        end)
        next(ctx)
    end
end }]], nil)
        ask(gw, up, 1)
        local line = gw:log "plugins/own/plugin.lua:3 was ended with the handlers of its request"
        assert.truthy(line:find('"event":"plugin_task"', 1, true))
        assert.truthy(line:find '"trace_id":"%x+"')
        gw:await_metric("moongate_tasks_total", { kind = "task", outcome = "cancelled" }, 1)
        assert.equal(0, gw:metric("moongate_tasks_running", { kind = "task" }))
    end)
end)
