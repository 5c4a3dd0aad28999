-- Fields that plugins set, read and answer with: whose they are, and several of one name.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function handler(body)
    return "return { name = 'own', version = '1', new = function()\nreturn function(ctx, next)\n" .. body
        .. "\nend end }\n"
end

--- A proxy whose route has a plugin with this handler.
local function with(body, more)
    local opts = more or {}
    opts.files = { ["plugins/own/plugin.lua"] = handler(body) }
    opts.plugins = { own = { use = "./plugins/own" } }
    opts.route = { plugins = { "own" } }
    return e2e.proxy(opts)
end

local function get(lines) return "GET / HTTP/1.1\r\nHost: a\r\n" .. (lines or "") .. "\r\n" end

--- All values of a response's field, in order.
local function values_of(message, name)
    local values = {}
    for _, field in ipairs(message.list) do
        if field.name:lower() == name then values[#values + 1] = field.value end
    end
    return values
end

describe("a field that the gateway writes", function()
    for _, name in ipairs { "x-forwarded-proto", "x-forwarded-for", "x-forwarded-host", "forwarded" } do
        it("before the plugins is what they make of it: " .. name, function()
            local gw, up = e2e.proxy { plugins = { h = { use = "headers",
                config = { request = { set = { [name] = "theirs" } } } } }, route = { plugins = { "h" } } }
            assert.equal("theirs", e2e.seen(gw, up, "").fields[name])
        end)

        it("before the plugins may be taken away: " .. name, function()
            local gw, up = with("ctx.request:remove_header('" .. name .. "') return next(ctx)")
            assert.is_nil(e2e.seen(gw, up, "").fields[name])
        end)
    end

    it("before the plugins is what they make of it: x-abtest-group", function()
        local up = e2e.upstream()
        local gw = e2e.proxy { up = up, plugins = { h = { use = "headers",
            config = { request = { set = { ["x-abtest-group"] = "theirs" } } } } },
            services = { up = { endpoints = { { url = up:url() } } } },
            route = { plugins = { "h" }, backends = { { service = "up", group = "a" } } } }
        assert.equal("theirs", e2e.seen(gw, up, "X-Abtest-Group: a\r\n").fields["x-abtest-group"])
    end)

    for _, name in ipairs { "Via", "grpc-timeout", "X-Moongate-Deadline-Ms", "x-moongate-attempt" } do
        for what, change in pairs {
            ["set"] = { set = { [name] = "1" } }, ["added"] = { add = { [name] = { "1", "2" } } },
            ["removed"] = { remove = { name } }, ["renamed"] = { rename = { [name] = "x-other" } },
            ["the new name of one"] = { rename = { ["x-other"] = name } },
        } do
            it("behind the plugins cannot be " .. what .. " by configuration: " .. name, function()
                local result = e2e.run({ "check", "moongate.yaml" }, { files = { ["moongate.yaml"] = e2e.json.encode {
                    version = 1, listeners = { web = { bind = "127.0.0.1:0" } },
                    plugins = { h = { use = "headers", config = { request = change } } },
                    routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "h" } } },
                } } })
                assert.equal(3, result.code)
                assert.truthy(result.err:find(name, 1, true), result.err)
            end)
        end

        for _, call in ipairs { "set_header('%s', '1')", "add_header('%s', '1')", "remove_header('%s')" } do
            it("behind the plugins raises at the line of one that calls " .. call:format(name), function()
                local gw, up = with("\nctx.request:" .. call:format(name) .. "\nreturn next(ctx)")
                assert.equal(500, gw:ask(get()).status)
                gw:log "plugin.lua:4"
                up:expect_nobody()
            end)
        end
    end

    it("may be set on a response", function()
        local gw, up = with("next(ctx) ctx.response:set_header('via', '1.0 fred')")
        local _, response = e2e.exchange(gw:client(), up)
        assert.truthy(response.fields.via:find("^1%.0 fred, 1%.1 moongate"))
    end)
