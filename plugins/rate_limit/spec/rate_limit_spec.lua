local mg = require("moongate.test")

local function rate_limit(conf)
    conf.rate = conf.rate or "2/s"
    return mg.plugin("rate_limit", conf)
end

--- "pass" or the status of the answer.
local function try(plugin, wanted)
    local ctx = plugin:run(wanted)
    return ctx.proxied and "pass" or ctx.status, ctx
end

local function tries(plugin, count, wanted)
    local results = {}
    for i = 1, count do
        results[i] = try(plugin, wanted)
    end
    return results
end

describe("rate_limit", function()
    it("lets a burst pass, then refuses until a token is back", function()
        local plugin = rate_limit({ burst = 3 })
        assert.same({ "pass", "pass", "pass", 429 }, tries(plugin, 4))
        mg.clock:advance("500ms")
        assert.same({ "pass", 429 }, tries(plugin, 2))
    end)

    it("tells a refused client when to return", function()
        local plugin = rate_limit({ rate = "6/m", burst = 1, name = "slow" })
        tries(plugin, 1)
        local status, ctx = try(plugin, { headers = { ["x-request-id"] = "r-1" } })
        assert.equal(429, status)
        assert.equal("10", ctx.response:header("retry-after"))
        assert.equal('"slow";q=1;w=10', ctx.response:header("ratelimit-policy"))
        assert.equal('"slow";r=0;t=10', ctx.response:header("ratelimit"))
        local problem = ctx.response:json()
        assert.equal("https://iana.org/assignments/http-problem-types#quota-exceeded", problem.type)
        assert.equal(429, problem.status)
        assert.equal("r-1", problem.instance)
        assert.same({ "slow" }, problem["violated-policies"])
    end)

    it("tells everybody else what is left", function()
        local _, ctx = try(rate_limit({ burst = 4 }))
        assert.equal('"rate_limit";q=4;w=2', ctx.response:header("ratelimit-policy"))
        assert.equal('"rate_limit";r=3;t=1', ctx.response:header("ratelimit"))
        assert.is_nil(ctx.response:header("retry-after"))
    end)

    it("leaves the word to a stricter limit, and takes it from a milder one", function()
        local plugin = rate_limit({ burst = 4 })
        local function told(state)
            local _, ctx = try(plugin, { upstream = { headers = { ratelimit = state, ["ratelimit-policy"] = "p" } } })
            return ctx.response:header("ratelimit")
        end
        assert.equal('"day";r=1;t=60', told('"day";r=1;t=60'))
        assert.equal('"rate_limit";r=2;t=1', told('"day";r=900;t=60'))
    end)

    it("says nothing when it shall not", function()
        local plugin = rate_limit({ burst = 1, fields = false })
        local _, allowed = try(plugin)
        local status, refused = try(plugin)
        assert.is_nil(allowed.response:header("ratelimit"))
        assert.equal(429, status)
        assert.is_nil(refused.response:header("ratelimit"))
        assert.equal("1", refused.response:header("retry-after"))
    end)

    it("counts each address alone, and an IPv6 customer's /64 as one", function()
        local plugin = rate_limit({ burst = 1 })
        assert.equal("pass", (try(plugin, { from = "192.0.2.1" })))
        assert.equal("pass", (try(plugin, { from = "192.0.2.2" })))
        assert.equal(429, (try(plugin, { from = "192.0.2.1" })))
        assert.equal("pass", (try(plugin, { from = "2001:db8::1" })))
        assert.equal(429, (try(plugin, { from = "2001:db8::2:3:4:5" })))
        assert.equal("pass", (try(plugin, { from = "2001:db8:0:1::1" })))
    end)

    it("counts consumers, each at the rate that is theirs", function()
        local plugin = rate_limit({
            burst = 2, key = "consumer", consumers = { limited = { rate = "1/s", burst = 1 } },
        })
        assert.equal("pass", (try(plugin, { consumer = "limited" })))
        local status, ctx = try(plugin, { consumer = "limited" })
        assert.equal(429, status)
        assert.same({ "rate_limit.limited" }, ctx.response:json()["violated-policies"])
        assert.equal('"rate_limit.limited";q=1;w=1', ctx.response:header("ratelimit-policy"))
        assert.same({ "pass", "pass", 429 }, tries(plugin, 3, { consumer = "alice" }))
        assert.same({ "pass", "pass", 429 }, tries(plugin, 3, { consumer = "bob" }))
    end)

    it("gives every consumer's limit a name of its own", function()
        local plugin = rate_limit({ key = "consumer", consumers = {
            ["a b"] = { rate = "1/s" }, ["a_20b"] = { rate = "1/s" }, ["a.b"] = { rate = "1/s" },
        } })
        local names = { ["a b"] = "a_20b", ["a_20b"] = "a_5f20b", ["a.b"] = "a.b" }
        for consumer, name in pairs(names) do
            local _, ctx = try(plugin, { consumer = consumer })
            assert.truthy(ctx.response:header("ratelimit"):find('"rate_limit.' .. name .. '";', 1, true))
        end
    end)

    it("counts by a field, a cookie or everybody together", function()
        local one = { headers = { ["x-user"] = "u1", cookie = "a=b; sid=s1;x=y" } }
        local other = { headers = { ["x-user"] = "u2", cookie = "sid=s2" } }
        local of_other = { ["header:x-user"] = "pass", ["cookie:sid"] = "pass", route = 429, global = 429, ip = 429 }
        for key, expected in pairs(of_other) do
            local plugin = rate_limit({ burst = 1, key = key })
            assert.equal("pass", (try(plugin, one)))
            assert.equal(429, (try(plugin, one)))
            assert.equal(expected, (try(plugin, other)), key)
        end
    end)

    it("counts each route alone", function()
        local plugin = rate_limit({ burst = 1, key = "route" })
        assert.same({ "pass", 429 }, tries(plugin, 2))
        assert.same({ "pass", 429 }, tries(plugin, 2, { consumer = "alice" })) -- consumers come by another route here
    end)

    it("keeps the parts of a joined key apart", function()
        local plugin = rate_limit({ burst = 1, key = "header:a+header:b" })
        assert.equal("pass", (try(plugin, { headers = { a = "1", b = "2+3" } })))
        assert.equal("pass", (try(plugin, { headers = { a = "1+2", b = "3" } })))
        assert.equal(429, (try(plugin, { headers = { a = "1", b = "2+3" } })))
    end)

    it("does not let a missing key be an exemption, unless it is told so", function()
        local function without_consumer(on_missing_key)
            return tries(rate_limit({ burst = 1, key = "consumer", on_missing_key = on_missing_key }), 2)
        end
        assert.same({ "pass", 429 }, without_consumer(nil))
        assert.same({ "pass", "pass" }, without_consumer("skip"))
        assert.same({ 403, 403 }, without_consumer("deny"))
    end)

    it("does not mix up a consumer who is called like an address with that address", function()
        local plugin = rate_limit({ burst = 1, key = "consumer" })
        assert.equal("pass", (try(plugin, { consumer = "192.0.2.1/32" })))
        assert.equal("pass", (try(plugin, { from = "192.0.2.1" })))
    end)

    --- Whether the second of two requests is told from the first, by the plugin and by a limiter of the configuration.
    local function told_apart(key, first, second)
        local gw = mg.gateway({
            services = { web = { endpoints = { mg.upstream():reply(200) } } },
            limiters = { one = { rate = "1/h", key = key } },
            routes = { {
                name = "all", match = { paths = { { prefix = "/" } } }, plugins = { { limit = "one" } },
                service = "web",
            } },
        })
        assert.equal(200, gw:get("/", first).status)
        local by_limiter = gw:get("/", second).status == 200
        local plugin = rate_limit({ rate = "1/h", key = key })
        assert.equal("pass", (try(plugin, first)))
        return try(plugin, second) == "pass", by_limiter
    end

    it("counts whom a limiter of the configuration counts", function()
        local function with(fields, from, host)
            return { headers = fields, from = from or "192.0.2.1", host = host }
        end
        local cases = {
            { "cookie:sid", with({ cookie = "sid=" }), with({ cookie = "sid=" }, "192.0.2.2"), true },
            { "cookie:sid", with({ cookie = "sid=" }), with({}), false },
            { "cookie:sid", with({ cookie = "sid=a; sid=b" }), with({ cookie = "sid=b; sid=a" }), true },
            { "cookie:SID", with({ cookie = "sid=a" }), with({ cookie = "sid=b" }), false },
            { "header:A+header:b", with({ a = "1" }), with({ a = "2" }), true },
            { "header:a+header:b", with({ a = "1" }), with({ a = "1" }, "192.0.2.2"), true },
            { "header:a+header:b", with({ a = "1" }), with({ b = "1" }), true },
            { "header:a+header:b", with({}), with({}), false },
            { "header:a+global", with({ a = "1" }), with({ a = "1" }, "192.0.2.2"), false },
            { "header:a", with({ a = "" }), with({}), false },
            { "header:a", with({ a = { "1", "2" } }), with({ a = "1, 2" }), false },
            { "header:a", with({ a = "192.0.2.1/32" }), with({}), true },
            { "header:host", with({}, nil, "one.example"), with({}, nil, "two.example"), true },
            { "header:host", with({}, nil, "one.example"), with({}, "192.0.2.2", "one.example"), false },
            { "ip+route", with({}, "192.0.2.1"), with({}, "192.0.2.1"), false },
            { "ip", with({}, "2001:db8::1"), with({}, "2001:DB8:0:0:ffff::"), false },
        }
        for i, case in ipairs(cases) do
            local by_plugin, by_limiter = told_apart(case[1], case[2], case[3])
            assert.same({ case[4], case[4] }, { by_plugin, by_limiter }, i .. ": " .. case[1])
        end
    end)

    it("takes addresses for one that are one customer's", function()
        local same = {
            { "203.0.113.9", "::ffff:203.0.113.9" }, { "2001:db8:1:2:3::4", "2001:db8:1:2:3:4:5:6" },
            { "2001:DB8::1", "2001:db8:0:0:1::" }, { "::1:2:3:4:5:6", "0:0:1:2::9" }, { "1:2:3::", "1:2:3:0:8::" },
            { "1::3:4:5:6:7:8", "1:0:3:4::" },
        }
        for _, pair in ipairs(same) do
            local plugin = rate_limit({ burst = 1, key = "ip" })
            assert.equal("pass", (try(plugin, { from = pair[1] })))
            assert.equal(429, (try(plugin, { from = pair[2] })), pair[2])
            assert.equal("pass", (try(plugin, { from = "1:0:3:5::" })))
        end
    end)
end)
