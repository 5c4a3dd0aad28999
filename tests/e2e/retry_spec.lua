-- Tries after the first: at other hosts, within the budget, with the same body, in what is left of the time.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- One server, and retries of 503 that do not wait.
local function storm(own, opts)
    local retry = { attempts = 3, on = { "503" }, budget = "10%", min_per_second = 0, backoff = "1ms",
        backoff_max = "1ms" }
    for key, value in pairs(own or {}) do retry[key] = value end
    opts = opts or {}
    opts.names = opts.names or { "up" }
    return e2e.behind({ balance = "round_robin", slow_start = "0s", retry = retry }, opts)
end

local function post(body, method)
    local bytes = string.format("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", method, #body, body)
    return { request = function() return bytes end }
end

describe("a retry storm", function()
    it("is a tenth more than the requests, to the last", function()
        local gw, up = storm()
        up:does "fail"
        assert.same({ [503] = 200 }, e2e.ask(gw, 200))
        assert.equal(220, up:since())
    end)

    it("is no more when requests come at once", function()
        local gw, up = storm()
        up:does "fail"
        assert.same({ [503] = 400 }, e2e.ask(gw, 400, { at_once = 32 }))
        assert.is_true(up.seen <= 440 and up.seen >= 430, "seen " .. up.seen)
    end)

    it("has a floor for quiet upstreams", function()
        local gw, up = storm { min_per_second = 3 }
        up:does "fail"
        assert.same({ [503] = 100 }, e2e.ask(gw, 100))
        assert.equal(100 + 10 + 30, up:since())
    end)

    it("lives on the requests of ten seconds, not on older ones", function()
        local gw, up = storm()
        assert.same({ [200] = 100 }, e2e.ask(gw, 100))
        gw:advance(11000)
        up:since()
        up:does "fail"
        assert.same({ [503] = 50 }, e2e.ask(gw, 50))
        assert.equal(55, up:since())
    end)

    it("has no more tries than are allowed", function()
        local gw, up = storm { budget = "100%", min_per_second = 1000 }
        up:does "fail"
        assert.same({ [503] = 10 }, e2e.ask(gw, 10))
        assert.equal(30, up:since())
    end)
end)

describe("a second try", function()
    local FREE = { budget = "100%", min_per_second = 1000, attempts = 2, on = { "connect_error", "reset", "503" } }

    it("goes to another host, and clients notice nothing", function()
        for _, trouble in ipairs { "fail", "reset", "die" } do
            local gw, a, b, c = storm(FREE, { names = { "a", "b", "c" } })
            if trouble == "die" then b:die() else b:does(trouble) end
            assert.same({ [200] = 60 }, e2e.ask(gw, 60))
            assert.equal(60, a.seen + c.seen)
            assert.is_true(trouble == "die" or b.seen >= 15)
            e2e.finish()
        end
    end)

    it("says that it is one", function()
        local gw, a, b = storm(FREE, { names = { "a", "b" } })
        a:does "fail"
        b:does "fail"
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        local tries = { a.last.fields["x-moongate-attempt"] or "1", b.last.fields["x-moongate-attempt"] or "1" }
        table.sort(tries)
        assert.same({ "1", "2" }, tries)
    end)

    it("is not made for what may not be repeated", function()
        local gw, up = storm(FREE)
        up:does "fail"
        assert.same({ [503] = 5 }, e2e.ask(gw, 5, post("pay", "POST")))
        assert.equal(5, up:since())
    end)

    it("is made for it when no byte was sent", function()
        local gw, a, b = storm(FREE, { names = { "a", "b" } })
        a:die()
        assert.same({ [200] = 10 }, e2e.ask(gw, 10, post("pay", "POST")))
        assert.equal(10, b:since())
    end)

    it("brings the whole body again", function()
        local gw, a, b = storm(FREE, { names = { "a", "b" } })
        local body = e2e.stream.text(20000)
        a:does "fail"
        b:does "fail"
        assert.same({ [503] = 1 }, e2e.ask(gw, 1, post(body, "PUT")))
        assert.is_true(a.last.body == body and b.last.body == body)
    end)

    it("waits for no answer that may come later than its time", function()
        local gw, up = storm(FREE, { route = { timeout = "2s" } })
        up:does(function(_, server)
            gw:advance(1995)
            return e2e.message(503, server.name)
        end)
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        assert.equal(1, up:since())
    end)

    it("is not asked of a breaker that is open", function()
        local gw, up = e2e.behind({ retry = { attempts = 6, on = { "503" }, budget = "100%", min_per_second = 1000,
            backoff = "1ms" }, breaker = { mode = "consecutive", consecutive_failures = 3 } }, { names = { "up" } })
        up:does "fail"
        assert.same({ [503] = 1 }, e2e.ask(gw, 1))
        assert.equal(3, up:since())
    end)

    it("leaves a host that hangs when its own time is over", function()
        local gw, a, b = e2e.behind({ balance = "round_robin", slow_start = "0s", retry = { budget = "100%",
            min_per_second = 1000, per_try_timeout = "600ms", backoff = "1ms", on = { "504" } } },
            { names = { "a", "b" } })
        a:does "hang"
        local load = e2e.load(gw, { count = 2, at_once = 2 })
        e2e.eventually("one to hang", function() return a.seen == 1 and load.counts[200] == 1 end)
        gw:advance(700)
        assert.same({ [200] = 2 }, load:await())
        assert.equal(2, b.seen)
    end)

    it("is not made for a client that has left", function()
        local gw, a, b = storm(FREE, { names = { "a", "b" } })
        a:does "hang"
        b:does "hang"
        local client = gw:send(e2e.GET)
        e2e.eventually("the first try", function() return a.seen + b.seen == 1 end)
        client:reset()
        gw:await_metric("moongate_http_requests_total", {}, 1)
        a:die()
        b:die()
        a:revive():does "ok"
        b:revive():does "ok"
        assert.same({ [200] = 4 }, e2e.ask(gw, 4))
        assert.equal(1 + 4, a.seen + b.seen)
    end)
end)
