-- Connections to an upstream: which are used again, which never, and what happens when one turns out to be dead.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local EMPTY = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

describe("an upstream's connection", function()
    it("is shared by clients, the last one given back first", function()
        local gw, up = e2e.proxy()
        local one = gw:send(e2e.GET)
        local first = up:accept()
        first:request()
        local two = gw:send(e2e.GET)
        local second = up:accept()
        second:request()
        second:send(EMPTY)
        two:response()
        first:send(EMPTY)
        one:response()
        local third = gw:send "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        assert.equal("/3", first:request().target)
        first:send(EMPTY)
        assert.equal(200, third:response().status)
        second:expect_nothing()
        up:expect_nobody()
    end)

    it("with bytes behind its answer is closed, and they reach nobody", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        local _, response, conn = e2e.exchange(client, up, nil, e2e.OK .. poison)
        assert.equal("ok", response.body)
        conn:expect_end()
        local other = gw:client()
        local _, clean = e2e.exchange(other, up)
        assert.equal("ok", clean.body)
        client:expect_nothing()
    end)

    it("with bytes while it is idle is closed, and they reach nobody", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        conn:expect_end()
        local _, clean = e2e.exchange(client, up)
        assert.equal("ok", clean.body)
    end)

    it("with bytes behind a bodiless answer is closed", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
        assert.equal(200, response.status)
        conn:expect_end()
        local _, clean = e2e.exchange(client, up)
        assert.equal("ok", clean.body)
    end)

    it("is closed when the answer came before the request was whole", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        conn:expect "hello"
        conn:send "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
        assert.equal(413, client:response().status)
        client:close()
        conn:expect_end()
    end)

    it("is given up when its client leaves in the middle", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
        client:response_head()
        client:close()
        conn:expect_end()
    end)

    it("that the upstream closes while idle is not used again", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        conn:close()
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)

    it("that the upstream asked to close is not used again", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up, nil,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        conn:expect_end()
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)

    it("of HTTP/1.0 is not used again", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up, nil, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        conn:expect_end()
        local _, response = e2e.exchange(client, up)
        assert.equal(200, response.status)
    end)

    it("ends after its number of requests", function()
        local gw, up = e2e.proxy { service = { pool = { max_requests = 1 } } }
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        conn:expect_end()
        e2e.exchange(client, up)
    end)

    it("ends after its idle time", function()
        local gw, up = e2e.proxy { service = { pool = { idle_timeout = "100ms" } } }
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        conn:expect_end()
    end)
end)

describe("a stale connection", function()
    --- A gateway whose pool holds one connection that the upstream ends when the next request has come.
    local function stale()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        return gw, up, client, conn
    end

    for _, way in ipairs { "close", "reset" } do
        it("replays a GET once when it ends by " .. way, function()
            local _, up, client, conn = stale()
            client:send "GET /again HTTP/1.1\r\nHost: a\r\n\r\n"
            assert.equal("/again", conn:request().target)
            conn[way](conn)
            local fresh = up:accept()
            assert.equal("/again", fresh:request().target)
            fresh:send(e2e.OK)
            assert.equal(200, client:response().status)
        end)
    end

    it("replays no second time", function()
        local _, up, client, conn = stale()
        client:send "GET /again HTTP/1.1\r\nHost: a\r\n\r\n"
        conn:request()
        conn:close()
        local fresh = up:accept()
        fresh:request()
        fresh:close()
        assert.equal(502, client:response().status)
        up:expect_nobody()
    end)

    it("does not replay a POST of which bytes have gone", function()
        local _, up, client, conn = stale()
        client:send "POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        assert.equal("hi", conn:request().body)
        conn:close()
        assert.equal(502, client:response().status)
        up:expect_nobody()
    end)

    it("does not replay what was answered in part", function()
        local _, up, client, conn = stale()
        client:send(e2e.GET)
        conn:request()
        conn:send "HTTP/1.1 200"
        conn:close()
        assert.equal(502, client:response().status)
        up:expect_nobody()
    end)

    it("is no excuse for a new one", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:close()
        assert.equal(502, client:response().status)
        up:expect_nobody()
    end)
end)

describe("a full pool", function()
    it("lets a request wait for its turn", function()
        local gw, up = e2e.proxy { access_log = true,
            service = { pool = { max_connections = 1, queue_timeout = "10s" } } }
        local one = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        local two = gw:send "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        gw:await_metric("moongate_http_requests_in_flight", nil, 2)
        up:expect_nobody()
        conn:send(EMPTY)
        assert.equal(200, one:response().status)
        assert.equal("/2", conn:request().target)
        conn:send(EMPTY)
        assert.equal(200, two:response().status)
        gw:access()
        assert.is_true(gw:access().pool_wait_s > 0)
    end)

    it("refuses when the wait is over", function()
        local gw, up = e2e.proxy { service = { pool = { max_connections = 1, queue_timeout = "50ms" } } }
        gw:send(e2e.GET)
        up:accept():request()
        local response = gw:ask(e2e.GET)
        assert.equal(503, response.status)
        assert.equal("1", response.fields["retry-after"])
    end)

    it("refuses at once when nobody may wait", function()
        local gw, up = e2e.proxy { service = { pool = { max_connections = 1, queue = 0 } } }
        gw:send(e2e.GET)
        up:accept():request()
        local response = gw:ask(e2e.GET)
        assert.equal(503, response.status)
        assert.equal("1", response.fields["retry-after"])
    end)

    it("gives the place of a client that left to the next", function()
        local gw, up = e2e.proxy { service = { pool = { max_connections = 1, queue_timeout = "10s" } } }
        local one = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        local two = gw:send "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        one:close()
        conn:expect_end()
        local fresh = up:accept()
        assert.equal("/2", fresh:request().target)
        fresh:send(EMPTY)
        assert.equal(200, two:response().status)
    end)
end)
