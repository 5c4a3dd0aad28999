-- The commands of the program: what they print, and how they end.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local GOOD = [[
version: 1
listeners:
  web: { bind: "127.0.0.1:8080" }
services:
  shop: { endpoints: [{ url: "http://127.0.0.1:9000" }] }
routes:
  - { name: cart, match: { hosts: [shop.example], paths: [{ template: "/v1/carts/{id}" }], methods: [GET, PUT] },
      service: shop }
  - { name: cart-admin, match: { hosts: [shop.example], paths: [{ template: "/v1/carts/{id}" }],
      headers: { x-role: admin } }, priority: 1, service: shop }
  - { name: rest, match: { paths: [{ prefix: / }] }, service: shop }
]]

local function check(text, more)
    local files = { ["moongate.yaml"] = text }
    for name, content in pairs(more or {}) do files[name] = content end
    return e2e.run({ "check" }, { files = files })
end

describe("moongate check", function()
    it("is content with a good document and says so", function()
        local result = check(GOOD)
        assert.equal("", result.err:match "error" or "")
        assert.equal(0, result.code)
    end)

    it("reads standard input", function()
        assert.equal(0, e2e.run({ "check", "-" }, { stdin = GOOD }).code)
        assert.equal(3, e2e.run({ "check", "-" }, { stdin = GOOD .. "nonsense: 1\n" }).code)
    end)

    -- sentence, text to replace, replacement, what the message must hold (plain text), each
    local BROKEN = {
        { "an unknown key", "version: 1", "version: 1\nlisteners_: 1", { "moongate.yaml:2:1: error", "listeners_",
            "did you mean \"listeners\"" } },
        { "a duplicate key", "version: 1", "version: 1\nversion: 1", { "moongate.yaml:2:", "duplicate" } },
        { "another version", "version: 1", "version: 2", { "moongate.yaml:1:10", "version" } },
        { "a wrong type", "endpoints: [{ url: \"http://127.0.0.1:9000\" }]", "endpoints: 5",
            { "services.shop.endpoints" } },
        { "a number without its unit", "bind: \"127.0.0.1:8080\"", "bind: \"127.0.0.1:8080\", head_timeout: 10",
            { "listeners.web.head_timeout", "10s", "10ms" } },
        { "a value out of range", "bind: \"127.0.0.1:8080\"", "bind: \"127.0.0.1:8080\", max_head_bytes: 1B",
            { "listeners.web.max_head_bytes", "out-of-range" } },
        { "a service that is not there", "service: shop }\n  - { name: cart-admin",
            "service: shob }\n  - { name: cart-admin", { "routes[0].service", "shob", "did you mean \"shop\"" } },
        { "a plugin that is not there", "methods: [GET, PUT] },", "methods: [GET, PUT] }, plugins: [nobody],",
            { "routes[0].plugins[0]", "nobody" } },
        { "a limiter that is not there", "methods: [GET, PUT] },", "methods: [GET, PUT] }, plugins: [{ limit: few }],",
            { "routes[0].plugins[0].limit", "few" } },
        { "a name twice", "name: rest", "name: cart", { "cart", "moongate.yaml" } },
        { "two routes that match the same", "priority: 1,", "", { "cart" }, "headers: { x-role: admin } }",
            "methods: [PUT, GET] }" },
        { "an address that is none", "127.0.0.1:8080", "127.0.0.1:99999", { "listeners.web.bind" } },
        { "an upstream over TLS, which is not there yet", "http://127.0.0.1:9000", "https://127.0.0.1:9000",
            { "services.shop.endpoints[0].url", "TLS" } },
        { "broken YAML", "listeners:", "listeners: [", { "moongate.yaml:", "syntax" } },
        { "a tab as indentation", "  web:", "\tweb:", { "moongate.yaml:3" } },
        { "an unknown balancer", "endpoints:", "balance: guess, endpoints:", { "services.shop.balance",
            "round_robin" } },
        { "a variable that is not set", "http://127.0.0.1:9000", "${env:MOONGATE_NO_SUCH_THING}",
            { "MOONGATE_NO_SUCH_THING" } },
    }
    for _, case in ipairs(BROKEN) do
        it("says where and what is wrong with " .. case[1], function()
            local text = GOOD
            for i = 2, #case, 3 do -- the parts stand between the first change and the second
                local first, last = text:find(case[i], 1, true)
                text = text:sub(1, first - 1) .. case[i + 1] .. text:sub(last + 1)
            end
            local result = check(text)
            assert.equal(3, result.code, result.out .. result.err)
            for _, part in ipairs(case[4]) do
                assert.truthy((result.out .. result.err):find(part, 1, true),
                    "'" .. part .. "' is missing in:\n" .. result.out .. result.err)
            end
        end)
    end

    it("reports all mistakes at once and counts them", function()
        local text = GOOD:gsub("service: shop", "service: gone")
        local result = check(text .. "nonsense: 1\n")
        assert.equal(3, result.code)
        local all = result.out .. result.err
        local errors = select(2, all:gsub(": error%[", ""))
        assert.equal(4, errors, all)
        assert.truthy(all:find("4 errors", 1, true))
    end)

    it("loads every plugin, and names the line that is wrong", function()
        local with_plugin = GOOD .. "plugins:\n  own: { use: ./plugins/own }\n"
        with_plugin = with_plugin:gsub("methods: %[GET, PUT%] },", "%0 plugins: [own],")
        local good = "return { name = 'own', version = '1', new = function() return function() end end }\n"
        assert.equal(0, check(with_plugin, { ["plugins/own/plugin.lua"] = good }).code)
        local bad = check(with_plugin, { ["plugins/own/plugin.lua"] = "local x = 1\nreturn {{\n" })
        assert.equal(3, bad.code)
        assert.truthy((bad.out .. bad.err):find("plugins/own/plugin.lua:", 1, true), bad.out .. bad.err)
        local raising = check(with_plugin, { ["plugins/own/plugin.lua"] = "return { name = 'own', version = '1',\n"
            .. "new = function() error('not today') end }\n" })
        assert.equal(3, raising.code)
        assert.truthy((raising.out .. raising.err):find("not today", 1, true))
        local absent = check(with_plugin)
        assert.equal(3, absent.code)
        assert.truthy((absent.out .. absent.err):find("plugins/own", 1, true))
    end)

    it("holds a plugin's configuration against its schema, at its place", function()
        local text = GOOD .. "plugins:\n  own:\n    use: key_auth\n    config: { heder: x, keys: {} }\n"
        text = text:gsub("methods: %[GET, PUT%] },", "%0 plugins: [own],")
        local result = check(text)
        assert.equal(3, result.code)
        local place = "moongate.yaml:15:15: error[unknown-key] plugins.own.config.heder"
        assert.truthy((result.out .. result.err):find(place, 1, true), result.out .. result.err)
    end)

    it("takes no field for an id that the gateway sets itself", function()
        for header, code in pairs { ["x-id"] = 0, ["Content-Length"] = 3, host = 3, ["transfer-encoding"] = 3 } do
            local text = GOOD .. "plugins: { id: { use: request_id, config: { header: " .. header .. " } } }\n"
            text = text:gsub("methods: %[GET, PUT%] },", "%0 plugins: [id],")
            local result = check(text)
            assert.equal(code, result.code, header .. ": " .. result.err)
            assert.equal(code == 3, result.err:find("plugins.id.config.header", 1, true) ~= nil, result.err)
            assert.equal(code == 3, result.err:find("not one that frames", 1, true) ~= nil, result.err)
        end
    end)

    it("tells a file that is missing, a folder and one that may not be read apart", function()
        local missing = e2e.run { "check", "nothing.yaml" }
        assert.equal(3, missing.code)
        assert.truthy(missing.err:find("nothing.yaml", 1, true) or missing.out:find("nothing.yaml", 1, true))
        local folder = e2e.run({ "check", "folder" }, { files = { ["folder/x"] = "" } })
        assert.equal(3, folder.code)
        assert.truthy((folder.out .. folder.err):find("directory", 1, true), folder.out .. folder.err)
        local locked = e2e.run({ "check", "locked.yaml" }, { bound_by_modes = true, files = { ["locked.yaml"] = GOOD },
            prepare = function(dir) os.execute("chmod 000 " .. dir .. "/locked.yaml") end })
        assert.equal(3, locked.code)
        assert.truthy((locked.out .. locked.err):find("locked.yaml.*Permission denied"), locked.out .. locked.err)
    end)
end)

