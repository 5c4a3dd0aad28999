-- Start, limit, reload, drain, end.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

describe("the connection limit", function()
    it("answers 503 above it, and serves again below it", function()
        local gw, up = e2e.proxy { listener = { max_connections = 2 } }
        local one, two = gw:client(), gw:client()
        local _, _, conn = e2e.exchange(one, up)
        e2e.exchange(two, up, nil, nil, conn)
        local third = gw:client()
        third:try_send(e2e.GET)
        local response = third:response()
        assert.equal(503, response.status)
        assert.truthy(response.fields["retry-after"])
        third:expect_end()
        two:close()
        e2e.eventually("a place to be free", function()
            local client = gw:client { name = "the next client" }
            client:try_send "OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: nothing\r\n\r\n"
            local status = client:response().status
            client:close()
            return status == 417
        end)
    end)
end)

describe("few descriptors", function()
    it("for the connections that a listener may have are told of", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up, descriptors = 328, listener = { max_connections = 101 } }
        assert.truthy(gw:log("few_descriptors"):find("together is 101, but ulimit -n leaves 100,", 1, true))
        assert.equal("ok", gw:reload { up = up, listener = { max_connections = 100 } })
        assert.equal("ok", gw:reload { up = up, listener = { max_connections = 102 } })
        assert.truthy(gw:log("few_descriptors"):find("together is 102,", 1, true))
    end)

    it("are a bound, not an end", function()
        local gw = e2e.gateway { descriptors = 64, plugins = { fix = { use = "respond", config = { body = "yes" } } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fix" } } } }
        local clients = {}
        for i = 1, 100 do
            clients[i] = gw:client()
            clients[i]:try_send(e2e.GET)
        end
        assert.equal("yes", clients[1]:response().body)
        for i = 1, 100 do clients[i]:close() end
        e2e.eventually("a place to be free", function()
            local client = gw:send(e2e.GET)
            local status = client:response().status
            client:close()
            return status == 200
        end)
    end)
end)

describe("a listener on any port", function()
    it("tells which", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up, config = e2e.document({ up = up }, 0, e2e.free_port()), unready = true }
        local port = tonumber(gw:log("web on 127.0.0.1:"):match "web on 127%.0%.0%.1:(%d+)")
        local client = e2e.eventually("the listener", function() return (e2e.connect(port)) end)
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)
end)

