-- Which route a request takes, and what it gets when there is none. Each route answers with its own name.
local e2e = require "tests.e2e.harness"

local plugins, routes = {}, {}

--- A route that answers with its name; `status` only to tell it apart from others.
local function route(name, match, more)
    plugins[name] = { use = "respond", config = { status = 200, body = name } }
    local one = { name = name, match = match, plugins = { name } }
    for key, value in pairs(more or {}) do one[key] = value end
    routes[#routes + 1] = one
end

route("root", { paths = { { exact = "/" } } })
route("list", { paths = { { template = "/users" } }, methods = { "GET" } })
route("me", { paths = { { template = "/users/me" } }, methods = { "GET" } })
route("user", { paths = { { template = "/users/{id}" } }, methods = { "GET", "PUT" } })
route("posts", { paths = { { template = "/users/{id}/posts" } } })
route("mefoo", { paths = { { template = "/users/me/foo" } } })
route("files", { paths = { { template = "/files/{*path}" } } })
route("assets", { paths = { { prefix = "/assets/" }, { exact = "/favicon.ico" } } })
route("admin", { hosts = { "*.admin.example.com" }, paths = { { prefix = "/" } } })
route("api", { hosts = { "api.example.com" }, paths = { { template = "/users/{id}" } } })
route("beta", { paths = { { template = "/users/{id}" } }, headers = { ["x-beta"] = "yes" }, methods = { "GET" } },
    { priority = 1 })
route("short", { paths = { { prefix = "/short" } } }, { max_path = "256B" })

describe("the router", function()
    local gw

    setup(function() gw = e2e.shared { plugins = plugins, routes = routes } end)
    after_each(e2e.finish)
    teardown(function() gw:stop() end)

    local function ask(method, host, path, lines)
        local client = gw:client()
        client:send(("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"):format(method, path, host, lines or ""))
        local response = client:response(method == "HEAD")
        client:close()
        return response
    end

    -- method, host, path, further lines, the route that answers
    local MATCHES = {
        { "GET", "x.com", "/", "", "root" },
        { "GET", "x.com", "/?a=b", "", "root" },
        { "GET", "x.com", "/users", "", "list" },
        { "GET", "x.com", "/users/me", "", "me" },
        { "GET", "x.com", "/users/7", "", "user" },
        { "PUT", "x.com", "/users/7", "", "user" },
        { "GET", "x.com", "/users/me/posts", "", "posts" },
        { "GET", "x.com", "/users/me/foo", "", "mefoo" },
        { "GET", "x.com", "/files/a/b%2Fc", "", "files" },
        { "GET", "x.com", "/assets", "", "assets" },
        { "GET", "x.com", "/assets/", "", "assets" },
        { "GET", "x.com", "/assets/css/site.css", "", "assets" },
        { "GET", "x.com", "/favicon.ico", "", "assets" },
        { "GET", "x.com", "//users/./7", "", "user" },
        { "GET", "x.com", "/%75sers/7", "", "user" },
        { "GET", "API.example.com:443", "/users/7", "", "api" },
        { "GET", "api.example.com.", "/users/7", "", "api" },
        { "GET", "api.example.com", "/users", "", "list" },
        { "GET", "a.b.admin.example.com", "/users/me", "", "admin" },
        { "GET", "x.com", "/users/7", "X-Beta: yes\r\n", "beta" },
        { "GET", "x.com", "/users/7", "X-Beta: no\r\n", "user" },
        { "OPTIONS", "x.com", "/users/7", "Access-Control-Request-Method: PUT\r\nOrigin: http://o\r\n", "user" },
    }
    for _, case in ipairs(MATCHES) do
        local method, host, path, lines, name = unpack(case)
        it(("takes %s http://%s%s %sto %s"):format(method, host, path, lines:gsub("\r\n", " "), name), function()
            local response = ask(method, host, path, lines)
            assert.equal(200, response.status)
            assert.equal(name, response.body)
        end)
    end

    it("takes HEAD to the route of GET", function()
        assert.equal(200, ask("HEAD", "x.com", "/users").status)
    end)

    local MISSES = { "/users/", "/nothing", "/files/", "/users/7/posts/8", "/assetsx", "/USERS" }
    for _, path in ipairs(MISSES) do
        it("has nothing for " .. path, function()
            local response = ask("GET", "x.com", path)
            assert.equal(404, response.status)
            assert.equal("application/problem+json", response.fields["content-type"])
            assert.equal(404, e2e.json.decode(response.body).status)
        end)
    end

    it("names the methods that a path would take", function()
        local response = ask("DELETE", "x.com", "/users/7")
        assert.equal(405, response.status)
        assert.equal("GET,HEAD,PUT", (response.fields.allow:gsub(" ", "")))
    end)

    it("does not say 405 where a header is what is missing", function()
        assert.equal(404, ask("GET", "x.com", "/beta").status)
    end)

    it("refuses a path that is longer than its route allows", function()
        assert.equal(200, ask("GET", "x.com", "/short/" .. string.rep("a", 200)).status)
        assert.equal(414, ask("GET", "x.com", "/short/" .. string.rep("a", 300)).status)
    end)
end)

describe("a template's parameters", function()
    after_each(e2e.finish)

    it("reach a plugin decoded", function()
        local source = [[
            return { name = "show", version = "1", new = function()
                return function(ctx)
                    return ctx:respond(200, ctx.route .. "|" .. ctx.params.id .. "|" .. tostring(ctx.params.none))
                end
            end }
        ]]
        local gw = e2e.gateway { files = { ["plugins/show/plugin.lua"] = source },
            plugins = { show = { use = "./plugins/show" } },
            routes = { { name = "one", match = { paths = { { template = "/users/{id}" } } }, plugins = { "show" } } } }
        assert.equal("one|a b/c|nil", gw:ask("GET /users/a%20b%2Fc HTTP/1.1\r\nHost: a\r\n\r\n").body)
    end)
end)
