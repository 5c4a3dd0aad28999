-- What the README shows works as it is shown: its configuration, its plugin, its commands.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function readme()
    local file = assert(io.open "README.md")
    local text = file:read "*a"
    file:close()
    return text
end

local function block(language)
    return assert(readme():match("\n```" .. language .. "\n(.-\n)```"), "README.md has no block of " .. language)
end

local function plugin_files()
    return { ["plugins/greet/plugin.lua"] = block "lua", ["plugins/greet/schema.json"] = block "json" }
end

--- The README's document with ports of our own; one of its two endpoints is as good as both.
local function document(up)
    return (block("yaml"):gsub('":8080"', '"127.0.0.1:@PORT@"'):gsub("127%.0%.0%.1:9902", "127.0.0.1:@STATUS@")
        :gsub("127%.0%.0%.1:900[01]", "127.0.0.1:" .. up.port))
end

describe("the README", function()
    it("shows a configuration and a plugin that check clean", function()
        local files = plugin_files()
        files["moongate.yaml"] = block "yaml"
        local result = e2e.run({ "check", "--strict" }, { files = files })
        assert.equal("", result.err)
        assert.equal(0, result.code)
        result = e2e.run({ "routes", "--explain", "PUT http://localhost/v1/carts/42" }, { files = files })
        assert.truthy(result.out:find("cart +YES"), result.out)
    end)

    it("shows what its request then does", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { text = document(up), files = plugin_files() }
        local key = assert(readme():match "curl %-H '(x%-api%-key: [^']+)'")
        local seen, response = e2e.exchange(gw:client(), up,
            "GET /v1/carts/42 HTTP/1.1\r\nHost: a\r\n" .. key .. "\r\n\r\n")
        assert.equal("42", seen.fields["x-cart"])
        assert.equal("hi, anna", response.fields["x-greeting"])
        assert.equal(401, gw:ask("GET /v1/carts/42 HTTP/1.1\r\nHost: a\r\n\r\n").status)
    end)
end)