end)

describe("a list of values", function()
    it("is several fields of an answer", function()
        local gw = with([[return ctx:respond(200, "hi", { ["Set-Cookie"] = { "a=1", "b=2" }, ["x-n"] = { 1, 2.5 },
            ["x-one"] = { "1" }, ["x-number"] = 7, ["content-type"] = { "text/a" } })]])
        local answer = gw:ask(get())
        assert.same({ "a=1", "b=2" }, values_of(answer, "set-cookie"))
        assert.same({ "1", "2.5" }, values_of(answer, "x-n"))
        assert.same({ "1" }, values_of(answer, "x-one"))
        assert.same({ "7" }, values_of(answer, "x-number"))
        assert.same({ "text/a" }, values_of(answer, "content-type"))
    end)

    it("is several fields of a problem document", function()
        local gw = with("return ctx:respond(401, { title = 'No' }, { ['www-authenticate'] = { 'Basic', 'ApiKey' } })")
        assert.same({ "Basic", "ApiKey" }, values_of(gw:ask(get()), "www-authenticate"))
    end)

    it("replaces, or is added", function()
        local gw, up = with([[
            ctx.request:set_header("x-set", { "1", "2" })
            ctx.request:add_header("x-add", { "1", "2" })
            next(ctx)
            ctx.response:set_header("set-cookie", { "a=1", "b=2" })]])
        local seen, response = e2e.exchange(gw:client(), up, get "X-Set: old\r\nX-Set: older\r\nX-Add: 0\r\n",
            "HTTP/1.1 200 OK\r\nSet-Cookie: c=3\r\nContent-Length: 0\r\n\r\n")
        assert.same({ "1", "2" }, values_of(seen, "x-set"))
        assert.same({ "0", "1", "2" }, values_of(seen, "x-add"))
        assert.same({ "a=1", "b=2" }, values_of(response, "set-cookie"))
    end)

    for what, value in pairs { ["a boolean"] = "true", ["an empty list"] = "{}", ["a list of lists"] = "{ {} }",
        ["a function"] = "next", ["a list with a boolean"] = "{ 'a', false }", ["names"] = "{ a = 'b' }" } do
        for _, call in ipairs { "ctx:respond(200, '', { ['x-a'] = %s })", "ctx.request:set_header('x-a', %s)",
            "ctx.request:add_header('x-a', %s)",
            "ctx.http:get('http://127.0.0.1:9/', { headers = { ['x-a'] = %s } })" } do
            it("is no such thing as " .. what .. ": " .. call:format(value), function()
                local gw, up = with("\n" .. call:format(value) .. "\nreturn next(ctx)")
                assert.equal(500, gw:ask(get()).status)
                local line = gw:log "plugin.lua:4"
                assert.truthy(line:find("x-a", 1, true))
                up:expect_nobody()
            end)
        end
    end
end)

