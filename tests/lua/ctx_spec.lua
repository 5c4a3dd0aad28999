local machine = require("tests.lua.machine")

--- Runs one handler; what it returns.
local function with(handler)
    local result
    local m = machine.of(function(ctx, next)
        result = handler(ctx, next)
    end)
    local ok, err = m:run()
    assert(ok, err and err.message)
    return result
end

--- What it raises.
local function problem(handler)
    local _, err = machine.of(handler):run()
    return err and err.message
end

describe("ctx.request", function()
    it("has the parts of the request", function()
        assert.same({ "GET", "http", "shop.example", "/v1/carts/42", "a=1&b=two%20words&a=3", "192.0.2.7" },
            with(function(ctx)
                local r = ctx.request
                return { r.method, r.scheme, r.host, r.path, r.query, r.client_address }
            end))
    end)

    it("reads fields in any case, and the host", function()
        assert.same({ "k1", "Shop.example:80" }, with(function(ctx)
            assert(ctx.request:header("absent") == nil)
            return { ctx.request:header("X-API-Key"), ctx.request:header("host") }
        end))
    end)

    it("sets, adds, removes and walks fields", function()
        assert.same({ "x-api-key=k1", "user-agent=curl/8", "x-a=1", "x-a=2" }, with(function(ctx)
            local r = ctx.request
            r:set_header("X-A", 1)
            r:add_header("x-a", "2")
            r:set_header("x-gone", "1")
            assert(r:remove_header("X-Gone") == 1)
            local seen = {}
            for name, value in r:headers() do
                seen[#seen + 1] = name .. "=" .. value
            end
            return seen
        end))
    end)

    it("reads parameters of the query, decoded", function()
        assert.same({ "1", "two words" }, with(function(ctx)
            return { ctx.request:query_param("a"), ctx.request:query_param("b"), ctx.request:query_param("c") }
        end))
    end)

    it("changes method, path and query for the upstream", function()
        assert.same({ "PATCH", "/b/c", "x=1" }, with(function(ctx)
            local r = ctx.request
            r:set_method("PATCH")
            r:set_path("/a/../b/./c")
            r:set_query("x=1")
            return { r.method, r.path, r.query }
        end))
    end)

    for what, case in pairs({
        ["CR and LF in a value"] = { function(r) r:set_header("x", "a\r\nb: c") end, "set_header \"x\"" },
        ["NUL in a value"] = { function(r) r:add_header("x", "a\0b") end, "add_header \"x\"" },
        ["a name that is no token"] = { function(r) r:set_header("x y", "a") end, "set_header" },
        ["framing"] = { function(r) r:set_header("Transfer-Encoding", "chunked") end, "set_header" },
        ["a table as a value"] = { function(r) r:set_header("x", {}) end, "is a string or a number, not table" },
        ["a number as a name"] = { function(r) return r:header(1) end, "the name is a string" },
        ["a path without a slash"] = { function(r) r:set_path("x") end, "set_path: a path begins with /" },
        ["a path above the root"] = { function(r) r:set_path("/../x") end, "set_path" },
        ["a query with a blank"] = { function(r) r:set_query("a b") end, "set_query" },
        ["a method that is no token"] = { function(r) r:set_method("G T") end, "set_method" },
        ["an undeclared body"] = { function(r) r:body() end, "declare it in the plugin's table" },
        ["an unknown member"] = { function(r) return r.headres end, "ctx.request has no 'headres'" },
        ["an assignment"] = { function(r) r.path = "/x" end, "ctx.request.path cannot be assigned" },
    }) do
        it("refuses " .. what .. " at the plugin's line", function()
            local message = problem(function(ctx)
                case[1](ctx.request)
            end)
            assert.truthy(message, "nothing was raised")
            assert.truthy(message:find("ctx_spec.lua:%d+:"), message)
            assert.truthy(message:find(case[2], 1, true), message)
        end)
    end
end)

describe("ctx.response", function()
    it("is there after next", function()
        assert.same({ false, 200, "v" }, with(function(ctx, next)
            local before = ctx.response.status or false
            next(ctx)
            ctx.response:set_header("x", "v")
            return { before, ctx.response.status, ctx.response:header("X") }
        end))
    end)

    it("has neither status nor body before it is there", function()
        for _, what in ipairs({ "set_status", "set_body", "body" }) do
            assert.truthy(problem(function(ctx)
                ctx.response[what](ctx.response, what == "set_status" and 201 or "b")
            end):find(what .. ": there is no response yet", 1, true))
        end
    end)

    it("keeps fields that are set before it is there", function()
        assert.same({ "1, 2", "1, 2", "b" }, with(function(ctx, next)
            ctx.response:set_header("x", 1)
            ctx.response:add_header("X", 2)
            ctx.response:remove_header("y")
            local before = ctx.response:header("x")
            next(ctx)
            local after = ctx.response:header("x")
            ctx:respond(200, "", { x = "b" })
            return { before, after, ctx.response:header("x") }
        end))
    end)

    it("takes another status, in bounds", function()
        assert.equal(418, with(function(ctx, next)
            next(ctx)
            ctx.response:set_status(418)
            assert(not pcall(ctx.response.set_status, ctx.response, 99))
            assert(not pcall(ctx.response.set_status, ctx.response, 204))
            return ctx.response.status
        end))
    end)

    it("takes another body", function()
        assert.equal("new", with(function(ctx, next)
            next(ctx)
            ctx.response:set_body("new")
            return ctx.response:body()
        end))
    end)
end)

describe("ctx:respond", function()
    it("answers text", function()
        assert.same({ 403, "text/plain; charset=utf-8", "no" }, with(function(ctx)
            ctx:respond(403, "no")
            return { ctx.response.status, ctx.response:header("content-type"), ctx.response:body() }
        end))
    end)

    it("makes a problem document of a table", function()
        local status, kind, body = unpack(with(function(ctx)
            ctx:respond(401, { title = "Unknown user", detail = "say who you are" }, { ["www-authenticate"] = "Key" })
            assert(ctx.response:header("www-authenticate") == "Key")
            return { ctx.response.status, ctx.response:header("content-type"), ctx.json.decode(ctx.response:body()) }
        end))
        assert.equal(401, status)
        assert.equal("application/problem+json", kind)
        assert.same({
            type = "about:blank", title = "Unknown user", status = 401, detail = "say who you are",
            instance = "30313233343536373839616263646566",
        }, body)
    end)

    it("takes what stands in a frozen configuration", function()
        local conf = require("moongate.sdk.frozen").freeze({ headers = { ["x-a"] = "1" }, data = { a = { b = {} } } })
        assert.same({ "1", '{"a":{"b":{}}}' }, with(function(ctx)
            ctx:respond(200, { json = conf.data }, conf.headers)
            return { ctx.response:header("x-a"), ctx.response:body() }
        end))
    end)

    it("answers JSON", function()
        assert.same({ 'application/json', '{"a":[1,2]}' }, with(function(ctx)
            ctx:respond(200, { json = { a = { 1, 2 } } })
            return { ctx.response:header("content-type"), ctx.response:body() }
        end))
    end)

    it("drops what the upstream answered", function()
        assert.same({ 500 }, with(function(ctx, next)
            next(ctx)
            ctx.response:set_header("x-upstream", "1")
            ctx:respond(500)
            return { ctx.response.status, ctx.response:header("x-upstream") }
        end))
    end)

    for what, case in pairs({
        ["a status out of bounds"] = { function(ctx) ctx:respond(99) end, "200 to 599" },
        ["no status"] = { function(ctx) ctx:respond("200") end, "a status is a number" },
        ["a body with 204"] = { function(ctx) ctx:respond(204, "x") end, "have no body" },
        ["an unknown member"] = { function(ctx) ctx:respond(400, { titel = "x" }) end, "no member 'titel'" },
        ["a problem with 200"] = { function(ctx) ctx:respond(200, { title = "x" }) end, "from 400 to 599" },
        ["splitting by a header"] = { function(ctx) ctx:respond(200, "", { x = "a\nb" }) end, "header \"x\"" },
    }) do
        it("refuses " .. what .. " at the plugin's line", function()
            local message = problem(case[1])
            assert.truthy(message, "nothing was raised")
            assert.truthy(message:find("ctx_spec.lua:%d+:"), message)
            assert.truthy(message:find(case[2], 1, true), message)
        end)
    end
end)

describe("ctx", function()
    it("makes ids that differ", function()
        local a, b = unpack(with(function(ctx)
            return { ctx:new_id(), ctx:new_id() }
        end))
        assert.truthy(a:find("^%x+$"))
        assert.equal(32, #a)
        assert.are_not.equal(a, b)
    end)

    it("keeps state from handler to handler and clears it after the request", function()
        local seen = {}
        local m = machine.of(function(ctx, next)
            seen[#seen + 1] = ctx.state.mark or "empty"
            ctx.state.mark = "set"
            return next(ctx)
        end, function(ctx, next)
            seen[#seen + 1] = ctx.state.mark
            return next(ctx)
        end)
        m:run()
        m:run()
        assert.same({ "empty", "set", "empty", "set" }, seen)
    end)

    it("leaves no metatable of the state to the next request", function()
        local seen = {}
        local m = machine.of(function(ctx, next)
            seen[#seen + 1] = ctx.state.secret or "none"
            setmetatable(ctx.state, { __index = { secret = "of another" }, __metatable = false })
            return next(ctx)
        end)
        m:run()
        m:run()
        assert.same({ "none", "none" }, seen)
    end)

    it("does not clear state while a request waits", function()
        assert.equal("kept", with(function(ctx)
            ctx.state.mark = "kept"
            ctx:sleep(1)
            return ctx.state.mark
        end))
    end)

    it("says who asks, where, and on which route", function()
        assert.same({ "cart", "cart", "alice" }, with(function(ctx)
            assert(ctx.consumer == nil)
            ctx:set_consumer("alice")
            return { ctx.route, ctx.service.name, ctx.consumer }
        end))
    end)

    it("tells the time", function()
        local now, mono, remaining = unpack(with(function(ctx)
            return { ctx.time.now(), ctx.time.mono(), ctx.remaining }
        end))
        assert.equal(1700000000, now)
        assert.equal(1000, mono)
        assert.is_true(remaining > 0)
    end)

    it("raises when it is used outside of its request", function()
        local kept = {}
        local m = machine.of(function(ctx, next)
            kept = { ctx = ctx, request = ctx.request, response = ctx.response, params = ctx.params }
            return next(ctx)
        end)
        m:run()
        for _, use in ipairs({
            function() return kept.ctx.state end,
            function() return kept.ctx:new_id() end,
            function() return kept.request:header("x") end,
            function() return kept.request.path end,
            function() return kept.response:set_status(200) end,
            function() return kept.params.id end,
        }) do
            local ok, message = pcall(use)
            assert.is_false(ok)
            assert.truthy(message:find("belongs to another request"), message)
        end
    end)

    it("raises when it is used in another's request", function()
        local first
        local one = machine.of(function(ctx, next)
            first = first or ctx
            ctx.request:header("x")
            next(ctx)
        end)
        assert.equal("NEXT", one:begin())
        local other = machine.of(function()
            return first.request:header("x-api-key")
        end)
        local ok, err = other:run()
        assert.is_nil(ok)
        assert.truthy(err.message:find("belongs to another request"))
    end)

    it("cannot be written to, nor can what hangs on it", function()
        for _, write in ipairs({
            function(ctx) ctx.mine = 1 end,
            function(ctx) ctx.request = 1 end,
            function(ctx) ctx.response.status = 1 end,
            function(ctx) ctx.params.id = 1 end,
            function(ctx) ctx.json.encode = nil end,
            function(ctx) ctx.log.info = nil end,
            function() require("moongate.sdk.init").limiter = nil end,
        }) do
            assert.truthy(problem(write):find("cannot be assigned"))
        end
        assert.truthy(problem(function(ctx) return ctx.unknown end):find("ctx has no 'unknown'"))
    end)

    it("does not give its pointers away", function()
        local m = machine.of(function(ctx)
            for _, part in ipairs({ ctx, ctx.request, ctx.response, ctx.params }) do
                assert.is_nil(next(part))
                assert.equal("locked", getmetatable(part))
            end
            ctx:respond(200)
        end)
        assert.equal("DONE", (m:run()))
    end)

    it("refuses a sleep that is none", function()
        for _, seconds in ipairs({ -1, 0 / 0, 1e9, "1" }) do
            assert.truthy(problem(function(ctx) ctx:sleep(seconds) end):find("sleep"))
        end
    end)

    it("cannot wait once its request is over, whatever catches", function()
        local sandbox = require("moongate.worker.sandbox")
        local env = sandbox.env("p", {}, {})
        local m = machine.of(function(ctx)
            while true do
                env.pcall(function()
                    ctx:sleep(1)
                end)
            end
        end)
        assert.equal("SLEEP", m:begin())
        assert.equal("SLEEP", m:resume())
        machine.lib.mg_support_cancel(m.fixture, "client_gone")
        local wait, err = m:resume()
        assert.is_nil(wait)
        assert.truthy(err.message:find("request is over"))
    end)
end)
