-- Active health checks on the real binary: who is down gets no request, from the first moment on; who is back gets its
-- share again.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local OFTEN = { path = "/healthz", interval = "40ms", timeout = "20s", unhealthy_after = 3, healthy_after = 2 }

--- Three servers that answer requests with 200, and what is asked for at /healthz as `unwell` says, where it is set.
local function three()
    local servers = {}
    for i, name in ipairs { "a", "b", "c" } do
        local server = e2e.server(name)
        server.asked, server.checks = 0, 0
        server:does(function(request)
            if request.target ~= "/healthz" then
                server.asked = server.asked + 1
                return e2e.habits.ok(request, server)
            end
            server.checks = server.checks + 1
            return (server.unwell or e2e.habits.ok)(request, server)
        end)
        servers[i] = server
    end
    return servers
end

--- A gateway in front of them.
local function before(servers, health, policies)
    local service = { endpoints = {}, balance = "round_robin", slow_start = "0s", health = health }
    for i, server in ipairs(servers) do service.endpoints[i] = { url = server:url() } end
    for key, value in pairs(policies or {}) do service[key] = value end
    return e2e.gateway { service = service }
end

--- All of so many requests are answered well, and each server gets about so many of them.
local function shares(gw, servers, count, wanted)
    for _, server in ipairs(servers) do server.asked = 0 end
    assert.same({ [200] = count }, e2e.ask(gw, count))
    for i, server in ipairs(servers) do
        local far = math.abs(server.asked - wanted[i])
        assert.is_true(far <= (wanted[i] == 0 and 0 or 1),
            ("%s got %d requests, not %d"):format(server.name, server.asked, wanted[i]))
    end
end

describe("one of three upstreams", function()
    it("that is dead from the start gets no request", function()
        local servers = three()
        servers[2]:die()
        local gw = before(servers, OFTEN)
        assert.truthy(gw:log("host_down"):find("is unhealthy: no connection", 1, true))
        shares(gw, servers, 60, { 30, 0, 30 })
    end)

    it("that dies gets none after three checks, and its share again after two that went well", function()
        local servers = three()
        local gw = before(servers, OFTEN)
        e2e.eventually("a check of each", function()
            return servers[1].checks > 0 and servers[2].checks > 0 and servers[3].checks > 0
        end)
        shares(gw, servers, 60, { 20, 20, 20 })
        servers[2]:die()
        gw:log "host_down"
        shares(gw, servers, 60, { 30, 0, 30 })
        servers[2]:revive()
        assert.truthy(gw:log("host_up"):find("is healthy: answered 200", 1, true))
        shares(gw, servers, 60, { 20, 20, 20 })
        assert.is_nil(gw.process.err.text:find("upstream_connect", 1, true)) -- checks are no requests
    end)

    it("that says it is unwell gets none, and a reload does not forget it", function()
        local servers = three()
        servers[3].unwell = e2e.habits.fail
        local gw = before(servers, OFTEN)
        assert.truthy(gw:log("host_down"):find("is unhealthy: answered 503", 1, true))
        shares(gw, servers, 60, { 30, 30, 0 })
        servers[3].unwell = e2e.habits.hang -- so that nothing new is known
        gw.opts.service.pool = { queue = 7 }
        assert.equal("ok", gw:reload(gw.opts))
        shares(gw, servers, 60, { 30, 30, 0 })
        servers[3].unwell = nil
    end)

    it("that does not answer a check in time gets none", function()
        local servers = three()
        servers[1].unwell = e2e.habits.hang
        local gw = before(servers, { path = "/healthz", interval = "40ms", timeout = "2s", unhealthy_after = 1 })
        assert.truthy(gw:log("host_down"):find("is unhealthy: no answer within 2000 ms", 1, true))
        shares(gw, servers, 60, { 0, 30, 30 })
    end)

    it("that nobody can connect to gets none, where a connection is all that is asked for", function()
        local servers = three()
        servers[2]:die()
        local gw = before(servers, { interval = "40ms" })
        assert.truthy(gw:log("host_down"):find("is unhealthy: Connection refused", 1, true))
        shares(gw, servers, 60, { 30, 0, 30 })
        servers[2]:revive()
        gw:log "host_up"
        shares(gw, servers, 60, { 20, 20, 20 })
    end)

    it("that tells of its load gets as much as that leaves it", function()
        local servers = three()
        local function loaded(cpu)
            return function()
                return e2e.message(200, ('{"cpu":%g,"mem":0.1,"latency_ms":0}'):format(cpu),
                    "Content-Type: application/json\r\n")
            end
        end
        servers[1].unwell, servers[2].unwell, servers[3].unwell = loaded(0.2), loaded(0.2), loaded(0.8)
        local gw = before(servers, OFTEN)
        e2e.eventually("two checks of each", function()
            return servers[1].checks > 1 and servers[2].checks > 1 and servers[3].checks > 1
        end)
        shares(gw, servers, 90, { 40, 40, 10 })
    end)
end)

describe("two of three upstreams that are unwell", function()
    it("are used all the same, for too few are left", function()
        local servers = three()
        servers[1].unwell, servers[2].unwell = e2e.habits.fail, e2e.habits.fail
        local gw = before(servers, OFTEN)
        gw:log "host_down"
        gw:log "host_down"
        shares(gw, servers, 60, { 20, 20, 20 })
    end)

    it("get none where panic is off", function()
        local servers = three()
        servers[1].unwell, servers[2].unwell = e2e.habits.fail, e2e.habits.fail
        local gw = before(servers, OFTEN, { panic = "0%" })
        gw:log "host_down"
        gw:log "host_down"
        shares(gw, servers, 60, { 0, 0, 60 })
    end)
end)
