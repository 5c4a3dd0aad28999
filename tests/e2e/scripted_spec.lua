-- The harness' own means: servers that answer by themselves, and a gateway whose clocks a spec moves.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

describe("a scripted server", function()
    it("answers, fails, resets, refuses and comes back as it is told", function()
        local gw, up = e2e.behind({}, { names = { "up" } })
        assert.same({ [200] = 20 }, e2e.ask(gw, 20, { at_once = 4 }))
        up:does "fail"
        assert.same({ [503] = 5 }, e2e.ask(gw, 5))
        up:does "reset"
        assert.same({ [502] = 5 }, e2e.ask(gw, 5))
        up:die()
        assert.same({ [502] = 5 }, e2e.ask(gw, 5))
        up:revive():does(e2e.habits.turns(2, "ok", "fail"))
        assert.same({ [200] = 4, [503] = 4 }, e2e.ask(gw, 8))
    end)
end)

describe("a moved clock", function()
    it("is what the gateway goes by", function()
        local gw, up = e2e.behind({}, { names = { "up" }, route = { timeout = "60s" } })
        up:does "hang"
        local client = gw:send(e2e.GET)
        e2e.eventually("the request", function() return up.seen == 1 end)
        gw:advance(61000)
        local other = gw:client() -- wakes it
        assert.equal(504, client:response().status)
        other:close()
    end)

    it("may step back without any time having passed", function()
        local gw = e2e.behind({}, { names = { "up" }, access_log = true })
        local function hour_of_next()
            assert.same({ [200] = 1 }, e2e.ask(gw, 1))
            local line = gw:access()
            assert.is_true(line.duration_s < 60)
            return tonumber(line.time:match "T(%d%d)")
        end
        local hour = hour_of_next()
        gw:step_wall(-5 * 3600000)
        local back = (hour - hour_of_next()) % 24
        assert.is_true(back == 4 or back == 5, "went back by " .. back)
    end)
end)
