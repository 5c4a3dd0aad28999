-- A reload changes policies while they have something to remember: what they know is kept, and clamped to what is new.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local GET = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: k\r\n\r\n"

local function asked(gw, n)
    return e2e.ask(gw, n, { request = function() return GET end })[200] or 0
end

describe("a reload", function()
    --- A gateway whose limiter is `first`; `again` makes it another one, with the same servers behind.
    local function limited(first)
        local gw = e2e.behind({}, { names = { "up" }, limiters = { per_key = first },
            route = { plugins = { { limit = "per_key" } } } })
        local function again(limiter)
            gw.opts.limiters = { per_key = limiter }
            assert.equal("ok", gw:reload(gw.opts))
        end
        return gw, again
    end

    local function bucket(burst)
        return { key = "header:x-key", rate = "1/h", burst = burst }
    end

    it("leaves a key what it has spent", function()
        local gw, again = limited(bucket(10))
        assert.equal(4, asked(gw, 4))
        again(bucket(10))
        assert.equal(6, asked(gw, 20))
    end)

    it("to a larger burst gives no more than the difference", function()
        local gw, again = limited(bucket(10))
        assert.equal(10, asked(gw, 20))
        again(bucket(15))
        assert.equal(5, asked(gw, 20))
    end)

    it("to a smaller burst leaves no more than that", function()
        local gw, again = limited(bucket(10))
        assert.equal(2, asked(gw, 2))
        again(bucket(3))
        assert.is_true(asked(gw, 20) <= 3)
        gw:advance(3600000)
        assert.equal(1, asked(gw, 20))
    end)

    it("that is refused leaves every key what it had", function()
        local gw = limited(bucket(4))
        assert.equal(4, asked(gw, 10))
        local taken = e2e.upstream()
        for _, wrong in ipairs {
            { listeners = { web = { bind = "127.0.0.1:0" }, more = { bind = "127.0.0.1:" .. taken.port } } },
            { routs = 1 },
            { plugins = { broken = { use = "./nowhere" } } },
            { observability = { access_log = { to = "nowhere/at/all.log" } } },
        } do
            gw.opts.limiters = { per_key = bucket(1) }
            gw.opts.extra = wrong
            assert.equal("refused", gw:reload(gw.opts))
            assert.equal(0, asked(gw, 5))
        end
        gw.opts.extra = nil
        gw.opts.limiters = { per_key = bucket(6) }
        assert.equal("ok", gw:reload(gw.opts))
        assert.equal(2, asked(gw, 10))
    end)

    it("to another algorithm starts from what its key had used", function()
        local gw, again = limited(bucket(10))
        assert.equal(4, asked(gw, 4))
        again { algorithm = "fixed_window", key = "header:x-key", quota = 10, window = "1d" }
        assert.equal(6, asked(gw, 20))
        again { algorithm = "sliding_window", key = "header:x-key", quota = 12, window = "1d" }
        assert.equal(2, asked(gw, 20))
    end)

    it("leaves an open breaker open", function()
        local gw, up = e2e.behind({ breaker = { mode = "consecutive", consecutive_failures = 3, open_for = "30s",
            open_jitter = "0%" } }, { names = { "up" } })
        up:does "fail"
        assert.same({ [503] = 5 }, e2e.ask(gw, 5))
        up:does "ok"
        assert.equal(3, up:since())
        gw.opts.service.breaker.consecutive_failures = 7
        gw.opts.service.first_byte_timeout = "10s"
        assert.equal("ok", gw:reload(gw.opts))
        assert.same({ [503] = 5 }, e2e.ask(gw, 5))
        gw:advance(30500)
        assert.same({ [200] = 5 }, e2e.ask(gw, 5))
    end)

    it("leaves out who is out, and knows hosts by their address", function()
        local gw, a, b, c = e2e.behind({ balance = "round_robin", slow_start = "0s",
            eject = { consecutive = 5, base = "30s" } })
        b:does "fail"
        assert.same({ [200] = 25, [503] = 5 }, e2e.ask(gw, 30))
        b:does "ok"
        b:since()
        gw.opts.service.endpoints = { { url = c:url() }, { url = b:url() }, { url = a:url() } }
        assert.equal("ok", gw:reload(gw.opts))
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(0, b:since())
        gw:advance(30500)
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.is_true(b:since() >= 9)
    end)

    it("that takes a host away sends it nothing, and a new one gets its part", function()
        local gw, a, b, c = e2e.behind({ balance = "round_robin", slow_start = "0s" }, { names = { "a", "b", "c" } })
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        gw.opts.service.endpoints = { { url = a:url() }, { url = b:url() } }
        assert.equal("ok", gw:reload(gw.opts))
        c:since()
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(0, c:since())
        gw.opts.service.endpoints = { { url = a:url() }, { url = b:url() }, { url = c:url() } }
        assert.equal("ok", gw:reload(gw.opts))
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.is_true(c:since() >= 9)
    end)

    it("while load runs fails nobody", function()
        local gw = e2e.behind({ breaker = e2e.json.map(), retry = e2e.json.map(), eject = e2e.json.map(),
            adaptive = e2e.json.map() }, { workers = 2 })
        local load = e2e.load(gw, { at_once = 8 })
        for i = 1, 6 do
            gw.opts.service.balance = ({ "round_robin", "peak_ewma", "maglev" })[i % 3 + 1]
            assert.equal("ok", gw:reload(gw.opts))
        end
        local counts = load:stop():await()
        assert.equal(counts[200], load.sent)
    end)
end)
