-- Bodies that a plugin declared `stream`: they pass it piece by piece, and what it makes of them goes on.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function with(source)
    return e2e.proxy {
        files = { ["plugins/own/plugin.lua"] = source },
        plugins = { own = { use = "./plugins/own" } },
        route = { plugins = { "own" } },
    }
end

local BOTH = [[
local plugin = { name = "own", version = "1", body = { request = "stream", response = "stream" } }
local function request_body(ctx, bytes, last)
    ctx.state.seen = (ctx.state.seen or 0) + #bytes
    if not last then return bytes:upper() end
end
local function response_body(ctx, bytes, last)
    if last then return "[" .. (ctx.state.seen or 0) .. "]" end
    return (bytes:gsub("o", "0"))
end
function plugin.new(conf)
    return { handler = function(ctx, next) return next(ctx) end,
        request_body = request_body, response_body = response_body }
end
return plugin
]]

describe("a streamed body", function()
    it("goes to the upstream as the plugin's filter leaves it", function()
        local gw, up = with(BOTH)
        local seen, response = e2e.exchange(gw:client(), up,
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoo bo")
        assert.equal("chunked", seen.fields["transfer-encoding"])
        assert.equal("HELLO", seen.body)
        assert.equal("chunked", response.fields["transfer-encoding"])
        assert.equal("f00 b0[5]", response.body)
    end)

    it("is left as it is by a filter that returns nothing", function()
        local gw, up = with(BOTH:gsub("return %(bytes:gsub.-%)%)", "return nil"))
        local _, response = e2e.exchange(gw:client(), up, nil, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoo bo")
        assert.equal("foo bo[0]", response.body)
    end)

    it("whose filter raises ends the response there, and the gateway goes on", function()
        local gw, up = with(BOTH:gsub("if last then", "error('no good') if last then"))
        local client = gw:send(e2e.GET)
        local conn = up:accept()
        conn:request()
        conn:send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoo bo")
        client:recv_rest()
        gw:log "no good"
        assert.equal(1, gw:metric("moongate_plugin_errors_total"))
    end)

    it("that is declared and not handled refuses the document", function()
        local config = [[
version: 1
listeners: { web: { bind: "127.0.0.1:0" } }
plugins: { own: { use: ./plugins/own } }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [own] }]
]]
        local result = e2e.run({ "check", "moongate.yaml" }, { files = {
            ["moongate.yaml"] = config,
            ["plugins/own/plugin.lua"] = BOTH:gsub("request_body = request_body, ", ""),
        } })
        assert.equal(3, result.code)
        assert.truthy(result.err:find("request_body = function(ctx, bytes, last)", 1, true))
    end)
end)
