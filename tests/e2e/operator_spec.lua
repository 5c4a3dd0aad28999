-- What an operator sees: health, metrics, the access log, and the answers of the gateway's own.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

describe("the status listener", function()
    it("tells that it lives, is ready and healthy", function()
        local gw = e2e.proxy()
        assert.equal(200, gw:status("/livez").status)
        assert.equal(200, gw:status("/readyz").status)
        local health = gw:status("/healthz")
        assert.equal(200, health.status)
        assert.truthy(health.fields["content-type"]:find("application/json", 1, true))
        assert.equal("ok", e2e.json.decode(health.body).status)
    end)

    it("has nothing else, and takes nothing but GET and HEAD", function()
        local gw = e2e.proxy()
        assert.equal(404, gw:status("/").status)
        assert.equal(404, gw:status("/v1/config").status)
        local client = assert(e2e.connect(gw.status_port))
        client:send "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert.equal(405, client:response().status)
    end)

    it("names each of its refusals", function()
        local gw = e2e.proxy()
        local first, second = gw:status "/nothing", gw:status "/nothing"
        local id = first.fields["x-request-id"]
        assert.equal(id, e2e.json.decode(first.body).instance)
        assert.truthy(id:find "^%x+$")
        assert.are_not.equal(id, second.fields["x-request-id"])
    end)

    it("is as strict as any other", function()
        local gw = e2e.proxy()
        local client = assert(e2e.connect(gw.status_port))
        client:try_send "GET /livez HTTP/1.1\r\nHost : a\r\n\r\n"
        assert.equal(400, client:response().status)
        client:expect_end()
    end)

    it("is not reached through the gateway's own listener", function()
        local gw, up = e2e.proxy()
        local seen = e2e.exchange(gw:client(), up, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("/livez", seen.target)
    end)
end)

describe("metrics", function()
    it("count requests by route, method and code", function()
        local gw, up = e2e.proxy { routes = { { name = "only",
            match = { paths = { { prefix = "/only" } }, methods = { "GET", "BREW" } },
            backends = { { service = "up" } } } } }
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up, "GET /only HTTP/1.1\r\nHost: a\r\n\r\n")
        e2e.exchange(client, up, "BREW /only HTTP/1.1\r\nHost: a\r\n\r\n", nil, conn)
        gw:ask "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"
        assert.equal(501, gw:ask("FOO /only HTTP/1.1\r\nHost: a\r\n\r\n").status)
        local name = "moongate_http_requests_total"
        assert.equal(1, gw:await_metric(name, { route = "only", method = "GET", code = "200" }, 1))
        assert.equal(1, gw:await_metric(name, { route = "only", method = "_OTHER", code = "200" }, 1))
        assert.equal(1, gw:await_metric(name, { method = "GET", code = "404" }, 1))
        assert.equal(1, gw:await_metric(name, { method = "_OTHER", code = "501" }, 1))
        assert.equal(2, gw:metric("moongate_http_request_duration_seconds_count", { route = "only" }))
        assert.equal(2, gw:metric("moongate_upstream_requests_total", { service = "up" }))
    end)

    it("are there by their names, each with a type", function()
        local gw, up = e2e.proxy()
        e2e.exchange(gw:client(), up)
        gw:await_metric("moongate_http_requests_total", nil, 1)
        local response = gw:status "/metrics"
        assert.truthy(response.fields["content-type"]:find("text/plain", 1, true))
        for _, name in ipairs { "moongate_build_info", "moongate_http_requests_total",
            "moongate_http_request_duration_seconds", "moongate_http_overhead_seconds",
            "moongate_http_requests_in_flight", "moongate_upstream_requests_total",
            "moongate_config_revision", "moongate_config_reloads_total",
            "moongate_config_last_success_timestamp_seconds" } do
            assert.truthy(response.body:find("# TYPE " .. name .. " ", 1, true), name .. " is missing")
        end
        for line in response.body:gmatch "[^\n]+" do
            local ok = line:find "^# " or line:find "^[%a_:][%w_:]* %S+$" or line:find "^[%a_:][%w_:]*{.*} %S+$"
            assert.truthy(ok, "not a line of the text format: " .. line)
        end
    end)

    it("count what is in flight", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        gw:await_metric("moongate_http_requests_in_flight", nil, 1)
        conn:send(e2e.OK)
        client:response()
        e2e.eventually("nothing to be in flight", function()
            return gw:metric "moongate_http_requests_in_flight" == 0
        end)
    end)

    it("never take a label from a request", function()
        local gw, up = e2e.proxy { route = { match = { paths = { { prefix = "/" } }, methods = { "*" } } } }
        local client = gw:client()
        e2e.exchange(client, up, "X-EVIL-METHOD /evil-path HTTP/1.1\r\nHost: evil-host\r\n\r\n")
        gw:await_metric("moongate_http_requests_total", nil, 1)
        assert.is_nil(gw:status("/metrics").body:lower():find("evil", 1, true))
    end)
end)

