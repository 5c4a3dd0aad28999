--- The shop as its README tells, on a virtual clock: the real configuration in front of upstreams that the spec plays.
--- From this folder: moongate test
local mg = require("moongate.test")

local GOODS = { lamp = { name = "Moon lamp" } }

--- Answers as upstream.c does.
local function catalog(name)
    return mg.upstream():reply(function(request)
        if request.path == "/healthz" then
            return 200, "ok"
        end
        local good = request.path:match("^/v1/products/(%w+)$")
        return 200, { served_by = name, result = good and GOODS[good] or "all", seen = request.headers },
            { server = "shop", ["x-served"] = name }
    end)
end

local function carts()
    local kept = {}
    return mg.upstream():reply(function(request)
        local id = request.path:match("^/v1/carts/(%w+)")
        local fields = { ["x-served"] = "cart" }
        if id == "broken" then
            return 500, { served_by = "cart" }, fields
        elseif request.method == "PUT" then
            kept[id] = request.body
        elseif request.method == "DELETE" then
            kept[id] = nil
        elseif request.method == "GET" and not kept[id] then
            return 404, { served_by = "cart" }, fields
        end
        return 200, { served_by = "cart", result = kept[id], seen = request.headers }, fields
    end)
end

--- The gateway, and what stands behind it.
local function shop()
    local ups = { a = catalog("catalog-a"), b = catalog("catalog-b"), new = catalog("catalog-next"), cart = carts() }
    return mg.gateway({
        file = "moongate.yaml",
        replace = {
            ["services.catalog"] = { ups.a, ups.b }, ["services.catalog-next"] = ups.new, ["services.cart"] = ups.cart,
        },
    }), ups
end

local ALICE, BATCH = { ["x-api-key"] = "alice-key" }, { ["x-api-key"] = "batch-key" }
local OLD = { ["x-abtest-group"] = "catalog" }

