-- The target of a request: one form of it for router, plugins and upstream, however the client wrote it.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- What the upstream sees of a request for this target.
local function target_at(gw, up, target)
    local client = gw:client()
    local seen, _, conn = e2e.exchange(client, up, "GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n", e2e.LAST)
    conn:close()
    client:close()
    return seen.target
end

local SHOW = [[
    return { name = "show", version = "1", new = function()
        return function(ctx)
            local r = ctx.request
            local param = ctx.params.id or ctx.params.rest or ""
            return ctx:respond(200, table.concat({ param, r.path, r.query or "", r:query_param("q") or "" }, "|"))
        end
    end }
]]

describe("bytes that a URI has only as escapes", function()
    -- sent, seen by the upstream
    local TARGETS = {
        { '/a"b', "/a%22b" },
        { "/{a}", "/%7Ba%7D" },
        { "/a|b^c`d", "/a%7Cb%5Ec%60d" },
        { "/<a>", "/%3Ca%3E" },
        { "/caf\195\169", "/caf%C3%A9" },
        { "/\255\128", "/%FF%80" },
        { "/%7ba%7D%7c", "/%7Ba%7D%7C" },
        { '/a?q={"b":[1]}', "/a?q=%7B%22b%22:[1]%7D" },
        { "/a?\195\169|^`<>\\", "/a?%C3%A9%7C%5E%60%3C%3E%5C" },
        { "/a?q=%7b%zz", "/a?q=%7b%zz" },
        { "http://a/{\195\169}?|", "/%7B%C3%A9%7D?%7C" },
        { '/x/{}/../"', "/x/%22" },
    }
    for _, case in ipairs(TARGETS) do
        it(("are passed on as such: %q"):format(case[1]), function()
            local gw, up = e2e.proxy()
            assert.equal(case[2], target_at(gw, up, case[1]))
        end)
    end

    it("have one form for router and plugins too", function()
        local gw = e2e.gateway { files = { ["plugins/show/plugin.lua"] = SHOW },
            plugins = { show = { use = "./plugins/show" } },
            routes = {
                { name = "text", match = { paths = { { template = "/%7Bx%7D/{id}" } } }, plugins = { "show" } },
                { name = "rest", match = { paths = { { template = "/{*rest}" } } }, plugins = { "show" } },
            } }
        local function body(target) return gw:ask("GET " .. target .. " HTTP/1.1\r\nHost: a\r\n\r\n").body end
        assert.equal('\195\169"|/%7Bx%7D/%C3%A9%22|q=%7C%22|\124"', body '/{x}/\195\169"?q=|"')
        assert.equal('\195\169"|/%7Bx%7D/%C3%A9%22|q=%7c%22|\124"', body "/%7bx%7D/%c3%A9%22?q=%7c%22")
        assert.equal("{y}/z|/%7By%7D/z||", body "/{y}/z")
    end)

    it("of a plugin's own take the same form", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up, route = { plugins = { "edit" } },
            plugins = { edit = { use = "./plugins/edit" } },
            files = { ["plugins/edit/plugin.lua"] = [[
                return { name = "edit", version = "1", new = function()
                    return function(ctx, next)
                        ctx.request:set_path('/{"}\195\169')
                        ctx.request:set_query('a=|"\195\169')
                        return next(ctx)
                    end
                end }
            ]] } }
        assert.equal("/%7B%22%7D%C3%A9?a=%7C%22%C3%A9", target_at(gw, up, "/x"))
    end)

    it("count with their escapes where a path has a bound", function()
        local gw = e2e.proxy { route = { max_path = "256B" }, listener = { max_head_bytes = "4KiB" } }
        local function status(path) return gw:ask("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n").status end
        assert.equal(414, status("/" .. ("{"):rep(100)))
        assert.equal(414, status("/" .. ("\195\169"):rep(1000)))
        assert.equal(414, status("/?" .. ('"'):rep(1500)))
    end)
end)

