-- The switch of the plugin maintenance, as an operator turns it.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway(conf)
    return e2e.behind({}, {
        names = { "a" },
        plugins = { maintenance = e2e.plugin("examples/plugins/maintenance", conf) },
        route = { plugins = { "maintenance" } },
        extra = { admin = { bind = "unix:run/admin.sock" }, state = { path = "state" } },
    })
end

describe("maintenance", function()
    it("turns requests away from the moment it is on, over a restart, until it is off", function()
        local gw, up = gateway()
        assert.equal(200, gw:ask(e2e.GET).status)

        assert.equal(0, gw:command({ "state", "set", "maintenance", "on", "back at noon" }).code)
        for _ = 1, 2 do
            local response = gw:ask(e2e.GET)
            assert.equal(503, response.status)
            assert.equal("300", response.fields["retry-after"])
            assert.equal("back at noon", e2e.json.decode(response.body).detail)
            gw:restart(e2e.SIGTERM)
        end
        assert.equal(1, up:since())

        assert.equal(0, gw:command({ "state", "del", "maintenance", "on" }).code)
        assert.equal(200, gw:ask(e2e.GET).status)
    end)

    it("lets an address pass that may look", function()
        local gw = gateway { allow = { "127.0.0.1" } }
        assert.equal(0, gw:command({ "state", "set", "maintenance", "on", "now" }).code)
        assert.equal(200, gw:ask(e2e.GET).status)
    end)
end)
