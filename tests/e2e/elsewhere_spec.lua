-- ctx.http on the wire: a service of the configuration is asked, answers are passed on as they come, and the client's
-- body goes elsewhere.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function with(body, opts)
    opts = opts or {}
    local up = e2e.upstream()
    local service = { endpoints = { { url = up:url() } } }
    for key, value in pairs(opts.service or {}) do service[key] = value end
    return e2e.proxy {
        up = up,
        access_log = true,
        files = { ["plugins/own/plugin.lua"] = 'return { name = "own", version = "1", new = function() '
            .. "return function(ctx, next)\n" .. body .. "\nend end }\n" },
        plugins = { own = { use = "./plugins/own" } },
        services = { up = service },
        route = { plugins = { "own" } },
    }, up
end

local STREAM = "local res = assert(ctx.http:get('/x', { service = 'up', stream = true }))\n"

describe("ctx.http", function()
    it("asks a service, and what it does is counted there", function()
        local gw, up = with "local res = assert(ctx.http:get('/x?a=1', { service = 'up' })) ctx:respond(200, res.body)"
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        assert.equal("/x?a=1", conn:request().target)
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", client:response().body)
        assert.equal(1, gw:metric("moongate_upstream_requests_total", { service = "up", outcome = "ok" }))
    end)

    it("passes an answer on before it is whole", function()
        local gw, up = with(STREAM .. "ctx:respond(res.status, res)")
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send("HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 8\r\n\r\nhalf")
        assert.truthy(client:recv_until("half"):find("x-a: 1\r\nx-a: 2\r\n", 1, true))
        conn:send("more")
        client:recv_until("more")
        assert.equal(200, gw:access().status)
    end)

    it("cuts what it passes on where it is cut", function()
        local gw, up = with(STREAM .. "ctx:respond(res.status, res)")
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        client:recv_until("half")
        conn:close()
        assert.equal("", client:recv_rest())
        assert.equal("upstream_reset", gw:access().error)
    end)

    it("sends the client's body on as it comes", function()
        local gw, up = with [[
            local res = assert(ctx.http:post("/x", ctx.request, { service = "up" }))
            ctx:respond(200, res.body)]]
        local client = gw:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nfoo")
        local conn = up:accept()
        conn:recv_until("\r\n\r\nfoo")
        client:send("bar")
        conn:recv_until("bar")
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert.equal("ok", client:response().body)
    end)
end)
