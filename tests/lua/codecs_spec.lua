--- Codecs of require "moongate": what they read and write, and where they raise. The codecs in C have their own test.
local machine = require("tests.lua.machine")
local mg = require("moongate.sdk.init")
local json = require("moongate.sdk.json")

--- What fn raises when it is called with these.
local function problem_of(fn, ...)
    local ok, problem = pcall(fn, ...)
    assert.is_false(ok)
    return problem
end

local function random_bytes(max)
    local bytes = {}
    for i = 1, math.random(0, max) do
        bytes[i] = string.char(math.random(0, 255))
    end
    return table.concat(bytes)
end

local seed = tonumber(os.getenv("SEED")) or os.time()

describe("base64, base64url and hex", function()
    it("bring all bytes back, whatever their number", function()
        math.randomseed(seed)
        for _, codec in ipairs({ mg.base64, mg.base64url, mg.hex }) do
            for round = 1, 200 do
                local bytes = random_bytes(round == 1 and 60000 or 40)
                assert.equal(bytes, codec.decode(codec.encode(bytes)), "SEED=" .. seed)
            end
        end
    end)

    it("write what RFC 4648 does", function()
        assert.equal("Zm9vYg==", mg.base64.encode("foob"))
        assert.equal("Zm9vYg", mg.base64url.encode("foob"))
        assert.equal("+//+", mg.base64.encode("\251\255\254"))
        assert.equal("-__-", mg.base64url.encode("\251\255\254"))
        assert.equal("00ff7a", mg.hex.encode("\0\255z"))
        assert.equal("\0\255z", mg.hex.decode("00FF7a"))
    end)

    it("say what is wrong with a text, and where", function()
        assert.same({ nil, "byte 4: no digit of the alphabet" }, { mg.base64.decode("Zm9 v") })
        assert.same({ nil, "byte 3: the last group of four is not complete" }, { mg.base64.decode("Zg") })
        assert.same({ nil, "byte 2: the last digit has bits that belong to no byte" }, { mg.base64.decode("Zh==") })
        assert.same({ nil, "byte 3: base64url has no padding" }, { mg.base64url.decode("Zg==") })
        assert.same({ nil, "byte 2: an odd number of digits" }, { mg.hex.decode("6") })
    end)

    it("raise on what is no string, at the caller's line, with the argument's name", function()
        for name, argument in pairs({ encode = "bytes", decode = "text" }) do
            for _, codec in ipairs({ "base64", "base64url", "hex" }) do
                for _, value in ipairs({ 5, {}, true }) do
                    local problem = problem_of(function()
                        local got = mg[codec][name](value)
                        return got
                    end)
                    assert.truthy(problem:find("^tests/lua/codecs_spec.lua:%d+: " .. codec .. "%." .. name .. ": "
                        .. argument .. " is a string, not " .. type(value) .. "$"), problem)
                end
            end
        end
    end)

    it("cannot be assigned to", function()
        local problem = problem_of(function() mg.base64.encode = 1 end)
        assert.truthy(problem:find("moongate.base64.encode cannot be assigned", 1, true))
        assert.truthy(problem_of(function() mg.url = 1 end):find("moongate.url cannot be assigned", 1, true))
    end)
end)

describe("a codec", function()
    for what, case in pairs({
        ["with a colon"] = { function() mg.hex:encode("a") end, "encode: call it with a dot: moongate.hex.encode(..)" },
        ["of url with a colon"] = { function() mg.url:parse("a") end, "parse: call it with a dot: moongate.url" },
        ["of queries with a colon"] = { function() mg.url:build_query({}) end, "call it with a dot" },
        ["of cookies with a colon"] = { function() mg.cookie:format("a", "b") end, "format: call it with a dot" },
        ["that reads cookies with a colon"] = { function() mg.cookie:parse("a") end, "parse: call it with a dot" },
        ["by a name that is none"] = { function() mg.base64.encoed("a") end, "did you mean 'encode'?" },
        ["by no codec's name"] = { function() mg.base46.encode("a") end, "did you mean 'base64'?" },
    }) do
        it("called " .. what .. " raises at that line and says what to type", function()
            local problem = problem_of(case[1])
            assert.truthy(problem:find("^tests/lua/codecs_spec.lua:%d+: "), problem)
            assert.truthy(problem:find(case[2], 1, true), problem)
        end)
    end
end)

