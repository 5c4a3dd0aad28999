-- Requests that two parsers could read two ways, or that exceed a bound: refused with the right status, the
-- connection closed behind the answer, and nothing of them at the upstream.
local e2e = require "tests.e2e.harness"

local LONG = string.rep("a", 9000)

local function fields(n)
    local lines = {}
    for i = 1, n do lines[i] = "x-" .. i .. ": 1\r\n" end
    return table.concat(lines)
end

-- sentence, bytes, status
local REFUSED = {
    { "a space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nName : v\r\n\r\n", 400 },
    { "a tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nName\t: v\r\n\r\n", 400 },
    { "a space inside a name", "GET / HTTP/1.1\r\nHost: a\r\nNa me: v\r\n\r\n", 400 },
    { "an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n", 400 },
    { "a field line without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400 },
    { "a name with a byte that no token has", "GET / HTTP/1.1\r\nHost: a\r\nna(me: v\r\n\r\n", 400 },
    { "a name with a byte above 127", "GET / HTTP/1.1\r\nHost: a\r\nna\195\164me: v\r\n\r\n", 400 },
    { "a NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nna\0me: v\r\n\r\n", 400 },
    { "a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nname: v\0w\r\n\r\n", 400 },
    { "a control byte in a value", "GET / HTTP/1.1\r\nHost: a\r\nname: v\1w\r\n\r\n", 400 },
    { "a bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nname: v\rw\r\n\r\n", 400 },
    { "a bare LF between fields", "GET / HTTP/1.1\r\nHost: a\nname: v\r\n\r\n", 400 },
    { "a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400 },
    { "a head that bare LFs end", "GET / HTTP/1.1\r\nHost: a\n\n", 400 },
    { "a folded line", "GET / HTTP/1.1\r\nHost: a\r\nname: v\r\n w\r\n\r\n", 400 },
    { "a folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400 },
    { "TLS on a plain port", "\22\3\1\0\47\1\0\0\43\3\3", 400 },
    { "SSH", "SSH-2.0-OpenSSH_9.2\r\n", 400 },
    { "a command of Redis", "*1\r\n$4\r\nPING\r\n", 400 },
    { "HTTP/0.9 and no more", "GET /\r\n", 400 },
    { "no Host", "GET / HTTP/1.1\r\nname: v\r\n\r\n", 400 },
    { "two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400 },
    { "two Hosts of two cases", "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", 400 },
    { "an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400 },
    { "a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
    { "a Host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
    { "a Host with user information", "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", 400 },
    { "a Host that is a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400 },
    { "a Host with a port that is none", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400 },
    { "an absolute target that contradicts Host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "HTTP/0.9", "GET /\r\n\r\n", 400 },
    { "HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505 },
    { "HTTP/9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505 },
    { "HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400 },
    { "a lower-case protocol", "GET / http/1.1\r\nHost: a\r\n\r\n", 400 },
    { "two spaces in the request line", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a space at the end of the request line", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400 },
    { "a space before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a method that is no token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target with a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target that is not a path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target with a control byte", "GET /a\1b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a query with a control byte", "GET /?a\1b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target with DEL", "GET /a\127 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a backslash in a path", "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "an asterisk for another method than OPTIONS", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501 },
    { "an escape that is none", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "an escaped NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a path that climbs above its root", "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a path that climbs above its root in escapes", "GET /%2e%2e/etc HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
    { "a target above all bounds", "GET /" .. LONG .. LONG .. " HTTP/1.1\r\nHost: a\r\n\r\n", 414 },
    { "a head above the bound", "GET / HTTP/1.1\r\nHost: a\r\nx: " .. LONG .. "\r\ny: " .. LONG .. "\r\n\r\n", 431 },
    { "more fields than the bound", "GET / HTTP/1.1\r\nHost: a\r\n" .. fields(101) .. "\r\n", 431 },
    { "an expectation that is unknown", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417 },
    { "TRACE with a body", "TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 400 },
}

describe("a request is refused", function()
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
        local what, bytes, status = case[1], case[2], case[3]
        it("for " .. what, function()
            local client = gw:client()
            client:try_send(bytes .. "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            local response = client:response()
            assert.equal(status, response.status)
            assert.equal("close", response.fields.connection)
            assert.equal("application/problem+json", response.fields["content-type"])
            client:expect_end()
            up:expect_nobody()
        end)
    end

    it("for a path above the bound, and nothing else is held against its client", function()
        local client = gw:send("GET /" .. LONG .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal(414, client:response().status)
        up:expect_nobody()
    end)

    it("and the gateway goes on serving", function()
        local client = gw:client()
        local seen, response = e2e.exchange(client, up)
        assert.equal("/", seen.target)
        assert.equal(200, response.status)
    end)
end)
