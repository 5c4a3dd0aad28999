-- What plugins put on a request in C counts against that request: replaced, it counts once; piled up, its own request
-- fails, and the memory comes back.
local e2e = require "tests.e2e.harness"

local function plugin(body)
    return "return { name = 'a', version = '1', body = { request = 'buffer(1MiB)' }, new = function()\n"
        .. "return function(ctx, next)\n" .. body .. "\nend end }\n"
end

--- Runs in turns, so that no budget ends it.
local function repeated(count, step, before)
    return (before or "") .. "\nfor i = 1, " .. count .. " do\n" .. step
        .. "\nif i % 8 == 0 then ctx:sleep(0) end\nend\nctx:respond(200, 'through')"
end

local MIB = "local s = ('x'):rep(1048576)"
local VALUE = "local s = ('x'):rep(60000)"

-- More than the bound in all, and one of them at a time.
local ONCE = {
    ["an answer"] = repeated(200, "ctx:respond(200, s)", MIB),
    ["answers of every size"] = repeated(400, "ctx:respond(200, s:sub(1, i * 2000))", MIB),
    ["an answer in JSON"] = repeated(1000, "ctx:respond(200, { json = { s } })", VALUE),
    ["a problem document"] = repeated(1000, "ctx:respond(400, { title = 't', detail = s })", VALUE),
    ["an answer's fields"] = repeated(1000, "ctx:respond(200, 'x', { ['x-a'] = s, ['x-b'] = 'b' .. i })", VALUE),
    ["a field"] = repeated(1000, "ctx.request:set_header('x-a', s)", VALUE),
    ["a field of the answer to come"] = repeated(1000, "ctx.response:set_header('x-a', s) "
        .. "ctx.response:remove_header('x-b') ctx.response:set_header('X-' .. ('n'):rep(i % 200), s) "
        .. "ctx.response:remove_header('X-' .. ('n'):rep(i % 200))", VALUE),
    ["a small field"] = repeated(80000, "ctx.request:set_header('x-a', s .. i)", "local s = ('x'):rep(1000)"),
    ["a field that grows"] = repeated(4000, "ctx.request:set_header('x-a', s:sub(1, i * 15))", VALUE),
    ["a field that is removed and added"] = repeated(1000, "ctx.request:remove_header('x-a') "
        .. "ctx.request:add_header('x-a', s) ctx.request:add_header('x-a', s)", VALUE),
    ["fields of ever new names"] = repeated(20000, "local n = ('n'):rep(200) .. i "
        .. "ctx.request:set_header(n, 'v') ctx.request:remove_header(n)"),
    ["a well-known field"] = repeated(1000, "ctx.request:set_header('user-agent', s)", VALUE),
    ["a request's body"] = repeated(200, "ctx.request:set_body(s)", MIB),
    ["a response's body"] = repeated(200, "ctx.response:set_body(s)", MIB .. " ctx:respond(200, 'x')"),
    ["a query"] = repeated(4000, "ctx.request:set_query(s .. i)", "local s = ('\\\"'):rep(2000)"),
    ["a path"] = repeated(8000, "ctx.request:set_path(s .. i)", "local s = '/a/..' .. ('/\\\"b'):rep(1500)"),
    ["a method"] = repeated(400000, "ctx.request:set_method(i % 2 == 0 and s or 'PUT')", "local s = ('M'):rep(32)"),
    ["a consumer"] = repeated(160000, "ctx:set_consumer(s)", "local s = ('c'):rep(256)"),
    ["a joined field that is read"] = repeated(1000, "ctx.request:header('x-a')",
        VALUE .. " ctx.request:add_header('x-a', s) ctx.request:add_header('x-a', s)"),
    ["routers"] = repeated(2000, "require('moongate').router(r)",
        "local r = {} for j = 1, 100 do r[j] = { path = '/' .. j .. '/{a}/b' } end"),
    ["requests of ctx.http"] = repeated(100,
        "ctx.http:post('http://127.0.0.1:1/', s, { headers = { x = s:sub(1, 60000) } })", MIB),
    ["requests of ctx.http that are not sent"] = repeated(2000,
        "pcall(ctx.http.post, ctx.http, 'http:///', 'x', { headers = { x = s } })", VALUE),
    ["a decoded query that is read"] = repeated(4000, "ctx.request:query_param('a') ctx.request:query_params('a')",
        "ctx.request:set_query('a=' .. ('%41'):rep(4000))"),
}

