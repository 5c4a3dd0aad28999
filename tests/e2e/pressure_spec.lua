-- Back-pressure: whoever does not read, is not read from; memory stays where it was.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local MiB = e2e.stream.MiB
local GROWTH_KIB = 4096
local LUA_GROWTH_KIB = 8192 -- where pieces are Lua's strings: its heap is collected when it has doubled

--- A gateway that has served one exchange of each kind, so that what it allocates once is there.
local function warm(opts)
    opts = opts or {}
    opts.measured = true
    opts.listen = { rcvbuf = 65536, sndbuf = 65536 }
    local gw, up = e2e.proxy(opts)
    local client = gw:client()
    local _, _, conn = e2e.exchange(client, up, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    conn:close()
    client:close()
    return gw, up, gw:rss_kib()
end

local function assert_small(gw, before_kib, bound_kib)
    local growth = gw:rss_kib() - before_kib
    assert.is_true(growth < (bound_kib or GROWTH_KIB), "grew by " .. growth .. " KiB")
end

describe("64 MiB", function()
    local total = 64 * MiB

    it("down to a client that does not read wait at the upstream, and then arrive whole", function()
        local gw, up, before_kib = warm()
        local client = gw:send(e2e.GET, { rcvbuf = 65536 })
        local conn = up:accept()
        conn:request()
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. total .. "\r\n\r\n")
        local sent = e2e.stream.send_until_blocked(conn, total)
        assert.is_true(sent < total, "the upstream could send everything")
        assert_small(gw, before_kib)
        client:response_head()
        e2e.stream.pump(conn, client, total, sent)
        assert_small(gw, before_kib)
        client:expect_nothing()
    end)

    it("up to an upstream that does not read wait at the client, and then arrive whole", function()
        local gw, up, before_kib = warm()
        local client = gw:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. total .. "\r\n\r\n",
            { sndbuf = 65536 })
        local conn = up:accept()
        conn:request_head()
        local sent = e2e.stream.send_until_blocked(client, total)
        assert.is_true(sent < total, "the client could send everything")
        assert_small(gw, before_kib)
        e2e.stream.pump(client, conn, total, sent)
        assert_small(gw, before_kib)
        conn:send(e2e.OK)
        assert.equal(200, client:response().status)
    end)

    it("go through a chain of plugins that leave bodies alone", function()
        local gw, up, before_kib = warm { plugins = { id = { use = "request_id" } }, route = { plugins = { "id" } } }
        local client = gw:send(e2e.GET, { rcvbuf = 65536 })
        local conn = up:accept()
        conn:request()
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. total .. "\r\n\r\n")
        local sent = e2e.stream.send_until_blocked(conn, total)
        client:response_head()
        e2e.stream.pump(conn, client, total, sent)
        assert_small(gw, before_kib)
    end)

    it("wait in front of a plugin that sees them piece by piece, whoever does not read", function()
        local source = [[
            return { name = "own", version = "1", body = { request = "stream", response = "stream" },
                new = function() return { handler = function(ctx, next) return next(ctx) end,
                request_body = function(ctx, bytes) return bytes end,
                response_body = function(ctx, bytes) return bytes end } end }]]
        local gw, up = warm { files = { ["plugins/own/plugin.lua"] = source },
            plugins = { own = { use = "./plugins/own" } }, route = { plugins = { "own" } } }
        local function download()
            local client = gw:send(e2e.GET, { rcvbuf = 65536 })
            local conn = up:accept()
            conn:request()
            conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. total .. "\r\n\r\n")
            assert.is_true(e2e.stream.send_until_blocked(conn, total) < total, "the upstream could send everything")
            client:reset()
            conn:expect_end()
        end
        local function upload()
            local client = gw:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. total .. "\r\n\r\n",
                { sndbuf = 65536 })
            local conn = up:accept()
            conn:request_head()
            assert.is_true(e2e.stream.send_until_blocked(client, total) < total, "the client could send everything")
            conn:reset()
        end
        download() -- pieces are Lua's strings: the first ones bring its heap to the size at which it collects
        upload()
        local before_kib = gw:rss_kib()
        download()
        upload()
        download()
        assert_small(gw, before_kib, LUA_GROWTH_KIB)
    end)
end)

describe("twenty readers that stand still", function()
    it("cost little, and the twenty-first is served", function()
        local gw, up, before_kib = warm()
        local total = 48 * MiB -- more than the buffers that Linux gives two sockets by itself
        local stalled = {}
        for i = 1, 20 do
            local client = gw:send(e2e.GET, { rcvbuf = 4096 })
            local conn = up:accept()
            conn:request()
            conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. total .. "\r\n\r\n")
            stalled[i] = { client = client, conn = conn, sent = e2e.stream.send_until_blocked(conn, total, 0, 50) }
            assert.is_true(stalled[i].sent < total)
        end
        assert_small(gw, before_kib)
        local client = gw:client()
        local _, response, conn = e2e.exchange(client, up)
        assert.equal(200, response.status)
        conn:close()
        -- Two of them wake up and get everything.
        for i = 1, 2 do
            stalled[i].client:response_head()
            e2e.stream.pump(stalled[i].conn, stalled[i].client, total, stalled[i].sent)
        end
        for i = 3, 20 do
            stalled[i].client:reset()
            stalled[i].conn:expect_end()
        end
    end)
end)

describe("a slow client", function()
    it("does not hold up another", function()
        local gw, up = e2e.proxy()
        local slow = gw:send "GET /slow HTTP/1.1\r\nHost: a\r\n"
        for _ = 1, 50 do
            local quick = gw:client()
            local _, response, conn = e2e.exchange(quick, up, nil, e2e.LAST)
            assert.equal(200, response.status)
            conn:close()
            quick:close()
            slow:send "x: y\r\n"
        end
        local seen, response = e2e.exchange(slow, up, "\r\n")
        assert.equal("/slow", seen.target)
        assert.equal(200, response.status)
    end)

    it("may read a large answer a few bytes at a time", function()
        local gw, up = e2e.proxy()
        local client = gw:send(e2e.GET, { rcvbuf = 4096 })
        local conn = up:accept()
        conn:request()
        local body = e2e.stream.text(200000)
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
        client:response_head()
        local parts = {}
        for i = 1, #body / 1000 do parts[i] = client:recv(1000) end
        assert.equal(body, table.concat(parts))
    end)
end)

describe("ten thousand requests", function()
    it("leave no memory behind", function()
        local gw, up = e2e.proxy { measured = true, service = { pool = { max_requests = 100000 } } }
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        local function round(n)
            for _ = 1, n do e2e.exchange(client, up, nil, nil, conn) end
        end
        round(2000)
        local before_kib = gw:rss_kib()
        round(8000)
        local growth = gw:rss_kib() - before_kib
        assert.is_true(growth < 1024, "grew by " .. growth .. " KiB")
    end)
end)
