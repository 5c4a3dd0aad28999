-- `moongate check` loads every plugin, and says where what is wrong with one stands.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local CONFIG = [[
version: 1
listeners: { web: { bind: "127.0.0.1:0" } }
plugins:
  used: { use: ./plugins/good }
  idle: { use: ./plugins/own }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [used] }]
]]

local GOOD = [[
return { name = "good", new = function() return function(ctx) return ctx:respond(200, "ok") end end }
]]

local function check(source)
    return e2e.run({ "check", "moongate.yaml" }, { files = {
        ["moongate.yaml"] = CONFIG,
        ["plugins/good/plugin.lua"] = GOOD,
        ["plugins/own/plugin.lua"] = source,
    } })
end

describe("check", function()
    it("loads a plugin that no route names", function()
        local result = check "local plugin = {\nfunction plugin.new() end\nreturn plugin\n"
        assert.equal(3, result.code)
        assert.truthy(result.err:find("plugins/own/plugin.lua:2:1: error[plugin]", 1, true))
    end)

    it("shows where a plugin is named that raises without a line", function()
        local result = check "return { name = 'own', new = function() error('no such mood', 0) end }\n"
        assert.equal(3, result.code)
        assert.truthy(result.err:find("moongate.yaml:5:", 1, true))
        assert.truthy(result.err:find("no such mood", 1, true))
    end)
end)