describe("moongate routes", function()
    it("prints the table in match order", function()
        local result = e2e.run({ "routes" }, { files = { ["moongate.yaml"] = GOOD } })
        assert.equal(0, result.code, result.err)
        local admin, cart = result.out:find("cart-admin", 1, true), result.out:find("cart ", 1, true)
        local rest = result.out:find("rest", 1, true)
        assert.is_true(admin < rest and cart < rest, result.out)
    end)

    it("explains that nobody knows a method", function()
        local result = e2e.run({ "routes", "--explain", "FOO http://shop.example/v1/carts/42" },
            { files = { ["moongate.yaml"] = GOOD } })
        assert.equal(0, result.code)
        assert.truthy(result.out:find("no route: 501, for the method FOO is not standard", 1, true), result.out)
    end)

    it("explains why a request matches what", function()
        local result = e2e.run({ "routes", "--explain", "PUT https://shop.example/v1/carts/42", "-H", "x-api-key: k1" },
            { files = { ["moongate.yaml"] = GOOD } })
        assert.equal(0, result.code, result.err)
        assert.truthy(result.out:find("cart%-admin%s+no%s+header x%-role: wanted \"admin\", absent"), result.out)
        assert.truthy(result.out:find("cart%s+YES%s+template /v1/carts/{id}%s+id=42"), result.out)
        assert.truthy(result.out:find("rest%s+not reached"), result.out)
    end)

    it("tells between whom a route splits its requests", function()
        local text = [[
version: 1
listeners: { web: { bind: "127.0.0.1:8080" } }
services:
  old: { endpoints: [{ url: "http://127.0.0.1:9000" }], balance: random }
  new: { endpoints: [{ url: "http://127.0.0.1:9001" }, { url: "http://127.0.0.1:9002" }] }
routes:
  - { name: a, match: { paths: [{ prefix: /a }] },
      backends: [{ service: old, weight: 3 }, { service: new, weight: 1 }] }
  - { name: b, match: { paths: [{ prefix: /b }] },
      backends: [{ service: old }, { service: new }], rollout: { to: new, id: r7 } }
]]
        local result = e2e.run({ "routes" }, { files = { ["moongate.yaml"] = text } })
        assert.equal(0, result.code, result.err)
        assert.truthy(result.out:find("-> old 75% | new 25%\n", 1, true), result.out)
        assert.truthy(result.out:find("-> old | new by rollout r7\n", 1, true), result.out)
        result = e2e.run({ "routes", "--explain", "GET http://x/a" }, { files = { ["moongate.yaml"] = text } })
        assert.truthy(result.out:find("split     old 75% | new 25%\n", 1, true), result.out)
        assert.truthy(result.out:find("upstream  old 127.0.0.1:9000 by random\n", 1, true), result.out)
        assert.truthy(result.out:find("upstream  new 127.0.0.1:9001, 127.0.0.1:9002 by peak_ewma\n", 1, true),
            result.out)
    end)
end)