describe("ctx.http", function()
    it("gives all of set-cookie as a list, which an answer takes as it is", function()
        local gw, up = with("local r = ctx.http:get('http://' .. ctx.request:header('x-up') .. '/') "
            .. "return ctx:respond(200, #r.headers['set-cookie'] .. ' ' .. r.headers['x-list'], r.headers)")
        for _, cookies in ipairs { { "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2" }, { "c=3" } } do
            local lines = ""
            for _, cookie in ipairs(cookies) do lines = lines .. "Set-Cookie: " .. cookie .. "\r\n" end
            local client = gw:send(get("X-Up: " .. up:url():match "//(.*)" .. "\r\n"))
            local conn = up:accept()
            conn:request()
            conn:send("HTTP/1.1 200 OK\r\nX-List: a\r\nX-List: b\r\nConnection: close\r\n" .. lines
                .. "Content-Length: 0\r\n\r\n")
            local answer = client:response()
            assert.same(cookies, values_of(answer, "set-cookie"))
            assert.equal(#cookies .. " a, b", answer.body)
        end
    end)

    it("sends a list as several fields", function()
        local gw, up = with("ctx.http:get('http://' .. ctx.request:header('x-up') .. '/', "
            .. "{ headers = { ['x-list'] = { 'a', 2 } } }) return ctx:respond(200)")
        local client = gw:send(get("X-Up: " .. up:url():match "//(.*)" .. "\r\n"))
        local conn = up:accept()
        assert.same({ "a", "2" }, values_of(conn:request(), "x-list"))
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)
end)

describe("a second line of a field", function()
    it("is part of the value that plugins read", function()
        local gw, up = with([[
            local r = ctx.request
            r:set_header("x-read", r:header("x-a") .. "|" .. r:header("Cookie"))
            return next(ctx)]])
        local seen = e2e.seen(gw, up, "X-A: 1\r\nCookie: a=1\r\nx-a: 2\r\nCookie: b=2\r\nX-A:\r\n")
        assert.equal("1, 2, |a=1; b=2", seen.fields["x-read"])
    end)

    it("makes no request id of it", function()
        local gw, up = e2e.proxy { plugins = { id = { use = "request_id" } }, route = { plugins = { "id" } } }
        for _, second in ipairs { "evil", "abc", "" } do
            assert.equal(400, gw:ask(get("X-Request-Id: abc\r\nX-Request-Id: " .. second .. "\r\n")).status)
        end
        up:expect_nobody()
    end)

    it("makes no key of it", function()
        local gw, up = e2e.proxy { route = { plugins = { "key" } },
            plugins = { key = { use = "key_auth", config = { keys = { k1 = "anna", k2 = "ben" } } } } }
        for _, keys in ipairs { { "k1", "k2" }, { "k1", "k1" }, { "k1", "x" }, { "x", "k1" } } do
            assert.equal(401, gw:ask(get("X-Api-Key: " .. keys[1] .. "\r\nX-Api-Key: " .. keys[2] .. "\r\n")).status)
        end
        up:expect_nobody()
    end)

    it("is another key of a limit", function()
        local gw, up = e2e.proxy { limiters = { l = { key = "header:x-user", rate = "1/h", burst = 1 } },
            route = { plugins = { { limit = "l" } } } }
        e2e.seen(gw, up, "X-User: a\r\n")
        e2e.seen(gw, up, "X-User: a\r\nX-User: b\r\n")
        assert.equal(429, gw:ask(get "X-User: a\r\n").status)
        assert.equal(429, gw:ask(get "X-User: a, b\r\n").status)
    end)

    it("does not match what one line matches", function()
        local gw, up = e2e.proxy { access_log = true, routes = {
            { name = "beta", service = "up",
                match = { paths = { { prefix = "/" } }, headers = { ["x-env"] = "beta" } } },
            { name = "all", match = { paths = { { prefix = "/" } } }, service = "up" } } }
        e2e.seen(gw, up, "X-Env: beta\r\n")
        assert.equal("beta", gw:access().route)
        e2e.seen(gw, up, "X-Env: beta\r\nX-Env: other\r\n")
        assert.equal("all", gw:access().route)
    end)

    it("is no trace to follow", function()
        local gw, up = e2e.proxy { access_log = true }
        local one = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        e2e.seen(gw, up, one)
        assert.equal("0af7651916cd43dd8448eb211c80319c", gw:access().trace_id)
        e2e.seen(gw, up, one .. one:gsub("0af7", "1af7"))
        assert.not_equal("0af7651916cd43dd8448eb211c80319c", gw:access().trace_id)
    end)
end)

describe("a name with an underscore", function()
    local IDENTITY = "X_Consumer: root\r\nx_forwarded_for: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n_: 1\r\n"
        .. "X-Stays: 1\r\n"

    it("goes no further, and is counted", function()
        local gw, up = with [[
            ctx.request:set_header("x-read", ctx.request:header("x_consumer") or "no")
            return next(ctx)]]
        local seen = e2e.seen(gw, up, IDENTITY)
        for _, field in ipairs(seen.list) do assert.is_nil(field.name:find("_", 1, true), field.name) end
        assert.equal("no", seen.fields["x-read"])
        assert.equal("1", seen.fields["x-stays"])
        gw:await_metric("moongate_request_fields_dropped_total", nil, 4)
    end)

    it("goes no further from a trusted proxy either", function()
        local gw, up = e2e.proxy { listener = { trusted_proxies = { "127.0.0.0/8" } } }
        local seen = e2e.seen(gw, up, IDENTITY)
        assert.is_nil(seen.fields["x_consumer"])
        assert.equal("127.0.0.1", seen.fields["x-forwarded-for"])
    end)

    it("passes where the listener says so", function()
        local gw, up = e2e.proxy { listener = { underscores_in_names = true } }
        local seen = e2e.seen(gw, up, IDENTITY)
        assert.equal("root", seen.fields["x_consumer"])
        assert.equal("6.6.6.6", seen.fields["x_forwarded_for"])
        assert.equal(0, gw:metric "moongate_request_fields_dropped_total")
    end)

    it("of a response passes, and of a plugin's making", function()
        local gw, up = with "ctx.request:set_header('x_own', '1') return next(ctx)"
        local seen, response = e2e.exchange(gw:client(), up, nil,
            "HTTP/1.1 200 OK\r\nX_Up: 2\r\nContent-Length: 0\r\n\r\n")
        assert.equal("1", seen.fields["x_own"])
        assert.equal("2", response.fields["x_up"])
    end)
end)

describe("a trailer", function()
    local function post(trailers)
        return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n" .. trailers .. "\r\n"
    end

    it("of a request goes no further, and is counted", function()
        local gw, up = e2e.proxy()
        local seen = e2e.exchange(gw:client(), up, post "X-Consumer: root\r\nX-Sum: 1\r\nX_Consumer: root\r\n")
        assert.equal("hi", seen.body)
        assert.same({}, seen.trailers)
        gw:await_metric("moongate_request_fields_dropped_total", nil, 3)
    end)

    it("of a request goes on where it is listed, after a reload too", function()
        local gw, up = e2e.proxy { listener = { request_trailers = { "x-sum", "GRPC-Status" } } }
        local sent = post "X-Consumer: root\r\nX-SUM: 1\r\ngrpc-status: 0\r\nX-Su: 1\r\n"
        local seen, _, conn = e2e.exchange(gw:client(), up, sent)
        assert.same({ ["x-sum"] = "1", ["grpc-status"] = "0" }, seen.trailers)
        gw.opts.listener = { request_trailers = { "x-su" } }
        assert.equal("ok", gw:reload(gw.opts))
        assert.same({ ["x-su"] = "1" }, (e2e.exchange(gw:client(), up, sent, nil, conn)).trailers)
    end)

    it("of a request is not kept for another try or a plugin's stream", function()
        local gw, up = e2e.proxy { service = { retry = { attempts = 2 } }, files = { ["plugins/own/plugin.lua"] =
            "return { name = 'own', version = '1', body = { request = 'stream' },\n"
            .. "new = function() return { request_body = function(ctx, chunk) return chunk end,\n"
            .. "handler = function(ctx, next) return next(ctx) end } end }\n" },
            plugins = { own = { use = "./plugins/own" } }, route = { plugins = { "own" } } }
        assert.same({}, (e2e.exchange(gw:client(), up, post "X-Consumer: root\r\n")).trailers)
    end)

    it("of a response passes", function()
        local gw, up = e2e.proxy()
        local _, response = e2e.exchange(gw:client(), up, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\ngrpc-message: ok\r\n"
            .. "x-own-bin: AA\r\n\r\n")
        assert.same({ ["grpc-status"] = "0", ["grpc-message"] = "ok", ["x-own-bin"] = "AA" }, response.trailers)
    end)
end)
