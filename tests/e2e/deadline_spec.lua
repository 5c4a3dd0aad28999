-- One deadline for a request, handed on: what the upstream hears of it, whose word counts, and what is not sent.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local HEADER = "x-moongate-deadline-ms"

local function behind(opts)
    opts = opts or {}
    opts.names = { "up" }
    return e2e.behind(opts.policies or {}, opts)
end

--- What the upstream hears of the deadline of a GET with these field lines, in ms.
local function heard(gw, up, lines)
    local bytes = "GET / HTTP/1.1\r\nHost: a\r\n" .. (lines or "") .. "\r\n"
    assert.same({ [200] = 1 }, e2e.ask(gw, 1, { request = function() return bytes end }))
    return tonumber(up.last.fields[HEADER])
end

local function assert_near(wanted, got)
    assert.is_true(got and got <= wanted and got > wanted - 500, "wanted about " .. wanted .. ", got " .. tostring(got))
end

describe("a deadline", function()
    it("goes on to the upstream, less a tenth to answer in", function()
        local gw, up = behind { route = { timeout = "15s" } }
        assert_near(13500, heard(gw, up))
    end)

    it("of a peer that is trusted counts, of another it does not", function()
        local trusted = { listener = { trusted_proxies = e2e.json.list { "127.0.0.0/8" } } }
        local gw, up = behind(trusted)
        assert_near(9000, heard(gw, up, "X-Moongate-Deadline-Ms: 10000\r\n"))
        heard(gw, up, "grpc-timeout: 2S\r\n")
        assert_near(1800, tonumber(up.last.fields["grpc-timeout"]:match "^(%d+)m$"))
        assert_near(13500, heard(gw, up, "X-Moongate-Deadline-Ms: 99000\r\n"))
        gw, up = behind()
        assert_near(13500, heard(gw, up, "X-Moongate-Deadline-Ms: 10000\r\n"))
    end)

    it("that leaves nothing to answer in is a 504, and nothing is sent", function()
        local gw, up = behind { listener = { trusted_proxies = e2e.json.list { "127.0.0.0/8" } }, access_log = true }
        local answer = gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Moongate-Deadline-Ms: 5\r\n\r\n"
        assert.equal(504, answer.status)
        assert.equal("deadline", gw:access().error)
        assert.equal(0, up.seen)
    end)

    it("is what is left, for a second try", function()
        local gw, up = behind { policies = { retry = { on = { "503" }, budget = "100%", min_per_second = 1000,
            backoff = "1ms" } } }
        local told = {}
        up:does(function(request, server)
            told[#told + 1] = tonumber(request.fields[HEADER])
            if #told == 1 then
                gw:advance(5000)
                return e2e.message(503, server.name)
            end
            return e2e.message(200, server.name)
        end)
        assert.same({ [200] = 1 }, e2e.ask(gw, 1))
        assert_near(13500, told[1])
        assert_near(9000, told[2])
    end)
end)
