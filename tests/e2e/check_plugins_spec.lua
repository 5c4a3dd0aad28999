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

    it("takes what a plugin says for text, though it looks like a line of a file", function()
        for _, text in ipairs { "other.lua:9: no such mood", "10.0.0.1:80: no such mood" } do
            local result = check("return { name = 'own', new = function() error('" .. text .. "', 0) end }\n")
            assert.equal(3, result.code)
            assert.truthy(result.err:find('moongate.yaml:5:', 1, true), result.err)
            assert.truthy(result.err:find('plugin "idle": ' .. text, 1, true), result.err)
        end
    end)

    local function checked(config, files)
        files["moongate.yaml"] = config
        return e2e.run({ "check", "moongate.yaml" }, { files = files })
    end

    it("says which schema to write where a configuration has none", function()
        local config = CONFIG:gsub("use: ./plugins/own", "use: ./plugins/own, config: { word: a, many: [1], n: 5 }")
        local files = { ["plugins/good/plugin.lua"] = GOOD, ["plugins/own/plugin.lua"] = GOOD }
        local result = checked(config, files)
        assert.equal(3, result.code)
        local schema = result.err:match("plugins/own/schema.json: ({[^\n]*})")
        assert.truthy(schema, result.err)
        files["plugins/own/schema.json"] = schema
        result = checked(config, files)
        assert.equal(0, result.code, result.err)
    end)

    for what, name in pairs {
        ["a long name"] = ("long_"):rep(20), ["a colon in its name"] = "a:7: b", ["a blank"] = "a b",
    } do
        it("shows the line in a folder with " .. what, function()
            local config = CONFIG:gsub("./plugins/own", '"./plugins/' .. name .. '"')
            for file, text in pairs {
                ["plugin.lua"] = "local plugin = {}\nfunction plugin.new() error('no such mood') end\nreturn plugin\n",
                ["lib/part.lua"] = "\n return }\n",
            } do
                local files = { ["plugins/good/plugin.lua"] = GOOD }
                files["plugins/" .. name .. "/plugin.lua"] = "require('" .. name .. ".part')\nreturn {}"
                files["plugins/" .. name .. "/" .. file] = text
                local result = checked(config, files)
                assert.equal(3, result.code)
                assert.truthy(result.err:find("plugins/" .. name .. "/" .. file .. ":2:", 1, true), result.err)
            end
        end)
    end

    it("lists the built-ins beside the one that was meant", function()
        local result = checked(CONFIG:gsub("./plugins/own", "key_aut"), { ["plugins/good/plugin.lua"] = GOOD })
        assert.equal(3, result.code)
        assert.truthy(result.err:find('did you mean "key_auth"?', 1, true), result.err)
        assert.truthy(result.err:find("rate_limit, request_id, respond", 1, true), result.err)
    end)

    it("shows the end of a file that returns nothing", function()
        local result = check "local plugin = {}\nfunction plugin.new() end\n"
        assert.equal(3, result.code)
        assert.truthy(result.err:find("plugins/own/plugin.lua:2:1: error[plugin]", 1, true), result.err)
        assert.truthy(result.err:find("return plugin", 1, true), result.err)
    end)

    it("shows the line that requires a module which stands in the wrong place", function()
        local result = checked(CONFIG, { ["plugins/good/plugin.lua"] = GOOD, ["plugins/own/util.lua"] = "return {}",
            ["plugins/own/plugin.lua"] = "local plugin = {}\nrequire 'own.util'\nreturn plugin\n" })
        assert.equal(3, result.code)
        assert.truthy(result.err:find("plugins/own/plugin.lua:2:1: error[plugin]", 1, true), result.err)
        assert.truthy(result.err:find("lib/util.lua", 1, true), result.err)
    end)

    it("takes every service as used where a plugin makes up the name it chooses", function()
        local config = CONFIG:gsub("idle:", "own:"):gsub("%[used%]", "[used, own]") .. "services:\n"
            .. '  cart-a: { endpoints: [{ url: "http://127.0.0.1:1" }] }\n'
            .. '  geo: { endpoints: [{ url: "http://127.0.0.1:2" }] }\n'
        local function strict(code)
            local files = { ["plugins/good/plugin.lua"] = GOOD, ["moongate.yaml"] = config }
            files["plugins/own/plugin.lua"] = "local function use(ctx, x) " .. code .. " end\n" .. GOOD
            return e2e.run({ "check", "--strict", "moongate.yaml" }, { files = files })
        end
        for _, code in ipairs { "ctx:set_service('cart-' .. x)", "ctx:set_service(x)", 'ctx:set_service ( x )',
            "ctx.http:request { path = '/', service = x }", "ctx.http:get('/', {service=\n'g' .. x})" } do
            local result = strict(code)
            assert.equal(0, result.code, code .. "\n" .. result.err)
        end
        for _, code in ipairs { "ctx:set_service('geo')", "ctx:set_service 'geo'",
            "ctx.http:get('/', { service = \"geo\" })", "if x.service == x then ctx:set_service('geo') end" } do
            local result = strict(code)
            assert.equal(3, result.code, code)
            assert.truthy(result.err:find('no route uses the service "cart-a"', 1, true), code)
            assert.is_nil(result.err:find('"geo"', 1, true), code)
        end
    end)

    it("takes a limiter or a service as used that only a plugin names", function()
        local config = CONFIG:gsub("idle:", "own:"):gsub("%[used%]", "[used, own]")
            .. "services: { geo: { endpoints: [{ url: \"http://127.0.0.1:1\" }] } }\n"
            .. "limiters: { by_lua: { rate: 10/s }, left: { rate: 1/s } }\n"
        local function strict(source, more)
            local files = more or {}
            files["plugins/good/plugin.lua"] = GOOD
            files["plugins/own/plugin.lua"] = source
            files["moongate.yaml"] = config
            return e2e.run({ "check", "--strict", "moongate.yaml" }, { files = files })
        end
        local NAMES = "local function use(ctx) ctx.breaker:ask('geo') return ctx.limit:take(\"by_lua\", 'k') end\n"
        local result = strict(NAMES .. "local left = 1\n" .. GOOD)
        assert.equal(3, result.code)
        assert.is_nil(result.err:find('"by_lua"', 1, true), result.err)
        assert.is_nil(result.err:find('"geo"', 1, true), result.err)
        assert.truthy(result.err:find('no route uses the limiter "left"', 1, true), result.err)
        result = strict("require 'own.names'\nlocal left = 'left'\n" .. GOOD, { ["plugins/own/lib/names.lua"] = NAMES })
        assert.equal(0, result.code, result.err)
    end)
end)
