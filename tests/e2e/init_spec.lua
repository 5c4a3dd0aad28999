-- `moongate init` and `moongate plugin new`: what they write checks clean, passes its specs and serves; what is there
-- already is left alone.
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"
local Process = require "tests.e2e.harness.process"

local dir

before_each(function()
    dir = Gateway.folder()
end)

after_each(function()
    e2e.finish()
    Gateway.remove_folder(dir)
end)

local function moongate(args, below)
    return Process.run { argv = { Gateway.binary(), unpack(args) }, cwd = dir .. (below or "") }
end

local function read(path)
    local file = assert(io.open(dir .. "/" .. path))
    local text = file:read "*a"
    file:close()
    return text
end

describe("moongate init", function()
    it("writes a project that checks clean and passes its specs", function()
        local made = moongate { "init", "shop" }
        assert.equal("", made.err)
        assert.equal(0, made.code)
        for _, path in ipairs { "moongate.yaml", ".gitignore", ".luarc.json", "tests/gateway_spec.lua",
            "plugins/hello/plugin.lua", "plugins/hello/schema.json", "plugins/hello/README.md",
            "plugins/hello/spec/hello_spec.lua" } do
            assert.truthy(made.out:find("  shop/" .. path .. "\n", 1, true), made.out)
            assert.is_nil(read("shop/" .. path):find("@NAME@", 1, true), path)
        end
        assert.truthy(made.out:find("Next:\n  cd shop\n  moongate test\n", 1, true), made.out)
        local checked = moongate({ "check", "--strict" }, "/shop")
        assert.equal(0, checked.code, checked.err)
        local tested = moongate({ "test" }, "/shop")
        assert.equal(0, tested.code, tested.out .. tested.err)
        assert.truthy(tested.out:find("2 passed, 0 failed, 0 leaked", 1, true), tested.out)
    end)

    it("writes here without a folder, and a plugin beside the first", function()
        assert.equal(0, moongate({ "init" }).code)
        local made = moongate { "plugin", "new", "a-b_2" }
        assert.equal(0, made.code, made.err)
        assert.truthy(made.out:find("plugins: { a-b_2: { use: ./plugins/a-b_2 } }", 1, true), made.out)
        local tested = moongate { "test" }
        assert.truthy(tested.out:find("3 passed, 0 failed, 0 leaked", 1, true), tested.out)
    end)

    it("leaves alone what is there, and writes nothing then", function()
        assert.equal(0, moongate({ "init", "-q", "x" }).code)
        local again = moongate { "init", "x" }
        assert.equal(1, again.code)
        assert.equal("", again.out)
        assert.truthy(again.err:find("is there already; nothing was written", 1, true), again.err)
        Gateway.write(dir .. "/y/plugins/hello/schema.json", "{}")
        assert.equal(1, moongate({ "init", "y" }).code)
        assert.is_nil(io.open(dir .. "/y/moongate.yaml"))
        assert.equal("{}", read "y/plugins/hello/schema.json")
        assert.equal(0, moongate({ "plugin", "new", "p" }).code)
        assert.equal(1, moongate({ "plugin", "new", "p" }).code)
    end)

    it("says what is wrong with a command", function()
        for _, args in ipairs { { "init", "a", "b" }, { "init", "--x" }, { "plugin" }, { "plugin", "old" },
            { "plugin", "new" }, { "plugin", "new", "A" }, { "plugin", "new", "../x" },
            { "plugin", "new", "a", "b" } } do
            local result = moongate(args)
            assert.equal(2, result.code, table.concat(args, " "))
            assert.equal("", result.out)
        end
        assert.equal(1, moongate({ "init", "/dev/null/x" }).code)
    end)

    it("writes a project that serves", function()
        assert.equal(0, moongate({ "init", "-q" }).code)
        local gw = e2e.gateway {
            text = "", args = { "run", "-c", dir .. "/moongate.yaml", "--set", "listeners.web.bind=127.0.0.1:@PORT@",
                "--set", "status.bind=127.0.0.1:@STATUS@" },
        }
        local response = gw:ask(e2e.GET)
        assert.equal("it works\n", response.body)
        assert.equal("hello", response.fields["x-hello"])
    end)
end)
