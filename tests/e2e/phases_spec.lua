-- Whatever a plugin waits for ends, in each phase of a request; and its log is told of every request that began.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- Two routes: /a with the plugin whose handler this is (its first line is the plugin's second), all others without.
local function with(handler, more)
    local opts = more or {}
    opts.files = { ["plugins/own/plugin.lua"] = "return { name = 'own', version = '1', body = "
        .. (opts.body or "nil") .. ", new = function() return { handler = function(ctx, next)\n" .. handler
        .. "\nend, log = " .. (opts.log and "function(ctx) " .. opts.log .. " end" or "nil") .. " } end }\n" }
    opts.plugins = { own = { use = "./plugins/own", on_error = opts.on_error, timeout = opts.timeout } }
    opts.service = { read_timeout = opts.read_timeout }
    opts.routes = {
        { name = "a", match = { paths = { { prefix = "/a" } } }, service = "up", plugins = { "own" },
            timeout = opts.route_timeout or "300ms" },
        { name = "canary", match = { paths = { { prefix = "/" } } }, service = "up" },
    }
    return e2e.proxy(opts)
end

local A = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"

--- The upstream's next connection has had a request and answers it.
local function answer(up, bytes)
    local conn = up:accept()
    conn:request()
    conn:send(bytes or e2e.LAST)
    return conn
end

describe("a plugin that waits for ever", function()
    it("behind next is ended when the response was held for read_timeout", function()
        for _, wait in ipairs { "ctx:sleep(3600)", "while true do pcall(ctx.sleep, ctx, 0.05) end",
            "while true do ctx.http:get('http://127.0.0.1:1/', { timeout = 0.05 }) ctx:sleep(0.05) end" } do
            local gw, up = with("next(ctx)\n" .. wait, { read_timeout = "200ms" })
            local client = gw:send(A)
            answer(up)
            local response = client:response()
            assert.equal(504, response.status)
            assert.equal("application/problem+json", response.fields["content-type"])
            gw:log "plugins/own/plugin.lua:3: this request is over: behind next(ctx)"
            client:send "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
            answer(up)
            assert.equal("ok", client:response().body)
            assert.equal(1, gw:metric("moongate_plugin_errors_total"))
            client:close()
            up:close()
        end
    end)

    it("behind next is ended by its own timeout", function()
        local gw, up = with("next(ctx)\nctx:sleep(3600)", { timeout = "50ms" })
        local client = gw:send(A)
        answer(up)
        assert.equal(500, client:response().status)
        gw:log "plugins/own/plugin.lua:3: this waited longer than the plugin's timeout allows"
    end)

    it("before next is named with its line", function()
        local gw, up = with("local x = 1\nctx:sleep(3600)\nnext(ctx)")
        assert.equal(504, gw:ask(A).status)
        gw:log "plugins/own/plugin.lua:3: this request is over: the route's timeout passed while this waited"
        up:expect_nobody()
    end)

    it("in a loop of no time at all has used up what a request may compute", function()
        for _, loop in ipairs { "while true do ctx:sleep(0) end", "while true do pcall(ctx.sleep, ctx, 0) end" } do
            local gw, up = with(loop, { route_timeout = "1h" })
            local client = gw:send(A)
            local canary = gw:client()
            e2e.exchange(canary, up, "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n") -- others go on meanwhile
            assert.equal(500, client:response().status)
            gw:log "plugins/own/plugin.lua:2: plugin \\\"own\\\" used 1000 ms of CPU in all its waits"
            canary:close()
            client:close()
            up:close()
        end
    end)

    it("in a loop behind next has, too", function()
        local gw, up = with("next(ctx)\nwhile true do ctx:sleep(0) end", { read_timeout = "1h" })
        local client = gw:send(A)
        answer(up)
        assert.equal(500, client:response().status)
        gw:log "plugins/own/plugin.lua:3: plugin \\\"own\\\" used 1000 ms of CPU"
    end)
end)

describe("the log of a plugin", function()
    local LOG = "ctx.log:info(('got %s %s %d'):format(ctx.response.status, tostring(ctx.response.error), "
        .. "ctx.response.bytes))"

    --- Its line and that of the access log say the same; there is one.
    local function same(gw)
        local access = gw:access()
        gw:log(("got %d %s %d"):format(access.status, access.error or "nil", access.bytes_out))
        assert.equal(1, select(2, gw.process.err.text:gsub("got %d+ ", "")))
        return access
    end

    -- Handler; status; reason.
    for _, case in ipairs {
        { "ctx:respond(403)", 403 },
        { "error('mine')", 500, "plugin_error" },
        { "while true do end", 500, "plugin_error" },
        { "ctx:sleep(3600)", 504, "deadline" },
        { "", 500, "plugin_error" },
        { "ctx.kv:set('a', 'b') ctx.kv:barrier() ctx:respond(204)", 204 },
    } do
        it("is told what the client got: " .. case[1], function()
            local gw = with(case[1], { log = LOG, access_log = true })
            assert.equal(case[2], gw:ask(A).status)
            local access = same(gw)
            assert.equal(case[2], access.status)
            assert.equal(case[3], access.error)
        end)
    end

    it("is told of a body that is too large", function()
        local gw = with("ctx.request:body() next(ctx)", { log = LOG, access_log = true,
            body = "{ request = 'buffer(1KiB)' }" })
        assert.equal(413, gw:ask("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").status)
        assert.equal("body_too_large", same(gw).error)
    end)

    for _, wait in ipairs { "ctx:sleep(3600)", "next(ctx)", "ctx.http:get('http://127.0.0.1:@UP@/')" } do
        it("is told of a client that has left: " .. wait, function()
            local up = e2e.upstream()
            local gw = with(wait:gsub("@UP@", up.port), { log = LOG, access_log = true, route_timeout = "1h", up = up })
            local client = gw:send(A)
            gw:await_metric("moongate_http_requests_in_flight", nil, 1)
            client:close()
            assert.equal(499, same(gw).status)
        end)
    end

    it("is told of a request that a stop has ended", function()
        local gw = with("ctx:sleep(3600)", { log = LOG, access_log = true, route_timeout = "1h" })
        local client = gw:send(A)
        gw:await_metric("moongate_http_requests_in_flight", nil, 1)
        gw.process:signal(e2e.SIGTERM)
        gw:log "draining"
        gw.process:signal(e2e.SIGTERM)
        local access = same(gw)
        assert.equal(499, access.status)
        assert.equal("shutdown", access.error)
        client:close()
    end)

    it("computes within its budget, and stops no other", function()
        local gw = with("ctx:respond(204)", { log = LOG .. "\nwhile true do end", access_log = true })
        local client = gw:client()
        for _ = 1, 2 do
            client:send(A)
            assert.equal(204, client:response().status)
            gw:log "plugins/own/plugin.lua:4: plugin \\\"own\\\" used more than 10 ms of CPU"
            gw:access()
        end
    end)
end)
