-- Large documents of clients: read in parts within the budget that a plugin has, while other requests go on.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- A plugin with a body of up to 8 MiB, whose handler is this.
local function reader(body, cpu)
    return e2e.gateway {
        files = {
            ["plugins/reader/plugin.lua"] = "local mg = require 'moongate' local plugin = { name = 'reader', "
                .. "version = '1', body = { request = 'buffer(8MiB)' } }\n"
                .. "function plugin.new(conf) return function(ctx, next)\n" .. body .. "\nend end return plugin\n",
        },
        plugins = { reader = { use = "./plugins/reader", cpu = cpu } },
        routes = { { name = "r", match = { paths = { { prefix = "/" } } }, plugins = { "reader" } } },
    }
end

local function post(gw, text)
    local client = gw:client()
    client:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #text .. "\r\n\r\n" .. text)
    return client:response()
end

local ITEM = '{"id":12345,"name":"anna","tags":["a","b"],"ok":true,"price":1.25}'
local LARGE = "[" .. (ITEM .. ","):rep(40000) .. ITEM .. "]" -- 2.7 MB

describe("a large JSON document", function()
    it("is read whole, in a plugin with the budget that all have", function()
        local gw = reader("local all = ctx.json.decode(ctx.request:body()) "
            .. "ctx:respond(200, #all .. ' ' .. all[#all].name .. ' ' .. all[1].tags[2])")
        local response = post(gw, LARGE)
        assert.equal(200, response.status)
        assert.equal("40001 anna b", response.body)
    end)

    it("is refused with the place of what is wrong, however far in it is", function()
        local gw = reader("local all, problem = ctx.json.decode(ctx.request:body()) ctx:respond(200, problem)")
        assert.equal("line 1, column " .. #LARGE + 1 .. ": something stands behind the value",
            post(gw, LARGE .. "]").body)
        assert.equal(("line %d, column 2: this key is there twice: keep one of the two"):format(40003),
            post(gw, "[" .. (ITEM .. ",\n"):rep(40000) .. '{"b":1,\n\n "b":2}]').body)
        assert.truthy(post(gw, "[" .. ("1,"):rep(500001) .. "1]").body:find("more than 500000 values", 1, true))
    end)

    it("counts to the budget where nothing can wait", function()
        local gw = reader("local text = ctx.request:body() table.sort({ 1, 2 }, function() "
            .. "local all = ctx.json.decode(text) return false end) ctx:respond(200)", "1ms")
        assert.equal(500, post(gw, LARGE).status)
        gw:log "used more than 1 ms of CPU"
    end)

    it("is read by a plugin that is not the outermost, and under pcall", function()
        local gw = reader("local ok, all = pcall(function() return ctx.json.decode(ctx.request:body()) end) "
            .. "ctx:respond(200, tostring(ok) .. #all)")
        assert.equal("true40001", post(gw, LARGE).body)
    end)
end)
