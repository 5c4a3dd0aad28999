-- Why a request was not served: each reason has its status, its Retry-After, a line in the log that names it, and an
-- answer that names nothing.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local WORDS = { "breaker", "adaptive", "throttle", "concurren", "pool", "ejected", "127.0.0.1", "%f[%a]up%f[%A]" }

--- The one answer that counts, and the log's line of it: `status`, `retry_s` (nil: none), `reason`.
local function assert_refused(gw, answer, status, retry_s, reason)
    assert.equal(status, answer.status)
    assert.equal(retry_s and tostring(retry_s), answer.fields["retry-after"])
    assert.equal("application/problem+json", answer.fields["content-type"])
    assert.is_truthy(answer.fields["x-request-id"])
    for _, word in ipairs(WORDS) do assert.is_nil(answer.body:lower():find(word), word .. " in " .. answer.body) end
    local line
    repeat line = gw:access() until line.status == status
    assert.equal(reason, line.error)
end

local function behind(policies, opts)
    opts = opts or {}
    opts.names = opts.names or { "up" }
    opts.access_log = true
    return e2e.behind(policies, opts)
end

--- So many requests that hang upstream.
local function hanging(gw, up, n)
    up:does "hang"
    e2e.load(gw, { count = n, at_once = n })
    e2e.eventually(n .. " requests to hang", function() return up.seen == n end)
end

describe("the reason", function()
    it("rate_limit is a 429 with the time until the next token", function()
        local gw = behind({}, { limiters = { l = { key = "ip", rate = "1/m", burst = 1 } },
            route = { plugins = { { limit = "l" } } } })
        assert.same({ [200] = 1 }, e2e.ask(gw, 1))
        local answer = gw:ask(GET)
        assert.equal('"l";q=1;w=60', answer.fields["ratelimit-policy"])
        assert.equal('"l";r=0;t=60', answer.fields["ratelimit"])
        assert_refused(gw, answer, 429, 60, "rate_limit")
    end)

    it("concurrency is a 503, of a service's bound", function()
        local gw, up = behind { breaker = { max_concurrent = 2 } }
        hanging(gw, up, 2)
        assert_refused(gw, gw:ask(GET), 503, 1, "concurrency")
    end)

    it("concurrency is a 503, of a limiter's", function()
        local gw, up = behind({}, { limiters = { l = { algorithm = "concurrency", key = "global", quota = 2 } },
            route = { plugins = { { limit = "l" } } } })
        hanging(gw, up, 2)
        assert_refused(gw, gw:ask(GET), 503, 1, "concurrency")
    end)

    it("adaptive is a 503", function()
        local gw, up = behind { adaptive = { initial = 3, min = 3, max = 3 } }
        hanging(gw, up, 3)
        assert_refused(gw, gw:ask(GET), 503, 1, "adaptive")
    end)

    it("throttle is a 503, and spares most of what comes", function()
        local gw, up = behind { throttle = e2e.json.map() }
        up:does "fail"
        assert.same({ [503] = 1000 }, e2e.ask(gw, 1000))
        assert.is_true(up.seen < 350, up.seen .. " came through")
        local answer
        repeat answer = gw:ask(GET) until answer.body ~= "up"
        assert.equal("1", answer.fields["retry-after"])
        local line
        repeat line = gw:access() until line.error
        assert.equal("throttle", line.error)
    end)

    it("pool is a 503", function()
        local gw, up = behind { pool = { max_connections = 1, queue = 0 } }
        hanging(gw, up, 1)
        assert_refused(gw, gw:ask(GET), 503, 1, "pool")
    end)

    it("no_host is a 503", function()
        local gw, up = behind { health = { interval = "50ms", unhealthy_after = 1 }, panic = "0%" }
        up:die()
        e2e.eventually("nobody to be up", function() return gw:ask(GET).status == 503 end)
        assert_refused(gw, gw:ask(GET), 503, 1, "no_host")
    end)

    it("breaker_open is a 503 with the time to the next probe", function()
        local gw, up = behind { breaker = { mode = "consecutive", consecutive_failures = 1, open_for = "5s",
            open_jitter = "0%" } }
        up:die()
        assert.same({ [502] = 1 }, e2e.ask(gw, 1))
        assert_refused(gw, gw:ask(GET), 503, 5, "breaker_open")
    end)

    it("upstream_connect and upstream_protocol are a 502 each", function()
        local gw, up = behind {}
        up:does(function() return "HTTP/1.1 twohundred\r\n\r\n" end)
        assert_refused(gw, gw:ask(GET), 502, nil, "upstream_protocol")
        up:die()
        assert_refused(gw, gw:ask(GET), 502, nil, "upstream_connect")
    end)

    it("upstream_timeout is a 504", function()
        local gw, up = behind({}, { route = { timeout = "60s" } })
        hanging(gw, up, 1)
        local client = gw:send(GET)
        e2e.eventually("both to hang", function() return up.seen == 2 end)
        gw:advance(15500)
        gw:client():close() -- wakes it
        assert_refused(gw, client:response(), 504, nil, "upstream_timeout")
    end)
end)
