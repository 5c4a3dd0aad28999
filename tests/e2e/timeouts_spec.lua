-- Every state has a deadline: with small ones configured, what stands still is ended, and by the right answer.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- The connection ends; what came before that, if anything, is a response with this status.
local function ends_with(client, status)
    local bytes = client:recv_rest()
    if bytes ~= "" then assert.equal("HTTP/1.1 " .. status, bytes:sub(1, 12)) end
end

describe("a client", function()
    it("that sends nothing is let go", function()
        local gw = e2e.proxy { listener = { head_timeout = "100ms", idle_timeout = "100ms" } }
        ends_with(gw:client(), 408)
    end)

    it("that does not finish its head is let go", function()
        local gw, up = e2e.proxy { listener = { head_timeout = "100ms" } }
        ends_with(gw:send "GET / HTTP/1.1\r\nHost: a\r\n", 408)
        up:expect_nobody()
    end)

    it("cannot stretch the time of its head byte by byte", function()
        local gw, up = e2e.proxy { listener = { head_timeout = "300ms" } }
        local client = gw:send "GET / HTTP/1.1\r\nHost: a\r\nx: "
        local until_over = e2e.eventually("the client to be let go", function()
            client:fill(0)
            return client.ended or not client:try_send "x"
        end)
        assert.truthy(until_over)
        up:expect_nobody()
    end)

    it("that stops in its body is told so", function()
        local gw, up = e2e.proxy { listener = { body_timeout = "100ms" } }
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
        local conn = up:accept()
        conn:request_head()
        ends_with(client, 408)
        conn:recv_rest()
        assert.truthy(conn.ended)
    end)

    it("that stops in its trailers is let go", function()
        local gw, up = e2e.proxy { listener = { body_timeout = "100ms" } }
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: 1\r\n"
        local conn = up:accept()
        conn:request_head()
        ends_with(client, 408)
        assert.is_nil(conn:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("that keeps an idle connection is let go without a word", function()
        local gw, up = e2e.proxy { listener = { idle_timeout = "100ms" } }
        local client = gw:client()
        e2e.exchange(client, up)
        client:expect_eof()
    end)

    it("that does not read its answer is let go", function()
        local gw, up = e2e.proxy { listener = { body_timeout = "200ms" } }
        gw:send(e2e.GET, { rcvbuf = 4096 })
        local conn = up:accept()
        conn:request()
        local total = 64 * e2e.stream.MiB
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. total .. "\r\n\r\n")
        conn:try_send(string.rep("x", total))
        conn:expect_end()
    end)
end)

describe("an upstream", function()
    it("that cannot be reached in time is a 502", function()
        local deaf = e2e.upstream { backlog = 0 }
        -- Its queue of connections is full, so that a further one gets no answer at all.
        for _ = 1, 4 do assert(e2e.connect(deaf.port, { pending = true })) end
        local gw = e2e.proxy { up = deaf, service = { pool = { connect_timeout = "100ms" } } }
        assert.equal(502, gw:ask(e2e.GET).status)
    end)

    it("that does not begin its answer is a 504", function()
        local gw, up = e2e.proxy { service = { first_byte_timeout = "100ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        local response = client:response()
        assert.equal(504, response.status)
        conn:expect_end()
        local _, second = e2e.exchange(client, up)
        assert.equal(200, second.status)
    end)

    it("that does not finish its head is a 504", function()
        local gw, up = e2e.proxy { service = { first_byte_timeout = "100ms", read_timeout = "100ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-"
        assert.equal(504, client:response().status)
        conn:expect_end()
    end)

    it("that stops in its body cuts the answer", function()
        local gw, up = e2e.proxy { service = { read_timeout = "100ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        assert.equal(200, client:response_head().status)
        assert.equal("hello", client:recv_rest())
        conn:expect_end()
    end)

    it("that stops in a chunked body leaves it without its end", function()
        local gw, up = e2e.proxy { service = { read_timeout = "100ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        client:response_head()
        assert.is_nil(client:recv_rest():find("0\r\n\r\n", 1, true))
    end)

    it("has the route's time to begin its answer", function()
        local gw, up = e2e.proxy { route = { timeout = "100ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        assert.equal(504, client:response().status)
        conn:expect_end()
    end)

    it("has the route's time from the last byte of a slow upload on", function()
        local gw, up = e2e.proxy { route = { timeout = "200ms" } }
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"
        local conn = up:accept()
        assert.is_nil(conn:request_head().fields["x-moongate-deadline-ms"])
        conn:expect "ab"
        -- Another request of the same route has used up its whole time meanwhile.
        local other = gw:send(e2e.GET)
        up:accept():request()
        assert.equal(504, other:response().status)
        client:send "cd"
        conn:expect "cd"
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)

    it("has more than the route's time for its body", function()
        local gw, up = e2e.proxy { route = { timeout = "200ms" } }
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
        client:response_head()
        client:expect "ab"
        -- Another request of the same route has used up its whole time meanwhile.
        local other = gw:send(e2e.GET)
        up:accept():request()
        assert.equal(504, other:response().status)
        conn:send "cd"
        client:expect "cd"
    end)

    it("that does not take a body is given up", function()
        local gw, up = e2e.proxy { listen = { rcvbuf = 4096 }, service = { first_byte_timeout = "300ms",
            read_timeout = "300ms" }, listener = { body_timeout = "300ms" } }
        local total = 64 * e2e.stream.MiB
        local client = gw:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. total .. "\r\n\r\n")
        local conn = up:accept()
        client:try_send(string.rep("x", total))
        client:recv_rest()
        conn:recv_rest()
        assert.truthy(conn.ended)
    end)
end)

describe("a tunnel", function()
    it("in which nothing moves is ended", function()
        local gw, up = e2e.proxy { service = { tunnel_idle_timeout = "100ms" } }
        local client = gw:send "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        local conn = up:accept()
        conn:request_head()
        conn:send "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        client:response_head()
        client:expect_end()
        conn:expect_end()
    end)

    it("outlives the times of requests", function()
        local gw, up = e2e.proxy { route = { timeout = "100ms" }, listener = { body_timeout = "100ms",
            idle_timeout = "100ms" }, service = { read_timeout = "100ms", first_byte_timeout = "100ms" } }
        local client = gw:send "GET /t HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        local conn = up:accept()
        conn:request_head()
        conn:send "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        client:response_head()
        -- An idle connection that began later has been let go meanwhile, thrice.
        for _ = 1, 3 do
            local idle = gw:client()
            local _, _, fresh = e2e.exchange(idle, up, nil, e2e.LAST)
            fresh:close()
            idle:expect_eof()
        end
        client:send "ping"
        conn:expect "ping"
    end)
end)