describe("url", function()
    it("encodes all but what is unreserved, and reads it back", function()
        math.randomseed(seed)
        assert.equal("a%2Fb%20%2B%C3%A4-._~", mg.url.encode("a/b +ä-._~"))
        for _ = 1, 200 do
            local bytes = random_bytes(40)
            assert.equal(bytes, mg.url.decode(mg.url.encode(bytes)), "SEED=" .. seed)
        end
        assert.equal("a+b c", mg.url.decode("a+b%20c"))
        assert.same({ nil, "byte 2: % is not followed by two hex digits" }, { mg.url.decode("a%2") })
    end)

    it("parses the parts of a URL", function()
        assert.same({ scheme = "https", userinfo = "me:pw", host = "shop.test", port = 8443, path = "/a%2Fb/",
            query = "x=1&y", fragment = "top?" },
            mg.url.parse("HTTPS://me:pw@Shop.Test:8443/a%2Fb/?x=1&y#top?"))
        assert.same({ scheme = "http", host = "::1", port = 80, path = "" }, mg.url.parse("http://[::1]:80"))
        assert.same({ scheme = "http", host = "fe80::1", path = "/" }, mg.url.parse("http://[FE80::1]/"))
        assert.same({ path = "/a", query = "" }, mg.url.parse("/a?"))
        assert.same({ host = "a.test", path = "/b:c" }, mg.url.parse("//a.test/b:c"))
        assert.same({ scheme = "mailto", path = "a@b.test" }, mg.url.parse("mailto:a@b.test"))
        assert.same({ path = "a/b", fragment = "" }, mg.url.parse("a/b#"))
        assert.same({ path = "" }, mg.url.parse(""))
    end)

    for _, text in ipairs({
        "http://", "http:///a", "http://a b/", "http://a/\n", "http://a/\0", "http://ä.test/",
        "http://a:b/", "http://a:/", "http://a:65536/", "http://a:1:2/", "http://[::1/", "http://[a]/",
        "http://[::1]x/",
        "http://a@b@c/", "http://a/%2", "http://a/#b#c", "1http://a/", "://a", "http://a/[", "http://[::g]/", "/a\\b",
        "http://x]/" }) do
        it(("parses no such thing as %q"):format(text), function()
            local parts, problem = mg.url.parse(text)
            assert.is_nil(parts)
            assert.equal("string", type(problem))
        end)
    end

    it("reads all values of a query", function()
        assert.same({ a = { "1", "", "3 4" }, b = { "" }, ["c&"] = { "=" }, [""] = { "x" } },
            mg.url.parse_query("a=1&a=&b&&c%26==&a=3+4&=x"))
        assert.same({}, mg.url.parse_query(""))
        local params, problem = mg.url.parse_query("a=1&b=%zz")
        assert.is_nil(params)
        assert.truthy(problem:find("% is not followed", 1, true))
    end)

    it("builds queries that are read as what they were built of", function()
        assert.equal("a=1&a=2&b%20c=%26&d=true&e=9007199254740993&f=1000000000000000", mg.url.build_query({
            ["b c"] = "&", a = { 1, "2" }, d = true, none = {}, e = json.decode("9007199254740993"), f = 1e15,
        }))
        assert.equal("", mg.url.build_query({}))
        math.randomseed(seed)
        for _ = 1, 100 do
            local params = {}
            for _ = 1, math.random(0, 4) do
                local values = {}
                for i = 1, math.random(3) do
                    values[i] = random_bytes(8)
                end
                params["k" .. random_bytes(4)] = values
            end
            assert.same(params, mg.url.parse_query(mg.url.build_query(params)), "SEED=" .. seed)
        end
    end)

    it("raises on what no query is built of", function()
        for params, part in pairs({
            [{ a = print }] = "the value of a is a string, a number or a boolean, not function",
            [{ a = { b = 1 } }] = "the value of a is a table with names",
                [{ a = { {} } }] = "the value of a is a string",
            [{ "a" }] = "params has the key 1", [{ a = 0 / 0 }] = "the value of a is",
            ["a=b"] = "params is a table, not string",
        }) do
            local problem = problem_of(function()
                local got = mg.url.build_query(params)
                return got
            end)
            assert.truthy(problem:find("^tests/lua/codecs_spec.lua:%d+: url.build_query: "), problem)
            assert.truthy(problem:find(part, 1, true), problem)
        end
    end)

    it("goes through a long text once, however it was made", function() -- hours, if its time grew with the square
        for _, text in ipairs({ ("a&"):rep(3e5), ("1"):rep(5e5), (" "):rep(5e5), (":"):rep(5e5), ("&="):rep(2e5) }) do
            assert.equal("table", type(mg.url.parse_query(text)))
            assert.is_nil((mg.url.parse("http://a:" .. text)))
            assert.is_nil((mg.url.parse("http://[" .. text)))
            assert.equal("table", type(mg.cookie.parse(text)))
            assert.same({ (text:match("^[^;]*[^ ;]") or "") }, mg.cookie.parse("a=" .. text).a)
        end
    end)
end)

