-- One of three hosts is dead, fails fast, resets, hangs, is slow or flaps: how many clients see it is exact, and then
-- nobody does, until its time is over.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- In turn, and out after five failures for 30 s; who returns gets its whole share at once.
local EJECT = { balance = "round_robin", slow_start = "0s",
    eject = { consecutive = 5, base = "30s", max = "300s", max_share = "34%" } }

local function behind(policies, opts)
    local gw, a, b, c = e2e.behind(policies, opts)
    assert.same({ [200] = 30 }, e2e.ask(gw, 30))
    assert.same({ 10, 10, 10 }, { a:since(), b:since(), c:since() })
    return gw, a, b, c
end

describe("of three hosts in turn, one that", function()
    --- Makes `b` bad, then lets it come back: `failed` is what its five failures are to clients.
    local function out_and_back(spoil, failed)
        local gw, a, b, c = behind(EJECT)
        spoil(b)
        assert.same({ [200] = 55, [failed] = 5 }, e2e.ask(gw, 60))
        b:revive():does "ok"
        b:since()
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(0, b:since())
        assert.equal(85, a:since() + c:since())
        gw:advance(30100)
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.is_true(math.abs(b:since() - 10) <= 1)
    end

    it("refuses fails five requests, then none", function()
        out_and_back(function(b) b:die() end, 502)
    end)

    it("answers 503 at once fails five requests, then none", function()
        out_and_back(function(b) b:does "fail" end, 503)
    end)

    it("resets fails five requests, then none", function()
        out_and_back(function(b) b:does "reset" end, 502)
    end)

    it("hangs lets five requests time out, then none", function()
        local gw, a, b, c = behind(EJECT)
        b:does "hang"
        local load = e2e.load(gw, { count = 15, at_once = 15 })
        e2e.eventually("all to be upstream", function() return a.seen + b.seen + c.seen == 45 end)
        gw:advance(15100)
        assert.same({ [200] = 10, [504] = 5 }, load:await())
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(5, b:since())
    end)

    it("flaps is out longer each time", function()
        local gw, _, b = behind(EJECT)
        b:does(e2e.habits.turns(5, "fail", "ok"))
        assert.same({ [200] = 25, [503] = 5 }, e2e.ask(gw, 30))
        gw:advance(30100)
        assert.same({ [200] = 28, [503] = 5 }, e2e.ask(gw, 33)) -- five good ones, then five bad
        assert.equal(15, b:since())
        gw:advance(30100)
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(0, b:since())
        gw:advance(30000)
        assert.same({ [200] = 15 }, e2e.ask(gw, 15))
        assert.is_true(b:since() >= 4)
    end)

    it("fails now and then is never out", function()
        local gw, _, b = behind(EJECT)
        b:does(e2e.habits.turns(4, "fail", "ok"))
        assert.same({ [200] = 60, [503] = 12 }, e2e.ask(gw, 72))
        assert.equal(24, b:since())
    end)

    it("is out does not take a second with it", function()
        local gw, a, b, c = behind(EJECT)
        b:die()
        assert.same({ [200] = 25, [502] = 5 }, e2e.ask(gw, 30))
        c:die()
        a:since()
        assert.same({ [200] = 20, [502] = 20 }, e2e.ask(gw, 40))
        assert.equal(20, a:since())
    end)
end)

describe("of three hosts chosen by latency, one that", function()
    local EWMA = { balance = "peak_ewma", slow_start = "0s" }
    --- Latencies are what `takes` makes them: a busy machine adds next to nothing.
    local SLOW = { slow = 1000 }

    local function takes(ms, status)
        return function(_, server)
            server.gateway:advance(ms)
            return e2e.message(status or 200, server.name)
        end
    end

    --- As latencies do: without this a microsecond decides which of two is the faster.
    local function varies()
        local count = 0
        return function(_, server)
            count = count + 1
            server.gateway:advance(7 + count * 5 % 7)
            return e2e.message(200, server.name)
        end
    end

    --- After so many answers that `b` is known to be the fastest, and asked for whenever it can be.
    local function known()
        local gw, a, b, c = e2e.behind(EWMA, SLOW)
        for _, server in ipairs { a, b, c } do
            server.gateway = gw
            server:does(takes(server == b and 1 or 20))
        end
        assert.same({ [200] = 60 }, e2e.ask(gw, 60))
        assert.is_true(b:since() > 20)
        return gw, b
    end

    it("becomes slow is asked once more", function()
        local gw, b = known()
        b:does(takes(400))
        assert.same({ [200] = 60 }, e2e.ask(gw, 60))
        assert.equal(1, b:since())
    end)

    it("fails fast draws no traffic by it", function()
        local gw, b = known()
        b:does(takes(0, 503))
        assert.same({ [200] = 59, [503] = 1 }, e2e.ask(gw, 60))
    end)

    it("refuses is asked once more, and again when that is long ago", function()
        local gw, b = known()
        b:die()
        assert.same({ [200] = 59, [502] = 1 }, e2e.ask(gw, 60))
        b:revive()
        gw:advance(300000)
        assert.same({ [200] = 60 }, e2e.ask(gw, 60))
        assert.is_true(b:since() > 20)
    end)

    for name, policies in pairs {
        ["on its own"] = {},
        ["with retries"] = { retry = { backoff = "1ms", budget = "100%" } },
        ["and ejected"] = { eject = { consecutive = 1, base = "2s", interval = "1s" } },
    } do
        it("is gone for two seconds has its share again when it has started, " .. name, function()
            policies.balance = "peak_ewma"
            local gw, a, b, c = e2e.behind(policies, SLOW)
            for _, server in ipairs { a, b, c } do
                server.gateway = gw
                server:does(varies())
            end
            e2e.ask(gw, 300)
            assert.is_true(b:since() > 0)
            b:die()
            local told = e2e.ask(gw, 200)
            assert.is_true((told[502] or 0) <= 3)
            assert.equal(0, b:since())
            b:revive()
            assert.is_true(e2e.ask(gw, 2400)[200] >= 2398) -- 24 seconds
            assert.is_true(b:since() > 200)
        end)
    end
end)

describe("with everything on as it comes, one of three hosts that", function()
    local on = e2e.json.map()

    local troubles = {
        { "refuses", function(b) b:die() end },
        { "answers 503 at once", function(b) b:does "fail" end },
        { "resets", function(b) b:does "reset" end },
        { "closes", function(b) b:does "close" end },
        { "flaps", function(b) b:does(e2e.habits.turns(3, "fail", "ok")) end },
        { "refuses and comes back", function(b)
            local seen = 0
            b:does(function(_, server)
                seen = seen + 1
                if seen % 5 > 0 then return e2e.message(200, server.name) end
                b:die():revive()
                return "hang"
            end)
        end },
    }
    for _, trouble in ipairs(troubles) do
        it(trouble[1] .. " is noticed by no client", function()
            local gw, a, b, c = e2e.behind({ breaker = on, retry = on, eject = on, adaptive = on, throttle = on },
                { workers = 2 })
            assert.same({ [200] = 100 }, e2e.ask(gw, 100, { at_once = 4 }))
            trouble[2](b)
            assert.same({ [200] = 400 }, e2e.ask(gw, 400, { at_once = 4 }))
            assert.is_true(a:since() + c:since() > 300)
        end)
    end
end)
