-- The plugin ab_test: who goes where, and stays there.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway(conf)
    local a, b = e2e.server "a", e2e.server "b"
    conf.name, conf.service = "cart", "cart_next"
    local gw = e2e.gateway {
        plugins = { ab = e2e.plugin("examples/plugins/ab_test", conf) },
        services = { cart = { endpoints = { { url = a:url() } } }, cart_next = { endpoints = { { url = b:url() } } } },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, service = "cart", plugins = { "ab" } } },
    }
    return gw, a, b
end

local function get(gw, fields)
    return gw:ask("GET / HTTP/1.1\r\nHost: a\r\n" .. (fields or "") .. "\r\n")
end

describe("ab_test", function()
    it("sends everybody to a at 0, and to b at 1", function()
        for share, name in pairs { [0] = "a", [1] = "b" } do
            local gw = gateway { share = share }
            for _ = 1, 10 do
                local response = get(gw)
                assert.equal(name, response.body)
                assert.equal("ab_cart=" .. name .. "; Path=/; Max-Age=2592000; SameSite=Lax",
                    response.fields["set-cookie"])
            end
            e2e.finish()
        end
    end)

    it("divides clients, and each stays where it is", function()
        local gw, a, b = gateway {}
        local seen = { a = 0, b = 0 }
        for _ = 1, 60 do
            local first = get(gw)
            seen[first.body] = seen[first.body] + 1
            local again = get(gw, "Cookie: " .. first.fields["set-cookie"]:match "^[^;]*" .. "\r\n")
            assert.equal(first.body, again.body)
            assert.is_nil(again.fields["set-cookie"])
        end
        assert.is_true(seen.a > 5 and seen.b > 5)
        assert.same({ 2 * seen.a, 2 * seen.b }, { a:since(), b:since() })
    end)

    it("gives a client the group that it asks for, and tells the upstream", function()
        local gw = gateway { share = 0 }
        assert.equal("b", get(gw, "X-Abtest-Group: b\r\nCookie: ab_cart=a\r\n").body)
        assert.equal("b", get(gw, "Cookie: ab_cart=b\r\n").body)
        assert.equal("a", get(gw, "X-Abtest-Group: zzz\r\nCookie: ab_cart=zzz\r\n").body)
    end)
end)
