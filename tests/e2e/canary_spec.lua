-- Two versions of a service behind one route: who gets which, and how the newer one comes in step by step. The
-- gateway's clock is moved; its rollouts look at it once a second, and all requests of an interval are answered
-- before it moves.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local SPLIT = { { service = "old" }, { service = "new", group = "canary" } }

local function rollout(own)
    local all = { to = "new", id = "r1", steps = { "10%", "50%", "100%" }, interval = "1m", min_requests = 100,
        max_errors = "2%", max_p99 = "30s", strikes = 2 }
    for key, value in pairs(own or {}) do all[key] = value end
    return all
end

local function routes(own)
    local route = { name = "shop", match = { paths = { { prefix = "/" } } }, backends = SPLIT,
        sticky = { by = "header:x-user" } }
    for key, value in pairs(own or {}) do route[key] = value end
    return { route }
end

--- A gateway in front of both versions, which answer with their names.
local function shop(route, extra)
    local old, new = e2e.server "old", e2e.server "new"
    local gw = e2e.gateway {
        clock = true,
        services = { old = { endpoints = { { url = old:url() } } }, new = { endpoints = { { url = new:url() } } } },
        routes = routes(route),
        extra = extra,
    }
    return gw, old, new
end

local function as_user(n, fields)
    return string.format("GET / HTTP/1.1\r\nHost: a\r\nX-User: u%d\r\n%s\r\n", n, fields or "")
end

local function to_canary(n) return as_user(n, "X-Abtest-Group: canary\r\n") end

--- One request of each of so many users: which user was answered by whom.
local function sides(gw, users)
    local by_user = {}
    e2e.ask(gw, users, {
        at_once = 8,
        request = function(n) return { bytes = as_user(n), user = n } end,
        each = function(request, status, _, body)
            assert.equal(200, status)
            by_user[request.user] = body
        end,
    })
    return by_user
end

local function count(by_user, side)
    local n = 0
    for _, body in pairs(by_user) do n = n + (body == side and 1 or 0) end
    return n
end

--- Lets an interval end, and waits until the rollout has been judged.
local function end_interval(gw, event)
    gw:advance(60 * 1000)
    return gw:log("rollout_" .. event)
end

describe("a split", function()
    it("goes by weight, and keeps a user on one side", function()
        local gw = shop { backends = { { service = "old", weight = 80 }, { service = "new", weight = 20 } } }
        local first = sides(gw, 400)
        local of_new = count(first, "new")
        assert.is_true(of_new > 50 and of_new < 110, of_new .. " of 400 went to the new one")
        assert.same(first, sides(gw, 400))
    end)

    it("moves only those whom a reload's weights have to move", function()
        local gw = shop { backends = { { service = "old", weight = 9 }, { service = "new", weight = 1 } } }
        local before = sides(gw, 400)
        local function with(...)
            gw.opts.routes = routes { backends = { ... } }
            assert.equal("ok", gw:reload(gw.opts))
            return sides(gw, 400)
        end
        assert.same(before, with({ service = "new", weight = 10 }, { service = "old", weight = 90 }))
        local more = with({ service = "old", weight = 9 }, { service = "new", weight = 2 })
        for user, side in pairs(before) do
            assert.is_true(side == "old" or more[user] == "new", user)
        end
        assert.is_true(count(more, "new") > count(before, "new"))
        for user, side in pairs(with({ service = "old", weight = 9 }, { service = "new", weight = 0 })) do
            assert.equal("old", side, user)
        end
        assert.same(before, with({ service = "old", weight = 9 }, { service = "new", weight = 1 }))
    end)

    it("goes by the group that a client names, and tells the upstream which it was", function()
        local gw, old, new = shop()
        assert.equal("new", gw:ask(to_canary(1)).body)
        assert.equal("canary", new.last.fields["x-abtest-group"])
        assert.equal("old", gw:ask(as_user(1, "X-Abtest-Group: old\r\n")).body)
        assert.equal("old", old.last.fields["x-abtest-group"])
        gw:ask(as_user(1, "X-Abtest-Group: made-up\r\n"))
        local seen = (old:since() == 2 and old or new).last.fields["x-abtest-group"]
        assert.is_true(seen == "old" or seen == "canary", seen)
    end)

    it("keeps the side of a request that is tried again", function()
        local old, new, healthy = e2e.server "old", e2e.server "new", e2e.server "new too"
        new:does "fail"
        local gw = e2e.gateway {
            services = {
                old = { endpoints = { { url = old:url() } } },
                new = { endpoints = { { url = new:url() }, { url = healthy:url() } }, balance = "round_robin",
                    retry = { attempts = 3 } },
            },
            routes = routes(),
        }
        for user = 1, 4 do assert.equal("new too", gw:ask(to_canary(user)).body) end
        assert.equal(0, old:since())
        assert.equal("canary", healthy.last.fields["x-abtest-group"])
        assert.is_true(new:since() > 0)
    end)
end)

