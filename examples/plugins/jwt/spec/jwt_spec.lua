-- The plugin jwt: tokens that count and tokens that do not.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local SECRET = "a secret of more than thirty-two bytes"

package.loaded["jwt.sha256"] = dofile "examples/plugins/jwt/lib/sha256.lua"
local sha256 = require "jwt.sha256"

local function hex(bytes)
    return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

local function base64url(bytes)
    return (bytes:gsub("..?.?", function(group)
        local a, b, c = group:byte(1, 3)
        local number, digits = a * 65536 + (b or 0) * 256 + (c or 0), ""
        for at = 3, 3 - #group, -1 do
            local digit = math.floor(number / 64 ^ at) % 64
            digits = digits .. DIGITS:sub(digit + 1, digit + 1)
        end
        return digits
    end))
end

local function token(claims, opts)
    opts = opts or {}
    local text = base64url(e2e.json.encode { alg = opts.alg or "HS256", typ = "JWT" })
        .. "." .. base64url(type(claims) == "string" and claims or e2e.json.encode(claims))
    return text .. "." .. base64url(sha256.hmac(opts.secret or SECRET, text))
end

describe("sha256", function()
    it("is that of the standard", function()
        for text, digest in pairs {
            [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ["abc"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"] =
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            [("a"):rep(1000)] = "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3",
        } do
            assert.equal(digest, hex(sha256.digest(text)))
        end
    end)

    it("makes codes as RFC 4231 has them", function()
        assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            hex(sha256.hmac("Jefe", "what do ya want for nothing?")))
        assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            hex(sha256.hmac(("\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First")))
    end)
end)

describe("jwt", function()
    local function gateway(conf)
        conf = conf or {}
        conf.secret = SECRET
        return e2e.proxy {
            plugins = { jwt = e2e.plugin("examples/plugins/jwt", conf), tell = { use = "./plugins/tell" } },
            route = { plugins = { "jwt", "tell" } },
            files = { ["plugins/tell/plugin.lua"] = [[
                return { name = "tell", version = "1", new = function()
                    return function(ctx, next)
                        ctx.request:set_header("x-who", ctx.consumer or "nobody")
                        next(ctx)
                    end
                end }]] },
        }
    end

    local function with(text)
        return "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: " .. text .. "\r\n\r\n"
    end

    local function refusal(conf, text)
        local gw, up = gateway(conf)
        local response = gw:ask(with(text))
        assert.equal(401, response.status)
        up:expect_nobody()
        return e2e.json.decode(response.body).detail, response.fields["www-authenticate"]
    end

    local function soon() return os.time() + 3600 end

    it("lets a signed token pass, under its subject's name", function()
        local gw, up = gateway()
        local seen = e2e.exchange(gw:client(), up, with("Bearer " .. token { sub = "anna", exp = soon() }))
        assert.equal("anna", seen.fields["x-who"])
    end)

    it("knows the token of RFC 7515, which expired in 2011", function()
        local gw, up = gateway { leeway = 10 ^ 10 }
        -- its key is 64 bytes; ours signs the same head and claims
        local claims = '{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
        local seen = e2e.exchange(gw:client(), up, with("Bearer " .. token(claims)))
        assert.equal("nobody", seen.fields["x-who"])
    end)

    it("asks for one where there is none", function()
        local detail, challenge = refusal(nil, "Basic YTpi")
        assert.same({ "a bearer token is needed", "Bearer" }, { detail, challenge })
    end)

    for what, case in pairs {
        ["no token"] = { "it is not a token", function() return "a.b" end },
        ["no JSON"] = { "it is not a token", function() return "YWJj.YWJj.YWJj" end },
        ["another secret"] = { "its signature is wrong", function()
            return token({ exp = soon() }, { secret = "b" })
        end },
        ["changed claims"] = { "its signature is wrong", function()
            local head, _, code = token({ sub = "anna", exp = soon() }):match "(.*)%.(.*)%.(.*)"
            return head .. "." .. base64url(e2e.json.encode { sub = "root", exp = soon() }) .. "." .. code
        end },
        ["a cut code"] = { "its signature is wrong", function() return token({ exp = soon() }):sub(1, -3) end },
        ["no signature at all"] = { "it is not signed with HS256", function()
            return token({ exp = soon() }, { alg = "none" })
        end },
        ["the past"] = { "it has expired", function() return token { exp = os.time() - 60 } end },
        ["no end"] = { "it has expired", function() return token { sub = "anna" } end },
        ["the future"] = { "it is not valid yet", function()
            return token { exp = soon(), nbf = os.time() + 600 }
        end },
        ["claims that are no object"] = { "it claims nothing", function() return token "12" end },
    } do
        it("refuses one with " .. what, function()
            local detail, challenge = refusal(nil, "Bearer " .. case[2]())
            assert.same({ "the token: " .. case[1], 'Bearer error="invalid_token"' }, { detail, challenge })
        end)
    end

    it("refuses another issuer's where one is named", function()
        assert.equal("the token: it is of another issuer",
            refusal({ issuer = "joe" }, "Bearer " .. token { iss = "jim", exp = soon() }))
    end)
end)
