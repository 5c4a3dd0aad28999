-- A plugin's `timeout` bounds its own waits; its on_error says what becomes of the request.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local SLEEPS = [[
local plugin = { name = "own", version = "1" }
function plugin.new(conf)
    return function(ctx, next)
        if ctx.request.path == "/caught" then
            local ok, err = pcall(ctx.sleep, ctx, 5)
            return ctx:respond(200, tostring(ok) .. " " .. tostring(err):match("waited longer than [%a' ]+"))
        end
        ctx:sleep(5)
        return next(ctx)
    end
end
return plugin
]]

local function with(on_error)
    return e2e.proxy {
        files = { ["plugins/own/plugin.lua"] = SLEEPS },
        plugins = { own = { use = "./plugins/own", timeout = "20ms", on_error = on_error } },
        route = { plugins = { "own" } },
    }
end

describe("a plugin that waits longer than its timeout", function()
    it("is an error of the plugin", function()
        local gw = with "closed"
        assert.equal(500, gw:ask(e2e.GET).status)
        gw:log "waited longer than the plugin's timeout"
    end)

    it("lets the request pass when it is open", function()
        local gw, up = with "open"
        local _, response = e2e.exchange(gw:client(), up)
        assert.equal(200, response.status)
    end)

    it("can take it as an answer", function()
        local gw = with "closed"
        local response = gw:ask "GET /caught HTTP/1.1\r\nHost: a\r\n\r\n"
        assert.equal("false waited longer than the plugin's timeout allows", response.body)
    end)
end)
