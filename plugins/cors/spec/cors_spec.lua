local mg = require("moongate.test")

local SHOP = "https://shop.example"

local function cors(conf)
    conf.origins = conf.origins or { SHOP }
    return mg.plugin("cors", conf)
end

local function preflight(origin, headers)
    headers = headers or {}
    headers.origin = origin
    headers["access-control-request-method"] = headers["access-control-request-method"] or "PUT"
    return { method = "OPTIONS", headers = headers }
end

describe("cors answers a preflight", function()
    it("of an origin that is named, without the upstream", function()
        local ctx = cors({}):run(preflight(SHOP))
        assert.is_false(ctx.proxied)
        assert.equal(204, ctx.response.status)
        assert.equal(SHOP, ctx.response:header("access-control-allow-origin"))
        assert.equal("GET, HEAD, POST, PUT, PATCH, DELETE", ctx.response:header("access-control-allow-methods"))
        assert.equal("600", ctx.response:header("access-control-max-age"))
        assert.equal("Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ctx.response:header("vary"))
        assert.is_nil(ctx.response:header("access-control-allow-credentials"))
    end)

    it("of any other origin with 403 and no permission", function()
        local ctx = cors({}):run(preflight("https://evil.example"))
        assert.equal(403, ctx.response.status)
        assert.equal("Origin not allowed", ctx.response:json().title)
        assert.is_nil(ctx.response:header("access-control-allow-origin"))
        assert.is_false(ctx.proxied)
    end)

    it("with the fields that are asked for, or with those that are named", function()
        local asked = { ["access-control-request-headers"] = "x-a,x-b" }
        assert.equal("x-a,x-b", cors({}):run(preflight(SHOP, asked)).response:header("access-control-allow-headers"))
        assert.is_nil(cors({}):run(preflight(SHOP)).response:header("access-control-allow-headers"))
        local ctx = cors({ request_headers = { "x-a", "authorization" } }):run(preflight(SHOP, asked))
        assert.equal("x-a, authorization", ctx.response:header("access-control-allow-headers"))
    end)

    it("with a star for everybody", function()
        local ctx = cors({ origins = { "*" } }):run(preflight("https://any.example"))
        assert.equal("*", ctx.response:header("access-control-allow-origin"))
    end)

    it("with methods, age and credentials as configured", function()
        local ctx = cors({ methods = { "GET", "PURGE" }, max_age = "1.5h", credentials = true }):run(preflight(SHOP))
        assert.equal("GET, PURGE", ctx.response:header("access-control-allow-methods"))
        assert.equal("5400", ctx.response:header("access-control-max-age"))
        assert.equal("true", ctx.response:header("access-control-allow-credentials"))
        assert.equal(SHOP, ctx.response:header("access-control-allow-origin"))
    end)

    it("only when it is one", function()
        assert.is_true(cors({}):run({ method = "OPTIONS", headers = { origin = SHOP } }).proxied)
        local asks = { ["access-control-request-method"] = "PUT" }
        assert.is_true(cors({}):run({ method = "OPTIONS", headers = asks }).proxied)
        local get = preflight(SHOP)
        get.method = "GET"
        assert.is_true(cors({}):run(get).proxied)
    end)

    it("anew for each request", function()
        local plugin = cors({ origins = { SHOP, "https://b.example" } })
        plugin:run(preflight(SHOP, { ["access-control-request-headers"] = "x-a" }))
        local ctx = plugin:run(preflight("https://b.example"))
        assert.equal("https://b.example", ctx.response:header("access-control-allow-origin"))
        assert.is_nil(ctx.response:header("access-control-allow-headers"))
    end)
end)

describe("cors marks an answer", function()
    it("for an origin that is named", function()
        local plugin = cors({ expose = { "x-request-id", "etag" }, credentials = true })
        local ctx = plugin:run({ headers = { origin = SHOP } })
        assert.is_true(ctx.proxied)
        assert.equal(SHOP, ctx.response:header("access-control-allow-origin"))
        assert.equal("true", ctx.response:header("access-control-allow-credentials"))
        assert.equal("x-request-id, etag", ctx.response:header("access-control-expose-headers"))
        assert.equal("Origin", ctx.response:header("vary"))
    end)

    it("for nobody else, but lets the request pass and tells caches", function()
        local strangers = { "https://evil.example", "null", "https://shop.example.evil", "http://shop.example" }
        for _, origin in ipairs(strangers) do
            local ctx = cors({}):run({ headers = { origin = origin } })
            assert.is_true(ctx.proxied)
            assert.is_nil(ctx.response:header("access-control-allow-origin"))
            assert.equal("Origin", ctx.response:header("vary"))
        end
        assert.equal("Origin", cors({}):run().response:header("vary"))
    end)

    it("in place of what the upstream said", function()
        local upstream = { headers = {
            ["access-control-allow-origin"] = "*", ["access-control-allow-credentials"] = "true",
            ["access-control-expose-headers"] = "x-secret",
        } }
        local stranger = cors({}):run({ headers = { origin = "https://evil.example" }, upstream = upstream })
        local friend = cors({}):run({ headers = { origin = SHOP }, upstream = upstream })
        for _, ctx in ipairs({ stranger, friend }) do
            assert.is_nil(ctx.response:header("access-control-allow-credentials"))
            assert.is_nil(ctx.response:header("access-control-expose-headers"))
        end
        assert.is_nil(stranger.response:header("access-control-allow-origin"))
        assert.same({ SHOP }, friend.response:header_values("access-control-allow-origin"))
    end)

    it("and says Vary once", function()
        local function vary(value)
            return cors({}):run({ headers = { origin = SHOP }, upstream = { headers = { vary = value } } })
                .response:header_values("vary")
        end
        assert.same({ "Accept-Encoding", "Origin" }, vary("Accept-Encoding"))
        assert.same({ "accept, origin" }, vary("accept, origin"))
        assert.same({ "*" }, vary("*"))
        assert.same({ "x-original", "Origin" }, vary("x-original"))
    end)

    it("with a star and no Vary for everybody", function()
        local ctx = cors({ origins = { "*" } }):run({ headers = { origin = SHOP } })
        assert.equal("*", ctx.response:header("access-control-allow-origin"))
        assert.is_nil(ctx.response:header("vary"))
        assert.is_nil(cors({ origins = { "*" } }):run().response:header("access-control-allow-origin"))
    end)
end)

describe("cors", function()
    it("takes all below a domain, and nothing that only looks so", function()
        local plugin = cors({ origins = { "https://*.Shop.example" } })
        local function welcome(origin)
            local ctx = plugin:run({ headers = { origin = origin } })
            return ctx.response:header("access-control-allow-origin") == origin
        end
        assert.is_true(welcome("https://a.shop.example"))
        assert.is_true(welcome("https://a.b.shop.example"))
        for _, origin in ipairs({
            "https://shop.example", "https://.shop.example", "http://a.shop.example", "https://ashop.example",
            "https://evil.example/.shop.example", "https://a.shop.example.evil", "https://evil:1@a.shop.example",
            "https://a.shop.example:8443",
        }) do
            assert.is_false(welcome(origin), origin)
        end
    end)

    it("does not give credentials to everybody", function()
        assert.error_matches(function()
            cors({ origins = { "*" }, credentials = true })
        end, "credentials for every origin would hand each visitor's session to every site: name the origins")
    end)
end)
