-- bin/demo when it cannot begin: it says why, and nothing else goes wrong on its way out.
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"
local Process = require "tests.e2e.harness.process"

after_each(e2e.finish)

local PORTS = { "SHOP_PORT", "SHOP_STATUS_PORT", "SHOP_CATALOG_A", "SHOP_CATALOG_B", "SHOP_CATALOG_NEXT", "SHOP_CART" }

local function demo(env)
    for _, name in ipairs(PORTS) do env[name] = env[name] or e2e.free_port() end
    return Process.run { argv = { "/bin/bash", "bin/demo", "--once" }, env = env }
end

describe("the demo", function()
    it("says what is missing when its programs are not there", function()
        local result = demo { BUILD = "/nowhere" }
        local wanted = "bin/demo: /nowhere has no moongate and shop_upstream: build them, or leave BUILD out\n"
        assert.equal(wanted, result.err)
        assert.equal(1, result.code)
    end)

    it("ends with the message of the upstream that does not start", function()
        local result = demo { BUILD = Gateway.binary():match "^(.*)/", SHOP_CATALOG_A = "none" }
        assert.truthy(result.err:find("usage: shop_upstream NAME PORT", 1, true), result.err)
        assert.truthy(result.err:find("bin/demo: waited in vain for catalog%-a to start\n$"), result.err)
        assert.is_nil(result.err:find("unbound", 1, true))
        assert.equal(1, result.code)
    end)
end)
