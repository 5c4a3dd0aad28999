-- The plugin replace, with every way to cut a body into pieces, and with two instances on two routes and in one chain.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway()
    return e2e.proxy {
        plugins = {
            http = e2e.plugin("examples/plugins/replace", { from = "http://", to = "https://" }),
            aab = e2e.plugin("examples/plugins/replace", { from = "aab", to = "<>" }),
        },
        routes = {
            { name = "one", match = { paths = { { prefix = "/one" } } }, service = "up", plugins = { "http" } },
            { name = "two", match = { paths = { { prefix = "/two" } } }, service = "up", plugins = { "aab" } },
            { name = "both", match = { paths = { { prefix = "/both" } } }, service = "up",
                plugins = { "http", "aab" } },
        },
    }
end

local function chunk(bytes)
    return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

--- Sends the pieces as chunks of one answer, each only once the one before has been read.
local function pieces(client, conn, path, ...)
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    conn:request()
    conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _, piece in ipairs { ... } do
        conn:send(chunk(piece))
    end
    conn:send "0\r\n\r\n"
    return client:response().body
end

describe("replace", function()
    it("finds its text however the body is cut", function()
        local gw, up = gateway()
        local client = gw:client()
        local text = "x http://a http:// hhttp:/ http:/"
        local wanted = "x https://a https:// hhttp:/ http:/"
        local conn
        for cut = 1, #text - 1 do
            if not conn then
                client:send "GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
                conn = up:accept()
                conn:request()
                conn:send(e2e.OK)
                client:response()
            end
            assert.equal(wanted, pieces(client, conn, "/one", text:sub(1, cut), text:sub(cut + 1)))
        end
        local bytes = {}
        for byte in text:gmatch "." do bytes[#bytes + 1] = byte end
        assert.equal(wanted, pieces(client, conn, "/one", unpack(bytes)))
    end)

    it("gives each route its own, and each instance of a chain", function()
        local gw, up = gateway()
        local client = gw:client()
        client:send "GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
        local conn = up:accept()
        conn:request()
        conn:send(e2e.OK)
        client:response()
        assert.equal("aab https://", pieces(client, conn, "/one", "aa", "b ht", "tp://"))
        assert.equal("a<> http://", pieces(client, conn, "/two", "aa", "ab ht", "tp://"))
        assert.equal("a<> https://", pieces(client, conn, "/both", "aa", "ab ht", "tp://"))
    end)

    it("tells answers of one moment apart", function()
        local gw, up = gateway()
        local clients, conns = {}, {}
        for i = 1, 2 do
            clients[i] = gw:send "GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
            conns[i] = up:accept()
            conns[i]:request()
            conns[i]:send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunk(i .. " htt"))
        end
        for i = 1, 2 do conns[i]:send(chunk("p://" .. i) .. "0\r\n\r\n") end
        assert.equal("1 https://1", clients[1]:response().body)
        assert.equal("2 https://2", clients[2]:response().body)
    end)
end)
