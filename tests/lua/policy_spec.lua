--- Policies in a plugin's hands: reservations, breakers, and what ctx.service shows.
local machine = require("tests.lua.machine")
local running = require("moongate.sdk.running")
local mg = require("moongate.sdk.init")

--- Runs a handler as a whole request; what it returned.
local function with(handler)
    local seen
    local m = machine.of(function(ctx, next)
        seen = { handler(ctx, next) }
        if ctx.response.status == 0 then
            ctx:respond(200)
        end
    end)
    local _, err = m:run()
    assert(not err, err and err.message)
    return unpack(seen, 1, 8)
end

local function problem_of(handler)
    local m = machine.of(handler)
    local _, err = m:run()
    return assert(err, "it did not raise").message
end

--- Makes something as a plugin does in new.
local function made(make)
    running.here.plugin = 0
    local one = make()
    running.here.plugin = -1
    return one
end

describe("ctx.limit:reserve", function()
    it("grants at once, later, or not at all", function()
        local first, second, third, refused, retry_ms = with(function(ctx)
            local a = ctx.limit:reserve("orders", "k")
            local b = ctx.limit:reserve("orders", "k")
            local c = ctx.limit:reserve("orders", "k")
            return a, b, c, ctx.limit:reserve("orders", "k", 1)
        end)
        assert.same({ 0, 0, 0.1 }, { first.wait, second.wait, third.wait })
        assert.same({ 1, 0, 0 }, { first.remaining, second.remaining, third.remaining })
        assert.is_nil(refused)
        assert.equal(200, retry_ms)
    end)

    it("waits for as long as its caller says, where that is said", function()
        local now, later, never = with(function(ctx)
            ctx.limit:take("orders", "k", 2)
            local none = ctx.limit:reserve("orders", "k", 1, 0)
            return none, ctx.limit:reserve("orders", "k", 2, 0.2), select(2, ctx.limit:reserve("orders", "k", 3))
        end)
        assert.is_nil(now)
        assert.equal(0.2, later.wait)
        assert.equal(-1, never)
    end)

    it("goes back when the request ends, and stays where it was committed", function()
        local m
        local left = {}
        m = machine.of(function(ctx)
            local _, remaining = ctx.limit:take("orders", "k", 0)
            left[#left + 1] = remaining
            local one = assert(ctx.limit:reserve("orders", "k", 2))
            if #left == 2 then
                assert.is_true(one:commit())
                assert.is_false(one:commit())
                assert.is_false(one:cancel())
            elseif #left == 3 then
                assert.is_true(one:cancel())
                assert.is_false(one:cancel())
            end
            ctx:respond(200)
        end)
        m:run()
        m:run()
        machine.lib.mg_support_advance(m.fixture, 0.2)
        m:run()
        m:run()
        assert.same({ 2, 2, 2, 2 }, left)
    end)

    it("stands round next: who gets nothing for it is not charged", function()
        local statuses, left = {}, {}
        local m = machine.of(function(ctx, next)
            local turn = ctx.limit:reserve("orders", "k")
            if not turn then
                return ctx:respond(429, { title = "Too many orders" })
            end
            next(ctx)
            statuses[#statuses + 1] = ctx.response.status
            if ctx.response.status >= 500 then
                turn:cancel()
            else
                turn:commit()
            end
            left[#left + 1] = select(2, ctx.limit:take("orders", "k", 0))
        end)
        for _, status in ipairs({ 503, 200 }) do
            assert.equal("NEXT", m:begin())
            machine.lib.mg_support_answer(m.fixture, status)
            assert.equal("DONE", m:resume())
        end
        assert.same({ 503, 200 }, statuses)
        assert.same({ 2, 1 }, left)
    end)

    it("is cancelled and committed by ctx.limit, too", function()
        assert.same({ true, false, true }, { with(function(ctx)
            local a = ctx.limit:reserve("orders", "k")
            local cancelled, again = ctx.limit:cancel(a), ctx.limit:cancel(a)
            return cancelled, again, ctx.limit:commit(ctx.limit:reserve("orders", "k"))
        end) })
    end)

    it("gives nothing back that others were charged behind", function()
        assert.is_false((with(function(ctx)
            local one = ctx.limit:reserve("orders", "k")
            ctx.limit:take("orders", "k")
            return one:cancel()
        end)))
    end)

    it("is of its own request: kept for another one it does nothing", function()
        local kept
        local m = machine.of(function(ctx)
            if kept then
                assert.is_false(kept:cancel())
                assert.is_false(kept:commit())
            end
            kept = ctx.limit:reserve("desks", "k")
            ctx:respond(200)
        end)
        assert.equal("DONE", m:run())
        assert.equal("DONE", m:run())
        assert.equal("DONE", m:run())
        assert.is_not_nil(kept)
    end)

    it("holds permits until the request ends, committed or not", function()
        local m = machine.of(function(ctx)
            local a, b = ctx.limit:reserve("desks", "k"), ctx.limit:reserve("desks", "k")
            assert.is_nil((ctx.limit:reserve("desks", "k")))
            assert.is_false((ctx.limit:take("desks", "k")))
            assert.is_true(a:commit())
            assert.is_true(b:cancel())
            assert.is_true((ctx.limit:take("desks", "k")))
            ctx:respond(200)
        end)
        assert.equal("DONE", m:run())
        assert.equal("DONE", m:run())
    end)

    it("takes a limiter that the plugin made", function()
        local m
        local waits = {}
        m = machine.of(function(ctx)
            local turn = assert(m.limiter:reserve("k"))
            waits[1] = turn.wait
            waits[2] = assert(ctx.limit:reserve(m.limiter, "k", 1, 1)).wait
            assert.is_nil((m.limiter:reserve("k", 1, 0.05)))
            ctx:respond(200)
        end)
        m.limiter = made(function()
            return mg.limiter({ rate = "10/s", burst = 1 })
        end)
        assert.equal("DONE", m:run())
        assert.same({ 0, 0.1 }, waits)
    end)

    it("goes by the mode: shadow lets pass, deny does not", function()
        local shadowed, held, denied, retry_ms = with(function(ctx)
            ctx.limit:take("tried", "k")
            local turn = ctx.limit:reserve("tried", "k")
            return turn ~= nil, turn:cancel(), ctx.limit:reserve("shut", "k")
        end)
        assert.is_true(shadowed)
        assert.is_false(held)
        assert.is_nil(denied)
        assert.equal(-1, retry_ms)
    end)

    it("has an end: a request holds 64", function()
        assert.truthy(problem_of(function(ctx)
            for i = 1, 65 do
                ctx.limit:reserve("orders", "k" .. i)
            end
        end):find("at most 64"))
        assert.is_true((with(function(ctx)
            for i = 1, 200 do
                ctx.limit:reserve("orders", "k" .. i):cancel()
            end
            return true
        end)))
    end)

    it("refuses what makes no sense, at the plugin's line", function()
        for text, handler in pairs({
            ["a key is a string"] = function(ctx) local a = ctx.limit:reserve("orders", 1) return a end,
            ["a cost is a number"] = function(ctx) local a = ctx.limit:reserve("orders", "k", -1) return a end,
            ["the longest wait"] = function(ctx) local a = ctx.limit:reserve("orders", "k", 1, "1s") return a end,
            ["no limiter of the configuration"] = function(ctx) local a = ctx.limit:reserve("none", "k") return a end,
            ["this is not a reservation"] = function(ctx)
                local a = ctx.limit:reserve("orders", "k").cancel({})
                return a
            end,
        }) do
            local problem = problem_of(handler)
            assert.truthy(problem:find(text, 1, true), problem)
            assert.truthy(problem:find("^%S*policy_spec.lua:%d+: "), problem)
        end
        local m = machine.of(function() end)
        local limiter = made(function()
            return mg.limiter({ rate = "1/s" })
        end)
        local ok, problem = pcall(limiter.reserve, limiter, "k")
        assert.is_false(ok)
        assert.truthy(problem:find("works only while a request is served"), problem)
        assert.is_not_nil(m)
    end)
end)

describe("ctx.limit:take", function()
    it("takes a limiter of the configuration by its name", function()
        assert.same({ true, 1, 0 }, { with(function(ctx)
            local allowed, remaining, retry_ms = ctx.limit:take("orders", "k")
            return allowed, remaining, retry_ms
        end) })
    end)

    it("does not go ahead of a queue", function()
        local first, second = with(function(ctx)
            return (ctx.limit:take("queue", "k")), (ctx.limit:take("queue", "k"))
        end)
        assert.is_true(first)
        assert.is_false(second)
    end)
end)

describe("a limiter of the configuration that a plugin names in new", function()
    --- A request of a handler that has such a limiter, and one that the plugin made.
    local function with_both(name, handler)
        local configured, own
        local m = machine.of(function(ctx)
            handler(ctx, configured, own)
            ctx:respond(200)
        end)
        made(function()
            configured, own = mg.limiter(name), mg.limiter({ name = "twin", rate = 10, burst = 2 })
        end)
        local _, err = m:run()
        return err and err.message
    end

    it("answers to what one of the plugin's own answers to", function()
        assert.is_nil(with_both("orders", function(ctx, configured, own)
            for _, one in ipairs({ configured, own }) do
                assert.same({ true, 1, 0, 100 }, { one:take("k") })
                assert.same({ true, 1, 0, 100 }, { one:take("k", 0) })
                local turn = one:reserve("k")
                assert.same({ 0, 0 }, { turn.wait, turn.remaining })
                assert.is_true(turn:cancel())
                assert.same({ true, 0, 0, 200 }, { ctx.limit:take(one, "k") })
                assert.is_nil((one:reserve("k", 1, 0)))
                local allowed, remaining, retry_ms, reset_ms = one:take("k")
                assert.same({ false, 0, 100, 200 }, { allowed, remaining, retry_ms, reset_ms })
                local _, state = one:fields(remaining, retry_ms, reset_ms)
                assert.equal(one == own and '"twin";r=0;t=1' or '"orders";r=0;t=1', state)
            end
        end))
    end)

    it("is the one that its name means, with its key's charges and its max_wait", function()
        assert.is_nil(with_both("orders", function(ctx, configured)
            ctx.limit:take("orders", "k", 2)
            assert.is_false((configured:take("k")))
            local turn = configured:reserve("k")
            assert.equal(0.1, turn.wait)
            assert.is_nil((configured:reserve("k")))
            assert.is_true(turn:cancel())
            assert.equal(0.1, ctx.limit:reserve(configured, "k").wait)
        end))
    end)

    it("raises at the plugin's line where there is none of that name", function()
        for text, handler in pairs({
            ["take: no limiter of the configuration is named 'oders': did you mean 'orders'?"] = function(_, limiter)
                limiter:take("k")
            end,
            ["reserve: no limiter of the configuration is named 'oders'"] = function(_, limiter)
                local a = limiter:reserve("k")
                return a
            end,
            ["fields: the limiter has not been taken from"] = function(_, limiter)
                local a = limiter:fields(1, 1, 1)
                return a
            end,
        }) do
            local problem = with_both("oders", handler)
            assert.truthy(problem and problem:find(text, 1, true), problem)
            assert.truthy(problem:find("^%S*policy_spec.lua:%d+: "), problem)
        end
        local configured = made(function() return mg.limiter("orders") end)
        local ok, problem = pcall(configured.take, configured, "k")
        assert.is_false(ok)
        assert.truthy(problem:find("works only while a request is served", 1, true), problem)
    end)
end)

describe("ctx.breaker", function()
    it("is that of a service by its name", function()
        local m = machine.of(function(ctx)
            for _ = 1, 2 do
                assert.same({ nil, "down" }, { ctx.breaker:run("cart", function()
                    return nil, "down"
                end) })
            end
            assert.same({ nil, "open" }, { ctx.breaker:run("cart", function()
                return 1
            end) })
            assert.is_nil(ctx.breaker:ask("cart"))
            assert.equal("open", ctx.service.breaker)
            assert.equal(5, ctx.service.retry_after)
            ctx:respond(200)
        end)
        local wait, err = m:run()
        assert.equal("DONE", wait, err and err.message)
    end)

    it("is that of the request's own service when none is named", function()
        with(function(ctx)
            local ticket = assert(ctx.breaker:ask())
            assert.is_true(ctx.breaker:finish(ticket, "fail"))
            assert.is_false(ctx.breaker:finish(ticket, "fail"))
            assert.equal(7, (ctx.breaker:run(function(n) return n end, 7)))
            for _ = 1, 2 do
                assert.is_true(ctx.breaker:finish("cart", ctx.breaker:ask("cart"), "fail"))
            end
            assert.is_nil(ctx.breaker:ask())
        end)
    end)

    it("lets everything through where a service has none", function()
        assert.same({ 1, true, false }, { with(function(ctx)
            local ticket = ctx.breaker:ask("plain")
            return ctx.breaker:run("plain", function(n) return n end, 1), ticket ~= nil,
                ctx.breaker:finish("plain", ticket, "ok")
        end) })
    end)

    it("ends what was asked when its request ends, as if nothing had been learnt", function()
        local breaker
        local m = machine.of(function(ctx)
            local ticket = breaker:ask()
            ctx:respond(ticket and 200 or 503)
        end)
        breaker = made(function()
            return mg.breaker({ failures = 1, open_for = 1, probes = 1, jitter = 0 })
        end)
        breaker:finish(assert(breaker:ask()), "fail")
        machine.lib.mg_support_advance(m.fixture, 1)
        assert.equal("DONE", m:run()) -- asks, and forgets its probe
        machine.lib.mg_support_begin(m.fixture)
        assert.equal("half_open", breaker:state())
        assert.is_not_nil(breaker:ask())
    end)

    it("refuses names that no service has", function()
        assert.truthy(problem_of(function(ctx)
            ctx.breaker:run("nowhere", print)
        end):find("no service is named 'nowhere'"))
    end)
end)

describe("ctx.service", function()
    it("shows the service of the request", function()
        with(function(ctx)
            local service = ctx.service
            assert.equal("cart", service.name)
            assert.equal("cart", tostring(service))
            assert.same({ 2, 2, 0, false }, { service.size, service.healthy, service.inflight, service.panic })
            assert.same({ "closed", 0 }, { service.breaker, service.retry_after })
            assert.same({
                authority = "10.0.0.12:9000", health = "unknown", ejected = false, healthy = true, usable = true,
                weight = 3, inflight = 0,
            }, service.hosts[2])
            assert.equal(2, #service.hosts)
        end)
    end)

    it("shows others by name", function()
        with(function(ctx)
            local plain = ctx.service("plain")
            assert.equal("plain", plain.name)
            assert.equal(1, plain.size)
            assert.is_nil(plain.breaker)
            assert.same({ nil, "no service is named 'nowhere'" }, { ctx.service("nowhere") })
        end)
    end)

    it("cannot be changed, and has no more than it has", function()
        for _, handler in ipairs({
            function(ctx) ctx.service.name = "other" end,
            function(ctx) local weights = ctx.service.weights return weights end,
            function(ctx) local other = ctx.service(1) return other end,
        }) do
            assert.truthy(problem_of(handler):find("^%S*policy_spec.lua:%d+: ctx.service"), problem_of(handler))
        end
    end)

    it("is for the time of a request", function()
        local kept
        with(function(ctx)
            kept = ctx.service
        end)
        local ok, problem = pcall(function() return kept.healthy end)
        assert.is_false(ok)
        assert.truthy(problem:find("works only while a request is served", 1, true), problem)
    end)
end)