describe("moongate run", function()
    it("proxies to one place without a file", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up, unready = true,
            args = { "run", "--to", up:url(), "--listen", "127.0.0.1:@PORT@" } }
        local client = e2e.eventually("the listener", function() return (e2e.connect(gw.port)) end)
        local seen, response = e2e.exchange(client, up, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("/x", seen.target)
        assert.equal(200, response.status)
    end)

    it("ends with 3 and the places when its document is broken", function()
        local result = e2e.run({ "run" }, { files = { ["moongate.yaml"] = GOOD .. "nonsense: 1\n" } })
        assert.equal(3, result.code)
        assert.truthy(result.err:find("moongate.yaml:12:1: error", 1, true), result.err)
    end)

    it("says that a port is in use, and what to look for", function()
        local taken = e2e.upstream()
        local text = GOOD:gsub("127.0.0.1:8080", "127.0.0.1:" .. taken.port)
        local result = e2e.run({ "run" }, { files = { ["moongate.yaml"] = text } })
        assert.equal(1, result.code)
        assert.truthy(result.err:find("127.0.0.1:" .. taken.port, 1, true), result.err)
        assert.truthy(result.err:find("in use", 1, true), result.err)
    end)

    it("does not take the port of another gateway of the same user", function()
        local gw = e2e.proxy()
        local text = GOOD:gsub("127.0.0.1:8080", "127.0.0.1:" .. gw.port)
        local result = e2e.run({ "run" }, { files = { ["moongate.yaml"] = text } })
        assert.equal(1, result.code)
        assert.truthy(result.err:find("in use", 1, true), result.err)
    end)

    it("does not share the state of another gateway", function()
        local gw = e2e.proxy { extra = { state = { path = "state" } } }
        local text = GOOD:gsub("127.0.0.1:8080", "127.0.0.1:" .. e2e.free_port())
            .. "state: { path: \"" .. gw.dir .. "/state\" }\n"
        local result = e2e.run({ "run" }, { files = { ["moongate.yaml"] = text } })
        assert.is_true(result.code ~= 0 and result.code ~= nil)
        assert.truthy(result.err:find("state", 1, true), result.err)
    end)
end)

