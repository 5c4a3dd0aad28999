-- Endpoints that are names: every address is used, and what a name server or the hosts file says later takes effect.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

--- A name server, servers a, b, .. at 127.0.0.2, 127.0.0.3, .. on one port, and a gateway whose service is
--- up.internal at that port.
local function world(answer, count, opts)
    local dns, servers = e2e.dns(), {}
    for i = 1, count do
        servers[i] = e2e.server(string.char(96 + i), "127.0.0." .. (i + 1), servers[1] and servers[1].port)
    end
    if answer then dns:say("up.internal", answer) end
    local endpoints = { { url = "http://up.internal:" .. servers[1].port } }
    local own = { dns = dns, service = { endpoints = endpoints, balance = "round_robin", slow_start = "0s" } }
    for key, value in pairs(opts or {}) do own[key] = value end
    for key, value in pairs(own.more or {}) do own.service[key] = value end
    return e2e.gateway(own), dns, servers
end

--- The names of the servers that answered so many requests, in order of their names: "aabb".
local function answers(gw, count)
    local names = {}
    for i = 1, count do
        local response = gw:ask(GET)
        names[i] = response.status == 200 and response.body or "-"
    end
    table.sort(names)
    return table.concat(names)
end

local function eventually_only(gw, name)
    e2e.eventually("all requests to go to " .. name, function() return answers(gw, 4) == name:rep(4) end)
end

describe("a name", function()
    if not e2e.can_have_names() then
        pending "needs root: a name server of one's own, and an /etc of one's own"
        return
    end

    it("with three addresses has its requests spread over them", function()
        local gw = world({ "127.0.0.2", "127.0.0.3", "127.0.0.4", ttl = 60 }, 3)
        assert.equal("aabbcc", answers(gw, 6))
    end)

    it("that moves takes its requests along, and leaves no connection behind", function()
        local gw, dns, servers = world({ "127.0.0.2", ttl = 1 }, 2)
        assert.equal("aa", answers(gw, 2))
        assert.truthy(next(servers[1].conns))
        dns:say("up.internal", { "127.0.0.3", ttl = 1 })
        eventually_only(gw, "b")
        e2e.eventually("the connection to end", function() return not next(servers[1].conns) end)
    end)

    it("whose answer is cut short over UDP is asked for over TCP", function()
        local gw, dns = world({ "127.0.0.2", "127.0.0.3", ttl = 60, cut = true }, 2)
        assert.equal("aabb", answers(gw, 4))
        assert.equal(1, dns.over_tcp)
    end)

    it("is followed through a CNAME, also over TCP", function()
        local gw = world({ "127.0.0.2", ttl = 60, cut = true, cname = "real.internal" }, 1)
        assert.equal("aa", answers(gw, 2))
    end)

    for what, bad in pairs { ["does not exist any more"] = false, ["cannot be told any more"] = { fails = true } } do
        it("that " .. what .. " keeps its addresses, and this is told once", function()
            local gw, dns = world({ "127.0.0.2", ttl = 1 }, 2)
            dns:say("up.internal", bad or nil)
            gw:log "up.internal does not resolve; its last addresses stay"
            local asked = dns.asked
            e2e.eventually("it to be asked for again", function() return dns.asked > asked + 1 end)
            assert.equal("aa", answers(gw, 2))
            dns:say("up.internal", { "127.0.0.3", ttl = 1 })
            gw:log "up.internal resolves again"
            eventually_only(gw, "b")
        end)
    end

    it("of the hosts file is read again at HUP", function()
        local gw, _, servers = world(nil, 2, { hosts = "127.0.0.1 localhost\n127.0.0.2 up.internal\n" })
        assert.equal("aa", answers(gw, 2))
        gw:set_hosts "127.0.0.1 localhost\n127.0.0.3 up.internal\n"
        assert.equal("ok", gw:reload())
        assert.equal("bb", answers(gw, 2))
        e2e.eventually("the connection to end", function() return not next(servers[1].conns) end)
    end)

    it("with a long time to live gives way to the hosts file at HUP", function()
        local gw = world({ "127.0.0.2", ttl = 3600 }, 2)
        assert.equal("aa", answers(gw, 2))
        gw:set_hosts "127.0.0.3 up.internal\n"
        assert.equal("ok", gw:reload())
        assert.equal("bb", answers(gw, 2))
    end)

    it("one of whose addresses is dead is served by the others, and health is by address", function()
        local gw, _, servers = world({ "127.0.0.2", "127.0.0.3", ttl = 60 }, 2, {
            extra = { admin = { bind = "unix:run/admin.sock" } },
            more = { health = { interval = "100ms", timeout = "1s", unhealthy_after = 1 } },
        })
        servers[1]:die()
        for _ = 1, 4 do assert.equal("b", gw:ask(GET).body) end
        local hosts
        e2e.eventually("the health of both addresses", function()
            hosts = gw:admin("GET", "/v1/services/up").json.endpoints
            return hosts[1].health == "unhealthy" and hosts[2].health == "healthy"
        end)
        gw:log("up: up.internal:" .. servers[1].port .. "@127.0.0.2 is unhealthy")
        assert.equal(1, gw:metric("moongate_upstream_hosts", { state = "unhealthy" }))
        assert.equal(2, #hosts)
        for i, host in ipairs(hosts) do
            assert.equal("up.internal:" .. servers[1].port, host.endpoint)
            assert.equal("127.0.0." .. (i + 1), host.address)
        end
        local word = gw:admin("PUT", "/v1/services/up/endpoints/up.internal:" .. servers[1].port .. "/state",
            '{"state":"down"}')
        assert.equal(200, word.status)
        for _, host in ipairs(word.json.endpoints) do assert.equal("down", host.state) end
        assert.equal(503, gw:ask(GET).status)
    end)

    it("that a plugin asks with ctx.http moves, too", function()
        local gw, dns, servers = world({ "127.0.0.2", ttl = 1 }, 2, {
            files = { ["plugins/ask/plugin.lua"] = [[
                return { name = "ask", version = "1.0.0", new = function(conf)
                    return function(ctx)
                        local answer, problem = ctx.http:get("http://up.internal:" .. ctx.request:header("x-port"))
                        ctx:respond(200, answer and answer.body or problem)
                    end
                end }
            ]] },
            plugins = { ask = { use = "./plugins/ask" } },
            route = { plugins = { "ask" } },
        })
        local request = "GET / HTTP/1.1\r\nHost: a\r\nX-Port: " .. servers[1].port .. "\r\n\r\n"
        assert.equal("a", gw:ask(request).body)
        dns:say("up.internal", { "127.0.0.3", ttl = 1 })
        e2e.eventually("it to ask b", function() return gw:ask(request).body == "b" end)
        e2e.eventually("the connection to end", function() return not next(servers[1].conns) end)
    end)
end)
