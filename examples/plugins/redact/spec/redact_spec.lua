-- The plugin redact: what is hidden, what is left as it was, and what is not passed on.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway()
    return e2e.proxy {
        plugins = { redact = e2e.plugin("examples/plugins/redact", { members = { "password", "card" } }) },
        route = { plugins = { "redact" } },
    }
end

local function through(kind, body, request)
    local gw, up = gateway()
    local seen, response = e2e.exchange(gw:client(), up, request, "HTTP/1.1 200 OK\r\nContent-Type: " .. kind
        .. "\r\nETag: \"1\"\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
    return response, seen
end

describe("redact", function()
    it("hides members at any depth and leaves the others, also long numbers and empty lists", function()
        local response, seen = through("application/json; charset=utf-8",
            '{"id":9007199254740993,"password":"x","list":[],"orders":[{"card":{"no":1},"sum":1.5}],"none":null}',
            "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nRange: bytes=0-9\r\n\r\n")
        assert.truthy(response.body:find('"id":9007199254740993', 1, true))
        assert.truthy(response.body:find('"list":[]', 1, true))
        assert.same({ id = 9007199254740993, password = "***", list = {}, none = e2e.json.decode "[null]"[1],
            orders = { { card = "***", sum = 1.5 } } }, e2e.json.decode(response.body))
        assert.is_nil(response.fields.etag)
        assert.same({}, { seen.fields["accept-encoding"], seen.fields.range })
    end)

    it("reads problem documents too, and lists", function()
        assert.equal('[{"card":"***"}]', through("application/problem+json", '[{"card":1}]').body)
    end)

    it("leaves everything else alone", function()
        local response = through("text/plain", '{"password":"x"}')
        assert.equal('{"password":"x"}', response.body)
        assert.equal('"1"', response.fields.etag)
        assert.equal("12", through("application/json", "12").body)
    end)

    it("does not pass on what it cannot read", function()
        local response = through("application/json", '{"password":"x"')
        assert.equal(502, response.status)
        assert.is_nil(response.body:find("password", 1, true))
    end)
end)