describe("moongate", function()
    it("tells its version", function()
        local result = e2e.run { "version" }
        assert.equal(0, result.code)
        assert.truthy(result.out:find "%d+%.%d+%.%d+")
    end)

    it("takes what every command takes before the command and behind it", function()
        local ways = { { "-q", "check" }, { "check", "-q", "--no-color" }, { "--no-color", "-v", "routes" } }
        for _, args in ipairs(ways) do
            local result = e2e.run(args, { files = { ["moongate.yaml"] = GOOD } })
            assert.equal(0, result.code, result.err)
            assert.equal(args[#args] == "routes", result.out ~= "", result.out)
        end
        local version = e2e.run { "--json", "version" }
        assert.truthy(e2e.json.decode(version.out).version)
        assert.equal(2, e2e.run({ "routes", "--json" }, { files = { ["moongate.yaml"] = GOOD } }).code)
        assert.equal(0, e2e.run({ "run", "--help" }).code)
    end)

    it("does not pass over an argument that it cannot follow", function()
        local set = e2e.run { "run", "--to", "http://127.0.0.1:1", "--set", "workers=1" }
        assert.equal(2, set.code)
        assert.truthy(set.err:find("--set", 1, true), set.err)
        assert.equal(2, e2e.run({ "help", "nonsense" }).code)
        assert.equal(2, e2e.run({ "version", "nonsense" }).code)
    end)

    it("ends with 2 for what it does not know, and says what there is", function()
        local result = e2e.run { "serve" }
        assert.equal(2, result.code)
        assert.truthy(result.err:find("serve", 1, true))
        assert.truthy(result.err:find("moongate help", 1, true))
        local help = e2e.run { "help" }
        assert.equal(0, help.code)
        assert.truthy(help.out:find("routes", 1, true), help.out)
        assert.equal(2, e2e.run({ "check", "--no-such-option" }).code)
    end)
end)
