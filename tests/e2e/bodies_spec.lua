-- Bodies: how they are delimited on each side, what happens to those that nobody reads, and to those that stop.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

describe("a request body", function()
    it("of a length keeps it", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        assert.equal("5", seen.fields["content-length"])
        assert.equal("hello", seen.body)
    end)

    it("of length 0 says so", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert.equal("0", seen.fields["content-length"])
    end)

    it("in chunks goes on in chunks, with the trailers that are listed", function()
        local gw, up = e2e.proxy { listener = { request_trailers = { "X-Sum" } } }
        local client = gw:client()
        local seen = e2e.exchange(client, up,
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: Chunked\r\n\r\n"
            .. "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Consumer: root\r\nX-Sum: 11\r\n\r\n")
        assert.equal("chunked", seen.fields["transfer-encoding"])
        assert.is_nil(seen.fields["content-length"])
        assert.equal("hello world", seen.body)
        assert.same({ ["x-sum"] = "11" }, seen.trailers)
    end)

    it("of a GET goes on as it is framed", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert.equal("hi", seen.body)
    end)

    it("streams: the upstream has its beginning before the client has sent its end", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        conn:expect "hello"
        client:send "world"
        conn:expect "world"
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)

    it("may still move when the answer has begun", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        local conn = up:accept()
        conn:request_head()
        assert.truthy(conn:recv_until "abc")
        conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nABC\r\n"
        client:response_head()
        client:recv_until "ABC"
        client:send "3\r\ndef\r\n0\r\n\r\n"
        conn:recv_until "def"
        conn:recv_until "0\r\n\r\n"
        conn:send "0\r\n\r\n"
        client:recv_until "0\r\n\r\n"
    end)

    it("that the client never finishes is not finished at the upstream", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        local conn = up:accept()
        conn:request_head()
        conn:recv_until "abc"
        client:close()
        assert.is_nil(conn:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("that is cut by FIN ends the exchange at once", function()
        local gw, up = e2e.proxy()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        conn:expect "hello"
        client:half_close()
        conn:expect_end()
    end)
end)

describe("a response body", function()
    it("in chunks goes on in chunks, with its trailers", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            .. "5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n")
        assert.equal("chunked", response.fields["transfer-encoding"])
        assert.equal("hello", response.body)
        assert.equal("5", response.trailers["x-sum"])
        local _, second = e2e.exchange(client, up, nil, nil, conn)
        assert.equal(200, second.status)
    end)

    it("until the upstream's end becomes chunked", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\n\r\nhello"
        conn:close()
        local response = client:response()
        assert.equal("chunked", response.fields["transfer-encoding"])
        assert.equal("hello", response.body)
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
    end)

    it("of HTTP/1.0 until the upstream's end becomes chunked", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.0 200 OK\r\n\r\nhello"
        conn:close()
        local response = client:response()
        assert.equal("1.1", response.version)
        assert.equal("hello", response.body)
    end)

    it("until the upstream's end is cut short when that is a reset", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\n\r\nhello"
        client:response_head()
        client:recv_until "hello"
        conn:reset()
        assert.is_nil(client:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("streams: the client has its beginning before the upstream has sent its end", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        assert.equal("10", client:response_head().fields["content-length"])
        client:expect "hello"
        conn:send "world"
        client:expect "world"
    end)
end)

describe("a client that leaves", function()
    it("ends the exchange upstream before the answer has begun", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        client:close()
        conn:expect_end()
    end)

    it("ends the exchange upstream by a reset as well", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        client:reset()
        conn:expect_end()
    end)

    it("ends the exchange upstream in the middle of the answer", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
        client:response_head()
        client:close()
        conn:expect_end()
    end)

    it("is logged as 499", function()
        local gw, up = e2e.proxy { access_log = true }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        client:close()
        conn:expect_end()
        assert.equal(499, gw:access().status)
    end)
end)

describe("an answer of the gateway's own to a request whose body nobody reads", function()
    local ANSWERS = { routes = { { name = "only", match = { paths = { { exact = "/only" } } },
        backends = { { service = "up" } } } } }

    it("leaves the connection usable when the body is short", function()
        local gw, up = e2e.proxy(ANSWERS)
        local client = gw:send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        local response = client:response()
        assert.equal(404, response.status)
        if response.fields.connection == "close" then
            client:expect_end()
        else
            local _, second = e2e.exchange(client, up, "GET /only HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal(200, second.status)
        end
    end)

    it("arrives whole although the client goes on sending, and then the connection ends", function()
        local gw = e2e.proxy(ANSWERS)
        local total = 64 * e2e.stream.MiB
        local client = gw:send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: " .. total .. "\r\n\r\n")
        local response = client:response()
        assert.equal(404, response.status)
        -- Drained within a bound: the gateway takes some of it and closes long before all of it.
        local went = client:try_send(string.rep("x", 16 * e2e.stream.MiB))
        if went then client:try_send(string.rep("x", 48 * e2e.stream.MiB)) end
        client:recv_rest()
        assert.truthy(client.ended)
    end)

    it("does not read a body as the next request", function()
        local gw, up = e2e.proxy(ANSWERS)
        local inner = "GET /only HTTP/1.1\r\nHost: a\r\n\r\n"
        local client = gw:send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #inner .. "\r\n\r\n" .. inner)
        assert.equal(404, client:response().status)
        client:half_close()
        client:recv_rest()
        up:expect_nobody()
    end)
end)
