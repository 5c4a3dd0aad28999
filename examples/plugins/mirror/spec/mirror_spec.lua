-- The plugin mirror: what the second place gets, and that no client waits for it.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway(conf)
    local second = e2e.upstream()
    conf = conf or {}
    conf.to = second:url()
    local gw, up = e2e.proxy {
        plugins = { mirror = e2e.plugin("examples/plugins/mirror", conf) },
        route = { plugins = { "mirror" } },
    }
    return gw, up, second
end

local POST = "POST /a/b?q=1 HTTP/1.1\r\nHost: a\r\nAuthorization: secret\r\nX-One: 1\r\nX-One: 2\r\n"
    .. "Content-Length: 4\r\n\r\nbody"

describe("mirror", function()
    it("copies method, path, query, fields and body, but for what is to stay here", function()
        local gw, up, second = gateway()
        local seen, response = e2e.exchange(gw:client(), up, POST)
        assert.equal("body", seen.body)
        assert.equal(200, response.status)
        local copy = second:accept():request()
        assert.equal("POST /a/b?q=1 HTTP/1.1", copy.start)
        assert.equal("body", copy.body)
        assert.equal("1", copy.fields["x-mirrored"])
        assert.equal("1, 2", copy.fields["x-one"])
        assert.is_nil(copy.fields.authorization)
    end)

    it("lets no client wait for a place that does not answer", function()
        local gw, up, second = gateway()
        local client = gw:client()
        local _, _, conn = e2e.exchange(client, up)
        second:accept()
        for _ = 1, 5 do
            assert.equal(200, select(2, e2e.exchange(client, up, nil, nil, conn)).status)
            second:accept()
        end
    end)

    it("counts copies that failed, and hides it from clients", function()
        local gw, up, second = gateway()
        second:close()
        assert.equal(200, select(2, e2e.exchange(gw:client(), up)).status)
        gw:await_metric("moongate_plugin_counter_total", { name = "mirror/failed" }, 1)
    end)

    it("copies nothing at a share of 0", function()
        local gw, up, second = gateway { share = 0 }
        assert.equal(200, select(2, e2e.exchange(gw:client(), up)).status)
        second:expect_nobody()
    end)
end)
