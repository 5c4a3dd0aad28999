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