describe("the access log", function()
    it("has a line for each request with its fields", function()
        local gw, up = e2e.proxy { access_log = true, plugins = { id = { use = "request_id" } },
            route = { plugins = { "id" } } }
        e2e.exchange(gw:client(), up, "POST /a?secret=1 HTTP/1.1\r\nHost: Shop.Example\r\nUser-Agent: spec/1\r\n"
            .. "X-Request-Id: abc-1\r\nContent-Length: 3\r\n\r\nabc")
        local line = gw:access()
        assert.equal("POST", line.method)
        assert.equal("/a", line.path)
        assert.equal("shop.example", line.host)
        assert.equal(200, line.status)
        assert.equal("all", line.route)
        assert.equal("up", line.service)
        assert.equal("web", line.listener)
        assert.equal("HTTP/1.1", line.protocol)
        assert.equal("127.0.0.1", line.client_ip)
        assert.equal("spec/1", line.user_agent)
        assert.equal("abc-1", line.request_id)
        assert.truthy(line.time)
        assert.truthy(#line.trace_id == 32)
        assert.truthy(line.endpoint:find(tostring(up.port), 1, true))
        for _, name in ipairs { "duration_s", "upstream_s", "gateway_s" } do
            assert.is_true(type(line[name]) == "number" and line[name] >= 0, name)
        end
        assert.is_true(line.bytes_in > 3 and line.bytes_out > 2)
    end)

    it("names the trace that the client is in, the consumer and the limiter", function()
        local gw, up = e2e.proxy { access_log = true, limiters = { few = { key = "global", rate = "1/d" } },
            plugins = { auth = { use = "key_auth", config = { keys = { k1 = "anna" } } } },
            route = { plugins = { { limit = "few" }, "auth" } } }
        local trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        local parent = "00-" .. trace .. "-00f067aa0ba902b7-01"
        local client = gw:client()
        local seen = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: k1\r\nTraceparent: " .. parent
            .. "\r\n\r\n")
        assert.equal(parent, seen.fields.traceparent)
        local line = gw:access()
        assert.equal(trace, line.trace_id)
        assert.equal("anna", line.consumer)
        assert.equal("few", line.limiter)
        client:send("GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-" .. ("0"):rep(32) .. "-00f067aa0ba902b7-01\r\n\r\n")
        assert.equal(429, client:response().status)
        line = gw:access()
        assert.equal("few", line.limiter)
        assert.are_not.equal(("0"):rep(32), line.trace_id)
    end)

    it("names the reason of an answer of the gateway's own", function()
        local gw, up = e2e.proxy { access_log = true }
        local client = gw:send(e2e.GET)
        up:accept():close()
        client:response()
        local line = gw:access()
        assert.equal(502, line.status)
        assert.truthy(line.error:find("^upstream_"))
    end)

    it("stays one line of JSON whatever a client sends", function()
        local gw, up = e2e.proxy { access_log = true }
        e2e.exchange(gw:client(), up,
            "GET /%0a%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\t\255\195\164\r\n\r\n")
        local line = gw:access()
        assert.equal("/%0A%22", line.path)
        assert.truthy(line.user_agent:find("\"\\\t", 1, true))
    end)

    it("has a line for what was refused", function()
        local gw = e2e.proxy { access_log = true }
        gw:ask "GET / HTTP/1.1\r\n\r\n"
        assert.equal(400, gw:access().status)
    end)

    it("goes to a file when told", function()
        local gw, up = e2e.proxy { extra = { observability = { access_log = { to = "access.log" } } } }
        e2e.exchange(gw:client(), up)
        e2e.eventually("a line in the file", function()
            local file = io.open(gw.dir .. "/access.log")
            local line = file and file:read "*l"
            if file then file:close() end
            return line and e2e.json.decode(line).status == 200
        end)
    end)
end)

describe("an answer of the gateway's own", function()
    it("is a problem document with the request's id and no internals", function()
        local port = e2e.free_port()
        local gw = e2e.gateway { service = { endpoints = { { url = "http://127.0.0.1:" .. port } } } }
        local response = gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n"
        assert.equal(502, response.status)
        local problem = e2e.json.decode(response.body)
        assert.equal(502, problem.status)
        assert.truthy(problem.type)
        assert.equal("Bad Gateway", problem.title)
        assert.truthy(problem.instance:find("abc-1", 1, true))
        assert.equal("abc-1", response.fields["x-request-id"])
        assert.is_nil(response.body:find(tostring(port), 1, true))
        assert.is_nil(response.body:find("127.0.0.1", 1, true))
    end)

    it("has an id of its own where the client gave none", function()
        local gw = e2e.proxy { routes = { { name = "only", match = { paths = { { exact = "/only" } } },
            backends = { { service = "up" } } } } }
        local response = gw:ask(e2e.GET)
        assert.equal(404, response.status)
        local id = response.fields["x-request-id"]
        assert.truthy(id and #id >= 16)
        assert.truthy(e2e.json.decode(response.body).instance:find(id, 1, true))
    end)

    it("to HEAD has a head alone", function()
        local gw = e2e.proxy { routes = { { name = "only", match = { paths = { { exact = "/only" } } },
            backends = { { service = "up" } } } } }
        local client = gw:send "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        assert.equal(404, client:response(true).status)
        client:expect_nothing()
    end)
end)

describe("the overhead of a request", function()
    it("has what plugins computed in it, even within one turn of the loop", function()
        local gw = e2e.proxy {
            files = { ["plugins/own/plugin.lua"] = [[
                local plugin = { name = "own", version = "1" }
                function plugin.new(conf)
                    return function(ctx, next)
                        local text = ""
                        for i = 1, 200 do text = text .. ctx.json.encode({ i, i }) end
                        return ctx:respond(200, text)
                    end
                end
                return plugin]] },
            plugins = { own = { use = "./plugins/own" } },
            route = { plugins = { "own" } },
        }
        assert.equal(200, gw:ask(e2e.GET).status)
        assert.truthy(gw:await_metric("moongate_http_overhead_seconds_sum", { route = "all" }, 1e-6))
    end)
end)
