--- What upstreams of specs do, and what a gateway makes of it. Run by `moongate test tests/test`.
local mg = require("moongate.test")

local function gateway(up, service)
    service = service or {}
    service.endpoints = { up }
    return mg.gateway({ services = { web = service } })
end

describe("an upstream", function()
    it("answers with status, body and fields, and keeps what it received", function()
        local up = mg.upstream():reply(201, "made", { ["x-a"] = "1" })
        local response = gateway(up):post("/things?x=1", { body = "hello", headers = { ["x-b"] = { "2", "3" } } })
        assert.equal(201, response.status)
        assert.equal("made", response.body)
        assert.equal("1", response:header("X-A"))
        local request = up.requests[1]
        assert.equal("POST", request.method)
        assert.equal("/things?x=1", request.target)
        assert.equal("/things", request.path)
        assert.equal("x=1", request.query)
        assert.equal("hello", request.body)
        assert.same({ "2", "3" }, request:all("x-b"))
        assert.equal(1, request.connection)
        assert.equal(1, #up.connections)
        assert.equal(up.connections[1].raw, request.raw)
        assert.truthy(request.raw:find("^POST /things%?x=1 HTTP/1.1\r\n"))
    end)

    it("writes a table as JSON", function()
        local up = mg.upstream():reply(200, { ok = true, list = mg.json.list({}) })
        local response = gateway(up):get("/")
        assert.equal("application/json", response:header("content-type"))
        assert.same({ ok = true, list = {} }, response:json())
    end)

    it("answers by a function of the request", function()
        local up = mg.upstream():reply(function(request)
            return 200, request.method .. " " .. request.target, { ["x-n"] = tostring(#request.body) }
        end)
        local response = gateway(up):put("/a", "four")
        assert.equal("PUT /a", response.body)
        assert.equal("4", response:header("x-n"))
    end)

    it("goes through its script in order, and stays at the last entry", function()
        local up = mg.upstream():reply(200, "a"):times(2):reply(200, "b"):reply(200, "c")
        local gw = gateway(up)
        local said = {}
        for i = 1, 5 do
            said[i] = gw:get("/").body
        end
        assert.same({ "a", "a", "b", "b", "b" }, said)
    end)

    it("says so when its script is over", function()
        local up = mg.upstream():reply(200, "a"):times(1)
        local gw = gateway(up)
        gw:get("/")
        local ok, why = pcall(gw.get, gw, "/two")
        assert.is_false(ok)
        assert.truthy(why:find("has got request 2, GET /two, and its script is over", 1, true), why)
    end)

    it("answers late, in virtual time", function()
        local up = mg.upstream():reply(200, "late"):delay("300ms")
        local response = gateway(up):get("/")
        assert.equal("late", response.body)
        assert.is_true(response.took_ms >= 300 and response.took_ms < 320, tostring(response.took_ms))
    end)

    it("trickles", function()
        local up = mg.upstream():reply(200, ("x"):rep(20)):trickle("10B/s")
        local response = gateway(up):get("/")
        assert.equal(("x"):rep(20), response.body)
        assert.is_true(response.took_ms >= 1900 and response.took_ms < 2200, tostring(response.took_ms))
    end)

    it("resets, closes, stalls, and sends what it likes", function()
        assert.equal(502, gateway(mg.upstream():reset()):get("/").status)
        assert.equal(502, gateway(mg.upstream():close()):get("/").status)
        assert.equal(502, gateway(mg.upstream():raw("no answer\r\n\r\n")):get("/").status)
        local raw = mg.upstream():raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        assert.equal("ok", gateway(raw):get("/").body)
        local response = gateway(mg.upstream():stall(), { first_byte_timeout = "2s" }):get("/")
        assert.equal(504, response.status)
        assert.is_true(response.took_ms >= 2000 and response.took_ms < 2100)
    end)

    it("can be gone, come back, and vanish", function()
        local up = mg.upstream():reply(200, "here")
        local gw = gateway(up, { pool = { connect_timeout = "500ms" } })
        assert.equal(200, gw:get("/").status)
        up:stop()
        assert.equal(502, gw:get("/").status)
        up:start()
        assert.equal(200, gw:get("/").status)
        up:vanish()
        local response = gw:get("/")
        assert.equal(502, response.status)
        assert.is_true(response.took_ms >= 500 and response.took_ms < 520, tostring(response.took_ms))
    end)

    it("has a name when it is given one", function()
        local up = mg.upstream({ name = "api.internal" }):reply(200, "named")
        assert.equal("http://api.internal", up.url)
        local gw = gateway(up)
        assert.equal("named", gw:get("/").body)
        assert.equal("api.internal:80", up.requests[1]:header("host"))
    end)

    it("is told apart from others", function()
        local a, b = mg.upstream():reply(200, "a"), mg.upstream():reply(200, "b")
        local gw = mg.gateway({ services = { both = { endpoints = { a, b }, balance = "round_robin" } } })
        for _ = 1, 6 do
            gw:get("/")
        end
        assert.equal(3, #a.requests)
        assert.equal(3, #b.requests)
    end)

    it("refuses a word that has nothing before it", function()
        local ok, why = pcall(function()
            return mg.upstream():times(2)
        end)
        assert.is_false(ok)
        assert.truthy(why:find("times: there is nothing yet", 1, true))
    end)
end)