describe("TERM", function()
    it("ends an idle gateway", function()
        local gw = e2e.proxy()
        gw.process:signal(e2e.SIGTERM)
        gw:finish()
    end)

    it("lets what is in flight finish, and then ends", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        gw.process:signal(e2e.SIGTERM)
        e2e.eventually("the listener to be closed", function() return e2e.connect(gw.port) == nil end)
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        local head = client:response_head()
        assert.equal("close", head.fields.connection)
        client:expect "hello"
        conn:send "world"
        client:expect "world"
        client:expect_eof()
        gw:finish()
    end)

    it("closes connections that are idle", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        gw.process:signal(e2e.SIGTERM)
        client:expect_end()
        conn:expect_end()
        gw:finish()
    end)

    it("turns readiness off first, for the drain's delay", function()
        local gw = e2e.proxy { extra = { shutdown = { drain_delay = "300ms" } } }
        gw.process:signal(e2e.SIGTERM)
        e2e.eventually("/readyz to be 503", function()
            local ok, response = pcall(gw.status, gw, "/readyz")
            return not ok or response.status == 503
        end)
        gw:finish()
    end)

    it("cuts what lasts longer than the drain's time", function()
        local gw, up = e2e.proxy { extra = { shutdown = { drain_timeout = "100ms" } } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        gw.process:signal(e2e.SIGTERM)
        client:recv_rest()
        conn:expect_end()
        gw:finish()
    end)

    it("for the second time ends it at once", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        up:accept():request()
        gw.process:signal(e2e.SIGTERM)
        e2e.eventually("the listener to be closed", function() return e2e.connect(gw.port) == nil end)
        gw.process:signal(e2e.SIGTERM)
        local code, signal = gw.process:wait()
        assert.is_true(code ~= nil or signal == e2e.SIGTERM)
        client:recv_rest()
        gw:abandon()
    end)
end)

describe("HUP", function()
    local function with_mark(up, mark)
        local config = { response = { set = { ["x-mark"] = mark } } }
        return { up = up, plugins = { mark = { use = "headers", config = config } }, route = { plugins = { "mark" } } }
    end

    it("changes the configuration and closes no connection", function()
        local up = e2e.upstream()
        local gw = e2e.gateway(with_mark(up, "one"))
        local client = gw:client()
        local _, before, conn = e2e.exchange(client, up)
        assert.equal("one", before.fields["x-mark"])
        assert.equal("ok", gw:reload(with_mark(up, "two")))
        local _, after = e2e.exchange(client, up, nil, nil, conn)
        assert.equal("two", after.fields["x-mark"])
        up:expect_nobody()
    end)

    it("leaves a request in flight the configuration that it began with", function()
        local up = e2e.upstream()
        local gw = e2e.gateway(with_mark(up, "one"))
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        assert.equal("ok", gw:reload(with_mark(up, "two")))
        conn:send(e2e.OK)
        assert.equal("one", client:response().fields["x-mark"])
        local _, after = e2e.exchange(client, up, nil, nil, conn)
        assert.equal("two", after.fields["x-mark"])
    end)

    it("adds a route and takes one away", function()
        local up = e2e.upstream()
        local function route(path)
            return { up = up, routes = { { name = "one", match = { paths = { { exact = path } } },
                backends = { { service = "up" } } } } }
        end
        local gw = e2e.gateway(route "/old")
        assert.equal("ok", gw:reload(route "/new"))
        assert.equal(404, gw:ask("GET /old HTTP/1.1\r\nHost: a\r\n\r\n").status)
        local _, response = e2e.exchange(gw:client(), up, "GET /new HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(200, response.status)
    end)

    it("refuses a broken document, and the old one goes on", function()
        local up = e2e.upstream()
        local gw = e2e.gateway(with_mark(up, "one"))
        assert.equal("refused", gw:reload { text = "version: 1\nlisteners: [\n" })
        gw:log "moongate.yaml"
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal("one", response.fields["x-mark"])
    end)

    it("refuses a dangling name, and the old document goes on", function()
        local up = e2e.upstream()
        local gw = e2e.gateway(with_mark(up, "one"))
        local broken = with_mark(up, "two")
        broken.route.backends = { { service = "upp" } }
        assert.equal("refused", gw:reload(broken))
        gw:log "\"upp\\\"; did you mean"
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal("one", response.fields["x-mark"])
    end)

    it("refuses what only a start can change, and a log that cannot be written", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up }
        assert.equal("refused", gw:reload { up = up, workers = 2 })
        gw:log "workers is not changed by a reload"
        assert.equal("refused", gw:reload { up = up, extra = { status = { bind = "127.0.0.1:" .. e2e.free_port() } } })
        gw:log "status is not changed by a reload"
        assert.equal("refused", gw:reload { up = up, extra = { state = { path = "elsewhere" } } })
        gw:log "state is not changed by a reload"
        assert.equal("refused", gw:reload { up = up, extra = { observability = { access_log = { to = "no/such" } } } })
        gw:log "cannot write"
        assert.equal("ok", gw:reload { up = up })
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal(200, response.status)
    end)

    it("refuses a file that is gone, in words", function()
        local gw = e2e.proxy()
        os.remove(gw.config)
        assert.equal("refused", gw:reload())
        local line = e2e.json.decode(gw:log "cannot open")
        assert.equal("[unreadable-file]", line.message:match "^%S+")
    end)

    it("waits for no writer of a FIFO in the place of a file", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up }
        local function with(plugin) return { up = up, plugins = { p = plugin }, route = { plugins = { "p" } } } end
        assert.equal(0, os.execute("cd " .. gw.dir .. " && mkdir own && mkfifo secret own/plugin.lua"))
        local keys = { { key = "${file:secret}", consumer = "anna" } }
        assert.equal("refused", gw:reload(with { use = "key_auth", config = { keys = keys } }))
        gw:log "secret is empty"
        assert.equal("refused", gw:reload(with { use = "./own" }))
        gw:log "own/plugin.lua"
        assert.equal("ok", gw:reload { up = up })
        gw:stop() -- and ends
    end)

    it("refuses a plugin with a typing mistake, and the old one goes on", function()
        local up = e2e.upstream()
        local source = "return { name = 'own', version = '1', new = function() return function(ctx, next)\n"
            .. "  next(ctx)\n  ctx.response:set_header('x-own', '1')\nend end }\n"
        local opts = { up = up, plugins = { own = { use = "./plugins/own" } }, route = { plugins = { "own" } },
            files = { ["plugins/own/plugin.lua"] = source } }
        local gw = e2e.gateway(opts)
        opts.files["plugins/own/plugin.lua"] = source:gsub("next%(ctx%)", "next(ctx")
        assert.equal("refused", gw:reload(opts))
        gw:log "plugin.lua:3"
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal("1", response.fields["x-own"])
    end)

    it("many times under traffic fails no request", function()
        local up = e2e.upstream()
        local gw = e2e.gateway(with_mark(up, "0"))
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        for i = 1, 10 do
            gw:configure(with_mark(up, tostring(i)))
            local before = gw:metric("moongate_config_reloads_total") or 0
            gw.process:signal(e2e.SIGHUP)
            repeat
                local _, response = e2e.exchange(client, up, nil, nil, conn)
                assert.equal(200, response.status)
            until (gw:metric("moongate_config_reloads_total") or 0) > before
            local _, response = e2e.exchange(client, up, nil, nil, conn)
            assert.equal(tostring(i), response.fields["x-mark"])
        end
    end)

    it("keeps what a limiter has counted", function()
        local up = e2e.upstream()
        local opts = { up = up, limiters = { few = { key = "global", rate = "1/h", burst = 1 } },
            route = { plugins = { { limit = "few" } } } }
        local gw = e2e.gateway(opts)
        e2e.exchange(gw:client(), up)
        assert.equal(429, gw:ask(e2e.GET).status)
        opts.extra = { observability = { access_log = { to = "off" }, log_level = "debug" } }
        assert.equal("ok", gw:reload(opts))
        assert.equal(429, gw:ask(e2e.GET).status)
    end)
end)

describe("several workers", function()
    it("serve together and end together", function()
        local gw, up = e2e.proxy { workers = 3 }
        for _ = 1, 12 do
            local client = gw:client()
            local _, response, conn = e2e.exchange(client, up, nil, e2e.LAST)
            assert.equal(200, response.status)
            conn:close()
        end
    end)

    it("take a new configuration together", function()
        local up = e2e.upstream()
        local function answer(text)
            local config = { status = 200, body = text }
            return { workers = 3, up = up, plugins = { fix = { use = "respond", config = config } },
                route = { plugins = { "fix" } } }
        end
        local gw = e2e.gateway(answer "one")
        local clients = {}
        for i = 1, 12 do
            clients[i] = gw:send(e2e.GET)
            assert.equal("one", clients[i]:response().body)
        end
        assert.equal("ok", gw:reload(answer "two"))
        for i = 1, 12 do assert.equal("two", clients[i]:send(e2e.GET):response().body) end
    end)
end)
