-- Smuggling: where a message's body ends must not be open to argument, neither in its head nor in its chunks.
local e2e = require "tests.e2e.harness"

local function post(lines, body)
    return "POST / HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n" .. (body or "")
end

local SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

-- sentence, bytes, status
local HEADS = {
    { "length and chunked (CL.TE)", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked and length (TE.CL)", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), 400 },
    { "chunked and an empty length", post("Transfer-Encoding: chunked\r\nContent-Length:\r\n", "0\r\n\r\n"), 400 },
    { "two lengths that differ", post("Content-Length: 1\r\nContent-Length: 2\r\n", "xx"), 400 },
    { "two equal lengths", post("Content-Length: 1\r\nContent-Length: 1\r\n", "x"), 400 },
    { "a list of lengths", post("Content-Length: 1, 1\r\n", "x"), 400 },
    { "a length with a sign", post("Content-Length: +1\r\n", "x"), 400 },
    { "a negative length", post("Content-Length: -1\r\n", "x"), 400 },
    { "a hexadecimal length", post("Content-Length: 0x1\r\n", "x"), 400 },
    { "a length with a space inside", post("Content-Length: 1 0\r\n", "x"), 400 },
    { "a length that is text", post("Content-Length: one\r\n", "x"), 400 },
    { "an empty length", post "Content-Length:\r\n", 400 },
    { "a length above 63 bits", post("Content-Length: 9223372036854775808\r\n", "x"), 400 },
    { "a length of many digits", post("Content-Length: 10000000000000000000000001\r\n", "x"), 400 },
    { "chunked twice in two fields",
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked twice in one field", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400 },
    { "gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501 },
    { "chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), { 400, 501 } },
    { "identity", post "Transfer-Encoding: identity\r\n", { 400, 501 } },
    { "xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), { 400, 501 } },
    { "chunked with a vertical tab before it", post("Transfer-Encoding: \11chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), { 400, 501 } },
    { "chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), { 400, 501 } },
    { "an empty coding", post("Transfer-Encoding:\r\n", "0\r\n\r\n"), { 400, 501 } },
    { "chunked on a folded line", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked with a space before the colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
    { "a Connection that names Content-Length", post("Connection: content-length\r\nContent-Length: 1\r\n", "x"), 400 },
    { "a Connection that names Transfer-Encoding",
        post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
    { "a Connection that names Host", post "Connection: host\r\n", 400 },
}

-- Chunked bodies that are broken behind a good first chunk of "abc".
local BODIES = {
    { "two bytes that are not CRLF behind the data", "3\r\nabcXX0\r\n\r\n" },
    { "a bare LF behind the data", "3\r\nabc\n0\r\n\r\n" },
    { "a bare LF behind the size", "3\r\nabc\r\n3\nabc\r\n0\r\n\r\n" },
    { "a size with a sign", "3\r\nabc\r\n+3\r\nabc\r\n0\r\n\r\n" },
    { "a size with 0x", "3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n" },
    { "a size with a space before it", "3\r\nabc\r\n 3\r\nabc\r\n0\r\n\r\n" },
    { "a size that is none", "3\r\nabc\r\nxyz\r\n" },
    { "an empty size", "3\r\nabc\r\n\r\nabc\r\n0\r\n\r\n" },
    { "a size above 64 bits", "3\r\nabc\r\n10000000000000003\r\nabc\r\n0\r\n\r\n" },
    { "a bare CR in an extension", "3\r\nabc\r\n3;a\rb\r\nabc\r\n0\r\n\r\n" },
    { "a bare LF in an extension", "3\r\nabc\r\n3;a\nb\r\nabc\r\n0\r\n\r\n" },
    { "an extension above its bound", "3\r\nabc\r\n3;" .. string.rep("e", 300) .. "\r\nabc\r\n0\r\n\r\n" },
    { "a bare LF in the trailers", "3\r\nabc\r\n0\r\nname: v\n\r\n" },
    { "a folded trailer", "3\r\nabc\r\n0\r\nname: v\r\n w\r\n\r\n" },
    { "a trailer with a space before its colon", "3\r\nabc\r\n0\r\nname : v\r\n\r\n" },
    { "a trailer that frames", "3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n" },
    { "a trailer that routes", "3\r\nabc\r\n0\r\nHost: b\r\n\r\n" },
    { "trailers above their bound", "3\r\nabc\r\n0\r\nname: " .. string.rep("v", 5000) .. "\r\n\r\n", { 400, 431 } },
    { "a last chunk that no CRLF ends", "3\r\nabc\r\n0\r\nX" .. string.rep("y", 10) .. "\r\n\r\n" },
}

local function is_one_of(wanted, status)
    if type(wanted) == "number" then return assert.equal(wanted, status) end
    assert.is_true(status == wanted[1] or status == wanted[2], "status " .. status)
end

describe("framing", function()
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

    for _, case in ipairs(HEADS) do
        it("refuses a head with " .. case[1], function()
            local client = gw:client()
            client:try_send(case[2] .. SMUGGLED)
            local response = client:response()
            is_one_of(case[3], response.status)
            client:expect_end()
            up:expect_nobody()
        end)
    end

    for _, case in ipairs(BODIES) do
        it("never completes a body with " .. case[1], function()
            local client = gw:client()
            client:try_send(post("Transfer-Encoding: chunked\r\n", case[2]) .. SMUGGLED)
            is_one_of(case[3] or 400, client:response().status)
            client:expect_end()
            -- The head was good and may have gone on; its body must not have come to an end there.
            e2e.unfinished(up)
        end)
    end
end)
