-- Large documents of clients: read in parts within the budget that a plugin has, while other requests go on.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- A plugin with a body of up to 8 MiB, whose handler is this.
local function reader(body, cpu)
    return e2e.gateway {
        files = {
            ["plugins/reader/plugin.lua"] = "local mg = require 'moongate' local plugin = { name = 'reader', "
                .. "version = '1', body = { request = 'buffer(8MiB)' } }\n"
                .. "function plugin.new(conf) local SHARED, DEEP = {}, {} "
                .. "for i = 1, 20000 do SHARED['k' .. i] = 'v' end "
                .. "for i = 1, 5000 do DEEP['k' .. i] = { i, 'v' .. i } end "
                .. "return function(ctx, next)\n" .. body .. "\nend end return plugin\n",
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

describe("a large value", function()
    it("is written whole", function()
        local gw = reader("local again = ctx.json.decode(ctx.json.encode(DEEP)) local n = 0 ctx:sleep(0) "
            .. "for k, v in pairs(again) do n = n + 1 if v[2] ~= 'v' .. k:sub(2) then error(k) end end "
            .. "ctx:respond(200, tostring(n))", "100ms")
        assert.equal("5000", post(gw, "").body)
    end)

    it("has each member once, whatever is added to it and taken from it meanwhile", function()
        local gw = reader("if ctx.request:body() == 'change' then for i = 1, 3000 do SHARED['new' .. i] = 1 end "
            .. "for i = 1, 1000 do SHARED['k' .. i] = nil end return ctx:respond(200) end "
            .. "local text = ctx.json.encode(SHARED) local seen, twice = {}, 0 "
            .. "for key in text:gmatch('\"(%w+)\":') do if seen[key] then twice = twice + 1 end seen[key] = true end "
            .. "ctx:respond(200, twice .. ' ' .. tostring(seen.k20000))", "1s")
        local one, other = gw:client(), gw:client()
        one:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        other:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nchange")
        assert.equal("0 true", one:response().body)
        assert.equal(200, other:response().status)
    end)

    it("goes as base64 and back", function()
        local gw = reader("local text = ctx.request:body() "
            .. "for _, codec in ipairs({ mg.base64, mg.base64url, mg.hex, mg.url }) do "
            .. "if codec.decode(codec.encode(text)) ~= text then error('it differs') end end "
            .. "local _, problem = mg.base64.decode(('xxxx'):rep(12288) .. 'xx==' .. ('xxxx'):rep(9)) "
            .. "ctx:respond(200, problem)", "100ms")
        local problem = post(gw, LARGE:sub(1, 1000001)).body
        assert.truthy(problem:find("^byte 4915%d: "), problem)
        local bytes = {}
        for i = 0, 255 do
            bytes[i + 1] = string.char(i)
        end
        assert.equal(200, post(gw, table.concat(bytes):rep(900)).status)
    end)
end)