-- More than the bound at a time.
local PILED = {
    ["fields"] = repeated(10000, "ctx.request:add_header('x-a', s)", VALUE),
    ["small fields"] = repeated(1000000, "ctx.request:add_header('x-a' .. i, 'v')"),
    ["fields of a response"] = repeated(10000, "ctx.response:add_header('x-a', s)", VALUE .. " ctx:respond(200)"),
    ["cookies"] = repeated(100000, "ctx.response:set_cookie('a', s)", "local s = ('x'):rep(4000) ctx:respond(200)"),
    ["fields under pcall"] = repeated(10000, "pcall(ctx.request.add_header, ctx.request, 'x-a', s)", VALUE),
    ["fields given to respond"] = "local s, h = ('x'):rep(60000), {} for i = 1, 1000 do h['x-' .. i] = s end "
        .. "ctx:respond(200, 'x', h)",
    ["fields of ctx.http"] = "local s, h = ('x'):rep(60000), {} for i = 1, 1000 do h['x-' .. i] = s end "
        .. "ctx.http:get('http://127.0.0.1:1/', { headers = h })",
}

local gw, client

local function on_all()
    local files, plugins, routes = {}, {}, {}
    for _, bodies in ipairs { ONCE, PILED } do
        for name, body in pairs(bodies) do
            local word = name:gsub("%W", "_")
            files["plugins/" .. word .. "/plugin.lua"] = plugin(body)
            plugins[word] = { use = "./plugins/" .. word, cpu = "10s" }
            routes[#routes + 1] =
                { name = word, match = { paths = { { exact = "/" .. word } } }, plugins = { word }, timeout = "60s" }
        end
    end
    return e2e.gateway { files = files, plugins = plugins, routes = routes, shared = true, measured = true }
end

local function ask(name)
    client:send("POST /" .. name:gsub("%W", "_") .. " HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
    return client:response()
end

-- Lua's own garbage, which is collected below 64 MiB, and what allocators keep.
local GROWTH_KIB = 96 * 1024

describe("a request's memory in C", function()
    local before_kib

    setup(function()
        gw = on_all()
        client = gw:client()
        before_kib = gw:rss_kib()
    end)
    teardown(function() gw:stop() end)
    after_each(function()
        local grown_kib = gw:rss_kib() - before_kib
        assert.is_true(grown_kib < GROWTH_KIB, "grew by " .. grown_kib .. " KiB")
    end)

    for name in pairs(ONCE) do
        it("counts once: " .. name, function()
            assert.equal(200, ask(name).status)
        end)
    end

    for name in pairs(PILED) do
        it("is bounded: " .. name, function()
            assert.equal(500, ask(name).status)
            gw:log(name:gsub("%W", "_") .. '\\": this request holds 32 MiB')
        end)
    end
end)

describe("what a plugin makes in new", function()
    after_each(e2e.finish)

    local function plugin_that(new)
        return "local mg = require 'moongate'\nlocal kept = {}\n"
            .. "return { name = 'own', version = '1', new = function()\n" .. new
            .. "\nreturn function(ctx) ctx:respond(200) end end }\n"
    end

    local function limiters(count)
        return "for i = 1, " .. count .. " do mg.limiter { name = 'l' .. i, rate = '5/s', max_keys = 67108864 } end"
    end

    local DOCUMENT = "version: 1\nlisteners: { web: { bind: \"127.0.0.1:0\" } }\nplugins: { own: { use: ./own } }\n"
        .. "routes: [{ name: own, match: { paths: [{ prefix: / }] }, plugins: [own] }]\n"

    for _, command in ipairs { "check", "run" } do
        it("is refused by " .. command .. " where its limiters would take more than there is for all", function()
            local said = e2e.run({ command, "-c", "moongate.yaml" },
                { files = { ["moongate.yaml"] = DOCUMENT, ["own/plugin.lua"] = plugin_that(limiters(10)) } })
            assert.not_equal(0, said.code)
            local text = said.err .. said.out
            assert.truthy(text:find("own/plugin.lua:4:1: error[plugin] plugin \"own\": limiter: full of keys it takes "
                .. "2064 MiB; all limiters that plugins make have 8192 MiB together, of which 6192 are taken: lower "
                .. "max_keys", 1, true), text)
        end)
    end

    it("stands where there is room, over reloads and in every worker", function()
        local own = e2e.gateway {
            files = { ["plugins/own/plugin.lua"] = plugin_that(limiters(3)) },
            plugins = { own = { use = "./plugins/own" } },
            routes = { { name = "own", match = { paths = { { prefix = "/" } } }, plugins = { "own" } } },
        }
        for _ = 1, 3 do assert.equal("ok", own:reload()) end
        assert.equal(200, own:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"):response().status)
    end)
end)
