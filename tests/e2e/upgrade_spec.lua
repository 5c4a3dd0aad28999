-- Upgrade: a tunnel only behind a 101 that was asked for; then bytes, each direction with an end of its own.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local ASK = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
local GRANT = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

--- A tunnel: the client's end and the upstream's.
local function tunnel(gw, up, early, first)
    local client = gw:send(ASK .. (early or ""))
    local conn = up:accept()
    local head = conn:request_head()
    assert.equal("echo", head.fields.upgrade)
    assert.truthy(head.fields.connection:lower():find("upgrade", 1, true))
    conn:send(GRANT .. (first or ""))
    local answer = client:response_head()
    assert.equal(101, answer.status)
    assert.equal("echo", answer.fields.upgrade)
    assert.truthy(answer.fields.connection:lower():find("upgrade", 1, true))
    return client, conn
end

describe("an upgrade", function()
    it("with a body begins behind it, as docker exec wants", function()
        local gw, up = e2e.proxy()
        local client = gw:send("POST /exec/x/start HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            .. "Content-Type: application/json\r\nContent-Length: 27\r\n\r\n")
        local conn = up:accept()
        assert.equal("tcp", conn:request_head().fields.upgrade)
        client:send '{"Detach":false,"Tty":true}'
        conn:expect '{"Detach":false,"Tty":true}'
        conn:send "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n$ "
        assert.equal(101, client:response_head().status)
        client:expect "$ "
        client:send "ls\n"
        conn:expect "ls\n"
    end)

    it("that is granted moves bytes both ways", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up)
        client:send "ping"
        conn:expect "ping"
        conn:send "pong\r\n\r\n"
        client:expect "pong\r\n\r\n"
    end)

    it("keeps what came together with the heads", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up, "early", "first")
        conn:expect "early"
        client:expect "first"
    end)

    it("lets the client end its half and still read", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up)
        client:send "bye"
        client:half_close()
        conn:expect "bye"
        conn:expect_eof()
        conn:send "still here"
        client:expect "still here"
        conn:close()
        client:expect_eof()
    end)

    it("lets the upstream end its half and still read", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up)
        conn:send "bye"
        conn:half_close()
        client:expect "bye"
        client:expect_eof()
        client:send "still here"
        conn:expect "still here"
        client:close()
        conn:expect_eof()
    end)

    it("ends the client's side when the upstream resets", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up)
        conn:reset()
        client:expect_end()
    end)

    it("ends the upstream's side when the client resets", function()
        local gw, up = e2e.proxy()
        local client, conn = tunnel(gw, up)
        client:reset()
        conn:expect_end()
    end)

    it("that is not granted leaves both connections to HTTP", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, ASK)
        assert.equal(200, response.status)
        assert.is_nil(response.fields.upgrade)
        local _, second = e2e.exchange(client, up, nil, nil, conn)
        assert.equal(200, second.status)
    end)

    it("to another protocol than the one asked for is a 502", function()
        local gw, up = e2e.proxy()
        local client = gw:send(ASK)
        local conn = up:accept()
        conn:request_head()
        conn:send(GRANT:gsub("echo", "other") .. "")
        assert.equal(502, client:response().status)
        conn:expect_end()
    end)

    it("whose Upgrade Connection does not name is not asked for", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "Upgrade: echo\r\n")
        assert.is_nil(seen.fields.upgrade)
    end)

    it("of a client of HTTP/1.0 is not asked for", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local seen = e2e.exchange(client, up, (ASK:gsub("HTTP/1.1", "HTTP/1.0")))
        assert.is_nil(seen.fields.upgrade)
    end)

    it("to h2c is not asked for", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n")
        assert.is_nil(seen.fields.upgrade)
        assert.is_nil(seen.fields["http2-settings"])
    end)

    it("that is granted holds bytes back when one side does not read", function()
        local gw, up = e2e.proxy { measured = true }
        local client, conn = tunnel(gw, up)
        local total = 16 * e2e.stream.MiB
        local sent = e2e.stream.send_until_blocked(conn, total)
        e2e.stream.pump(conn, client, total, sent)
    end)
end)
