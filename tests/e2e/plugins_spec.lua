-- The plugins that come with the gateway, in the gateway.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- One plugin on the route of everything.
local function with(use, config, more)
    local opts = more or {}
    opts.plugins = { one = { use = use, config = config } }
    opts.route = { plugins = { "one" } }
    return e2e.proxy(opts)
end

describe("request_id", function()
    it("makes one and sends it both ways", function()
        local gw, up = with "request_id"
        local client = gw:client()
        local seen, response, conn = e2e.exchange(client, up)
        local id = seen.fields["x-request-id"]
        assert.truthy(id:find("^%w+$") and #id >= 16)
        assert.equal(id, response.fields["x-request-id"])
        local second = e2e.exchange(client, up, nil, nil, conn)
        assert.not_equal(id, second.fields["x-request-id"])
    end)

    it("keeps the client's", function()
        local gw, up = with "request_id"
        local seen, response = e2e.exchange(gw:client(), up, "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n")
        assert.equal("abc-1", seen.fields["x-request-id"])
        assert.equal("abc-1", response.fields["x-request-id"])
    end)

    it("answers a malformed one itself", function()
        local gw, up = with "request_id"
        local response = gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n"
        assert.equal(400, response.status)
        up:expect_nobody()
    end)

    it("names it in the answer to a failure", function()
        local gw, up = with "request_id"
        local client = gw:send "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n"
        up:accept():close()
        local response = client:response()
        assert.equal(502, response.status)
        assert.equal("abc-1", response.fields["x-request-id"])
    end)
end)

describe("key_auth", function()
    local CONFIG = { header = "x-api-key", keys = { k1 = "anna", k2 = "ben" } }

    it("lets a known key pass and keeps it from the upstream", function()
        local gw, up = with("key_auth", CONFIG, { access_log = true })
        local seen, response = e2e.exchange(gw:client(), up, "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: k1\r\n\r\n")
        assert.equal(200, response.status)
        assert.is_nil(seen.fields["x-api-key"])
    end)

    for what, lines in pairs { ["no key"] = "", ["an unknown key"] = "X-Api-Key: k3\r\n",
        ["an empty key"] = "X-Api-Key:\r\n" } do
        it("answers " .. what .. " with 401", function()
            local gw, up = with("key_auth", CONFIG)
            local response = gw:ask("GET / HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n")
            assert.equal(401, response.status)
            assert.truthy(response.fields["www-authenticate"])
            assert.equal("application/problem+json", response.fields["content-type"])
            up:expect_nobody()
        end)
    end
end)

describe("headers", function()
    it("sets, adds and removes on both ways", function()
        local gw, up = with("headers", {
            request = { set = { ["x-set"] = "1" }, add = { ["x-add"] = "2" }, remove = { "x-gone" } },
            response = { set = { ["x-out"] = "3" }, add = { ["x-more"] = "4" }, remove = { "server" } },
        })
        local seen, response = e2e.exchange(gw:client(), up,
            "GET / HTTP/1.1\r\nHost: a\r\nX-Set: old\r\nX-Set: older\r\nX-Add: first\r\nX-Gone: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nServer: secret\r\nX-More: 0\r\nContent-Length: 0\r\n\r\n")
        assert.equal("1", seen.fields["x-set"])
        assert.equal("first, 2", seen.fields["x-add"])
        assert.is_nil(seen.fields["x-gone"])
        assert.equal("3", response.fields["x-out"])
        assert.equal("0, 4", response.fields["x-more"])
        assert.is_nil(response.fields.server)
    end)

    it("may stand twice in a chain, in the order of the list", function()
        local gw, up = e2e.proxy {
            plugins = {
                first = { use = "headers", config = { request = { add = { ["x-way"] = "a" } } } },
                second = { use = "headers", config = { request = { add = { ["x-way"] = "b" } } } },
            },
            route = { plugins = { "second", "first", "second" } },
        }
        local seen = e2e.seen(gw, up, "")
        assert.equal("b, a, b", seen.fields["x-way"])
    end)
end)

describe("rate_limit", function()
    it("passes its burst, then refuses and says until when", function()
        local gw, up = with("rate_limit", { rate = "1/h", burst = 2, key = "header:x-key" })
        local client = gw:client()
        local request = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: one\r\n\r\n"
        local _, first, conn = e2e.exchange(client, up, request)
        assert.truthy(first.fields.ratelimit)
        assert.truthy(first.fields["ratelimit-policy"])
        e2e.exchange(client, up, request, nil, conn)
        client:send(request)
        local refused = client:response()
        assert.equal(429, refused.status)
        assert.equal("3600", refused.fields["retry-after"])
        assert.truthy(refused.fields.ratelimit:find("r=0", 1, true))
        assert.equal("application/problem+json", refused.fields["content-type"])
        local _, other = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\nX-Key: two\r\n\r\n", nil, conn)
        assert.equal(200, other.status)
    end)

    it("counts for all workers together", function()
        local gw = e2e.gateway { workers = 3, plugins = {
            few = { use = "rate_limit", config = { rate = "1/h", burst = 5, key = "ip" } },
            fix = { use = "respond", config = { status = 200, body = "yes" } },
        }, routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "few", "fix" } } } }
        local passed = 0
        for _ = 1, 20 do
            if gw:ask(e2e.GET).status == 200 then passed = passed + 1 end
        end
        assert.equal(5, passed)
    end)
end)

describe("respond", function()
    it("answers by itself and needs no service", function()
        local gw = e2e.gateway {
            plugins = { fix = { use = "respond", config = { status = 418, body = "short and stout",
                content_type = "text/x-tea", headers = { ["x-pot"] = "1" } } } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fix" } } },
        }
        local client = gw:client()
        for _ = 1, 2 do
            client:send(e2e.GET)
            local response = client:response()
            assert.equal(418, response.status)
            assert.equal("short and stout", response.body)
            assert.equal("text/x-tea", response.fields["content-type"])
            assert.equal("1", response.fields["x-pot"])
        end
        client:send "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        local head = client:response(true)
        assert.equal("15", head.fields["content-length"])
        client:expect_nothing()
    end)
end)

describe("cors", function()
    local CONFIG = { origins = { "https://shop.example" }, methods = { "GET", "PUT" }, request_headers = { "x-one" },
        credentials = true, max_age = "10m" }

    it("answers a preflight request", function()
        local gw, up = with("cors", CONFIG)
        local response = gw:ask("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n"
            .. "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-one\r\n\r\n")
        assert.is_true(response.status == 204 or response.status == 200)
        assert.equal("https://shop.example", response.fields["access-control-allow-origin"])
        assert.truthy(response.fields["access-control-allow-methods"]:find("PUT", 1, true))
        assert.equal("true", response.fields["access-control-allow-credentials"])
        assert.equal("600", response.fields["access-control-max-age"])
        up:expect_nobody()
    end)

    it("marks the answer to an allowed origin, and says that it depends on it", function()
        local gw, up = with("cors", CONFIG)
        local _, response = e2e.exchange(gw:client(), up,
            "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n\r\n")
        assert.equal("https://shop.example", response.fields["access-control-allow-origin"])
        assert.truthy(response.fields.vary:lower():find("origin", 1, true))
    end)

    it("does not mark the answer to another", function()
        local gw, up = with("cors", CONFIG)
        local _, response = e2e.exchange(gw:client(), up,
            "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n")
        assert.is_nil(response.fields["access-control-allow-origin"])
    end)
end)
