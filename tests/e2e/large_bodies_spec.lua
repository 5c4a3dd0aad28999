-- Large bodies that nobody looks at: the kernel moves them from socket to socket. Whoever speaks to the gateway sees
-- no difference: every byte is compared with what was sent, and the next message on the connection is in step.
local e2e = require "tests.e2e.harness"
local lfs = require "lfs"

after_each(e2e.finish)

local MiB = e2e.stream.MiB
local PIPES = 32 -- of a worker, two descriptors each
-- Around what is moved at all, what is read and what a pipe holds at once.
local SIZES = { 1, 65535, 65536, 65537, 131072, 262143, 262145, 400000, MiB, 3 * MiB + 7 }

--- How many descriptors of pipes the gateway has.
local function pipes(gw)
    local dir, count = "/proc/" .. gw.process.pid .. "/fd", 0
    for name in lfs.dir(dir) do
        local link = name ~= "." and name ~= ".." and lfs.symlinkattributes(dir .. "/" .. name, "target")
        if link and link:find("^pipe:") then count = count + 1 end
    end
    return count
end

--- A request of which the upstream has the head, both ends, ready for a body.
local function asked(gw, up, request, opts)
    local client = gw:client(opts)
    client:send(request or e2e.GET)
    local conn = up:accept()
    return client, conn, conn:request_head()
end

local function head(size, lines)
    return "HTTP/1.1 200 OK\r\nContent-Length: " .. size .. "\r\n" .. (lines or "") .. "\r\n"
end

local function post(size, lines)
    return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. size .. "\r\n" .. (lines or "") .. "\r\n"
end

--- Another exchange on both connections: neither has a byte too many or too few.
local function in_step(client, conn)
    client:send(e2e.GET)
    assert.equal("GET", conn:request().method)
    conn:send(e2e.OK)
    assert.equal("ok", client:response().body)
end

