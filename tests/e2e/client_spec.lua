-- For whom a trusted proxy asks: X-Forwarded-* and Forwarded, as proxies send them, and all that goes by the answer.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local TRUSTED = { trusted_proxies = { "127.0.0.0/8", "fd00::/8" } }

--- A plugin that tells the upstream what plugins are told.
local TELLS = { ["plugins/tells/plugin.lua"] = [[
    return { name = "tells", version = "1", new = function()
        return function(ctx, next)
            ctx.request:set_header("x-told", ctx.request.scheme .. " " .. ctx.request.client_address)
            next(ctx)
        end
    end }]] }

local function listener(over)
    local options = { trusted_proxies = TRUSTED.trusted_proxies }
    for key, value in pairs(over or {}) do options[key] = value end
    return options
end

--- What the upstream sees of a request with these lines from a trusted proxy, and what the access log says of it.
local function asked(lines, over)
    local gw, up = e2e.proxy { listener = listener(over), access_log = true, files = TELLS,
        plugins = { tells = { use = "./plugins/tells" } }, route = { plugins = { "tells" } } }
    return e2e.seen(gw, up, lines, { from = "127.0.0.7" }).fields, gw:access()
end

local function x_for(...) return "X-Forwarded-For: " .. table.concat({ ... }, "\r\nX-Forwarded-For: ") .. "\r\n" end
local function forwarded(...) return "Forwarded: " .. table.concat({ ... }, "\r\nForwarded: ") .. "\r\n" end

for what, case in pairs {
    ["the last of several lines"] = { x_for("1.2.3.4", "203.0.113.9"), "203.0.113.9" },
    ["the last of several lines that are lists"] = {
        x_for("1.2.3.4, 5.6.7.8", "203.0.113.9, 127.0.0.1"), "203.0.113.9" },
    ["a line before that of a trusted proxy"] = { x_for("1.2.3.4, 203.0.113.9", "127.0.0.3"), "203.0.113.9" },
    ["an address with a port"] = { x_for "1.2.3.4, 203.0.113.9:5123", "203.0.113.9" },
    ["IPv6 with a port"] = { x_for "[2001:db8::1]:443", "2001:db8::1" },
    ["IPv6 in brackets"] = { x_for "[2001:DB8:0::1]", "2001:db8::1" },
    ["IPv6 alone, behind a trusted one"] = { x_for "2001:db8::1, [fd00::1]:80, fd00::2", "2001:db8::1" },
    ["IPv4 in IPv6"] = { x_for "::ffff:203.0.113.9", "203.0.113.9" },
    ["a trusted IPv4 in IPv6"] = { x_for "203.0.113.9, ::ffff:127.0.0.1", "203.0.113.9" },
    ["empty members"] = { x_for("203.0.113.9,, 127.0.0.1, ", "", ","), "203.0.113.9" },
    ["unknown"] = { x_for "1.2.3.4, unknown, 127.0.0.2", "127.0.0.2" },
    ["nothing but unknown"] = { x_for "1.2.3.4, unknown", "127.0.0.7" },
    ["an obfuscated name"] = { x_for "1.2.3.4, _hidden", "127.0.0.7" },
    ["nonsense on a line of its own"] = { x_for("1.2.3.4", "nonsense", "127.0.0.2"), "127.0.0.2" },
    ["Forwarded"] = { forwarded "for=203.0.113.9", "203.0.113.9" },
    ["Forwarded with all it may have"] = {
        forwarded 'for=1.2.3.4, For="[2001:db8::1]:47011";proto=http;by=_me;x="a, for=9.9.9.9", for=127.0.0.1',
        "2001:db8::1" },
    ["Forwarded over several lines"] = {
        forwarded("for=1.2.3.4", 'for="203.0.113.9:80"', "for=127.0.0.1"), "203.0.113.9" },
    ["Forwarded with a hidden name"] = { forwarded "for=1.2.3.4, for=_hidden, for=127.0.0.2", "127.0.0.2" },
    ["Forwarded with an unknown name"] = { forwarded "for=1.2.3.4, for=unknown", "127.0.0.7" },
    ["a Forwarded string that does not end"] = { forwarded 'for=1.2.3.4;x=", for=203.0.113.9;host="a"', "127.0.0.7" },
} do
    it(what .. " names the client", function()
        local fields, line = asked(case[1])
        assert.equal(case[2], line.client_ip)
        assert.equal("http " .. case[2], fields["x-told"])
    end)
end

