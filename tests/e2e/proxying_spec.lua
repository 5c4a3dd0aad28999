-- The plain life of requests: what goes to the upstream, what comes back, and in which order.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

describe("a request", function()
    it("goes on with its method, path, query and fields", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen, response = e2e.exchange(client, up,
            "DELETE /a/b?x=%20y&z HTTP/1.1\r\nHost: shop.example:81\r\nX-One: 1\r\nx-two:  2 \r\n\r\n",
            "HTTP/1.1 202 Taken\r\nX-Three: 3\r\nContent-Length: 5\r\n\r\nhello")
        assert.equal("DELETE", seen.method)
        assert.equal("/a/b?x=%20y&z", seen.target)
        assert.equal("1.1", seen.version)
        assert.equal("1", seen.fields["x-one"])
        assert.equal("2", seen.fields["x-two"])
        assert.equal("shop.example:81", seen.fields["x-forwarded-host"])
        assert.equal("127.0.0.1:" .. up.port, seen.fields.host)
        assert.equal(202, response.status)
        assert.equal("3", response.fields["x-three"])
        assert.equal("hello", response.body)
    end)

    it("goes on with its path normalised", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "GET //a/./b/../%7ec/%2fd?q=//../ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("/a/~c/%2Fd?q=//../", seen.target)
    end)

    it("in absolute form goes on in origin form", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "GET http://shop.example/a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert.equal("/a?b", seen.target)
        assert.equal("shop.example", seen.fields["x-forwarded-host"])
    end)

    it("of many small segments is put together", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        client:send_bytewise "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        local conn = up:accept()
        local seen = conn:request()
        assert.equal("/slow", seen.target)
        assert.equal("abc", seen.body)
        conn:send_bytewise "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        assert.equal("abc", client:response().body)
    end)

    it("for OPTIONS * goes on as it is", function()
        local gw, up = e2e.proxy { routes = { { name = "any", match = { paths = { { prefix = "/" } } },
            backends = { { service = "up" } } } } }
        local client = gw:send "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
        -- No route matches "*": a 404, or it is passed on unchanged. It is never answered as "/".
        local conn = up:has_caller() and up:accept()
        if conn then
            assert.equal("*", conn:request().target)
        else
            assert.equal(404, client:response().status)
        end
    end)
end)

describe("a connection", function()
    it("carries many requests on both sides", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        for i = 1, 20 do
            local seen, response = e2e.exchange(client, up, "GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n", nil, conn)
            assert.equal("/" .. i, seen.target)
            assert.equal("ok", response.body)
        end
        up:expect_nobody()
    end)

    it("answers pipelined requests in their order", function()
        local gw, up = e2e.proxy()
        local requests = {}
        for i = 1, 5 do requests[i] = "GET /" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n" end
        local client = gw:send(table.concat(requests))
        local conn
        for i = 1, 5 do
            conn = conn or up:accept()
            local seen = conn:request()
            assert.equal("/" .. i, seen.target)
            local text = "answer " .. i
            conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #text .. "\r\n\r\n" .. text)
        end
        for i = 1, 5 do assert.equal("answer " .. i, client:response().body) end
    end)

    it("reads a pipelined request behind a body from where the body ended", function()
        local gw, up = e2e.proxy()
        local client = gw:send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            .. "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" .. e2e.GET)
        local conn = up:accept()
        local first = conn:request()
        assert.equal("abc", first.body)
        conn:send(e2e.OK)
        assert.equal("def", conn:request().body)
        conn:send(e2e.OK)
        assert.equal("GET", conn:request().method)
        conn:send(e2e.OK)
        for _ = 1, 3 do assert.equal(200, client:response().status) end
    end)

    it("forgives one empty line between requests", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        local _, response = e2e.exchange(client, up, "\r\n" .. e2e.GET, nil, conn)
        assert.equal(200, response.status)
    end)

    it("closes when the client asks for it", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen, response = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert.not_equal("close", seen.fields.connection)
        assert.equal("close", response.fields.connection)
        client:expect_eof()
    end)

    it("stays open when only the upstream closes its own", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, nil,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        conn:expect_end()
        assert.is_nil(response.fields.connection)
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
    end)
end)

