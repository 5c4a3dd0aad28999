-- What the metrics say of policies, on the real binary, where the numbers are determined.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- Which state the metric names, of the breaker of the one service.
local function state_of(gw)
    local found = {}
    for _, state in ipairs { "closed", "open", "half_open" } do
        if gw:metric("circuit_breaker_state", { service = "up", state = state }) == 1 then found[#found + 1] = state end
    end
    return table.concat(found, " and ")
end

describe("the metrics", function()
    it("follow a breaker through its states", function()
        local gw, up = e2e.behind({ breaker = { min_requests = 20, open_for = "5s", open_jitter = "0%" } },
            { names = { "up" } })
        assert.equal("closed", state_of(gw))
        up:does "fail"
        assert.same({ [503] = 50 }, e2e.ask(gw, 50))
        assert.equal("open", state_of(gw))
        assert.equal(30, gw:metric("circuit_breaker_calls_total", { service = "up", outcome = "rejected" }))
        assert.equal(20, gw:metric("circuit_breaker_calls_total", { service = "up", outcome = "failed" }))
        assert.equal(1, gw:metric("moongate_breaker_transitions_total", { service = "up", to = "open" }))
        up:does "ok"
        gw:advance(5010)
        assert.same({ [200] = 1 }, e2e.ask(gw, 1))
        assert.equal("half_open", state_of(gw))
        assert.same({ [200] = 2 }, e2e.ask(gw, 2))
        assert.equal("closed", state_of(gw))
        assert.equal(3, gw:metric("circuit_breaker_calls_total", { service = "up", outcome = "success" }))
    end)

    it("tell retries that were sent from those that the budget stopped", function()
        local gw, up = e2e.behind({ retry = { attempts = 2, on = { "503" }, min_per_second = 0, backoff = "1ms" } },
            { names = { "up" } })
        up:does "fail"
        assert.same({ [503] = 100 }, e2e.ask(gw, 100))
        assert.equal(10, gw:metric("moongate_upstream_retries_total", { service = "up", outcome = "sent" }))
        assert.equal(90, gw:metric("moongate_upstream_retries_total", { service = "up", outcome = "budget" }))
    end)

    it("tell who is out", function()
        local gw, _, b = e2e.behind { balance = "round_robin", eject = e2e.json.map {} }
        assert.equal(0, gw:metric("moongate_upstream_hosts", { service = "up", state = "ejected" }))
        b:die()
        e2e.ask(gw, 30)
        assert.equal(1, gw:metric("moongate_upstream_hosts", { service = "up", state = "ejected" }))
    end)

    it("say nothing of what has gone, but keep what was counted", function()
        local gw, up = e2e.behind({ breaker = { mode = "consecutive", open_for = "30s" }, adaptive = e2e.json.map {} },
            { names = { "up" } })
        up:does "fail"
        e2e.ask(gw, 8)
        assert.equal("open", state_of(gw))
        gw.opts.service.breaker.per = "route"
        assert.equal("ok", gw:reload(gw.opts))
        assert.equal("closed", state_of(gw))
        gw.opts.service.breaker, gw.opts.service.adaptive = nil, nil
        assert.equal("ok", gw:reload(gw.opts))
        assert.is_nil(gw:metric "circuit_breaker_state")
        assert.is_nil(gw:metric "moongate_adaptive_limit")
        assert.equal(5, gw:metric("circuit_breaker_calls_total", { service = "up", route = "", outcome = "failed" }))
    end)
end)
