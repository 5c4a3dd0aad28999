-- The plugin auth_request: who is asked, how often, and what clients get.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway(conf)
    local auth, up = e2e.server "auth", e2e.server "up"
    conf = conf or {}
    conf.service = "auth"
    local gw = e2e.gateway {
        clock = true,
        plugins = {
            auth = e2e.plugin("examples/plugins/auth_request", conf),
            tell = { use = "./plugins/tell" },
        },
        files = { ["plugins/tell/plugin.lua"] = [[
            return { name = "tell", version = "1", new = function()
                return function(ctx, next)
                    next(ctx)
                    ctx.response:set_header("x-who", ctx.consumer or "nobody")
                end
            end }]] },
        services = { auth = { endpoints = { { url = auth:url() } } }, up = { endpoints = { { url = up:url() } } } },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, service = "up",
            plugins = { "auth", "tell" } } },
    }
    --- Says yes to anna, and no to everybody else.
    auth:does(function(request)
        if request.fields.authorization == "anna" then
            return e2e.message(200, "", "X-Consumer: anna\r\n")
        end
        return e2e.message(401, "who are you?", 'WWW-Authenticate: Basic realm="x"\r\n')
    end)
    return gw, auth, up
end

local function ask(gw, who)
    return gw:ask("GET /x HTTP/1.1\r\nHost: a\r\n" .. (who and "Authorization: " .. who .. "\r\n" or "") .. "\r\n")
end

describe("auth_request", function()
    it("lets those through whom the service knows, and asks once in a while", function()
        local gw, auth, up = gateway()
        for _ = 1, 3 do
            local response = ask(gw, "anna")
            assert.same({ 200, "anna" }, { response.status, response.fields["x-who"] })
        end
        assert.same({ 1, 3 }, { auth:since(), up:since() })
        gw:advance(31000)
        assert.equal(200, ask(gw, "anna").status)
        assert.equal(1, auth:since())
    end)

    it("passes the service's no on, and keeps none", function()
        local gw, auth, up = gateway()
        for _ = 1, 2 do
            local response = ask(gw, "bert")
            assert.same({ 401, "who are you?", 'Basic realm="x"' },
                { response.status, response.body, response.fields["www-authenticate"] })
        end
        assert.equal(401, ask(gw).status)
        assert.same({ 3, 0 }, { auth:since(), up:since() })
    end)

    it("keeps no more than it may", function()
        local gw, auth = gateway { keep = 1 }
        auth:does(function() return e2e.message(204, "") end)
        for _, who in ipairs { "a", "b", "a", "b", "c", "c" } do assert.equal(200, ask(gw, who).status) end
        assert.equal(3, auth:since()) -- two generations of one
        assert.equal(200, ask(gw, "a").status)
        assert.equal(1, auth:since())
    end)

    it("lets nobody through while the service is away", function()
        local gw, auth, up = gateway()
        auth:die()
        local response = ask(gw, "anna")
        assert.equal(503, response.status)
        assert.equal("Nobody can say who you are", e2e.json.decode(response.body).title)
        assert.equal(0, up:since())
    end)
end)