describe("the body of an answer", function()
    it("comes through whole, of whatever size, and both connections go on", function()
        local gw, up = e2e.proxy()
        local client, conn = gw:client()
        for _, size in ipairs(SIZES) do
            client:send(e2e.GET)
            conn = conn or up:accept()
            conn:request_head()
            conn:send(head(size))
            client:response_head()
            e2e.stream.pump(conn, client, size)
        end
        in_step(client, conn)
        assert.truthy(pipes(gw) > 0, "nothing was moved by a pipe")
        assert.equal(1, up.accepted)
    end)

    it("comes through whole with its head before it in one piece", function()
        local gw, up = e2e.proxy()
        local client, conn = gw:client()
        for _, size in ipairs(SIZES) do
            client:send(e2e.GET)
            conn = conn or up:accept()
            conn:request_head()
            local first = math.min(size, 1000)
            conn:send(head(size) .. e2e.stream.text(first))
            client:response_head()
            e2e.stream.pump(conn, client, size, first)
        end
        in_step(client, conn)
    end)

    it("may come in pieces of any length", function()
        local gw, up = e2e.proxy()
        local size, text = 300001, e2e.stream.text(300001)
        local client, conn = asked(gw, up)
        conn:send(head(size))
        client:response_head()
        local at, piece, got = 0, 1, {}
        while at < size do
            local n = math.min(piece, size - at)
            conn:send(text:sub(at + 1, at + n))
            got[#got + 1] = client:recv(n) -- before the next one is sent
            at, piece = at + n, piece * 3 + 1
            if piece > 70000 then piece = 1 end
        end
        assert.truthy(table.concat(got) == text)
        in_step(client, conn)
    end)

    it("goes to a client of HTTP/1.0 until the end, when only the end ends it", function()
        local gw, up = e2e.proxy()
        local client, conn = asked(gw, up, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        conn:send "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        client:response_head()
        e2e.stream.pump(conn, client, 2 * MiB + 3)
        conn:close()
        client:expect_eof()
        assert.truthy(pipes(gw) > 0)
    end)

    it("waits for a slow reader: its upstream is stopped, and nothing is lost", function()
        local gw, up = e2e.proxy { listen = { sndbuf = 65536 } }
        local total = 32 * MiB
        local client, conn = asked(gw, up, nil, { rcvbuf = 65536 })
        conn:send(head(total))
        client:response_head()
        local sent = e2e.stream.send_until_blocked(conn, total)
        assert.truthy(sent < 24 * MiB, "the gateway took " .. sent .. " bytes for a client that does not read")
        e2e.stream.pump(conn, client, total, sent)
        in_step(client, conn)
    end)

    it("that stands with a client which reads no more is given up in time", function()
        local gw, up = e2e.proxy { listener = { body_timeout = "500ms" }, listen = { sndbuf = 65536 } }
        local total = 64 * MiB
        local client, conn = asked(gw, up, nil, { rcvbuf = 65536 })
        conn:send(head(total))
        client:response_head()
        pcall(e2e.stream.send_until_blocked, conn, total) -- the end may come meanwhile
        conn:recv_rest()
        client:close()
    end)

    it("whose client resets leaves the upstream's connection closed, and others served", function()
        local gw, up = e2e.proxy { listen = { sndbuf = 65536 } }
        local client, conn = asked(gw, up, nil, { rcvbuf = 65536 })
        conn:send(head(64 * MiB))
        client:response_head()
        e2e.stream.send_until_blocked(conn, 64 * MiB)
        client:reset()
        conn:recv_rest()
        conn:close()
        local other, its = asked(gw, up)
        its:send(head(MiB))
        other:response_head()
        e2e.stream.pump(its, other, MiB)
        in_step(other, its)
    end)

    for _, how in ipairs { "close", "reset" } do
        it("that its upstream cuts by " .. how .. " is cut for the client too", function()
            local gw, up = e2e.proxy { access_log = true }
            local client, conn = asked(gw, up)
            conn:send(head(4 * MiB))
            client:response_head()
            e2e.stream.pump(conn, client, MiB)
            conn[how](conn)
            assert.equal("", client:recv_rest())
            client:close()
            local line = gw:access()
            assert.equal(200, line.status)
            assert.equal("upstream_reset", line.error)
            local other, its = asked(gw, up)
            its:send(e2e.OK)
            assert.equal("ok", other:response().body)
        end)
    end

    it("of a connection that the upstream closes behind it is whole, and the connection is not used again", function()
        local gw, up = e2e.proxy()
        local client, conn = asked(gw, up)
        conn:send(head(MiB, "Connection: close\r\n"))
        client:response_head()
        e2e.stream.pump(conn, client, MiB)
        conn:close()
        local _, _, again = e2e.exchange(client, up)
        assert.truthy(again)
        assert.equal(2, up.accepted)
    end)

    it("with bytes behind it is whole, and the connection that brought them is not used again", function()
        local gw, up = e2e.proxy()
        local client, conn = asked(gw, up)
        conn:send(head(MiB))
        client:response_head()
        e2e.stream.pump(conn, client, MiB - 70000)
        conn:send(e2e.stream.text(MiB):sub(MiB - 70000 + 1) .. "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
        client:recv(70000)
        local _, answer = e2e.exchange(client, up)
        assert.equal("ok", answer.body)
    end)

    it("counts in the access log with its head", function()
        local gw, up = e2e.proxy { access_log = true }
        local client, conn = asked(gw, up)
        conn:send(head(2 * MiB))
        local at = #client:recv_until "\r\n\r\n"
        e2e.stream.pump(conn, client, 2 * MiB)
        assert.equal(at + 2 * MiB, gw:access().bytes_out)
    end)
end)

describe("the body of a request", function()
    it("comes through whole, of whatever size, and both connections go on", function()
        local gw, up = e2e.proxy()
        local client, conn = gw:client()
        for _, size in ipairs(SIZES) do
            client:send(post(size))
            conn = conn or up:accept()
            assert.equal(tostring(size), conn:request_head().fields["content-length"])
            e2e.stream.pump(client, conn, size)
            conn:send(e2e.OK)
            assert.equal("ok", client:response().body)
        end
        in_step(client, conn)
        assert.truthy(pipes(gw) > 0, "nothing was moved by a pipe")
        assert.equal(1, up.accepted)
    end)

    it("comes through whole where a service may try again: the first bytes are kept, the rest moved", function()
        local gw, up = e2e.proxy { service = { retry = { attempts = 3 } } }
        local client, conn = gw:client()
        for _, size in ipairs(SIZES) do
            client:send(post(size, "Idempotency-Key: k\r\n"))
            conn = conn or up:accept()
            conn:request_head()
            e2e.stream.pump(client, conn, size)
            conn:send(e2e.OK)
            assert.equal("ok", client:response().body)
        end
        in_step(client, conn)
    end)

    it("is followed by the next request in the same bytes", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local size, text = 500000, e2e.stream.text(500000)
        client:send(post(size))
        local conn = up:accept()
        conn:request_head()
        e2e.stream.pump(client, conn, 100000)
        client:send(text:sub(100001) .. e2e.GET)
        assert.truthy(conn:recv(size - 100000) == text:sub(100001))
        conn:send(e2e.OK)
        assert.equal("ok", client:response().body)
        assert.equal("GET", conn:request().method)
        conn:send(e2e.OK)
        assert.equal("ok", client:response().body)
    end)

    it("waits for an upstream that reads slowly, and nothing is lost", function()
        local gw, up = e2e.proxy { listen = { rcvbuf = 65536 } }
        local total = 32 * MiB
        local client, conn = asked(gw, up, post(total), { sndbuf = 65536 })
        local sent = e2e.stream.send_until_blocked(client, total)
        assert.truthy(sent < 24 * MiB, "the gateway took " .. sent .. " bytes for an upstream that does not read")
        e2e.stream.pump(client, conn, total, sent)
        conn:send(e2e.OK)
        assert.equal("ok", client:response().body)
        in_step(client, conn)
    end)

    for _, how in ipairs { "close", "reset" } do
        it("that its client cuts by " .. how .. " is cut for the upstream too", function()
            local gw, up = e2e.proxy()
            local client, conn = asked(gw, up, post(4 * MiB))
            e2e.stream.pump(client, conn, MiB)
            client[how](client)
            assert.equal("", conn:recv_rest())
            local other, its = asked(gw, up)
            its:send(e2e.OK)
            assert.equal("ok", other:response().body)
        end)
    end

    it("that the upstream refuses midway is answered with what it says", function()
        local gw, up = e2e.proxy { listen = { rcvbuf = 65536 } }
        local client, conn = asked(gw, up, post(64 * MiB), { sndbuf = 65536 })
        e2e.stream.pump(client, conn, MiB)
        conn:send "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
        conn:half_close()
        assert.equal(413, client:response().status)
        client:close()
        conn:recv_rest()
    end)

    it("whose upstream resets midway is answered with 502", function()
        local gw, up = e2e.proxy { listen = { rcvbuf = 65536 } }
        local client, conn = asked(gw, up, post(64 * MiB), { sndbuf = 65536 })
        e2e.stream.pump(client, conn, MiB)
        e2e.stream.send_until_blocked(client, 64 * MiB, MiB)
        conn:reset()
        assert.equal(502, client:response().status)
    end)

    it("counts in the access log with its head", function()
        local gw, up = e2e.proxy { access_log = true }
        local request = post(2 * MiB)
        local client, conn = asked(gw, up, request)
        e2e.stream.pump(client, conn, 2 * MiB)
        conn:send(e2e.OK)
        client:response()
        assert.equal(#request + 2 * MiB, gw:access().bytes_in)
    end)
end)

describe("a pipe", function()
    it("is one of a few: bodies beyond them are copied, and come through as well", function()
        local gw, up = e2e.proxy { listen = { sndbuf = 65536 } }
        local total, pairs_of = 8 * MiB, {}
        local before = pipes(gw)
        for i = 1, PIPES + 8 do
            local client, conn = asked(gw, up, nil, { rcvbuf = 16384 })
            conn:send(head(total))
            client:response_head()
            pairs_of[i] = { client, conn, e2e.stream.send_until_blocked(conn, total, 0, 20) }
        end
        local most = pipes(gw) - before
        assert.truthy(most <= 2 * PIPES, most .. " descriptors")
        for _, ends in ipairs(pairs_of) do e2e.stream.pump(ends[2], ends[1], total, ends[3]) end
        in_step(unpack(pairs_of[#pairs_of])) -- the pool lends what came back last
        assert.truthy(pipes(gw) - before <= 2 * PIPES)
    end)

    it("is not taken for bytes that a plugin wants to see", function()
        local gw, up = e2e.proxy {
            plugins = { look = { use = "./look" } },
            route = { plugins = { "look" } },
            files = { ["look/plugin.lua"] = [[
                local plugin = { name = "look", version = "1", body = { request = "stream", response = "stream" } }
                local function look(_, bytes) return bytes end
                function plugin.new()
                    return { handler = function(ctx, next) return next(ctx) end, request_body = look,
                        response_body = look }
                end
                return plugin
            ]] },
        }
        local before = pipes(gw)
        local client, conn = asked(gw, up)
        conn:send(head(200000) .. e2e.stream.text(200000))
        assert.truthy(client:response().body == e2e.stream.text(200000))
        client:send(post(200000) .. e2e.stream.text(200000))
        assert.truthy(conn:request().body == e2e.stream.text(200000))
        conn:send(e2e.OK)
        client:response()
        assert.equal(before, pipes(gw))
    end)

    it("is not taken for a body in chunks", function()
        local gw, up = e2e.proxy()
        local before = pipes(gw)
        local client, conn = asked(gw, up)
        conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        client:response_head()
        conn:send("20000\r\n" .. e2e.stream.text(131072) .. "\r\n0\r\n\r\n")
        client:recv_until "\r\n0\r\n\r\n"
        assert.equal(before, pipes(gw))
    end)
end)
