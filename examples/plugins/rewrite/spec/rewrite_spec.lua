-- The plugin rewrite: what the upstream is asked for, and where clients are sent.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local RULES = { rules = {
    { from = "^/v1/carts/(%d+)$", to = "/carts/%1/v2" },
    { from = "^/old/", to = "/new/", redirect = 308 },
    { from = "^/shop/(.*)$", to = "https://shop.example/%1", redirect = 301 },
    { from = "^/v1/", to = "/legacy/" },
} }

local function gateway(conf)
    return e2e.proxy {
        plugins = { rewrite = e2e.plugin("examples/plugins/rewrite", conf or RULES) },
        route = { plugins = { "rewrite" } },
    }
end

local function get(path)
    return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n"
end

describe("rewrite", function()
    for path, wanted in pairs {
        ["/v1/carts/42?full=1"] = "/carts/42/v2?full=1",
        ["/v1/carts/x"] = "/legacy/carts/x",
        ["/v2"] = "/v2",
    } do
        it("passes " .. path .. " on as " .. wanted, function()
            local gw, up = gateway()
            assert.equal(wanted, e2e.exchange(gw:client(), up, get(path)).target)
        end)
    end

    for path, wanted in pairs {
        ["/old/a/b"] = { 308, "/new/a/b" },
        ["/old/a?q=1"] = { 308, "/new/a?q=1" },
        ["/shop/x"] = { 301, "https://shop.example/x" },
    } do
        it("sends clients of " .. path .. " to " .. wanted[2], function()
            local gw, up = gateway()
            local response = gw:ask(get(path))
            assert.same(wanted, { response.status, response.fields.location })
            up:expect_nobody()
        end)
    end

    it("says of a rule that cannot work which one it is", function()
        local result = e2e.run({ "check", "-c", "moongate.yaml" }, { files = { ["moongate.yaml"] = e2e.json.encode {
            version = 1,
            listeners = { web = { bind = ":8080" } },
            services = { up = { endpoints = { { url = "http://127.0.0.1:9000" } } } },
            plugins = { rewrite = e2e.plugin("examples/plugins/rewrite", { rules = { { from = "[", to = "/" } } }) },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, service = "up",
                plugins = { "rewrite" } } },
        } } })
        assert.equal(3, result.code)
        assert.truthy((result.out .. result.err):find('rules[0]: "[" to "/":', 1, true), result.out .. result.err)
    end)
end)
