-- What plugins read of requests and write into answers in the forms that the web has: repeated parameters and fields,
-- cookies, base64, queries, JSON with large integers.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- A proxy whose route has a plugin with this handler.
local function with(body)
    local source = "local mg, bit = require 'moongate', require 'bit'\nreturn { name = 'own', version = '1', "
        .. "new = function(conf)\nreturn function(ctx, next)\n" .. body .. "\nend end }\n"
    return e2e.proxy { files = { ["plugins/own/plugin.lua"] = source },
        plugins = { own = { use = "./plugins/own" } }, route = { plugins = { "own" } } }
end

local function get(target, lines)
    return "GET " .. target .. " HTTP/1.1\r\nHost: a.test\r\n" .. (lines or "") .. "\r\n"
end

local function values_of(message, name)
    local values = {}
    for _, field in ipairs(message.list) do
        if field.name:lower() == name then values[#values + 1] = field.value end
    end
    return values
end

describe("all values", function()
    it("of a repeated parameter of the query are a list, the first what query_param has", function()
        local gw = with [[local all = ctx.request:query_params "a"
            return ctx:respond(200, { json = { all, ctx.request:query_params "none",
                ctx.request:query_param "a" or ctx.json.null } })]]
        for target, want in pairs {
            ["/?a=1&b=2&a=%32+3&a"] = '[["1","2 3",""],[],"1"]', ["/?%61=x&A=y"] = '[["x"],[],"x"]',
            ["/?a=%zz&a=%"] = '[["%zz","%"],[],"%zz"]', ["/"] = "[[],[],null]", ["/?"] = "[[],[],null]",
            ["/?a"] = '[[""],[],""]', ["/?a=1&"] = '[["1"],[],"1"]', ["/?&&a=&"] = '[[""],[],""]',
        } do
            assert.equal(want, gw:ask(get(target)).body, target)
        end
    end)

    it("of a repeated field are a list, each as it stands", function()
        local gw, up = with [[ctx.request:set_header("x-seen", table.concat(ctx.request:header_values "X-List", "|")
                .. "|" .. #ctx.request:header_values "x-none" .. "|" .. ctx.request:header_values("host")[1])
            next(ctx)
            ctx.response:set_header("x-cookies", table.concat(ctx.response:header_values "set-cookie", "|"))]]
        local seen, answer = e2e.exchange(gw:client(), up, get("/", "X-List: a, b\r\nx-list: c\r\nX-List: \r\n"),
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n")
        assert.equal("a, b|c||0|a.test", seen.fields["x-seen"])
        assert.equal("a=1; Path=/|b=2", answer.fields["x-cookies"])
    end)
end)

describe("cookies", function()
    it("of a request are read by name, from all its fields", function()
        local gw = with [[local r = ctx.request
            return ctx:respond(200, { json = { r:cookie "sid", r:cookie "SID", r:cookies().b or "none",
                #mg.cookie.parse(r:header "cookie" or "").sid } })]]
        assert.equal('["1","S","\\"x y\\"",2]',
            gw:ask(get("/", "Cookie: sid=1; SID=S\r\nCookie: b=\"x y\"; sid=2\r\n")).body)
    end)

    it("of a request that has none are none", function()
        local gw = with [[local count = 0
            for _ in pairs(ctx.request:cookies()) do count = count + 1 end
            return ctx:respond(200, tostring(ctx.request:cookie "sid") .. count)]]
        assert.equal("nil0", gw:ask(get "/").body)
    end)

    it("are added to an answer, of the upstream or the plugin's own", function()
        for call, before in pairs { ["next(ctx)"] = { "up=1" }, ["ctx:respond(204)"] = {} } do
            local gw, up = with(call .. [[
                ctx.response:set_cookie("__Host-sid", mg.base64url.encode "\0\255", { path = "/", max_age = 3600,
                    secure = true, http_only = true, same_site = "lax" })
                ctx.response:set_cookie("b", "2")]])
            local client = gw:send(get "/")
            if #before > 0 then
                local conn = up:accept()
                conn:request()
                conn:send "HTTP/1.1 200 OK\r\nSet-Cookie: up=1\r\nContent-Length: 0\r\n\r\n"
            end
            local answer = client:response()
            before[#before + 1] = "__Host-sid=AP8; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax"
            before[#before + 1] = "b=2"
            assert.same(before, values_of(answer, "set-cookie"))
        end
    end)

    for what, call in pairs {
        ["a value with a semicolon"] = "ctx.response:set_cookie('a', '1; Domain=b')",
        ["a value with a line break"] = "ctx.response:set_cookie('a', '1\\r\\nx: y')",
        ["a name with a blank"] = "ctx.response:set_cookie('a b', '1')",
        ["a name that is missing"] = "ctx.response:set_cookie(nil, '1')",
        ["an unknown option"] = "ctx.response:set_cookie('a', '1', { httponly = true })",
        ["base64 of a number"] = "mg.base64.encode(5)", ["a query of a text"] = "mg.url.build_query('a')",
        ["a parameter without name"] = "ctx.request:query_params()", ["a cookie without name"] = "ctx.request:cookie()",
        ["a field without name"] = "ctx.request:header_values()", ["a URL that is nil"] = "mg.url.parse(nil)",
        ["an unknown option of JSON"] = "ctx.json.decode('1', { ints = 'text' })",
    } do
        it("and codecs raise at the plugin's line: " .. what, function()
            local gw = with("ctx:respond(200)\n" .. call .. "\nreturn")
            assert.equal(500, gw:ask(get "/").status)
            gw:log "plugin.lua:5"
        end)
    end

    it("before there is an answer are added to the one that comes", function()
        local gw, up = with "\nctx.response:set_cookie('a', '1')\nreturn next(ctx)"
        local _, answer = e2e.exchange(gw:client(), up, get "/")
        assert.same({ "a=1" }, values_of(answer, "set-cookie"))
    end)
end)

describe("a plugin", function()
    it("signs in with what base64 holds", function()
        local gw = with [[local text = (ctx.request:header "authorization" or ""):match "^Basic (.+)$"
            local user, problem = mg.base64.decode(text or "?")
            return ctx:respond(user and 200 or 401, user or problem)]]
        assert.equal("anna:pw", gw:ask(get("/", "Authorization: Basic YW5uYTpwdw==\r\n")).body)
        local answer = gw:ask(get("/", "Authorization: Basic YW5uYTpwdw\r\n"))
        assert.equal(401, answer.status)
        assert.equal("byte 11: the last group of four is not complete", answer.body)
    end)

    it("sets the query that it built", function()
        local gw, up = with [[local params = mg.url.parse_query(ctx.request.query)
            params.b, params.c = nil, { "x/y", 2 ^ 53 }
            ctx.request:set_query(mg.url.build_query(params))
            return next(ctx)]]
        local conn = gw:send(get "/?b=1&a=%C3%A4+1&a=2")
        local up_conn = up:accept()
        assert.equal("/?a=%C3%A4%201&a=2&c=x%2Fy&c=9007199254740992", up_conn:request().target)
        up_conn:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        conn:response()
    end)

    it("has large integers and empty lists of its configuration and of bodies as they were written", function()
        local gw = e2e.proxy { files = {
            ["plugins/own/plugin.lua"] = [[local bit = require "bit"
                return { name = "own", version = "1", new = function(conf)
                    return function(ctx)
                        local read = ctx.json.decode('{"id":18446744073709551615,"none":[]}')
                        return ctx:respond(200, { json = { conf.id, conf.none, conf.map, read.id, read.none,
                            bit.band(conf.id, 3), ctx.request:header_values "x-none" } })
                    end
                end }]],
            ["plugins/own/schema.json"] = [[{ "type": "object", "properties": { "id": { "type": "integer" },
                "none": { "type": "array" }, "map": { "type": "object" } } }]],
        }, text = [[
version: 1
listeners: { web: { bind: "127.0.0.1:@PORT@" } }
status: { bind: "127.0.0.1:@STATUS@" }
plugins: { own: { use: ./plugins/own, config: { id: 9007199254740993, none: [], map: {} } } }
routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [own] }]
]] }
        assert.equal("[9007199254740993,[],{},18446744073709551615,[],1,[]]", gw:ask(get "/").body)
    end)

    for what, code in pairs {
        ["encodes for ever"] = "for _ = 1, 1e6 do mg.base64.encode(text) end",
        ["decodes for ever"] = "for _ = 1, 1e6 do mg.hex.decode(text) end",
        ["escapes for ever"] = "for _ = 1, 1e6 do mg.url.encode(text) end",
        ["reads queries for ever"] = "for _ = 1, 1e6 do mg.url.parse_query('a=1&b=2') end",
        ["reads cookies for ever"] = "for _ = 1, 1e6 do mg.cookie.parse(('a=1;'):rep(1e4)) end",
        ["parses for ever"] = "for _ = 1, 1e6 do mg.url.parse(text) end",
        ["writes cookies for ever"] = "for _ = 1, 1e9 do mg.cookie.format('a', 'b') end",
    } do
        it("that " .. what .. " has used its CPU, at its own line", function()
            local gw = with("local text = ('f'):rep(100000)\n" .. code)
            assert.equal(500, gw:ask(get "/").status)
            local line = gw:log "used more than"
            assert.truthy(line:find("plugin.lua:5", 1, true), line)
        end)
    end

    it("that encodes more than there is room for is told so at its own line", function()
        local gw = with("local text = ('f'):rep(1.5e7)\nctx:respond(200, mg.hex.encode(text))")
        assert.equal(500, gw:ask(get "/").status)
        local line = gw:log "not enough memory"
        assert.truthy(line:find("plugin.lua:5", 1, true), line)
    end)
end)
