-- Whatever a plugin computes or keeps by mistake, its own request fails within its budget, and everything else goes on.
local e2e = require "tests.e2e.harness"

local hostile = require "tests.support.hostile"

local plugin, ENDLESS, WAITING = hostile.plugin, hostile.endless, hostile.waiting
local gw, client

local function on_everything()
    local files, plugins, routes = {}, {}, {}
    for i, body in ipairs(ENDLESS) do
        files["plugins/p" .. i .. "/plugin.lua"] = plugin(body)
        plugins["p" .. i] = { use = "./plugins/p" .. i }
        routes[i] = { name = "r" .. i, match = { paths = { { exact = "/" .. i } } }, plugins = { "p" .. i } }
    end
    for i, body in ipairs(WAITING) do
        files["plugins/w" .. i .. "/plugin.lua"] = plugin(body[1], body[2])
        plugins["w" .. i] = { use = "./plugins/w" .. i, cpu = "1s" } -- collecting what all left behind takes some
        routes[#routes + 1] = {
            name = "w" .. i, match = { paths = { { exact = "/w" .. i } } }, plugins = { "w" .. i }, timeout = "500ms",
        }
    end
    files["plugins/canary/plugin.lua"] = plugin("ctx:respond(200, 'here')")
    plugins.canary = { use = "./plugins/canary" }
    routes[#routes + 1] = { name = "canary", match = { paths = { { exact = "/canary" } } }, plugins = { "canary" } }
    return e2e.gateway { files = files, plugins = plugins, routes = routes, shared = true }
end

local function status_of(path)
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    return client:response().status
end

describe("a request that would compute for ever", function()
    setup(function()
        gw = on_everything()
        client = gw:client()
    end)
    teardown(function() gw:stop() end)

    for i, body in ipairs(ENDLESS) do
        it("ends: " .. body:sub(1, 100), function()
            assert.equal(500, status_of("/" .. i))
            assert.equal(200, status_of("/canary"))
        end)
    end

    for i, body in ipairs(WAITING) do
        it("ends by its deadline, with others going on: " .. (body[2] or "") .. " " .. body[1], function()
            client:send("GET /w" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            local other = gw:client()
            other:send("GET /canary HTTP/1.1\r\nHost: a\r\n\r\n")
            assert.equal(200, other:response().status)
            assert.equal(504, client:response().status)
        end)
    end
end)
