-- Answers of an upstream that two parsers could read two ways, or that exceed a bound: the client gets a 502 of the
-- gateway's own, and the connection that carried them is never used again.
local e2e = require "tests.e2e.harness"

local LONG = string.rep("v", 20000)

local function fields(n)
    local lines = {}
    for i = 1, n do lines[i] = "x-" .. i .. ": 1\r\n" end
    return table.concat(lines)
end

local function ok(lines, body)
    return "HTTP/1.1 200 OK\r\n" .. lines .. "\r\n" .. (body or "")
end

local REFUSED = {
    { "no HTTP at all", "hello\r\n\r\n" },
    { "no status line", "\r\n\r\n" },
    { "HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n" },
    { "HTTP/9.9", "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n" },
    { "HTTP/0.9", "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n" },
    { "another protocol's name", "ICY/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" },
    { "a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n" },
    { "a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n" },
    { "a status above 599", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n" },
    { "a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n" },
    { "two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n" },
    { "a bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n" },
    { "a bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n" },
    { "a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n" },
    { "a space before the colon", ok "Name : v\r\nContent-Length: 0\r\n" },
    { "a space inside a name", ok "Na me: v\r\nContent-Length: 0\r\n" },
    { "an empty name", ok ": v\r\nContent-Length: 0\r\n" },
    { "a field line without a colon", ok "nonsense\r\nContent-Length: 0\r\n" },
    { "a folded line", ok "name: v\r\n w\r\nContent-Length: 0\r\n" },
    { "a bare CR in a value", ok "name: v\rw\r\nContent-Length: 0\r\n" },
    { "a bare LF between fields", ok "name: v\nContent-Length: 0\r\n" },
    { "a NUL in a value", ok "name: v\0w\r\nContent-Length: 0\r\n" },
    { "length and chunked", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") },
    { "two lengths that differ", ok("Content-Length: 1\r\nContent-Length: 2\r\n", "xx") },
    { "two equal lengths", ok("Content-Length: 1\r\nContent-Length: 1\r\n", "x") },
    { "a list of lengths", ok("Content-Length: 1, 1\r\n", "x") },
    { "a length with a sign", ok("Content-Length: +1\r\n", "x") },
    { "a negative length", ok("Content-Length: -1\r\n", "x") },
    { "an empty length", ok "Content-Length:\r\n" },
    { "a length above 63 bits", ok("Content-Length: 9223372036854775808\r\n", "x") },
    { "gzip, chunked", ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n") },
    { "chunked twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") },
    { "chunked before another coding", ok("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n") },
    { "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    { "a 101 that nobody asked for", "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" },
    { "a head above the bound", ok("name: " .. LONG .. "\r\nContent-Length: 0\r\n") },
    { "more fields than the bound", ok(fields(101) .. "Content-Length: 0\r\n") },
}

local function chunked(body)
    return ok("Transfer-Encoding: chunked\r\n", body)
end

-- A good head, then a body that breaks: the head has gone on, so the client must see the body cut short.
local CUT = {
    { "bytes that are not CRLF behind a chunk", chunked "3\r\nabcXX0\r\n\r\n" },
    { "a bare LF behind a chunk", chunked "3\r\nabc\n0\r\n\r\n" },
    { "a chunk size that is none", chunked "3\r\nabc\r\nxyz\r\n" },
    { "a bare CR in a chunk extension", chunked "3\r\nabc\r\n3;a\rb\r\nabc\r\n0\r\n\r\n" },
    { "a chunk size above 64 bits", chunked "3\r\nabc\r\n10000000000000003\r\nabc\r\n0\r\n\r\n" },
    { "a bare LF in the trailers", chunked "3\r\nabc\r\n0\r\nname: v\n\r\n" },
    { "a trailer that frames", chunked "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n" },
}

describe("a response", function()
    local gw, up

    setup(function()
        up = e2e.upstream { shared = true }
        gw = e2e.shared { up = up }
    end)
    after_each(e2e.finish)
    teardown(function()
        gw:stop()
        up:close()
    end)

    for _, case in ipairs(REFUSED) do
        it("is refused for " .. case[1], function()
            local client = gw:send(e2e.GET)
            local conn = up:accept()
            conn:request()
            conn:try_send(case[2])
            local response = client:response()
            assert.equal(502, response.status)
            assert.equal("application/problem+json", response.fields["content-type"])
            conn:expect_end()
            -- The client's own connection is none the worse for it.
            local _, second, fresh = e2e.exchange(client, up)
            assert.equal(200, second.status)
            fresh:close()
        end)
    end

    for _, case in ipairs(CUT) do
        it("never completes with " .. case[1], function()
            local client = gw:send(e2e.GET)
            local conn = up:accept()
            conn:request()
            conn:send(case[2])
            local bytes = client:recv_rest()
            if not bytes:find("^HTTP/1%.1 502 ") then
                assert.truthy(bytes:find("^HTTP/1%.1 200 "))
                assert.is_nil(bytes:find("\r\n0\r\n", 1, true), "the client saw a whole body")
            end
            conn:expect_end()
        end)
    end

    it("with an empty reason is passed on", function()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, nil, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
        assert.equal(200, response.status)
        conn:close()
    end)

    it("without a reason and its space is passed on", function()
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up, nil, "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n")
        assert.equal(299, response.status)
        conn:close()
    end)
end)