describe("a rollout", function()
    it("brings a good version in step by step, and nobody goes back and forth", function()
        local gw = shop { rollout = rollout() }
        local before = {}
        for _, percent in ipairs { 10, 50, 100 } do
            local now = sides(gw, 600)
            local of_new = count(now, "new")
            assert.is_true(of_new >= 6 * percent * 0.6 and of_new <= 6 * percent * 1.4,
                of_new .. " of 600 went to the new one at " .. percent .. " %")
            for user, body in pairs(before) do
                if body == "new" then assert.equal("new", now[user]) end
            end
            before = now
            e2e.ask(gw, 100, { at_once = 8, request = to_canary })
            end_interval(gw, percent == 100 and "promote" or "advance")
        end
        assert.equal(200, count(sides(gw, 200), "new"))
    end)

    it("takes a version that fails now and then back after its strikes", function()
        local gw, _, new = shop { rollout = rollout() }
        for _, event in ipairs { "strike", "rollback" } do
            new:does "ok"
            e2e.ask(gw, 96, { at_once = 8, request = to_canary })
            new:does "fail"
            assert.same({ [503] = 4 }, e2e.ask(gw, 4, { request = to_canary }))
            new:does "ok"
            assert.truthy(end_interval(gw, event):find("it had 100, of which 4 failed", 1, true))
        end
        assert.equal(0, count(sides(gw, 200), "new"))
    end)

    it("is aborted at once where it fails by the dozen", function()
        local gw, _, new = shop { rollout = rollout() }
        new:does "fail"
        e2e.ask(gw, 10, { request = to_canary })
        assert.truthy(gw:log "rollout_abort")
        assert.equal(0, count(sides(gw, 100), "new"))
    end)

    it("is aborted where the new version is not there", function()
        local gw, _, new = shop { rollout = rollout() }
        new:die()
        e2e.ask(gw, 10, { request = to_canary })
        assert.truthy(gw:log "rollout_abort")
        assert.same({ [200] = 100 }, e2e.ask(gw, 100, { request = as_user }))
    end)

    it("holds where too few have asked to judge by", function()
        local gw = shop { rollout = rollout() }
        e2e.ask(gw, 99, { at_once = 8, request = to_canary })
        end_interval(gw, "hold")
        local of_new = count(sides(gw, 400), "new")
        assert.is_true(of_new > 10 and of_new < 80, of_new .. " of 400")
    end)

    it("goes on where it was when the configuration is read again", function()
        local gw = shop { rollout = rollout() }
        e2e.ask(gw, 100, { at_once = 8, request = to_canary })
        end_interval(gw, "advance")
        e2e.ask(gw, 50, { at_once = 8, request = to_canary })
        assert.equal("ok", gw:reload())
        e2e.ask(gw, 50, { at_once = 8, request = to_canary })
        end_interval(gw, "advance")
        assert.equal(100, count(sides(gw, 100), "new"))
        gw.opts.routes = routes { rollout = rollout { id = "r2" } }
        assert.equal("ok", gw:reload(gw.opts))
        local of_new = count(sides(gw, 400), "new")
        assert.is_true(of_new > 10 and of_new < 80, of_new .. " of 400")
    end)

    it("goes on where it was after a kill", function()
        local gw, _, new = shop({ rollout = rollout() }, { state = { path = "state" },
            admin = { bind = "unix:admin.sock" } })
        local function asked_with_four_failures()
            e2e.ask(gw, 96, { at_once = 8, request = to_canary })
            new:does "fail"
            e2e.ask(gw, 4, { request = to_canary })
            new:does "ok"
        end
        e2e.ask(gw, 100, { at_once = 8, request = to_canary })
        end_interval(gw, "advance")
        asked_with_four_failures()
        end_interval(gw, "strike")
        e2e.eventually("the strike to be stored", function()
            local shown = e2e.run { "state", "get", "policy:rollouts", "shop", "--admin",
                "unix:" .. gw.dir .. "/admin.sock" }
            return shown.out:find('"strikes":1', 1, true)
        end)
        gw:restart(e2e.SIGKILL)
        assert.equal(50, gw:metric "moongate_rollout_weight")
        asked_with_four_failures()
        end_interval(gw, "rollback") -- the second strike
        assert.equal(0, count(sides(gw, 100), "new"))
    end)
end)