describe("where both are there", function()
    local BOTH = x_for "203.0.113.9" .. "X-Forwarded-Proto: http\r\n" .. forwarded "for=198.51.100.7;proto=https;host=b"

    it("X-Forwarded-For counts, and Forwarded says the same afterwards", function()
        local fields, line = asked(BOTH)
        assert.equal("203.0.113.9", line.client_ip)
        assert.equal("http", line.scheme)
        assert.equal("203.0.113.9, 127.0.0.7", fields["x-forwarded-for"])
        assert.equal("for=203.0.113.9;proto=http;host=a, for=127.0.0.7;proto=http;host=a", fields.forwarded)
    end)

    it("Forwarded counts alone when the proxies write that", function()
        local fields, line = asked(BOTH, { client_from = "forwarded" })
        assert.equal("198.51.100.7", line.client_ip)
        assert.equal("https", line.scheme)
        assert.equal("198.51.100.7, 127.0.0.7", fields["x-forwarded-for"])
        assert.equal("https", fields["x-forwarded-proto"])
        assert.equal("b", fields["x-forwarded-host"])
        assert.equal("for=198.51.100.7;proto=https;host=b, for=127.0.0.7;proto=http;host=a", fields.forwarded)
    end)

    it("a scheme in one does not go with an address in the other", function()
        local fields, line = asked("X-Forwarded-Proto: https\r\n" .. forwarded "for=198.51.100.7;proto=http")
        assert.equal("127.0.0.7", line.client_ip)
        assert.equal("https 127.0.0.7", fields["x-told"])
        assert.is_nil(fields.forwarded:find("198.51.100.7", 1, true))
    end)

    it("nothing but Forwarded is looked at when the proxies write that", function()
        local fields, line = asked(x_for "203.0.113.9" .. "X-Forwarded-Proto: https\r\n", { client_from = "forwarded" })
        assert.equal("127.0.0.7", line.client_ip)
        assert.equal("http", line.scheme)
        assert.equal("127.0.0.7", fields["x-forwarded-for"])
        assert.equal("http", fields["x-forwarded-proto"])
    end)
end)

describe("the scheme", function()
    for what, case in pairs {
        ["X-Forwarded-Proto"] = { "X-Forwarded-Proto: https\r\n", "https" },
        ["X-Forwarded-Proto in other letters"] = { "X-Forwarded-Proto: HTTPS\r\n", "https" },
        ["the last line of X-Forwarded-Proto"] = { "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http" },
        ["the last member of X-Forwarded-Proto"] = { "X-Forwarded-Proto: http, https\r\n", "https" },
        ["nothing, when X-Forwarded-Proto is none"] = { "X-Forwarded-Proto: gopher\r\n", "http" },
        ["proto of Forwarded"] = { forwarded "proto=https", "https" },
        ["proto of the client's element"] = {
            forwarded 'for=203.0.113.9;proto="HTTPS", for=127.0.0.1;proto=http', "https" },
        ["no proto that an untrusted element tells"] = {
            forwarded "for=1.2.3.4;proto=https, for=203.0.113.9;proto=http", "http" },
    } do
        it("is what " .. what .. " says", function()
            local fields, line = asked(case[1])
            assert.equal(case[2], line.scheme)
            assert.equal(case[2], fields["x-forwarded-proto"])
            assert.equal(case[2], fields["x-told"]:match "^%a+")
        end)
    end

    it("is the listener's for a peer that is not trusted", function()
        local gw, up = e2e.proxy { access_log = true }
        local seen = e2e.seen(gw, up, "X-Forwarded-Proto: https\r\n" .. forwarded "for=1.2.3.4;proto=https")
        assert.equal("http", gw:access().scheme)
        assert.equal("http", seen.fields["x-forwarded-proto"])
    end)
end)

it("a limit by address is not evaded by a line that the client wrote", function()
    local gw, up = e2e.proxy { listener = TRUSTED, route = { plugins = { { limit = "few" } } },
        limiters = { few = { rate = "1/h", burst = 1, key = "ip" } } }
    e2e.seen(gw, up, x_for("1.2.3.1", "203.0.113.9"))
    for i = 2, 4 do
        assert.equal(429, gw:ask("GET / HTTP/1.1\r\nHost: a\r\n" .. x_for("1.2.3." .. i, "203.0.113.9:" .. 1000 + i)
            .. forwarded("for=1.2.3." .. i) .. "\r\n").status)
    end
end)

it("plugins and matches never see what an untrusted peer says of it", function()
    local gw, up = e2e.proxy { access_log = true, files = { ["plugins/asks/plugin.lua"] = [[
        return { name = "asks", version = "1", new = function()
            return function(ctx, next)
                local list, forwarded = ctx.request:header("x-forwarded-for"), ctx.request:header("forwarded")
                ctx.request:set_header("x-told", list .. forwarded)
                next(ctx)
            end
        end }]] }, plugins = { asks = { use = "./plugins/asks" } }, route = { plugins = { "asks" } } }
    local seen = e2e.seen(gw, up, x_for("6.6.6.6", "7.7.7.7") .. forwarded "for=8.8.8.8")
    assert.equal("127.0.0.1for=127.0.0.1;proto=http;host=a", seen.fields["x-told"])
end)
