--- Gateways of specs: requests, what they know, reloads and restarts. Run by `moongate test tests/test`.
local mg = require("moongate.test")

local function json_of(conf)
    conf.services = { web = { endpoints = { conf.up } } }
    conf.up = nil
    return conf
end

describe("a gateway", function()
    it("says at the spec's line why a document is refused", function()
        local ok, why = pcall(mg.gateway, { services = { web = { endpoints = { "http://10.1.0.1" } } }, rutes = {} })
        assert.is_false(ok)
        assert.truthy(why:find("the gateway does not start", 1, true), why)
        assert.truthy(why:find("rutes", 1, true), why)
    end)

    it("serves several requests at once", function()
        local up = mg.upstream():reply(200, "x"):delay("1s")
        local gw = mg.gateway(json_of({ up = up }))
        local handles = {}
        for i = 1, 5 do
            handles[i] = gw:start({ path = "/" .. i })
        end
        assert.equal(5, #up.requests)
        assert.is_false(handles[1]:is_done())
        for _, handle in ipairs(handles) do
            assert.equal(200, handle:wait().status)
        end
        assert.is_true(mg.clock:now() < 1100)
    end)

    it("loses a client at a chosen byte", function()
        local up = mg.upstream():reply(200, "x")
        local gw = mg.gateway(json_of({ up = up }))
        local handle = gw:start({ method = "POST", body = ("b"):rep(100), abort = { sent = 90 } })
        assert.is_true(handle:is_done())
        assert.truthy(handle.problem:find("the client left after 90 bytes sent", 1, true), handle.problem)
        assert.equal(0, #up.requests)
        local slow = mg.upstream():reply(200, ("y"):rep(100)):trickle("10B/s")
        local other = mg.gateway(json_of({ up = slow }))
        local left = other:start({ abort = { received = 150, how = "reset" } })
        assert.has_error(function()
            left:wait()
        end)
        mg.clock:advance("10s")
        assert.equal("client_gone", other:access()[1].error)
    end)

    it("hears bytes on a connection", function()
        local up = mg.upstream():reply(200, "x")
        local gw = mg.gateway(json_of({ up = up }))
        local connection = gw:connect()
        connection:send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n")
        assert.equal(200, connection:response().status)
        assert.equal(200, connection:response().status)
        assert.same({ "/a", "/b" }, { up.requests[1].target, up.requests[2].target })
        connection:close()
        assert.equal(400, gw:raw("GET / HTTP/1.1\r\n\r\n").status)
    end)

    it("is looked at as an operator looks", function()
        local up = mg.upstream():reply(200, "x")
        local gw = mg.gateway({
            services = { web = { endpoints = { up }, breaker = {} } },
            limiters = { per_ip = { rate = "10/h", key = "ip" } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { { limit = "per_ip" } },
                service = "web" } },
        })
        for _ = 1, 10 do
            assert.equal(200, gw:get("/", { from = "10.9.0.7" }).status)
        end
        assert.equal(429, gw:get("/", { from = "10.9.0.7" }).status)
        assert.equal(200, gw:get("/", { from = "10.9.0.8" }).status)
        assert.equal("closed", gw.breaker.web.state)
        assert.equal("web", gw.service.web.name)
        assert.equal("per_ip", gw.limiter.per_ip.name)
        assert.is_table(gw.limiter.per_ip.keys)
        assert.equal("all", gw.route.all.name)
        assert.equal(11, gw:metric('moongate_limiter_decisions_total{limiter="per_ip",decision="allow"}'))
        assert.has_metric(gw, 'moongate_limiter_decisions_total{limiter="per_ip",decision="deny"}', 1)
        assert.is_nil(gw:metric("moongate_nothing_total"))
        assert.equal(12, #gw:access())
        assert.equal("/", gw:access()[1].path)
        assert.equal(1, #gw:log("ready"))
        mg.clock:advance("1h")
        assert.equal(200, gw:get("/", { from = "10.9.0.7" }).status)
    end)

    it("keeps what plugins store, over a restart and over kill -9", function()
        local gw = mg.gateway({ state = { path = "state" }, listeners = { web = { bind = "10.0.0.1:80" } } })
        gw.kv.users:set("a", "1")
        assert.equal("1", gw.kv.users:get("a"))
        gw:restart()
        assert.equal("1", gw.kv.users:get("a"))
        gw.kv.users:set("b", "2")
        mg.clock:advance("2s")
        gw.kv.users:set("c", "3")
        gw:restart({ kill = true })
        assert.equal("2", gw.kv.users:get("b"))
        gw.kv.users:del("a")
        assert.is_nil(gw.kv.users:get("a"))
    end)

    it("keeps a quota over kill -9", function()
        local up = mg.upstream():reply(200, "x")
        local gw = mg.gateway({
            state = { path = "state" }, services = { web = { endpoints = { up } } },
            limiters = { day = { rate = "3/d", key = "ip" } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { { limit = "day" } },
                service = "web" } },
        })
        for _ = 1, 3 do
            assert.equal(200, gw:get("/").status)
        end
        mg.clock:advance("2s")
        gw:restart({ kill = true })
        assert.equal(429, gw:get("/").status)
    end)

    it("reloads another document, or refuses it and goes on", function()
        local up = mg.upstream():reply(200, "x")
        local gw = mg.gateway(json_of({ up = up }))
        assert.equal(200, gw:get("/").status)
        local ok, why = gw:reload({ services = { web = { endpoints = { up }, pol = {} } } })
        assert.is_false(ok)
        assert.truthy(why:find("pol", 1, true), why)
        assert.equal(200, gw:get("/").status)
        local done, said = gw:reload({ routes = { { name = "only", match = { paths = { { prefix = "/only" } } },
            service = "web" } }, services = { web = { endpoints = { up } } } })
        assert.is_true(done, said)
        assert.equal(200, gw:get("/only").status)
        assert.equal(404, gw:get("/").status)
    end)

    it("stands beside another one", function()
        local up = mg.upstream():reply(200, "behind")
        local inner = mg.gateway(json_of({ up = up }))
        local outer = mg.gateway({ services = { inner = { endpoints = { { url = "http://" .. inner:address() } } } } })
        assert.equal("behind", outer:get("/").body)
        assert.equal(1, #inner:access())
    end)

    it("sees the wall clock step", function()
        local before = mg.clock:wall()
        assert.equal(before + 3600000, mg.clock:wall("1h"))
        mg.clock:advance("1s")
        assert.equal(before + 3601000, mg.clock:wall())
        assert.equal(before + 1000, mg.clock:wall("-1h"))
    end)

    it("follows a name to other addresses", function()
        local a = mg.upstream({ address = "10.2.0.1:80" }):reply(200, "a")
        local b = mg.upstream({ address = "10.2.0.2:80" }):reply(200, "b")
        mg.dns:set("api.internal", "10.2.0.1", "5s")
        local gw = mg.gateway({ services = { api = { endpoints = { { url = "http://api.internal" } } } } })
        assert.equal("a", gw:get("/").body)
        mg.dns:set("api.internal", { "10.2.0.2" }, "5s")
        mg.clock:advance("20s")
        assert.equal("b", gw:get("/").body)
        assert.equal(1, #a.requests)
        assert.equal(1, #b.requests)
    end)

    it("says what it cannot read of a response", function()
        local up = mg.upstream():raw("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n"
            .. "transfer-encoding: chunked\r\n\r\n")
        local gw = mg.gateway(json_of({ up = up }))
        local response = gw:raw("GET / HTTP/1.0\r\n\r\n")
        assert.equal(502, response.status)
        local reader = require("moongate.test.http").reader("response")
        local ok, why = pcall(reader.feed, reader, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n")
        assert.is_false(ok)
        assert.equal('a chunk begins with "xyz" in place of its size', why)
    end)

    it("reads chunks, trailers and interim heads however they are cut", function()
        local bytes = "HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            .. "3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n"
        for at = 1, #bytes - 1 do
            local reader = require("moongate.test.http").reader("response")
            assert.is_nil(reader:feed(bytes:sub(1, at)))
            local response = reader:feed(bytes:sub(at + 1))
            assert.equal("abcde", response.body)
            assert.equal("1", response.trailers["x-t"])
            assert.equal(103, response.interim[1].status)
        end
    end)

    it("tells an unknown option of a request", function()
        local gw = mg.gateway({})
        local ok, why = pcall(gw.get, gw, "/", { header = {} })
        assert.is_false(ok)
        assert.truthy(why:find('a request has no option "header"', 1, true), why)
    end)
end)
