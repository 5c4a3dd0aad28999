-- What stands for a request ends with it: whoever keeps it finds nothing there later, also when what served the one
-- request serves the next.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- A plugin that keeps what `what` is on /keep, and does `use` with it (as `kept`) on /use: it answers what happened.
local function keeper(what, use, functions)
    return "local kept\nreturn { name = 'own', version = '1', "
        .. (functions and "body = { response = 'stream' }, " or "")
        .. "new = function(conf)\nlocal function handler(ctx, next)\n"
        .. "if ctx.request.path == '/keep' then\n ctx.state.secret = 'of the first'\n"
        .. " ctx.request:set_header('x-id', 'one')\n next(ctx)\n kept = " .. what .. "\n return\nend\n"
        .. "ctx.request:set_header('x-id', 'two')\nctx.state.secret = 'of the second'\n"
        .. "local ok, wrong = pcall(function() " .. use .. " end)\n"
        .. "ctx:respond(200, ok and 'READ ' .. tostring(wrong) or tostring(wrong))\nend\n"
        .. "return " .. (functions and "{ handler = handler, " .. functions .. " }" or "handler") .. "\nend }\n"
end

local function with(source)
    return e2e.proxy { files = { ["plugins/own/plugin.lua"] = source }, plugins = { own = { use = "./plugins/own" } },
        route = { plugins = { "own" } } }
end

local function said(source)
    local gw, up = with(source)
    local client = gw:client()
    e2e.exchange(client, up, "GET /keep HTTP/1.1\r\nHost: a\r\n\r\n")
    client:send "GET /use HTTP/1.1\r\nHost: a\r\n\r\n"
    return client:response().body
end

describe("what a plugin keeps of an earlier request", function()
    for what, case in pairs {
        ["ctx, for a member"] = { "ctx", "local v = kept.route return v" },
        ["ctx, for its request"] = { "ctx", "local v = kept.request return v" },
        ["ctx, for its state"] = { "ctx", "local v = kept.state return v" },
        ["ctx, for the consumer"] = { "ctx", "local v = kept.consumer return v" },
        ["ctx, to answer"] = { "ctx", "local v = kept:respond(500) return v" },
        ["ctx, to wait"] = { "ctx", "local v = kept:sleep(0) return v" },
        ["ctx, for an id"] = { "ctx", "local v = kept:new_id() return v" },
        ["ctx, to say who asks"] = { "ctx", "local v = kept:set_consumer('x') return v" },
        ["ctx, to count"] = { "ctx", "local v = kept:counter('x') return v" },
        ["the request, for a field"] = { "ctx.request", "local v = kept:header('x-id') return v" },
        ["the request, for its path"] = { "ctx.request", "local v = kept.path return v" },
        ["the request, to set a field"] = { "ctx.request", "local v = kept:set_header('x-id', '3') return v" },
        ["the request, for its body"] = { "ctx.request", "local v = kept:body() return v" },
        ["the request, for its cookies"] = { "ctx.request", "local v = kept:cookies() return v" },
        ["the response, for its status"] = { "ctx.response", "local v = kept.status return v" },
        ["the response, to set a status"] = { "ctx.response", "local v = kept:set_status(500) return v" },
        ["the response, to set a body"] = { "ctx.response", "local v = kept:set_body('x') return v" },
        ["parameters"] = { "ctx.params", "local v = kept.id return v" },
        ["the state, for what stood there"] = { "ctx.state", "local v = kept.secret return v" },
        ["the state, for what never did"] = { "ctx.state", "local v = kept.nothing return v" },
        ["the state, to set"] = { "ctx.state", "kept.mine = 1" },
        ["the state, which had a metatable"] = { "setmetatable(ctx.state, { __index = { secret = 1 } })",
            "local v = kept.secret return v" },
        ["a walk over fields"] = {
            "(function() local f, w = ctx.request:headers() return function() local v = f(w) return v end end)()",
            "local v = kept() return v", 8,
        },
    } do
        it("raises: " .. what, function()
            local body = said(keeper(case[1], case[2]))
            assert.truthy(body:find("belongs to another request, or to none", 1, true), body)
            assert.truthy(body:find("plugins/own/plugin.lua:" .. (case[3] or 13) .. ": ", 1, true), body)
        end)
    end

    it("raises when it is the state of a chain with filters and a log", function()
        local body = said(keeper("ctx.state", "return kept.secret",
            "response_body = function(ctx) end, log = function(ctx) end"))
        assert.truthy(body:find("belongs to another request", 1, true), body)
    end)

    it("has the state until its log has run, and not longer", function()
        local gw = with(keeper("nil", "", "response_body = function() end, "
            .. "log = function(ctx) ctx.log:warn('logged ' .. ctx.state.secret) kept = ctx.state end"):gsub(
            "ctx.request:set_header%('x%-id', 'two'%)\n",
            "if kept then return ctx:respond(200, tostring(kept.secret)) end\n"))
        assert.equal(200, gw:ask("GET /use HTTP/1.1\r\nHost: a\r\n\r\n").status)
        gw:log "logged of the second"
        assert.equal(500, gw:ask("GET /use HTTP/1.1\r\nHost: a\r\n\r\n").status)
        gw:log "ctx.state belongs to another request"
    end)

    it("raises when that request died", function()
        local source = keeper("ctx.state", "return kept.secret"):gsub(" return\nend", " error('as told')\nend")
        assert.truthy(said(source):find("belongs to another request", 1, true))
    end)

    it("raises in another request that runs while the first still waits", function()
        local gw, up = with([[local kept
            return { name = "own", new = function() return function(ctx, next)
                if ctx.request.path == "/keep" then
                    kept = ctx.request
                    return next(ctx)
                end
                local ok, wrong = pcall(function() return kept.path end)
                ctx:respond(200, tostring(wrong))
            end end }]])
        gw:send "GET /keep HTTP/1.1\r\nHost: a\r\n\r\n"
        up:accept():request()
        assert.truthy(gw:ask("GET /use HTTP/1.1\r\nHost: a\r\n\r\n").body:find("belongs to another request", 1, true))
    end)

    it("is no way into another layer or another chain: next is this handler's", function()
        local source = [[local kept = {}
            return { name = "own", new = function() return function(ctx, next)
                kept[#kept + 1] = next
                if ctx.request.path ~= "/use" then return next(ctx) end
                local ok, wrong = pcall(kept[tonumber(ctx.request:header("x-at"))], ctx)
                ctx:respond(200, tostring(wrong))
            end end }]]
        local plugins, both = {}, {}
        for _, name in ipairs { "a", "b" } do
            plugins[name] = { use = "./plugins/own" }
        end
        for i, path in ipairs { "/keep", "/use" } do
            both[i] = { name = "r" .. i, match = { paths = { { prefix = path } } }, plugins = { "a", "b" },
                backends = { { service = "up" } } }
        end
        both[1].plugins = { "a" }
        local gw, up = e2e.proxy { files = { ["plugins/own/plugin.lua"] = source }, plugins = plugins, routes = both }
        e2e.exchange(gw:client(), up, "GET /keep HTTP/1.1\r\nHost: a\r\n\r\n")
        local said_of = gw:ask("GET /use HTTP/1.1\r\nHost: a\r\nX-At: 1\r\n\r\n").body
        assert.truthy(said_of:find("this next is of another handler: call the one that this handler was given", 1,
            true), said_of)
    end)
end)
