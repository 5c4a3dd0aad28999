-- Plugins say where a request goes: ctx:set_service and ctx:set_backend. What is counted, logged and judged is the
-- chosen one's.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function plugin(body)
    return 'return { name = "own", version = "1", new = function() return function(ctx, next)\n' .. body
        .. "\nend end }\n"
end

--- A gateway in front of two versions and a third service, which answer with their names.
local function shop(body, opts)
    opts = opts or {}
    local servers = {}
    local services = {}
    for _, name in ipairs { "old", "new", "other" } do
        servers[name] = e2e.server(name)
        services[name] = { endpoints = { { url = servers[name]:url() } } }
        for key, value in pairs(opts[name] or {}) do services[name][key] = value end
    end
    local route = { name = "shop", match = { paths = { { prefix = "/" } } }, plugins = { "own" },
        backends = { { service = "old" }, { service = "new", group = "canary" } } }
    for key, value in pairs(opts.route or {}) do route[key] = value end
    return e2e.gateway {
        clock = true,
        access_log = true,
        files = { ["plugins/own/plugin.lua"] = plugin(body) },
        plugins = { own = { use = "./plugins/own" } },
        services = services,
        routes = { route },
    }, servers
end

local CHOOSE = [[
local service, group = ctx.request:header "x-service", ctx.request:header "x-group"
if service then ctx:set_service(service) end
if group then ctx:set_backend(group) end
next(ctx)]]

local function get(fields) return "GET / HTTP/1.1\r\nHost: a\r\n" .. fields .. "\r\n" end

describe("a plugin's choice", function()
    it("is what the access log and the metrics tell", function()
        local gw = shop(CHOOSE)
        assert.equal("other", gw:ask(get "X-Service: other\r\n").body)
        local line = gw:access()
        assert.equal("other", line.service)
        assert.equal("shop", line.route)
        assert.equal(1, gw:metric("moongate_upstream_requests_total", { service = "other" }))
        for _ = 1, 4 do
            assert.equal("new", gw:ask(get "X-Group: canary\r\nX-Abtest-Group: old\r\n").body)
            assert.equal("new", gw:access().service)
        end
        assert.equal(4, gw:metric("moongate_upstream_requests_total", { service = "new" }))
    end)

    it("of a canary is what its rollout judges", function()
        local gw, servers = shop(CHOOSE, { route = { rollout = { to = "new", id = "r1", steps = { "1%" } } } })
        servers.new:does "fail"
        e2e.ask(gw, 10, { request = function() return get "X-Service: new\r\n" end })
        assert.truthy(gw:log "rollout_abort")
    end)

    it("of another service is nothing to the rollout", function()
        local gw, servers = shop(CHOOSE, { route = { rollout = { to = "new", id = "r1", steps = { "1%" },
            min_requests = 1, interval = "1s" } } })
        servers.other:does "fail"
        e2e.ask(gw, 10, { request = function() return get "X-Service: other\r\n" end })
        gw:advance(2000)
        assert.truthy(gw:log("rollout_hold"):find("it had 0", 1, true))
    end)

    it("has the chosen service's breaker", function()
        local gw, servers = shop(CHOOSE, { other = { breaker = { consecutive_failures = 2, open_for = "30s" } } })
        servers.other:does "fail"
        local fails = get "X-Service: other\r\n"
        for _ = 1, 2 do assert.equal(503, gw:ask(fails).status) end
        servers.other:does "ok"
        local refused = gw:ask(fails)
        assert.equal(503, refused.status)
        assert.truthy(refused.body:find("The upstream is failing", 1, true))
        assert.equal("old", gw:ask(get "X-Group: old\r\n").body)
    end)

    it("by an unknown name answers 500, and the log says what there is", function()
        local gw = shop(CHOOSE)
        assert.equal(500, gw:ask(get "X-Service: othr\r\n").status)
        assert.truthy(gw:log "plugins/own/plugin.lua:3: set_service: no service is named 'othr': did you mean 'other'?")
        assert.equal(500, gw:ask(get "X-Group: new\r\n").status)
        assert.truthy(gw:log "plugins/own/plugin.lua:4: set_backend: no backend of the route has the group 'new'")
    end)

    it("goes by the configuration that a request began with", function()
        local gw = shop(CHOOSE)
        assert.equal(500, gw:ask(get "X-Service: later\r\n").status)
        local later = e2e.server "later"
        gw.opts.services.later = { endpoints = { { url = later:url() } } }
        gw.opts.services.aaa = gw.opts.services.old -- every index moves
        assert.equal("ok", gw:reload(gw.opts))
        assert.equal("later", gw:ask(get "X-Service: later\r\n").body)
        assert.equal("other", gw:ask(get "X-Service: other\r\n").body)
    end)

    it("stands when the plugin raises and is passed over", function()
        local gw = shop("ctx:set_service 'other' error 'no'")
        gw.opts.plugins.own.on_error = "open"
        assert.equal("ok", gw:reload(gw.opts))
        assert.equal("other", gw:ask(get "").body)
    end)
end)
