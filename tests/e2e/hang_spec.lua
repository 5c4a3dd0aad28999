-- A thread that does not come back: it is told, with the plugin and its line, and it holds up neither the others nor
-- the end.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- Line 5 is the one that hangs.
local PLUGIN = [[
local plugin = { name = "own", version = "1.2.3" }
function plugin.new()
    return function(ctx, next)
        if ctx.request.path == "/hang" then
            ctx.state.at = os.date("hang")
        end
        return next(ctx)
    end
end
return plugin
]]
local HANG = "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"

local function gateway(opts)
    opts = opts or {}
    opts.hang = true
    opts.files = { ["plugins/own/plugin.lua"] = opts.source or PLUGIN }
    opts.plugins = { own = { use = "./plugins/own", cpu = opts.settings and opts.settings.cpu } }
    opts.route = { plugins = { "own" }, timeout = "1h" }
    return e2e.proxy(opts)
end

--- A worker of it hangs in the plugin: the client that waits for its answer.
local function hung(gw)
    gw:hang()
    local client = gw:send(HANG)
    return client, e2e.json.decode(gw:log '"event":"hang"')
end

--- Its exit status once it has ended.
local function ended(gw)
    local code, signal = gw.process:wait()
    assert.is_nil(signal)
    gw:abandon()
    return code
end

describe("a worker that stands still in a plugin", function()
    it("is told with the plugin and its line, in the log, by /livez and in the metrics", function()
        local gw, up = gateway()
        assert.equal("ok\n", gw:status("/livez").body)
        local client, event = hung(gw)
        assert.equal("error", event.level)
        assert.equal("own", event.plugin)
        assert.truthy(event.line:find("plugins/own/plugin.lua:5", 1, true), event.line)
        assert.truthy(event.message:find("^worker 0 has stood still for %d+ s, in plugin own, "), event.message)
        local live = gw:status "/livez"
        assert.equal(503, live.status)
        assert.truthy(live.body:find("^not ok\nworker 0 has stood still for %d+ s, in plugin own, .*plugin.lua:5\n$"),
            live.body)
        assert.equal(503, gw:status("/healthz").status)
        assert.equal(1, gw:metric("moongate_hangs_total", { thread = "worker" }))
        assert.equal(0, gw:metric("moongate_hangs_total", { thread = "control" }))
        gw:unhang()
        gw:log '"event":"hang_over","message":"worker 0 goes on after'
        e2e.eventually("/livez to be well", function() return gw:status("/livez").body == "ok\n" end)
        local conn = up:accept()
        conn:request()
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
        gw.process:signal(e2e.SIGTERM)
        gw:log '"event":"stopped","message":"all requests have ended"'
        gw:finish()
    end)

    it("is named when it hangs below other functions", function()
        local gw = gateway { source = [[
local plugin = { name = "own", version = "1" }
local function deep(n)
    if n == 0 then
        return os.date("hang")
    end
    return (deep(n - 1))
end
function plugin.new()
    return function(ctx, next)
        for _ = 1, 300 do deep(1) end
        next(ctx)
    end
end
return plugin
]] }
        gw:hang()
        gw:send(HANG)
        local event = e2e.json.decode(gw:log '"event":"hang"')
        assert.equal("own", event.plugin)
        assert.truthy(event.line:find("plugins/own/plugin.lua:%d+"), event.line)
        gw:unhang()
        gw:log '"event":"hang_over"'
    end)

    it("is named when it hangs in what compiled code calls", function()
        local gw = gateway { source = [[
local plugin = { name = "own", version = "1" }
function plugin.new()
    return function(ctx)
        local sum = 0
        for _ = 1, 4000 do sum = sum + ctx.time.now() end
        ctx:respond(200, "ok")
    end
end
return plugin
]], settings = { cpu = "10s" } }
        assert.equal(200, gw:ask(e2e.GET).status)
        gw:hang "c"
        local client = gw:send(e2e.GET)
        local event = e2e.json.decode(gw:log '"event":"hang"')
        assert.equal("own", event.plugin)
        assert.truthy(event.line:find("plugins/own/plugin.lua:[35]"), event.line)
        gw:unhang()
        assert.equal(200, client:response().status)
    end)

    it("does not keep the first TERM from ending the process after the drain's time", function()
        local gw = gateway { workers = 2, extra = { shutdown = { drain_timeout = "200ms" } } }
        hung(gw)
        gw.process:signal(e2e.SIGTERM)
        gw:log '"event":"stopped","message":"1 request has not ended"'
        local left = e2e.json.decode(gw:log '"event":"left"').message
        assert.truthy(left:find("1 of its threads did not and 1 request is not answered: worker %d has stood still for "
            .. "%d+ s, in plugin own, .*plugin.lua:5$"), left)
        assert.equal(1, ended(gw))
        assert.is_nil(gw.process.err.text:find("all requests have ended", 1, true))
    end)

    for name, signal in pairs { TERM = e2e.SIGTERM, INT = e2e.SIGINT or 2 } do
        it("does not keep a second " .. name .. " from ending it at once", function()
            local gw = gateway { extra = { shutdown = { drain_timeout = "1h" } } }
            hung(gw)
            gw.process:signal(signal)
            gw:log '"event":"draining"'
            gw.process:signal(signal)
            assert.equal(1, ended(gw))
            assert.is_nil(gw.process.err.text:find("all requests have ended", 1, true))
        end)
    end

    it("does not take what is stored with it", function()
        local gw = gateway { extra = { state = { path = "state" } }, source = PLUGIN:gsub("ctx.state.at = ",
            "ctx.kv:set('k', 'kept') ctx.state.at = "):gsub("return next%(ctx%)",
            "return ctx:respond(200, tostring((ctx.kv:get('k'))))") }
        hung(gw)
        gw.process:signal(e2e.SIGTERM)
        gw:log '"event":"draining"'
        gw.process:signal(e2e.SIGTERM)
        gw:log '"event":"left"'
        gw.process:wait()
        gw:unhang()
        gw:launch()
        assert.equal("kept", gw:ask(e2e.GET).body)
    end)
end)

