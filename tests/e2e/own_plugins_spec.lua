-- Plugins that an operator writes: what they can do, and what becomes of those that go wrong.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- The source of a plugin whose handler has this body; `head` stands before it in new(conf).
local function plugin(body, head, top)
    return table.concat({
        (top or "") .. "local plugin = { name = \"own\", version = \"1.2.3\" }",
        "function plugin.new(conf)",
        head or "",
        "    return function(ctx, next)",
        body,
        "    end",
        "end",
        "return plugin",
    }, "\n") .. "\n"
end

--- A proxy whose route has the plugin of that source.
local function with(source, more)
    local opts = more or {}
    opts.files = opts.files or {}
    opts.files["plugins/own/plugin.lua"] = source
    local settings = opts.settings or {}
    settings.use = "./plugins/own"
    opts.plugins = opts.plugins or {}
    opts.plugins.own = settings
    opts.route = opts.route or { plugins = { "own" } }
    return e2e.proxy(opts)
end

describe("a plugin that names what the configuration does not have", function()
    local LIMITERS = { login = { rate = "5/s" }, search = { rate = "9/s" } }

    --- The line about what this handler does; its answer's text where it does not raise.
    local function told(body)
        local gw = with(plugin(body), { limiters = LIMITERS })
        local response = gw:ask(e2e.GET)
        return response.status == 500 and e2e.json.decode(gw:log "plugin_error").message or response.body
    end

    for body, holds in pairs {
        ["ctx.limit:take('logn', 'k')"] =
            "take: no limiter of the configuration is named 'logn': did you mean 'login'?",
        ["ctx.limit:reserve('serch', 'k')"] = "reserve: no limiter of the configuration is named 'serch': "
            .. "did you mean 'search'? There are login, search",
        ["ctx.limit:take('zzz', 'k')"] = "is named 'zzz': login, search",
        ["ctx.breaker:ask('upp')"] = "ask: no service is named 'upp': did you mean 'up'?",
        ["ctx.breaker:run('upp', function() end)"] = "run: no service is named 'upp': did you mean 'up'?",
        ["local _, problem = ctx.service('upp') ctx:respond(200, problem)"] =
            "no service is named 'upp': did you mean 'up'?",
        ["ctx.http:get('http://a', { headers = { x = 'a\\r\\nb' } })"] = "http: header \"x\"",
        ["ctx.http:get('/a', { service = 'upp' })"] =
            "http: no service is named 'upp': did you mean 'up'?",
        ["ctx.http:get('a', { service = 'up' })"] = "http: GET \"a\": a path begins with /",
        ["ctx.http:get('/a b', { service = 'up' })"] = "http: GET \"/a b\": a path has no blank",
        ["ctx.http:get('htp://a/')"] = "http: GET \"htp://a/\": ",
        ["ctx.http:get('/path')"] = "http: GET \"/path\": ",
        ["ctx.http:post('https://a/', '')"] = "http: POST \"https://a/\": ",
    } do
        it("is told which there are: " .. body, function()
            local message = told(body)
            assert.truthy(message:find(holds, 1, true), message)
            assert.is_nil(message:match("^[^\n]*"):find("lua/moongate", 1, true), message)
        end)
    end
end)