--- Routes by name, each answered by its own plugin: name, path and parameter that it saw, or by the upstream.
local function show_route(name, path, forms)
    return { name = name, match = { paths = { path } }, path = forms, plugins = { "show" } }
end

local KEEP = { merge_slashes = false }

describe("slashes side by side", function()
    local source = [[
        return { name = "show", version = "1", new = function()
            return function(ctx)
                return ctx:respond(200, table.concat({ ctx.route, ctx.request.path, ctx.params.rest or "" }, "|"))
            end
        end }
    ]]
    local gw

    setup(function()
        gw = e2e.shared { files = { ["plugins/show/plugin.lua"] = source },
            plugins = { show = { use = "./plugins/show" } },
            routes = {
                show_route("fetch", { template = "/fetch/{*rest}" }, KEEP),
                show_route("ocsp", { template = "/ocsp/{*rest}" }, KEEP),
                show_route("open", { prefix = "/" }, KEEP),
                show_route("admin", { prefix = "/admin" }),
                show_route("empty", { template = "/x//{rest}" }, KEEP),
                show_route("merged", { template = "/m/{rest}" }),
            } }
    end)
    teardown(function() gw:stop() end)

    -- sent, answered: route, path, parameter
    local TARGETS = {
        { "/fetch/https://a.com/b//c.png", "fetch|/fetch/https://a.com/b//c.png|https://a.com/b//c.png" },
        { "/ocsp/MFQwUj//BQUHMAEb+/=", "ocsp|/ocsp/MFQwUj//BQUHMAEb+/=|MFQwUj//BQUHMAEb+/=" },
        { "/fetch//a", "fetch|/fetch//a|/a" },
        { "/m//a", "merged|/m/a|a" },
        { "/x//a", "empty|/x//a|a" },
        { "/x/a", "open|/x/a|" },
        { "//a//", "open|//a//|" },
        { "//", "open|//|" },
        -- what another route guards is not passed by with a slash more
        { "//admin", "admin|/admin|" },
        { "//admin//keys", "admin|/admin/keys|" },
        { "/fetch//../admin", "admin|/admin|" },
        { "/fetch//../../admin", 400 }, -- above the root when its slashes are merged
        { "/%2e%2e//admin", 400 },
        { "/a//../admin", "admin|/admin|" },
        { "/a//%2e%2e/b", "open|/a/b|" },
        { "http://a//admin", "admin|/admin|" },
    }
    for _, case in ipairs(TARGETS) do
        it("of " .. case[1], function()
            local response = gw:ask("GET " .. case[1] .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            if type(case[2]) == "number" then
                assert.equal(case[2], response.status)
            else
                assert.equal(case[2], response.body)
            end
        end)
    end
end)

describe("a path with slashes side by side", function()
    it("goes to the upstream as the route was matched with it", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { up = up, routes = {
            { name = "keeps", match = { paths = { { prefix = "/fetch" } } }, path = KEEP, service = "up" },
            { name = "merges", match = { paths = { { prefix = "/" } } }, service = "up" },
        } }
        assert.equal("/fetch/https://a/b//c?d//e", target_at(gw, up, "/fetch/https://a/b//c?d//e"))
        assert.equal("/other/b/c?d//e", target_at(gw, up, "//other/b//c?d//e"))
        -- Without its first slash merged it is not below /fetch: the other route has it, with what it was matched with.
        assert.equal("/fetch/a", target_at(gw, up, "//fetch//a"))
    end)

    it("can be set by a plugin where the route keeps them, and asked for with ctx.http", function()
        local up, other = e2e.upstream(), e2e.server "other"
        local gw = e2e.gateway { up = up, route = { plugins = { "edit" }, path = KEEP },
            plugins = { edit = { use = "./plugins/edit" } },
            files = { ["plugins/edit/plugin.lua"] = ([[
                return { name = "edit", version = "1", capabilities = { "http" }, new = function()
                    return function(ctx, next)
                        assert(ctx.http:get("%s/fetch/http://b//c"))
                        ctx.request:set_path("/a//b/../%%7Ec")
                        return next(ctx)
                    end
                end }
            ]]):format(other:url()) } }
        assert.equal("/a//~c", target_at(gw, up, "/x"))
        assert.equal("/fetch/http://b//c", other.last.target)
    end)
end)

describe("a route that passes the client's bytes on", function()
    local RAW = { { name = "raw", match = { paths = { { template = "/s3/{*key}" } } }, path = { raw = "upstream" },
        service = "up" } }

    local function raw(more)
        local opts = { up = e2e.upstream(), routes = RAW }
        for key, value in pairs(more or {}) do opts[key] = value end
        return e2e.gateway(opts), opts.up
    end

    -- sent, at the upstream
    local TARGETS = {
        { '/s3/%7ea//b%2fc|"?x=%7b&{\195\169}', '/s3/%7ea//b%2fc|"?x=%7b&{\195\169}' },
        { "/%733/a", "/%733/a" },
        { "http://a/s3/%7e?", "/s3/%7e?" },
        { "//s3//x", "//s3//x" },
        -- an upstream could resolve these to a path that another route guards
        { "/s3/%7e/%2e%2e/b", "/s3/b" },
        { "/x//../s3/%7e", "/s3/~" },
        { "/x/../s3/%7e?%7b", "/s3/~?%7b" },
    }
    for _, case in ipairs(TARGETS) do
        it("has " .. case[1], function()
            local gw, up = raw()
            assert.equal(case[2], target_at(gw, up, case[1]))
        end)
    end

    it("lets a plugin set what the upstream gets instead", function()
        for call, wanted in pairs {
            ["set_path('/%7Eb//c')"] = "/~b/c?%7ey",
            ["set_query('%7Ez')"] = "/s3/%7ea//x?%7Ez",
        } do
            local gw, up = raw {
                routes = { { name = "raw", match = { paths = { { prefix = "/" } } }, path = { raw = "upstream" },
                    plugins = { "edit" }, service = "up" } },
                plugins = { edit = { use = "./plugins/edit" } },
                files = { ["plugins/edit/plugin.lua"] = ([[
                    return { name = "edit", version = "1", new = function()
                        return function(ctx, next)
                            assert(ctx.request.path == "/s3/~a/x", ctx.request.path)
                            ctx.request:%s
                            return next(ctx)
                        end
                    end }
                ]]):format(call) } }
            assert.equal(wanted, target_at(gw, up, "/s3/%7ea//x?%7ey"))
        end
    end)
end)

describe("routes --explain", function()
    it("shows the path that the upstream gets", function()
        local text = [[
version: 1
listeners: { web: { bind: ":8080" } }
services: { s: { endpoints: [{ url: "http://a" }] } }
routes:
  - { name: keeps, match: { paths: [{ template: "/fetch/{*url}" }] }, path: { merge_slashes: false }, service: s }
  - { name: raw, match: { paths: [{ prefix: /raw }] }, path: { raw: upstream }, service: s }
  - { name: all, match: { paths: [{ prefix: / }] }, service: s }
]]
        local function explained(target)
            local result = e2e.run({ "routes", "--explain", target }, { files = { ["moongate.yaml"] = text } })
            assert.equal("", result.err)
            return result.out
        end
        local out = explained "/fetch/https://a//b"
        assert.truthy(out:find("keeps +YES  template /fetch/{%*url}  url=https://a//b\n"), out)
        assert.truthy(out:find("path      /fetch/https://a//b\n", 1, true), out)
        assert.truthy(out:find("all +not reached"), out)
        out = explained "//fetch//b"
        assert.truthy(out:find("keeps +no   another path"), out)
        assert.truthy(out:find("all +YES"), out)
        assert.truthy(out:find("path      /fetch/b\n", 1, true), out)
        out = explained "/raw/%7e"
        assert.truthy(out:find("path      /raw/~; the upstream gets it as it was sent\n", 1, true), out)
        assert.truthy(explained("/raw/%2e/a"):find("path      /raw/a\n", 1, true))
        assert.is_nil(explained("/plain"):find("path      ", 1, true))
    end)
end)
