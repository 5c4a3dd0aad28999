-- Services at one address: each has its own time-outs, connections and limits, whatever the others say.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local EMPTY = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

--- A gateway with a service for each name, all at the address of `up` unless a setting has endpoints of its own, and
--- a route for each: /NAME goes to the service NAME.
local function at_one_address(settings, more)
    local up = e2e.upstream()
    local opts = { up = up, services = {}, routes = {} }
    for name, setting in pairs(settings) do
        local service = { endpoints = { { url = up:url() } } }
        for key, value in pairs(setting) do service[key] = value end
        opts.services[name] = service
        local match = { paths = { { prefix = "/" .. name } } }
        opts.routes[#opts.routes + 1] = { name = name, match = match, service = name }
    end
    for key, value in pairs(more or {}) do opts[key] = value end
    return e2e.gateway(opts), up, opts
end

local function get(name) return "GET /" .. name .. " HTTP/1.1\r\nHost: a\r\n\r\n" end

--- Sends one request to the service and answers it: on `conn` when it is given, else on the next connection.
local function pass(gw, up, name, conn)
    local client = gw:client()
    local _, response, used = e2e.exchange(client, up, get(name), EMPTY, conn)
    assert.equal(200, response.status)
    client:close()
    return used
end

describe("two services at one address", function()
    for _, quick in ipairs { "a", "b" } do
        local patient = quick == "a" and "b" or "a"

        it("wait as long as each says: " .. quick .. " is the quick one", function()
            local gw, up = at_one_address {
                [quick] = { first_byte_timeout = "100ms" }, [patient] = { first_byte_timeout = "60s" } }
            local waits = gw:send(get(patient))
            local conn = up:accept()
            conn:request()
            assert.equal(504, gw:ask(get(quick)).status)
            conn:send(EMPTY)
            assert.equal(200, waits:response().status)
        end)

        it("keep as many idle connections as each says: " .. quick .. " keeps none", function()
            local gw, up = at_one_address { [quick] = { pool = { max_idle = 0 } }, [patient] = {} }
            local kept = pass(gw, up, patient)
            pass(gw, up, quick):expect_end()
            pass(gw, up, patient, kept)
            up:expect_nobody()
            assert.equal(1, gw:metric("moongate_upstream_connections", { service = patient, state = "idle" }))
            assert.equal(0, gw:metric("moongate_upstream_connections", { service = quick, state = "idle" }))
        end)

        it("open as many connections as each says: " .. quick .. " opens one", function()
            local gw, up = at_one_address { [quick] = { pool = { max_connections = 1, queue = 0 } }, [patient] = {} }
            gw:send(get(quick))
            up:accept():request()
            for _ = 1, 3 do
                gw:send(get(patient))
                up:accept():request()
            end
            assert.equal(503, gw:ask(get(quick)).status)
            assert.equal(3, gw:metric("moongate_upstream_connections", { service = patient, state = "active" }))
            assert.equal(1, gw:metric("moongate_upstream_connections", { service = quick, state = "active" }))
        end)
    end

    it("have each its own bound of idle connections to all its endpoints", function()
        local gw, up = at_one_address { a = {}, b = { pool = { max_idle_total = 1 } } }
        pass(gw, up, "a")
        local kept = pass(gw, up, "b")
        pass(gw, up, "b", kept)
        up:expect_nobody()
    end)

    it("do not stand in each other's queue", function()
        local gw, up = at_one_address {
            a = { pool = { max_connections = 1, queue = 1, queue_timeout = "60s" } },
            b = { pool = { max_connections = 1, queue = 1, queue_timeout = "60s" } } }
        local first = gw:send(get "a")
        local conn = up:accept()
        conn:request()
        local second = gw:send(get "a")
        gw:await_metric("moongate_http_requests_in_flight", nil, 2)
        pass(gw, up, "b")
        conn:send(EMPTY)
        assert.equal(200, first:response().status)
        conn:request()
        conn:send(EMPTY)
        assert.equal(200, second:response().status)
    end)

    for _, url in ipairs { "http://localhost:%d", "http://LOCALHOST:%d/", "http://127.0.0.1:%d/" } do
        it("are two however the address is written: " .. url, function()
            local up = e2e.upstream()
            local gw = at_one_address({
                a = { endpoints = { { url = up:url() } } },
                b = { endpoints = { { url = url:format(up.port) } }, pool = { max_idle = 0 },
                    first_byte_timeout = "100ms" },
            })
            local kept = pass(gw, up, "a")
            pass(gw, up, "b"):expect_end()
            local waits = gw:send(get "a")
            kept:request()
            assert.equal(504, gw:ask(get "b").status)
            kept:send(EMPTY)
            assert.equal(200, waits:response().status)
        end)
    end

    it("stay apart when one of them is changed by a reload", function()
        local gw, up, opts = at_one_address({ a = {}, b = {} }, { workers = 2 })
        local of_a = pass(gw, up, "a")
        pass(gw, up, "b")
        opts.services.b.pool = { max_idle = 0 }
        opts.services.b.first_byte_timeout = "100ms"
        assert.equal("ok", gw:reload(opts))
        assert.equal(504, gw:ask(get "b").status)
        assert.equal(1, gw:metric("moongate_upstream_connections", { service = "a", state = "idle" }))
        of_a:expect_nothing()
    end)
end)

describe("a service changed by a reload", function()
    it("lets a request end by the time-outs it began with", function()
        local gw, up, opts = at_one_address { a = { first_byte_timeout = "60s" } }
        local before = gw:send(get "a")
        local conn = up:accept()
        conn:request()
        opts.services.a.first_byte_timeout = "100ms"
        assert.equal("ok", gw:reload(opts))
        assert.equal(504, gw:ask(get "a").status)
        conn:send(EMPTY)
        assert.equal(200, before:response().status)
    end)

    it("keeps its connections, and counts them with those of before", function()
        local gw, up, opts = at_one_address { a = {} }
        local kept = pass(gw, up, "a")
        opts.services.a.pool = { max_connections = 1, queue = 0 }
        assert.equal("ok", gw:reload(opts))
        gw:send(get "a")
        kept:request()
        assert.equal(503, gw:ask(get "a").status)
        up:expect_nobody()
    end)
end)

describe("ctx.http", function()
    it("to the address of a service has its own time and connections", function()
        local up = e2e.upstream()
        local gw = at_one_address({
            own = { endpoints = { { url = up:url() } }, first_byte_timeout = "100ms",
                pool = { max_connections = 1, queue = 0 } },
        }, {
            files = { ["plugins/ask/plugin.lua"] = ([[
                return { name = "ask", version = "1.0.0", new = function()
                    return function(ctx)
                        local answer, problem = ctx.http:get("%s/asked")
                        ctx:respond(answer and answer.status or 500, problem or answer.body)
                    end
                end }
            ]]):format(up:url()) },
            plugins = { ask = { use = "./plugins/ask" } },
            routes = {
                { name = "own", match = { paths = { { prefix = "/own" } } }, service = "own" },
                { name = "ask", match = { paths = { { prefix = "/ask" } } }, plugins = { "ask" }, service = "own" },
            },
        })
        local asks = gw:send(get "ask")
        local asked = up:accept()
        assert.equal("/asked", asked:request().target)
        local takes = gw:send(get "own")
        up:accept():request() -- its one connection is free
        assert.equal(504, takes:response().status)
        asked:send "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        assert.equal(200, asks:response().status)
    end)
end)