describe("fields of the response that are set before next", function()
    local EARLY = plugin [[
        ctx.response:set_header("x-set", "early")
        ctx.response:add_header("x-add", "early")
        ctx.response:remove_header("server")
        next(ctx)]]

    --- A gateway whose plugin sets fields early, around what stands behind it in the chain.
    local function early(more)
        more.files = more.files or {}
        more.route = more.route or {}
        table.insert(more.route.plugins, 1, "own")
        return with(EARLY, more)
    end

    local function has_them(response, status, added)
        assert.equal(status, response.status)
        assert.equal("early", response.fields["x-set"])
        assert.equal(added or "early", response.fields["x-add"])
        assert.is_nil(response.fields.server)
    end

    it("are made over those of the upstream's answer", function()
        local gw, up = early { route = { plugins = {} } }
        local _, response = e2e.exchange(gw:client(), up, e2e.GET, "HTTP/1.1 200 OK\r\nServer: up\r\nX-Set: up\r\n"
            .. "X-Add: up\r\nContent-Length: 0\r\n\r\n")
        has_them(response, 200, "up, early")
    end)

    it("are on the answer of a plugin further in, and in its way", function()
        local gw = early { route = { plugins = { "later" } }, plugins = { later = { use = "./plugins/later" } },
            files = { ["plugins/later/plugin.lua"] =
                plugin [[return ctx:respond(200, "later", { ["x-add"] = "later", server = "later" })]] } }
        local response = gw:ask(e2e.GET)
        assert.same({ 200, "early", "later", "later" },
            { response.status, response.fields["x-set"], response.fields["x-add"], response.fields.server })
    end)

    it("are on what the gateway answers itself", function()
        local gw, up = early { route = { plugins = { { limit = "few" } }, timeout = "3s" },
            limiters = { few = { rate = "2/h", burst = 2, key = "global" } } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        has_them(client:response(), 504)
        conn:close()
        up:close()
        has_them(gw:ask(e2e.GET), 502)
        local refused = gw:ask(e2e.GET)
        has_them(refused, 429)
        assert.equal("application/problem+json", refused.fields["content-type"])
    end)
end)

describe("a plugin", function()
    it("sees the request and changes it before the upstream gets it", function()
        local gw, up = with(plugin [[
            local r = ctx.request
            r:set_header("x-was", table.concat({ r.method, r.scheme, r.host, r.path, r.query, r.client_address,
                r:header("X-One"), r:query_param("q"), ctx.route, ctx.service.name }, " "))
            r:add_header("x-two", "b")
            r:remove_header("x-one")
            r:set_method("PUT")
            r:set_path("/other/./place")
            r:set_query("z=1")
            return next(ctx)]])
        local seen = e2e.exchange(gw:client(), up,
            "GET /here?q=a+b HTTP/1.1\r\nHost: Shop.Example\r\nX-One: 1\r\nX-Two: a\r\n\r\n")
        assert.equal("GET http shop.example /here q=a+b 127.0.0.1 1 a b all up", seen.fields["x-was"])
        assert.equal("a, b", seen.fields["x-two"])
        assert.is_nil(seen.fields["x-one"])
        assert.equal("PUT /other/place?z=1 HTTP/1.1", seen.start)
    end)

    it("sees the response and changes it before the client gets it", function()
        local gw, up = with(plugin [[
            next(ctx)
            ctx.response:set_header("x-was", ctx.response.status .. " " .. ctx.response:header("x-up"))
            ctx.response:remove_header("x-up")
            ctx.response:set_status(203)]])
        local _, response = e2e.exchange(gw:client(), up, nil,
            "HTTP/1.1 200 OK\r\nX-Up: u\r\nContent-Length: 2\r\n\r\nok")
        assert.equal(203, response.status)
        assert.equal("200 u", response.fields["x-was"])
        assert.is_nil(response.fields["x-up"])
        assert.equal("ok", response.body)
    end)

    it("sees an upstream that failed as a response", function()
        local gw, up = with(plugin [[
            next(ctx)
            ctx.response:set_header("x-was", ctx.response.status .. " " .. tostring(ctx.response.error))]])
        local client = gw:send(e2e.GET)
        up:accept():close()
        local response = client:response()
        assert.equal(502, response.status)
        assert.truthy(response.fields["x-was"]:find("^502 upstream_"))
    end)

    it("that does not call next answers", function()
        local gw, up = with(plugin "return ctx:respond(403, { title = 'No', detail = 'not you' })")
        local response = gw:ask(e2e.GET)
        assert.equal(403, response.status)
        assert.equal("application/problem+json", response.fields["content-type"])
        local problem = e2e.json.decode(response.body)
        assert.equal("No", problem.title)
        assert.equal("not you", problem.detail)
        assert.equal(403, problem.status)
        assert.truthy(problem.instance)
        up:expect_nobody()
    end)

    it("answers JSON and text with fields", function()
        local gw = with(plugin [[
            if ctx.request.path == "/json" then return ctx:respond(200, { json = { list = { 1, 2 }, ok = true } }) end
            return ctx:respond(201, "made", { location = "/1" })]])
        assert.same({ list = { 1, 2 }, ok = true },
            e2e.json.decode(gw:ask("GET /json HTTP/1.1\r\nHost: a\r\n\r\n").body))
        local text = gw:ask(e2e.GET)
        assert.equal(201, text.status)
        assert.equal("made", text.body)
        assert.equal("/1", text.fields.location)
    end)

    it("keeps the state of a request to that request", function()
        local gw, up = with(plugin [[
            ctx.response:header("x")
            local before = tostring(ctx.state.mine)
            ctx.state.mine = ctx.request.path
            next(ctx)
            ctx.response:set_header("x-state", before .. " " .. ctx.state.mine)]])
        local client = gw:client()
        local _, one, conn = e2e.exchange(client, up, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        local _, two = e2e.exchange(client, up, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", nil, conn)
        assert.equal("nil /1", one.fields["x-state"])
        assert.equal("nil /2", two.fields["x-state"])
    end)

    it("reads a body that it declared, and may replace it", function()
        local source = plugin([[
            local body = ctx.request:body()
            ctx.request:set_body(body:upper())
            next(ctx)
            ctx.response:set_body(ctx.response:body() .. "!")]]):gsub("version = \"1.2.3\"",
            "%0, body = { request = \"buffer(1KiB)\", response = \"buffer(1KiB)\" }")
        local gw, up = with(source)
        local client = gw:client()
        local seen, response, conn = e2e.exchange(client, up,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert.equal("ABC", seen.body)
        assert.equal("ok!", response.body)
        client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" .. string.rep("x", 2000))
        assert.equal(413, client:response().status)
        conn:expect_nothing()
    end)

    it("reads a body behind next that nobody read before", function()
        local source = plugin([[
            next(ctx)
            local ok, body = pcall(ctx.request.body, ctx.request)
            ctx.response:set_header("x-body", ok and body or #body > 0 and "raised")]]):gsub("version = \"1.2.3\"",
            "%0, body = { request = \"buffer(1KiB)\" }")
        local gw, up = with(source)
        local client = gw:client()
        local seen, response, conn = e2e.exchange(client, up,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert.equal("abc", seen.body)
        assert.equal("abc", response.fields["x-body"])
        seen, response = e2e.exchange(client, up,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" .. string.rep("x", 2000), nil, conn)
        assert.equal(2000, #seen.body)
        assert.equal("raised", response.fields["x-body"])
    end)

    it("sleeps while others are served", function()
        local gw, up = with(plugin [[
            if ctx.request.path == "/slow" then ctx:sleep(0.2) end
            return next(ctx)]])
        local slow = gw:send "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
        local quick = gw:send "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n"
        local conn = up:accept()
        assert.equal("/quick", conn:request().target)
        conn:send(e2e.OK)
        assert.equal(200, quick:response().status)
        assert.equal("/slow", conn:request().target)
        conn:send(e2e.OK)
        assert.equal(200, slow:response().status)
    end)

    it("waits under pcall and after next", function()
        local gw, up = with(plugin [[
            local ok, err = pcall(function() ctx:sleep(0.01) error("mine", 0) end)
            next(ctx)
            ctx:sleep(0.01)
            ctx.response:set_header("x-caught", tostring(ok) .. " " .. err)]])
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal("false mine", response.fields["x-caught"])
    end)

    it("is let go when its client leaves while it sleeps", function()
        local gw, up = with(plugin "ctx:sleep(3600) return next(ctx)", { access_log = true,
            route = { plugins = { "own" }, timeout = "1h" } })
        local client = gw:send(e2e.GET)
        gw:await_metric("moongate_http_requests_in_flight", nil, 1)
        client:close()
        assert.equal(499, gw:access().status)
        up:expect_nobody()
    end)

    it("asks other services with ctx.http", function()
        local other = e2e.upstream { name = "other" }
        local gw, up = with(plugin(([[
            local headers = { ["x-a"] = "b" }
            local answer, problem = ctx.http:post("http://127.0.0.1:%d/ask?x=1", "question", { headers = headers })
            if not answer then return ctx:respond(500, problem) end
            ctx.request:set_header("x-answer", answer.status .. " " .. answer.headers["x-c"] .. " " .. answer.body)
            return next(ctx)]]):format(other.port)))
        local client = gw:send(e2e.GET)
        local conn = other:accept()
        local asked = conn:request()
        assert.equal("POST /ask?x=1 HTTP/1.1", asked.start)
        assert.equal("question", asked.body)
        assert.equal("b", asked.fields["x-a"])
        conn:send "HTTP/1.1 201 Created\r\nX-C: d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n"
        local main = up:accept()
        assert.equal("201 d yes", main:request().fields["x-answer"])
        main:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)

    it("learns that another service is not there or too slow", function()
        local mute = e2e.upstream { name = "mute" }
        local gw = with(plugin(([[
            local one, why_one = ctx.http:get("http://127.0.0.1:%d/")
            local two, why_two = ctx.http:get("http://127.0.0.1:%d/", { timeout = 0.1 })
            return ctx:respond(200, tostring(one) .. " " .. tostring(why_one) .. " " .. tostring(two) .. " "
                .. tostring(why_two))]]):format(e2e.free_port(), mute.port)))
        local body = gw:ask(e2e.GET).body
        assert.equal("nil upstream_connect nil timeout", body)
    end)

    it("learns that the time of its own request is over, after next as before it", function()
        local mute = e2e.upstream { name = "mute" }
        local gw, up = with(plugin(([[
            if ctx.request.path == "/after" then next(ctx) end
            local answer, why = ctx.http:get("http://127.0.0.1:%d/", { timeout = 0.2 })
            return ctx:respond(200, tostring(answer) .. " " .. tostring(why))]]):format(mute.port)),
            { route = { plugins = { "own" }, timeout = "100ms" } })
        assert.equal(504, gw:ask(e2e.GET).status) -- the request's time is over, so nobody waits for the plugin's answer
        local client = gw:client()
        local _, response = e2e.exchange(client, up, "GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("nil timeout", response.body) -- that ended with the response's head
    end)

    it("keeps values in ctx.kv over a restart", function()
        local source = plugin [[
            if ctx.request.path == "/set" then
                ctx.kv:set("k", "kept")
                ctx.kv:barrier()
                return ctx:respond(200, "set")
            end
            return ctx:respond(200, tostring(ctx.kv:get("k")))]]
        local files = { ["plugins/own/plugin.lua"] = source }
        local opts = { files = files, plugins = { own = { use = "./plugins/own" } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "own" } } },
            extra = { state = { path = "state" } } }
        local gw = e2e.gateway(opts)
        assert.equal("nil", gw:ask(e2e.GET).body)
        assert.equal("set", gw:ask("GET /set HTTP/1.1\r\nHost: a\r\n\r\n").body)
        gw:restart(e2e.SIGKILL)
        assert.equal("kept", gw:ask(e2e.GET).body)
    end)

    it("requires its own modules and has a configuration that its schema completes", function()
        local schema = { type = "object", additionalProperties = false, required = { "word" }, properties = {
            word = { type = "string" }, times = { type = "integer", default = 2 } } }
        local source = plugin("return ctx:respond(200, rep(conf.word, conf.times))", "",
            "local rep = require \"own.x\"\n")
        local gw = with(source, { files = { ["plugins/own/lib/x.lua"] = "return function(s, n) return s:rep(n) end\n",
            ["plugins/own/schema.json"] = e2e.json.encode(schema) }, settings = { config = { word = "ab" } } })
        assert.equal("abab", gw:ask(e2e.GET).body)
    end)
end)
