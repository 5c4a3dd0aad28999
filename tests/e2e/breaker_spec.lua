-- A breaker on the real binary: it opens, refuses with the time until it may be asked again, probes and closes; all
-- of it on a clock that the spec moves.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local BREAKER = { window = "10s", min_requests = 20, error_rate = "50%", open_for = "5s", open_jitter = "0%",
    probes = 3 }

--- A gateway before one server, whose breaker differs from BREAKER in `own`.
local function guarded(own, opts)
    local breaker = {}
    for key, value in pairs(BREAKER) do breaker[key] = value end
    for key, value in pairs(own or {}) do breaker[key] = value end
    opts = opts or {}
    opts.names = { "up" }
    return e2e.behind({ breaker = breaker, pool = opts.pool }, opts)
end

local function opened(own, opts)
    local gw, up = guarded(own, opts)
    up:does "fail"
    assert.same({ [503] = 20 }, e2e.ask(gw, 20))
    assert.equal(20, up:since())
    return gw, up
end

describe("a breaker", function()
    it("opens when half of twenty fail, and then spares the upstream", function()
        local gw, up = guarded()
        up:does(e2e.habits.turns(1, "fail", "ok"))
        assert.same({ [200] = 9, [503] = 10 }, e2e.ask(gw, 19))
        up:does "fail"
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        assert.equal(20, up:since())
        up:does "ok"
        assert.same({ [503] = 50 }, e2e.ask(gw, 50))
        assert.equal(0, up:since())
    end)

    it("tells in the log when it opens and closes by itself, and why", function()
        local gw, up = opened()
        gw:log "up: its breaker is open (failures)"
        up:does "ok"
        gw:advance(5010)
        assert.same({ [200] = 3 }, e2e.ask(gw, 3))
        local line = e2e.json.decode(gw:log "its breaker is closed")
        assert.equal("breaker_closed", line.event)
        assert.truthy(line.message:find("recovered", 1, true), line.message)
    end)

    it("says when to come back, and names no internals", function()
        local gw = opened(nil, { access_log = true })
        for _ = 1, 20 do gw:access() end
        local answer = gw:ask(e2e.GET)
        assert.equal(503, answer.status)
        assert.equal("application/problem+json", answer.fields["content-type"])
        assert.equal("5", answer.fields["retry-after"])
        assert.is_nil(answer.body:find("breaker", 1, true))
        assert.equal("breaker_open", gw:access().error)
        gw:advance(3100)
        assert.equal("2", gw:ask(e2e.GET).fields["retry-after"])
    end)

    it("probes when its time has come, and closes after three good answers", function()
        local gw, up = opened()
        up:does "ok"
        gw:advance(4500)
        assert.same({ [503] = 3 }, e2e.ask(gw, 3))
        gw:advance(510)
        assert.same({ [200] = 2 }, e2e.ask(gw, 2))
        assert.same({ [200] = 40 }, e2e.ask(gw, 40))
        assert.equal(42, up:since())
    end)

    it("lets three probes pass at once, no more", function()
        local gw, up = opened()
        up:does "hang"
        gw:advance(5010)
        local load = e2e.load(gw, { count = 8, at_once = 8 })
        e2e.eventually("five to be refused", function() return load.counts[503] == 5 and up.seen == 23 end)
        local answer = gw:ask(e2e.GET)
        assert.equal("1", answer.fields["retry-after"])
    end)

    it("gives a probe back whose client has left", function()
        local gw, up = opened { probes = 1 }
        up:does "hang"
        gw:advance(5010)
        local client = gw:send(e2e.GET)
        e2e.eventually("the probe", function() return up.seen == 21 end)
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        client:reset()
        up:does "ok"
        e2e.eventually("another probe to pass", function() return e2e.ask(gw, 1)[200] == 1 end)
        assert.equal(22, up.seen)
        assert.same({ [200] = 5 }, e2e.ask(gw, 5))
    end)

    it("opens again when its probes are not decided in time", function()
        local gw, up = opened { half_open_max = "10s" }
        up:does "hang"
        gw:advance(5010)
        local load = e2e.load(gw, { count = 3, at_once = 3 })
        e2e.eventually("the probes", function() return up.seen == 23 end)
        gw:advance(10010)
        up:does "ok"
        assert.same({ [503] = 3 }, e2e.ask(gw, 3))
        gw:advance(10010) -- open for twice as long as the first time, from the moment that they were late
        assert.same({ [200] = 5 }, e2e.ask(gw, 5))
        assert.equal(504, next(load:await()))
    end)

    it("opens again for longer when a probe fails", function()
        local gw, up = opened()
        gw:advance(5010)
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        assert.equal(1, up:since())
        up:does "ok"
        gw:advance(9500)
        assert.same({ [503] = 5 }, e2e.ask(gw, 5))
        assert.equal(0, up:since())
        gw:advance(510)
        assert.same({ [200] = 10 }, e2e.ask(gw, 10))
    end)

    it("forgets what failed before its window", function()
        local gw, up = guarded()
        up:does "fail"
        assert.same({ [503] = 19 }, e2e.ask(gw, 19))
        gw:advance(11000)
        assert.same({ [503] = 19 }, e2e.ask(gw, 19))
        assert.equal(38, up:since())
    end)

    it("counts failures in a row when that is its mode", function()
        local gw, up = guarded { mode = "consecutive", consecutive_failures = 3 }
        up:does(e2e.habits.turns(2, "fail", "ok"))
        e2e.ask(gw, 20)
        assert.equal(20, up:since())
        up:die()
        assert.same({ [502] = 3, [503] = 7 }, e2e.ask(gw, 10))
    end)

    it("opens for answers that are slow, where that is asked for", function()
        local gw, up = guarded { slow_call = "500ms", slow_rate = "80%", min_requests = 10 }
        assert.same({ [200] = 2 }, e2e.ask(gw, 2))
        up:does(function(_, server)
            gw:advance(501)
            return e2e.message(200, server.name)
        end)
        assert.same({ [200] = 8, [503] = 4 }, e2e.ask(gw, 12))
    end)

    it("has a part to itself for each route where that is asked for", function()
        local routes = {}
        for i, name in ipairs { "one", "two" } do
            routes[i] = { name = name, match = { paths = { { prefix = "/" .. name } } }, service = "up" }
        end
        local gw, up = guarded({ per = "route" }, { routes = routes })
        local function get(name, n)
            return e2e.ask(gw, n, { request = function() return "GET /" .. name .. " HTTP/1.1\r\nHost: a\r\n\r\n" end })
        end
        up:does "fail"
        assert.same({ [503] = 20 }, get("one", 20))
        up:does "ok"
        assert.same({ [503] = 5 }, get("one", 5))
        assert.same({ [200] = 5 }, get("two", 5))
    end)

    it("lets so many calls be under way at once", function()
        local gw, up = guarded({ max_concurrent = 4 }, { access_log = true })
        up:does "hang"
        local load = e2e.load(gw, { count = 6, at_once = 6 })
        e2e.eventually("two to be refused", function() return load.counts[503] == 2 and up.seen == 4 end)
        assert.equal("concurrency", gw:access().error)
    end)
end)
