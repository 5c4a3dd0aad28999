local machine = require("tests.lua.machine")
local running = require("moongate.sdk.running")
local mg = require("moongate.sdk.init")

--- Does what new(conf) would; the machine keeps what is made alive.
local function making(fn)
    local m = machine.of(function() end)
    running.here.plugin = 0
    local ok, problem = pcall(fn)
    running.here.plugin = -1
    return ok, problem, m
end

describe("a limiter", function()
    it("lets a burst pass, then says when the next may come", function()
        local seen = {}
        local m
        m = machine.of(function(ctx)
            seen[#seen + 1] = { m.limiter:take("k") }
            ctx:respond(200)
        end)
        running.here.plugin = 0
        m.limiter = mg.limiter({ rate = "10/s", burst = 2 })
        running.here.plugin = -1
        for _ = 1, 3 do
            m:run()
        end
        assert.same({ true, 1, 0, 100 }, seen[1])
        assert.same({ true, 0, 0, 200 }, seen[2])
        assert.same({ false, 0, 100, 200 }, seen[3])
        machine.lib.mg_support_advance(m.fixture, 0.1)
        m:run()
        assert.is_true(seen[4][1])
    end)

    it("says never to a cost above its burst, and reads at cost 0", function()
        local _, _, m = making(function() end)
        running.here.plugin = 0
        local limiter = mg.limiter({ rate = 5, per = 60, burst = 3 })
        running.here.plugin = -1
        assert.same({ false, 3, -1, 0 }, { limiter:take("k", 4) })
        assert.same({ true, 3, 0, 0 }, { limiter:take("k", 0) })
        assert.is_not_nil(m)
    end)

    it("is the same for all who make it by one name", function()
        local _, _, m = making(function() end)
        running.here.plugin = 0
        local one, two = mg.limiter({ name = "a", rate = "1/h" }), mg.limiter({ name = "a", rate = "1/h" })
        local other = mg.limiter({ name = "b", rate = "1/h" })
        running.here.plugin = -1
        assert.is_true((one:take("k")))
        assert.is_false((two:take("k")))
        assert.is_true((other:take("k")))
        assert.is_not_nil(m)
    end)

    it("writes the fields of an answer", function()
        local _, _, m = making(function() end)
        running.here.plugin = 0
        local limiter = mg.limiter({ name = "per_key", rate = "100/s", burst = 200 })
        running.here.plugin = -1
        local policy, state = limiter:fields(199, 0, 10)
        assert.equal('"per_key";q=200;w=2', policy)
        assert.equal('"per_key";r=199;t=1', state)
        assert.is_not_nil(m)
    end)

    for what, case in pairs({
        ["a rate that is none"] = { { rate = "many" }, "rate is a text" },
        ["an unknown option"] = { { rate = "1/s", brst = 1 }, "no option 'brst'" },
        ["a burst that is none"] = { { rate = "1/s", burst = "x" }, "burst is a number" },
        ["a rate of nothing"] = { { rate = "0/s" }, "a rate is 1 or more" },
        ["a name with blanks"] = { { rate = "1/s", name = "a b" }, "a name has" },
    }) do
        it("refuses " .. what, function()
            local ok, problem = making(function()
                mg.limiter(case[1])
            end)
            assert.is_false(ok)
            assert.truthy(problem:find("sdk_spec.lua:%d+: "), problem)
            assert.truthy(problem:find(case[2], 1, true), problem)
        end)
    end

    it("is made when the plugin is loaded, not for a request", function()
        local m = machine.of(function()
            mg.limiter({ rate = "1/s" })
        end)
        local _, err = m:run()
        assert.truthy(err.message:find("not for a request"))
    end)
end)

describe("ctx.limit", function()
    it("takes a limiter that the plugin made", function()
        local m
        local seen
        m = machine.of(function(ctx)
            seen = { ctx.limit:take(m.limiter, "k", 2) }
            ctx:respond(200)
        end)
        running.here.plugin = 0
        m.limiter = mg.limiter({ rate = "10/s" })
        running.here.plugin = -1
        m:run()
        assert.same({ true, 8 }, { seen[1], seen[2] })
    end)
end)

describe("a breaker", function()
    local function make(options)
        local m = machine.of(function() end)
        running.here.plugin = 0
        local breaker = mg.breaker(options or { failures = 2, open_for = 5, jitter = 0 })
        running.here.plugin = -1
        return breaker, m
    end

    it("opens after so many failures in a row, probes, and closes", function()
        local breaker, m = make({ failures = 2, open_for = 5, jitter = 0, probes = 1 })
        for _ = 1, 2 do
            assert.is_true(breaker:finish(assert(breaker:ask()), "fail", 0.1))
        end
        assert.equal("open", breaker:state())
        assert.is_nil(breaker:ask())
        assert.equal(5, breaker:retry_after())
        machine.lib.mg_support_advance(m.fixture, 5)
        local probe = assert(breaker:ask())
        assert.equal("half_open", breaker:state())
        assert.is_true(breaker:finish(probe, "ok"))
        assert.equal("closed", breaker:state())
    end)

    it("runs a function and judges it", function()
        local breaker, m = make()
        assert.same({ 1, 2 }, { breaker:run(function(a) return a, 2 end, 1) })
        assert.same({ nil, "down" }, { breaker:run(function() return nil, "down" end) })
        assert.is_false(pcall(breaker.run, breaker, error, "broken"))
        assert.equal("open", breaker:state())
        assert.same({ nil, "open" }, { breaker:run(function() return 1 end) })
        assert.is_not_nil(m)
    end)

    it("refuses what is out of range", function()
        for _, options in ipairs({ { backoff = 0.1 }, { probes = 1e9 }, { unknown = 1 }, { name = {} } }) do
            local ok = making(function()
                mg.breaker(options)
            end)
            assert.is_false(ok)
        end
        local breaker, m = make()
        assert.is_false(pcall(breaker.finish, breaker, breaker:ask(), "maybe"))
        assert.is_false(pcall(breaker.finish, breaker, 5, "ok"))
        assert.is_not_nil(m)
    end)
end)

describe("a counter", function()
    it("counts, and is shared by its name", function()
        local m
        m = machine.of(function(ctx, next)
            ctx:counter("seen")
            ctx:counter("seen", 2)
            return next(ctx)
        end)
        m:run()
        m:run()
        running.here.plugin = 0
        assert.equal(6, mg.counter("seen"):sum())
        running.here.plugin = -1
    end)

    it("refuses a name that is none, and less than nothing", function()
        assert.is_false((making(function() mg.counter("a b") end)))
        assert.is_false((making(function() mg.counter("a"):add(-1) end)))
    end)
end)

describe("a key", function()
    --- What a request's handler gets of it, for a request with these fields.
    local function read(text, on_missing, fields)
        local key, found
        assert(making(function() key = mg.key(text, on_missing) end))
        local m = machine.of(function(ctx)
            for name, value in pairs(fields or {}) do
                ctx.request:set_header(name, value)
            end
            found = { key:read() }
            ctx:respond(200)
        end)
        local _, err = m:run()
        return found and found[1], err and err.message
    end

    it("is that of the configuration's limiters", function()
        assert.equal("*", (read("global")))
        assert.equal("u1", (read("header:X-User", nil, { ["x-user"] = "u1" })))
        assert.equal("2:u11:*", (read("header:x-user+global", nil, { ["x-user"] = "u1" })))
        assert.equal("s", (read("cookie:sid", nil, { cookie = "a=b; sid=s" })))
    end)

    it("has the address where a part is missing, or none when it was made so", function()
        local address = read("ip")
        assert.equal("\1" .. address, (read("header:x-none")))
        assert.equal("\1" .. address, (read("consumer", "ip")))
        assert.equal(#address + 1 .. ":\1" .. address .. "1:*", (read("cookie:x+global")))
        assert.is_nil(read("header:x-none", "skip"))
        assert.is_nil(read("global+header:x-none", "deny"))
    end)

    it("refuses what names nothing, as the configuration does", function()
        local hint = ": write ip, header:X, cookie:X, consumer, route or global, or several joined by +"
        for text, problem in pairs({
            ["heeder:x"] = '"heeder:x" names nothing that can be counted' .. hint,
            ["header:"] = '"header:" names nothing that can be counted' .. hint,
            ["header:a b"] = '"header:a b" names nothing that can be counted' .. hint,
            ["ip+"] = '"" names nothing that can be counted' .. hint,
            [""] = '"" names nothing that can be counted' .. hint,
            ["ip\0"] = "names nothing that can be counted",
            ["tenant"] = "tenants are not in this build" .. hint,
            ["header:" .. ("x"):rep(129)] = "names nothing that can be counted" .. hint,
            ["ip+ip+ip+ip+ip"] = "a key has at most 4 parts",
            [("+"):rep(1e6)] = "names nothing that can be counted",
        }) do
            local ok, told = making(function() mg.key(text) end)
            assert.is_false(ok, text)
            assert.truthy(told:find("key: ", 1, true) and told:find(problem, 1, true), told)
        end
        local _, told = making(function() mg.key("ip", "allow") end)
        assert.truthy(told:find('key: a missing part means ip, skip or deny, not "allow"', 1, true), told)
        assert.is_false((making(function() mg.key(5) end)))
        assert.is_false((making(function() mg.key("ip", true) end)))
    end)
end)

describe("a router", function()
    it("matches as the gateway does", function()
        local router = mg.router({
            { path = "/v1/carts/{id}", method = { "GET", "PUT" }, value = "cart" },
            { path = "/lab/*", value = "lab" },
            { path = "/", host = "shop.example", value = "shop" },
        })
        local value, params = router:match({ path = "/v1/carts/42" })
        assert.equal("cart", value)
        assert.same({ id = "42" }, params)
        assert.same({ nil, 405 }, { router:match({ path = "/v1/carts/42", method = "DELETE" }) })
        assert.equal("lab", (router:match({ path = "/lab/a/b", method = "POST" })))
        assert.equal("shop", (router:match({ host = "shop.example", path = "/" })))
        assert.same({ nil, 404 }, { router:match({ path = "/x" }) })
    end)

    it("refuses routes that it cannot build, and says why", function()
        local ok, problem = pcall(mg.router, { { path = "no slash", value = 1 } })
        assert.is_false(ok)
        assert.truthy(problem:find("router: "), problem)
        assert.is_false(pcall(mg.router, { { value = 1 } }))
    end)
end)

describe("what a plugin makes", function()
    it("refuses methods on anything else, at the plugin's line", function()
        local breaker, counter, limiter, router
        making(function()
            breaker, counter = mg.breaker({}), mg.counter("a")
            limiter, router = mg.limiter({ rate = "1/s" }), mg.router({ { path = "/", value = 1 } })
        end)
        local found
        local m = machine.of(function(ctx)
            found = ctx.breaker
            ctx:respond(200)
        end)
        m:run()
        for _, use in ipairs({
            function() return breaker.ask({}) end,
            function() return breaker.ask() end,
            function() return breaker.state(counter) end,
            function() return breaker.retry_after(1) end,
            function() return breaker.finish({}, breaker:ask(), "ok") end,
            function() return found:ask({}) end,
            function() return counter.add({}, 1) end,
            function() return counter.sum(breaker) end,
            function() return limiter.take({}, "k") end,
            function() return limiter.fields({}, 1, 1, 1) end,
            function() return router.match({}, { path = "/" }) end,
        }) do
            local ok, problem = pcall(use)
            assert.is_false(ok)
            assert.truthy(problem:find("this is not a %a+: its methods are called with a colon"), problem)
        end
        local _, problem = pcall(function()
            local open = breaker.ask({})
            return open
        end)
        assert.truthy(problem:find("^%S*sdk_spec.lua:%d+: this is not a breaker"), problem)
    end)

    it("does not lend out the methods that all plugins share", function()
        local m = machine.of(function(ctx)
            for _, space in ipairs({ ctx.limit, ctx.breaker, ctx.kv, ctx.http, ctx.log, ctx.time }) do
                for _, name in ipairs({ "limiter", "breaker", "counter", "router", "classes", "__index" }) do
                    assert.has_error(function() return space[name] end)
                end
            end
            ctx:respond(200)
        end)
        local ok, err = m:run()
        assert(ok, err and err.message)
    end)
end)

describe("ctx.http", function()
    it("refuses times and sizes that are none", function()
        local problems = {}
        local m = machine.of(function(ctx)
            for _, options in ipairs({ { timeout = 0 }, { timeout = -1 }, { timeout = 0 / 0 }, { max_body = 0 },
                { max_body = -1 }, { max_body = 0 / 0 }, { max_body = 1e300 } }) do
                local ok, problem = pcall(ctx.http.get, ctx.http, "http://a/", options)
                problems[#problems + 1] = not ok and problem:match("(%a[%a_]+) is ") or "none"
            end
            ctx:respond(200)
        end)
        assert(m:run())
        assert.same({ "timeout", "timeout", "timeout", "max_body", "max_body", "max_body", "max_body" }, problems)
    end)
end)

describe("ctx.kv", function()
    --- Runs a handler in a plugin of that name; what it returns.
    local function with(name, handler, m)
        local result
        m = m or machine.of(function(ctx)
            result = { ctx.state, handler(ctx) }
            ctx:respond(200)
        end)
        running.names[1] = name
        local ok, err = m:run()
        assert(ok, err and err.message)
        return unpack(result, 2, 10)
    end

    it("keeps, changes and forgets", function()
        assert.same({ nil, true, "1", true, nil }, { with("a", function(ctx)
            local kv = ctx.kv
            return kv:get("k"), kv:set("k", "1"), kv:get("k"), kv:delete("k"), kv:get("k")
        end) })
    end)

    it("counts, and sets under a condition", function()
        assert.same({ 1, 3, "3", true, false, "x" }, { with("b", function(ctx)
            local kv = ctx.kv
            return kv:incr("n"), kv:incr("n", 2), kv:get("n"), kv:cas("k", nil, "x"), kv:cas("k", "y", "z"), kv:get("k")
        end) })
    end)

    it("forgets after its time", function()
        local m
        local seen = {}
        m = machine.of(function(ctx)
            seen[#seen + 1] = ctx.kv:get("k") or "gone"
            ctx.kv:set("k", "v", 10)
            ctx:respond(200)
        end)
        running.names[1] = "c"
        m:run()
        m:run()
        machine.lib.mg_support_advance(m.fixture, 11)
        m:run()
        assert.same({ "gone", "v", "gone" }, seen)
    end)

    it("has a namespace for each plugin, which a next does not mix up", function()
        local m = machine.new({
            {
                handler = function(ctx, next)
                    ctx.kv:set("k", "outer")
                    next(ctx)
                    assert(ctx.kv:get("k") == "outer")
                end,
                index = 0,
            },
            {
                handler = function(ctx, next)
                    assert(ctx.kv:get("k") == nil)
                    ctx.kv:set("k", "inner")
                    next(ctx)
                    assert(ctx.kv:get("k") == "inner")
                end,
                index = 1,
            },
        })
        running.names[1], running.names[2] = "outer", "inner"
        local ok, err = m:run()
        assert(ok, err and err.message)
    end)

    it("says what it refuses", function()
        local value, problem = with("d", function(ctx)
            return ctx.kv:set(("k"):rep(300), "v")
        end)
        assert.is_nil(value)
        assert.is_string(problem)
        local m = machine.of(function(ctx)
            ctx.kv:set("k", { 1 })
        end)
        local _, err = m:run()
        assert.truthy(err.message:find("sdk_spec.lua:%d+: set: a value is a string, not table"))
    end)

    it("waits for the disk at a barrier", function()
        local m = machine.of(function(ctx)
            assert(ctx.kv:barrier())
            ctx:respond(200)
        end)
        assert.equal("BARRIER", m:begin())
        assert.equal("DONE", m:resume())
    end)
end)

describe("ctx.http", function()
    for what, case in pairs({
        ["no url"] = { function(ctx) ctx.http:request({}) end, "a request is a table with a url" },
        ["a method that is none"] = { function(ctx) ctx.http:request({ url = "http://a", method = 1 }) end,
            "method is a string, not a number" },
        ["a path beside no service"] = { function(ctx) ctx.http:request({ url = "http://a", path = "/" }) end,
            "path goes with service" },
        ["a service without a path"] = { function(ctx) ctx.http:request({ service = "a" }) end,
            "service goes with path" },
        ["a service beside a url"] = { function(ctx)
            ctx.http:request({ service = "a", path = "/", url = "http://a" })
        end, "service goes with path" },
        ["a body that is a function"] = { function(ctx)
            ctx.http:request({ url = "http://a", body = ctx.request.body })
        end, "body is a string, or ctx.request for the client's as it comes, not a function" },
    }) do
        it("refuses " .. what .. " at the plugin's line", function()
            local _, err = machine.of(case[1]):run()
            assert.truthy(err.message:find("sdk_spec.lua:%d+: "), err.message)
            assert.truthy(err.message:find(case[2], 1, true), err.message)
        end)
    end
end)