describe("the shop", function()
    it("serves its goods from two endpoints in turn", function()
        local gw = shop()
        local by = {}
        for _ = 1, 4 do
            local response = gw:get("/v1/products/lamp", { headers = OLD })
            assert.equal(200, response.status)
            assert.equal("Moon lamp", response:json().result.name)
            by[response:json().served_by] = (by[response:json().served_by] or 0) + 1
        end
        assert.same({ ["catalog-a"] = 2, ["catalog-b"] = 2 }, by)
    end)

    it("tidies what the upstream says of itself", function()
        local response = shop():get("/v1/products")
        assert.is_nil(response:header("server"))
        assert.is_nil(response:header("x-served"))
        assert.equal(response:json().served_by, response:header("x-served-by"))
        assert.equal("nosniff", response:header("x-content-type-options"))
        assert.equal("example", response:json().seen["x-env"])
        assert.equal("hello, stranger", response:json().seen["x-greeting"])
    end)

    it("gives a request one id for the client and the upstream", function()
        local gw = shop()
        local response = gw:get("/v1/products/lamp")
        assert.equal(32, #response:header("x-request-id"))
        assert.equal(response:header("x-request-id"), response:json().seen["x-request-id"])
        response = gw:get("/v1/products/lamp", { headers = { ["x-request-id"] = "mine-1" } })
        assert.equal("mine-1", response:header("x-request-id"))
        assert.equal(400, gw:get("/v1/products/lamp", { headers = { ["x-request-id"] = "no id" } }).status)
    end)

    it("opens carts to those who have a key only", function()
        local gw, ups = shop()
        local response = gw:get("/v1/carts/1")
        assert.equal(401, response.status)
        assert.equal('ApiKey realm="gateway"', response:header("www-authenticate"))
        assert.equal(response:header("x-request-id"), response:json().instance)
        assert.equal(401, gw:get("/v1/carts/1", { headers = { ["x-api-key"] = "guessed" } }).status)
        assert.equal(0, #ups.cart.requests)
    end)

    it("keeps a cart, and the upstream knows whose it is and not the key", function()
        local gw, ups = shop()
        assert.equal(200, gw:put("/v1/carts/42", { headers = ALICE, body = "two lamps" }).status)
        local response = gw:get("/v1/carts/42", { headers = { ["x-api-key"] = "alice-key", ["x-consumer"] = "root" } })
        assert.equal("two lamps", response:json().result)
        assert.same({ "alice" }, ups.cart.requests[2]:all("x-consumer"))
        assert.is_nil(ups.cart.requests[2]:header("x-api-key"))
        assert.equal(200, gw:delete("/v1/carts/42", { headers = ALICE }).status)
        assert.equal(404, gw:get("/v1/carts/42", { headers = ALICE }).status)
    end)

    it("answers browsers before they have a key", function()
        local gw = shop()
        local asks = { origin = "https://a.shop.example", ["access-control-request-method"] = "PUT" }
        local response = gw:options("/v1/carts/42", { headers = asks })
        assert.equal(204, response.status)
        assert.equal("https://a.shop.example", response:header("access-control-allow-origin"))
        asks.origin = "https://evil.example"
        assert.equal(403, gw:options("/v1/carts/42", { headers = asks }).status)
    end)

    it("tells a customer who is too fast when to return", function()
        local gw = shop()
        for _, wanted in ipairs({ 404, 404, 404, 429 }) do
            assert.equal(wanted, gw:get("/v1/carts/none", { headers = BATCH }).status)
        end
        local response = gw:get("/v1/carts/none", { headers = BATCH })
        assert.equal("10", response:header("retry-after"))
        assert.same({ "fair.batch" }, response:json()["violated-policies"])
        assert.equal(404, gw:get("/v1/carts/none", { headers = ALICE }).status)
        mg.clock:advance("10s")
        assert.equal(404, gw:get("/v1/carts/none", { headers = BATCH }).status)
    end)

    it("says what it does not have and what it does not do", function()
        local gw = shop()
        assert.equal("a shop of moon lamps\n", gw:get("/about").body)
        assert.equal(404, gw:get("/nowhere").status)
        local response = gw:post("/v1/products")
        assert.equal(405, response.status)
        assert.equal("GET,HEAD,OPTIONS", (response:header("allow"):gsub(" ", "")))
    end)

    it("remembers over a restart how often a customer came", function()
        local gw = shop()
        assert.equal("hello, alice: visit 1", gw:get("/v1/carts/1", { headers = ALICE }):header("x-greeting"))
        gw:restart()
        assert.equal("hello, alice: visit 2", gw:get("/v1/carts/1", { headers = ALICE }):header("x-greeting"))
    end)

    it("takes three orders an hour, and a kill does not begin the hour anew", function()
        local gw = shop()
        for _ = 1, 3 do
            assert.equal(200, gw:post("/v1/carts/9/order", { headers = ALICE }).status)
        end
        assert.equal(429, gw:post("/v1/carts/9/order", { headers = ALICE }).status)
        mg.clock:advance("2s")
        gw:restart({ kill = true })
        local response = gw:post("/v1/carts/9/order", { headers = ALICE })
        assert.equal(429, response.status)
        assert.same({ "orders" }, response:json()["violated-policies"])
        mg.clock:advance("2h")
        assert.equal(200, gw:post("/v1/carts/9/order", { headers = ALICE }).status)
    end)

    it("stops asking a service of which half the calls fail, and comes back to it", function()
        local gw, ups = shop()
        for _ = 1, 5 do
            assert.equal(500, gw:get("/v1/carts/broken", { headers = ALICE }).status)
        end
        assert.equal("open", gw.breaker.cart.state)
        local response = gw:get("/v1/carts/1", { headers = ALICE })
        assert.equal(503, response.status)
        assert.equal(5, #ups.cart.requests)
        mg.clock:advance("3s")
        assert.equal(404, gw:get("/v1/carts/1", { headers = ALICE }).status)
        assert.equal("closed", gw.breaker.cart.state)
    end)

    it("hides an endpoint that dies, and uses it when it is back", function()
        local gw, ups = shop()
        ups.b:stop()
        for _ = 1, 4 do
            assert.equal("catalog-a", gw:get("/v1/products", { headers = OLD }):header("x-served-by"))
        end
        mg.clock:advance("3s")
        assert.equal(1, #gw:log("host_down"))
        ups.b:start()
        mg.clock:advance("5s")
        local by = {}
        for _ = 1, 4 do
            by[gw:get("/v1/products", { headers = OLD }):header("x-served-by")] = true
        end
        assert.same({ ["catalog-a"] = true, ["catalog-b"] = true }, by)
    end)

    it("brings in a new catalogue that does well, and remembers it over a kill", function()
        local gw = shop()
        for _ = 1, 10 do
            for i = 1, 50 do
                gw:get("/v1/products", { headers = { ["x-user"] = "user-" .. i } })
            end
            mg.clock:advance("1s")
        end
        assert.equal(100, gw.rollout.catalog.percent)
        assert.equal("catalog-next", gw:get("/v1/products"):header("x-served-by"))
        assert.truthy(gw:get("/v1/products", { headers = OLD }):header("x-served-by"):find("^catalog%-[ab]$"))
        gw:restart({ kill = true })
        assert.equal("catalog-next", gw:get("/v1/products"):header("x-served-by"))
    end)

    it("takes a new catalogue back that fails", function()
        local gw, ups = shop()
        ups.new.script = {}
        ups.new:reply(500)
        for _ = 1, 10 do
            for i = 1, 50 do
                gw:get("/v1/products", { headers = { ["x-user"] = "user-" .. i } })
            end
            mg.clock:advance("1s")
        end
        assert.equal(0, gw.rollout.catalog.percent)
        assert.truthy(gw:get("/v1/products"):header("x-served-by"):find("^catalog%-[ab]$"))
    end)
end)