describe("cookies", function()
    it("are read as they stand, all of a name", function()
        assert.same({ a = { "1", "3" }, b = { '"x y"' }, c = { "" }, d = { "=e=" } },
            mg.cookie.parse('a=1; b="x y";c=;; nothing ; =x; a=3 \t; d==e='))
        assert.same({}, mg.cookie.parse(""))
    end)

    it("are written with what they were given", function()
        assert.equal("sid=abc", mg.cookie.format("sid", "abc"))
        assert.equal('sid="abc"', mg.cookie.format("sid", '"abc"'))
        assert.equal("sid=", mg.cookie.format("sid", ""))
        assert.equal("__Host-sid=a=b; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=None",
            mg.cookie.format("__Host-sid",
            "a=b", { path = "/", max_age = 0, secure = true, http_only = true, same_site = "none" }))
        assert.equal("a=1; Path=/x y; Domain=shop.test; Max-Age=34560000; SameSite=Lax", mg.cookie.format("a", "1",
            { path = "/x y", domain = "shop.test", max_age = 34560000, same_site = "Lax", secure = false }))
    end)

    for _, case in ipairs({
        { "name is a token", "", "1" },
        { "name is a token", "a b", "1" },
        { "name is a token", "a=", "1" },
        { "name is a token", "ä", "1" },
        { "name is a token", "a\r\n", "1" },
        { "name is a token", "a;", "1" },
        { "name is a string, not number", 5, "1" },
        { "name is a string, not nil", nil, "1" },
        { "value is a string, not number", "a", 5 },
        { "value is a string, not nil", "a" },
        { "value has no", "a", "x y" },
        { "value has no", "a", "x;y" },
        { "value has no", "a", "x,y" },
        { "value has no", "a", "x\\y" },
        { "value has no", "a", '"' },
        { "value has no", "a", 'x"y' },
        { "value has no", "a", '"x' },
        { "value has no", "a", "x\r\nset-cookie: b=1" },
        { "value has no", "a", "ä" },
        { "value has no", "a", "\0" },
        { "value has no", "a", "\127" },
        { "4096 bytes", "a", ("x"):rep(4096) },
        { "options are a table, not string", "a", "1", "secure" },
        { "no option 'httponly'", "a", "1", { httponly = true } },
        { "path begins with '/'", "a", "1", { path = "x" } },
        { "path begins with '/'", "a", "1", { path = "/;" } },
        { "path begins with '/'", "a", "1", { path = "/\n" } },
        { "path begins with '/'", "a", "1", { path = "" } },
        { "path is a string", "a", "1", { path = 1 } },
        { "path has at most", "a", "1", { path = "/" .. ("x"):rep(1024) } },
        { "domain is a host name", "a", "1", { domain = "a;b" } },
        { "domain is a host", "a", "1", { domain = ".a.test" } },
        { "domain is a host name", "a", "1", { domain = "" } },
        { "domain is a host", "a", "1", { domain = "a..b" } },
        { "domain is a host name", "a", "1", { domain = "a-.b" } },
        { "domain is a host", "a", "1", { domain = "a:1" } },
        { "max_age is a number", "a", "1", { max_age = "5" } },
        { "max_age is 0 or", "a", "1", { max_age = -1 } },
        { "max_age is 0 or", "a", "1", { max_age = 1.5 } },
        { "max_age is 0 or", "a", "1", { max_age = 0 / 0 } },
        { "max_age is 0 or", "a", "1", { max_age = math.huge } },
        { "secure is a boolean", "a", "1", { secure = 1 } },
        { 'same_site is "strict"', "a", "1", { same_site = "most" } },
        { "needs secure", "a", "1", { same_site = "None" } },
        { "needs secure", "__Secure-a", "1" },
        { "needs secure", "__host-a", "1", { path = "/" } },
        { 'needs path "/"', "__Host-a", "1", { secure = true } },
        { "no domain", "__Host-a", "1", { secure = true, path = "/", domain = "a.test" } },
    }) do
        it("raise at the caller's line: " .. case[1] .. (" (%q %q)"):format(tostring(case[2]),
            tostring(case[3]):sub(1, 20)), function()
            local problem = problem_of(function()
                local field = mg.cookie.format(case[2], case[3], case[4])
                return field
            end)
            assert.truthy(problem:find("^tests/lua/codecs_spec.lua:%d+: cookie.format: "), problem)
            assert.truthy(problem:find(case[1], 1, true), problem)
        end)
    end

    it("raise at the handler's line when an answer cannot have them", function()
        local m = machine.of(function(ctx)
            ctx:respond(200)
            ctx.response:set_cookie("a", "b c")
        end)
        local _, err = m:run()
        assert.truthy(err.message:find("set_cookie: value has no blank", 1, true), err.message)
    end)
end)
