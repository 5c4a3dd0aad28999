-- What one connection has its plugins compute, one after the other, keeps nobody else waiting: behind each request that
-- was pipelined, and each piece of a body, the others have their turn. The gateway stands still while both are sent, so
-- that both are there when it looks.
local e2e = require "tests.e2e.harness"

local SIGSTOP, SIGCONT = 19, 18
local COUNT = 12 -- requests, or pieces

local PIECES = ("400\r\n" .. ("x"):rep(1024) .. "\r\n"):rep(COUNT)

-- Computes for 20 ms for each request of /work and each piece, and tells how often it has.
local PLUGIN = [[
local worked = 0
local function work()
    worked = worked + 1
    local until_s = os.clock() + 0.02
    while os.clock() < until_s do end
end

local function piece(_, bytes)
    if #bytes > 0 then work() end
end

local function handler(ctx, next)
    if ctx.request.path == "/worked" then
        return ctx:respond(200, tostring(worked))
    elseif ctx.request.path == "/work" then
        work()
        return ctx:respond(200, "done")
    end
    next(ctx)
end

return { name = "work", version = "1", body = { request = "stream", response = "stream" }, new = function()
    return { handler = handler, request_body = piece, response_body = piece }
end }
]]

describe("a worker", function()
    local gw, up, other

    before_each(function()
        gw, up = e2e.proxy { plugins = { work = { use = "./plugins/work", cpu = "1s" } },
            files = { ["plugins/work/plugin.lua"] = PLUGIN }, route = { plugins = { "work" } } }
        other = gw:client()
        e2e.exchange(other, up, e2e.GET, e2e.LAST)
    end)
    after_each(e2e.finish)

    --- How much of the work was done when another client's request had its turn. `send` sends all of the work.
    local function done_before_another(send)
        gw.process:signal(SIGSTOP)
        send()
        other:send "GET /worked HTTP/1.1\r\nHost: a\r\n\r\n"
        gw.process:signal(SIGCONT)
        return tonumber(other:response().body)
    end

    it("answers others between the pipelined requests of one client", function()
        local client = gw:client()
        e2e.exchange(client, up, e2e.GET, e2e.LAST) -- it has been accepted
        local done = done_before_another(function()
            client:send(("GET /work HTTP/1.1\r\nHost: a\r\n\r\n"):rep(COUNT))
        end)
        assert.is_true(done < COUNT / 2, done .. " requests went first")
        for _ = 1, COUNT do assert.equal("done", client:response().body) end
    end)

    it("answers others between the pieces of a client's body", function()
        local client = gw:send "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        local conn = up:accept()
        conn:request_head()
        local done = done_before_another(function() client:send(PIECES) end)
        assert.is_true(done < COUNT / 2, done .. " pieces went first")
        client:send "0\r\n\r\n"
        for _ = 1, COUNT do conn:recv_until "x\r\n" end
        conn:send(e2e.OK)
        assert.equal("ok", client:response().body)
    end)

    it("answers others between the pieces of an upstream's body", function()
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        client:response_head()
        local done = done_before_another(function() conn:send(PIECES) end)
        assert.is_true(done < COUNT / 2, done .. " pieces went first")
        conn:send "0\r\n\r\n"
        client:recv_until "\r\n0\r\n\r\n"
    end)

    it("notices behind a late answer that the client sends no more", function()
        local client = gw:client()
        e2e.exchange(client, up, e2e.GET, e2e.LAST) -- it has been accepted
        gw.process:signal(SIGSTOP)
        client:send "GET /work HTTP/1.1\r\nHost: a\r\n\r\n"
        client:half_close()
        gw.process:signal(SIGCONT)
        assert.equal("done", client:response().body)
        client:expect_eof()
    end)

    it("cuts nobody off whose next request waits for its turn when it is told to end", function()
        local client = gw:send(("GET /work HTTP/1.1\r\nHost: a\r\n\r\n"):rep(COUNT))
        local answer, count = client:response(), 1
        gw.process:signal(e2e.SIGTERM)
        while count < COUNT and answer.fields.connection ~= "close" do
            answer, count = client:response(), count + 1
        end
        assert.equal("done", answer.body)
        client:expect_eof()
    end)
end)
