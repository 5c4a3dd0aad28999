-- The plugin quota on a clock that can be moved, over restarts and beside other consumers.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local HOUR = 3600 * 1000

local function gateway(conf)
    return (e2e.behind({}, {
        names = { "a" },
        plugins = {
            auth = { use = "key_auth", config = { keys = { k1 = "anna", k2 = "bert" } } },
            quota = e2e.plugin("examples/plugins/quota", conf),
        },
        routes = {
            { name = "all", match = { paths = { { prefix = "/" } } }, service = "up", plugins = { "quota" } },
            { name = "known", match = { paths = { { prefix = "/known" } } }, service = "up",
                plugins = { "auth", "quota" } },
        },
        extra = { state = { path = "state" } },
    }))
end

local function ask(gw, key)
    return gw:ask("GET /" .. (key and "known" or "") .. " HTTP/1.1\r\nHost: a\r\n"
        .. (key and "X-Api-Key: " .. key .. "\r\n" or "") .. "\r\n")
end

describe("quota", function()
    it("gives each consumer its own, and addresses theirs", function()
        local gw = gateway { requests = 2 }
        assert.equal("1", ask(gw, "k1").fields["x-quota-remaining"])
        assert.equal("0", ask(gw, "k1").fields["x-quota-remaining"])
        local refused = ask(gw, "k1")
        assert.equal(429, refused.status)
        assert.equal("0", refused.fields["x-quota-remaining"])
        assert.equal("2 requests a month are yours", e2e.json.decode(refused.body).detail)
        assert.equal(200, ask(gw, "k2").status)
        assert.equal(200, ask(gw).status)
    end)

    it("remembers over a restart", function()
        local gw = gateway { requests = 2 }
        ask(gw, "k1")
        ask(gw, "k1")
        gw:restart(e2e.SIGTERM)
        assert.equal(429, ask(gw, "k1").status)
    end)

    it("says when the day is over, and begins anew then", function()
        local gw = gateway { requests = 1, per = "day" }
        assert.equal(200, ask(gw).status)
        local wait = tonumber(ask(gw).fields["retry-after"])
        assert.is_true(wait >= 1 and wait <= 24 * 3600)
        gw:advance(wait * 1000)
        assert.equal(200, ask(gw).status)
        local next_wait = tonumber(ask(gw).fields["retry-after"])
        assert.is_true(next_wait > 23 * 3600)
        gw:advance(23 * HOUR)
        assert.equal(429, ask(gw).status)
    end)

    it("says when the month is over", function()
        local gw = gateway { requests = 1, per = "month" }
        assert.equal(200, ask(gw).status)
        local wait = tonumber(ask(gw).fields["retry-after"])
        gw:advance((wait - 60) * 1000)
        assert.equal(429, ask(gw).status)
        gw:advance(60 * 1000)
        assert.equal(200, ask(gw).status)
        assert.is_true(tonumber(ask(gw).fields["retry-after"]) > 27 * 24 * 3600)
    end)
end)
