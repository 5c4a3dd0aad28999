-- Upstreams that refuse, reset, hang up or lie: a clear answer where one can still be given, a cut message where not,
-- and the gateway goes on.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- Sends a request, lets the upstream do `act` with its connection, returns the client.
local function against(act, request)
    local gw, up = e2e.proxy()
    local client = gw:send(request or e2e.GET)
    local conn = up:accept()
    conn:request_head()
    act(conn)
    return client, gw, up, conn
end

describe("an upstream that", function()
    it("refuses is a 502, and serves again once it is there", function()
        local port = e2e.free_port()
        local gw = e2e.gateway { service = { endpoints = { { url = "http://127.0.0.1:" .. port } } } }
        local client = gw:send(e2e.GET)
        local response = client:response()
        assert.equal(502, response.status)
        local up = e2e.upstream { port = port }
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
    end)

    it("has a name without an address is a 503", function()
        local gw = e2e.gateway { service = { endpoints = { { url = "http://no-such-host.invalid:80" } },
            pool = { connect_timeout = "2s" } }, route = { timeout = "3s" } }
        local status = gw:ask(e2e.GET).status
        assert.is_true(status == 503 or status == 502 or status == 504, "status " .. status)
    end)

    it("has a name is found by it", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { service = { endpoints = { { url = "http://localhost:" .. up.port } } } }
        local client = gw:client()
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)

    it("closes before its answer is a 502", function()
        local client = against(function(conn) conn:close() end)
        assert.equal(502, client:response().status)
    end)

    it("resets before its answer is a 502", function()
        local client = against(function(conn) conn:reset() end)
        assert.equal(502, client:response().status)
    end)

    it("closes inside its head is a 502", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nContent-Le"
            conn:close()
        end)
        assert.equal(502, client:response().status)
    end)

    it("closes behind a 103 is a 502", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 103 Early Hints\r\n\r\n"
            conn:close()
        end)
        assert.equal(103, client:response_head().status)
        assert.equal(502, client:response().status)
    end)

    it("sends less than it promised has its answer cut", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
            conn:close()
        end)
        assert.equal(200, client:response_head().status)
        assert.equal("hello", client:recv_rest())
    end)

    it("sends more than it promised has the rest dropped", function()
        local client, gw, up, conn = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"
        end)
        assert.equal("hello", client:response().body)
        conn:expect_end()
        local _, second = e2e.exchange(client, up)
        assert.equal("ok", second.body)
        client:expect_nothing()
        assert.equal(200, gw:status("/livez").status)
    end)

    it("sends a body behind a 204 is not believed", function()
        local client, _, up, conn = against(function(conn)
            conn:send "HTTP/1.1 204 No Content\r\n\r\nsurprise"
        end)
        assert.equal(204, client:response().status)
        conn:expect_end()
        local _, second = e2e.exchange(client, up)
        assert.equal("ok", second.body)
    end)

    it("resets in the middle of a body has its answer cut", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        end)
        client:response_head()
        client:expect "hello"
    end)

    it("closes inside a chunk leaves the client without the body's end", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello"
            conn:close()
        end)
        client:response_head()
        assert.is_nil(client:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("closes between chunks leaves the client without the body's end", function()
        local client = against(function(conn)
            conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            conn:close()
        end)
        client:response_head()
        assert.is_nil(client:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("answers and resets before it has read the request has its answer passed on", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        conn:send "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        local response = client:response()
        assert.equal(413, response.status)
        assert.equal("no", response.body)
        conn:close()
        client:close()
    end)

    it("resets while the request's body still moves is a 502", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        conn:reset()
        assert.equal(502, client:response().status)
    end)

    it("leaves takes nobody else with it", function()
        local gw, up = e2e.proxy()
        local one, two = gw:send(e2e.GET), gw:send(e2e.GET)
        local first, second = up:accept(), up:accept()
        first:request()
        second:request()
        first:reset()
        second:send(e2e.OK)
        local statuses = { one:response().status, two:response().status }
        table.sort(statuses)
        assert.same({ 200, 502 }, statuses)
    end)
end)

describe("two endpoints", function()
    it("take turns", function()
        local a, b = e2e.upstream { name = "a" }, e2e.upstream { name = "b" }
        local gw = e2e.gateway { service = { balance = "round_robin",
            endpoints = { { url = a:url() }, { url = b:url() } } } }
        local one, two = gw:send(e2e.GET), gw:send(e2e.GET)
        for _, up in ipairs { a, b } do
            local conn = up:accept()
            conn:request()
            conn:send(e2e.OK)
        end
        assert.equal(200, one:response().status)
        assert.equal(200, two:response().status)
    end)

    it("take turns by their weights", function()
        local a, b = e2e.upstream { name = "a" }, e2e.upstream { name = "b" }
        local gw = e2e.gateway { service = { balance = "round_robin",
            endpoints = { { url = a:url(), weight = 3 }, { url = b:url() } } } }
        for _ = 1, 8 do gw:send(e2e.GET) end
        for _ = 1, 6 do a:accept():request() end
        for _ = 1, 2 do b:accept():request() end
        a:expect_nobody()
        b:expect_nobody()
    end)
end)

describe("a breaker", function()
    it("opens after failures in a row, and then answers itself", function()
        local gw, up = e2e.proxy { service = { breaker = { consecutive_failures = 2, open_for = "60s",
            open_max = "60s" } } }
        local client = gw:client()
        local failure = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
        local _, _, conn = e2e.exchange(client, up, nil, failure)
        e2e.exchange(client, up, nil, failure, conn)
        local response = gw:ask(e2e.GET)
        assert.equal(503, response.status)
        local after_s = tonumber(response.fields["retry-after"])
        assert.is_true(after_s >= 1 and after_s <= 66, "Retry-After: " .. after_s)
        conn:expect_nothing()
    end)
end)

describe("a limiter of the configuration", function()
    it("passes its burst, then refuses and says until when", function()
        local gw, up = e2e.proxy { limiters = { few = { key = "header:x-key", rate = "1/h", burst = 2 } },
            route = { plugins = { { limit = "few" } } } }
        local client = gw:client()
        local request = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: one\r\n\r\n"
        local _, first, conn = e2e.exchange(client, up, request)
        assert.truthy(first.fields["ratelimit-policy"]:find("\"few\";q=2;w=7200", 1, true))
        assert.truthy(first.fields.ratelimit:find("\"few\";r=1", 1, true))
        e2e.exchange(client, up, request, nil, conn)
        client:send(request)
        local refused = client:response()
        assert.equal(429, refused.status)
        assert.equal("3600", refused.fields["retry-after"])
        assert.truthy(e2e.json.decode(refused.body).type:find("#quota-exceeded", 1, true))
        local _, other = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nX-Key: two\r\n\r\n", nil, conn)
        assert.equal(200, other.status)
    end)
end)
