-- What the commands say to somebody who begins: a word that is none, no file, many files, many mistakes.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local BEGIN = "moongate run --to http://127.0.0.1:9000 --listen :8080"

describe("a command that is none", function()
    -- typed, suggested
    local WORDS = {
        { "nope" }, { "x" }, { "reload" }, { "apply" }, { "toplevel" },
        { "chekc", "check" }, { "tpo", "top" }, { "rnu", "run" }, { "route", "routes" }, { "stat", "state" },
    }
    for _, case in ipairs(WORDS) do
        it(("%s is told %s"):format(case[1], case[2] or "so alone"), function()
            local result = e2e.run { case[1] }
            local suggestion = case[2] and ('; did you mean "%s"?'):format(case[2]) or ""
            assert.equal(('moongate: there is no command "%s"%s (see: moongate help)\n'):format(case[1], suggestion),
                result.err)
            assert.equal(2, result.code)
        end)
    end
end)

describe("without a file", function()
    for _, command in ipairs { "check", "run", "routes" } do
        it(command .. " says how to begin", function()
            local result = e2e.run { command }
            assert.truthy(result.err:find("cannot open moongate.yaml: No such file or directory", 1, true), result.err)
            assert.truthy(result.err:find(BEGIN, 1, true), result.err)
            assert.equal(3, result.code)
        end)
    end

    it("check --json says it as well", function()
        local document = e2e.json.decode(e2e.run({ "check", "--json" }).out)
        assert.truthy(document.errors[1].hint:find(BEGIN, 1, true))
    end)

    it("a folder in its place and a file that is included are no case of this", function()
        local result = e2e.run { "check", "/tmp" }
        assert.truthy(result.err:find("cannot read /tmp: it is a directory", 1, true), result.err)
        assert.is_nil(result.err:find("--to", 1, true))
        result = e2e.run({ "check" }, { files = { ["moongate.yaml"] = "version: 1\ninclude: [gone.yaml]\n" } })
        assert.truthy(result.err:find("gone.yaml", 1, true), result.err)
        assert.is_nil(result.err:find("--to", 1, true))
    end)
end)

describe("moongate check", function()
    local MAIN = [[
version: 1
include: [conf/*.yaml]
listeners: { web: { bind: ":8080" } }
]]
    local SERVICE = 'services: { s: { endpoints: [{ url: "http://a:1" }] } }\n'
    local ROUTE = "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: s }]\n"

    it("counts every file that it read", function()
        local files = { ["moongate.yaml"] = MAIN, ["conf/a.yaml"] = SERVICE, ["conf/b.yaml"] = ROUTE }
        local result = e2e.run({ "check" }, { files = files })
        assert.equal("ok: 1 routes, 1 services, 0 plugins in 3 files\n", result.out)
        files["conf/b.yaml"] = ROUTE:gsub("service: s", "service: t")
        result = e2e.run({ "check" }, { files = files })
        assert.truthy(result.err:find("1 error, 0 warnings in 3 files", 1, true), result.err)
        result = e2e.run({ "check", "one.yaml" },
            { files = { ["one.yaml"] = 'version: 1\nlisteners: { web: { bind: ":8080" } }\n' .. SERVICE .. ROUTE } })
        assert.truthy(result.out:find("in 1 file\n", 1, true), result.out)
    end)

    it("tells every mistake, however many there are", function()
        local lines = { "version: 1\nlisteners: { web: { bind: \":8080\" } }\nservices:\n" }
        for i = 1, 1000 do lines[#lines + 1] = ("  s%d: { endpoints: [{ url: x }] }\n"):format(i) end
        local files = { ["moongate.yaml"] = table.concat(lines) }
        local result = e2e.run({ "check" }, { files = files })
        local _, told = result.err:gsub("moongate%.yaml:%d+:%d+: error", "")
        assert.is_true(told >= 1000, "told of " .. told)
        assert.truthy(result.err:find("\n" .. told .. " errors, ", 1, true))
        assert.is_nil(result.err:find(" more", 1, true))
        local document = e2e.json.decode(e2e.run({ "check", "--json" }, { files = files }).out)
        assert.equal(told, #document.errors)
    end)

    it("suggests the built-in plugin that was meant", function()
        local text = 'version: 1\nlisteners: { web: { bind: ":8080" } }\nplugins: { auth: { use: key_aut } }\n'
            .. "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [auth] }]\n"
        local result = e2e.run({ "check" }, { files = { ["moongate.yaml"] = text } })
        assert.truthy(result.err:find('did you mean "key_auth"?', 1, true), result.err)
        result = e2e.run({ "check" }, { files = { ["moongate.yaml"] = text:gsub("key_aut", "jwt") } })
        assert.truthy(result.err:find("name a built-in", 1, true), result.err)
    end)
end)