--- A gateway whose builder hangs in the plugin of a reload, at line 3; and what the log has of that.
local function stuck_in_new()
    local slow = PLUGIN:gsub("return function", [[
            if os.date("hang") then conf = 1 end
    return function]])
    local gw, up = gateway { extra = { shutdown = { drain_timeout = "200ms" } } }
    gw:hang()
    gw:configure { hang = true, files = { ["plugins/own/plugin.lua"] = slow },
        plugins = { own = { use = "./plugins/own" } }, route = { plugins = { "own" } }, up = gw.opts.up,
        extra = { shutdown = { drain_timeout = "200ms" } } }
    gw.process:signal(e2e.SIGHUP)
    return gw, e2e.json.decode(gw:log '"event":"hang"'), up
end

describe("the builder's thread", function()
    it("is told when a plugin that it loads hangs, and TERM ends the process all the same", function()
        local gw, event = stuck_in_new()
        assert.truthy(event.message:find("^the builder's thread has stood still for %d+ s, in a plugin, "),
            event.message)
        assert.truthy(event.line:find("plugins/own/plugin.lua:3", 1, true), event.line)
        gw.process:signal(e2e.SIGTERM)
        gw:log '"event":"left"'
        assert.equal(1, ended(gw))
    end)

    it("holds up nothing else while it hangs: control answers, and requests are served", function()
        local gw, _, up = stuck_in_new()
        assert.equal(200, gw:status("/livez").status)
        assert.equal(1, gw:metric("moongate_hangs_total", { thread = "builder" }))
        assert.equal(0, gw:metric("moongate_hangs_total", { thread = "control" }))
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
        gw.process:signal(e2e.SIGTERM)
        assert.equal(1, ended(gw))
    end)
end)

describe("the log's thread", function()
    it("is told when a write does not return, once it can be", function()
        local gw = gateway { access_log = true }
        gw:hang "1"
        gw:ask(e2e.GET:gsub("GET /", "GET /none"))
        gw:await_metric("moongate_hangs_total", { thread = "log" }, 1)
        assert.equal(200, gw:status("/livez").status)
        gw:unhang()
        gw:log '"event":"hang","message":"a write of the log\'s thread has stood still for'
        gw:log '"event":"hang_over","message":"a write of the log\'s thread goes on'
    end)
end)