describe("a client of HTTP/1.0", function()
    it("gets its answer and the end of the connection", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
        assert.equal("1.1", seen.version)
        client:expect_eof()
    end)

    it("may leave Host out", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen, response = e2e.exchange(client, up, "GET /old HTTP/1.0\r\n\r\n")
        assert.truthy(seen.fields.host)
        assert.equal(200, response.status)
    end)

    it("may keep its connection", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local request = "GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        local _, response, conn = e2e.exchange(client, up, request)
        assert.equal("keep-alive", response.fields.connection)
        local _, second = e2e.exchange(client, up, request, nil, conn)
        assert.equal(200, second.status)
    end)

    it("gets a body of unknown length until the end, never chunked", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response = e2e.exchange(client, up, "GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        assert.is_nil(response.fields["transfer-encoding"])
        assert.equal("abcdef", response.body)
    end)
end)

describe("a response without a body", function()
    it("to HEAD keeps its length and ends with its head", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen, response, conn = e2e.exchange(client, up, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        assert.equal("HEAD", seen.method)
        assert.equal("1000", response.fields["content-length"])
        local _, second = e2e.exchange(client, up, nil, nil, conn)
        assert.equal(200, second.status)
    end)

    for _, status in ipairs { "204 No Content", "304 Not Modified" } do
        it("with " .. status .. " ends with its head", function()
            local gw, up = e2e.proxy()
            local client = gw:client()
            local _, response, conn = e2e.exchange(client, up, nil,
                "HTTP/1.1 " .. status .. "\r\nETag: \"1\"\r\n\r\n")
            assert.equal(tonumber(status:sub(1, 3)), response.status)
            assert.equal("\"1\"", response.fields.etag)
            assert.is_nil(response.fields["transfer-encoding"])
            local _, second = e2e.exchange(client, up, nil, nil, conn)
            assert.equal(200, second.status)
        end)
    end

    it("with 304 may name the length it would have had", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, nil,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
        assert.equal(304, response.status)
        local _, second = e2e.exchange(client, up, nil, nil, conn)
        assert.equal(200, second.status)
    end)
end)

describe("an interim response", function()
    it("is passed on before the final one", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        local hint = client:response_head()
        assert.equal(103, hint.status)
        assert.equal("</a>", hint.fields.link)
        conn:send("HTTP/1.1 102 Processing\r\n\r\n" .. e2e.OK)
        assert.equal(102, client:response_head().status)
        assert.equal(200, client:response().status)
    end)

    it("is kept from a client of HTTP/1.0", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response = e2e.exchange(client, up, "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\n" .. e2e.OK)
        assert.equal(200, response.status)
    end)

    it("comes 32 times and no more", function()
        local gw, up = e2e.proxy()
        local hints = ("HTTP/1.1 102 Processing\r\n\r\n"):rep(32)
        local function last(answer)
            local client = gw:send(e2e.GET)
            local conn = up:accept()
            conn:request()
            conn:send(answer)
            local response
            for _ = 1, 33 do
                response = client:response_head()
                if response.status ~= 102 then break end
            end
            conn:close()
            client:close()
            return response.status
        end
        assert.equal(200, last(hints .. e2e.LAST))
        assert.equal(502, last(hints .. "HTTP/1.1 102 Processing\r\n\r\n" .. e2e.LAST))
    end)
end)

describe("Expect: 100-continue", function()
    local HEAD = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"

    it("is answered by the upstream's 100, and then the body moves", function()
        local gw, up = e2e.proxy()
        local client = gw:send(HEAD)
        local conn = up:accept()
        local head = conn:request_head()
        assert.equal("100-continue", head.fields.expect)
        client:expect_nothing()
        conn:send "HTTP/1.1 100 Continue\r\n\r\n"
        assert.equal(100, client:response_head().status)
        client:send "abc"
        conn:expect "abc"
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)

    it("is answered by the upstream's final answer, and the body stays where it is", function()
        local gw, up = e2e.proxy()
        local client = gw:send(HEAD)
        local conn = up:accept()
        conn:request_head()
        conn:send "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        assert.equal(403, client:response().status)
        -- Whether the client still sends its body is open, so neither connection can go on.
        conn:expect_end()
        client:half_close()
        client:expect_end()
    end)

    it("does not hold back a client that sends at once", function()
        local gw, up = e2e.proxy()
        local client = gw:send(HEAD .. "abc")
        local conn = up:accept()
        conn:request_head()
        conn:send "HTTP/1.1 100 Continue\r\n\r\n"
        conn:expect "abc"
        conn:send(e2e.OK)
        local status
        repeat status = client:response_head().status until status ~= 100
        assert.equal(200, status)
    end)
end)
