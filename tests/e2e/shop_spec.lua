--- The shop as its README tells: the real gateway with the real configuration in front of the real upstreams.
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"
local Process = require "tests.e2e.harness.process"

local ROOT = assert(io.popen("pwd")):read "*l"
local SHOP = ROOT .. "/examples/shop"

local upstreams, ports, gw = {}, {}, nil

local function start_upstream(name)
    ports[name] = ports[name] or e2e.free_port()
    local program = Gateway.binary():match("^.*/") .. "shop_upstream"
    upstreams[name] = Process.start { argv = { program, name, tostring(ports[name]) } }
    upstreams[name]:line("out", "that it listens", function(line)
        return line:find("listening", 1, true)
    end)
end

local function start_gateway()
    local state = Gateway.folder()
    gw = e2e.shared {
        text = "",
        args = {
            "run", "-c", SHOP .. "/moongate.yaml",
            "--set", "listeners.web.bind=127.0.0.1:@PORT@", "--set", "status.bind=127.0.0.1:@STATUS@",
            "--set", "admin.bind=unix:" .. state .. "/admin.sock",
            "--set", "limiters.everybody.burst=1000000", -- one address sends all that is sent here
        },
        env = {
            SHOP_CATALOG_A = ports["catalog-a"], SHOP_CATALOG_B = ports["catalog-b"], SHOP_CART = ports.cart,
            SHOP_CATALOG_NEXT = ports["catalog-next"],
            SHOP_STATE = state .. "/state",
        },
    }
    gw.state = state
end

--- One request: "GET /about", field lines, a body. Returns the response, and its JSON where it is some.
local function ask(line, fields, body)
    local lines = { line .. " HTTP/1.1", "Host: shop.test" }
    for _, field in ipairs(fields or {}) do
        lines[#lines + 1] = field
    end
    if body then
        lines[#lines + 1] = "Content-Length: " .. #body
    end
    local response = gw:ask(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
    local is_json = (response.fields["content-type"] or ""):find("json", 1, true)
    return response, is_json and e2e.json.decode(response.body)
end

--- What an operator's command prints; the gateway's socket is not where its folder is.
local function command(...)
    local args = { ... }
    args[#args + 1], args[#args + 2] = "--admin", "unix:" .. gw.state .. "/admin.sock"
    local result = gw:command(args)
    assert.equal("", result.err)
    return result.out
end

local ALICE, BATCH = "X-Api-Key: alice-key", "X-Api-Key: batch-key"
local OLD = "X-Abtest-Group: catalog"

describe("the shop", function()
    setup(function()
        for _, name in ipairs { "catalog-a", "catalog-b", "catalog-next", "cart" } do
            start_upstream(name)
        end
        start_gateway()
    end)

    teardown(function()
        if gw then
            gw:stop()
            Gateway.remove_folder(gw.state)
        end
        for _, upstream in pairs(upstreams) do
            upstream:kill()
        end
    end)

    after_each(e2e.finish)

    it("has a configuration that checks clean", function()
        local result = e2e.run({ "check", "--strict", SHOP .. "/moongate.yaml" })
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    it("serves its goods from two endpoints in turn", function()
        local by = {}
        for _ = 1, 4 do
            local response, answer = ask("GET /v1/products/lamp", { OLD })
            assert.equal(200, response.status)
            assert.equal("Moon lamp", answer.result.name)
            by[answer.served_by] = true
        end
        assert.same({ ["catalog-a"] = true, ["catalog-b"] = true }, by) -- a worker that is asked twice asks both
    end)

    it("tidies what the upstream says of itself", function()
        local response, answer = ask "GET /v1/products"
        assert.is_nil(response.fields.server)
        assert.is_nil(response.fields["x-served"])
        assert.equal(answer.served_by, response.fields["x-served-by"])
        assert.equal("nosniff", response.fields["x-content-type-options"])
        assert.equal("example", answer.seen["x-env"])
        assert.equal("hello, stranger", answer.seen["x-greeting"])
    end)

    it("gives a request one id for the client and the upstream", function()
        local response, answer = ask("GET /v1/products/lamp")
        assert.equal(32, #response.fields["x-request-id"])
        assert.equal(response.fields["x-request-id"], answer.seen["x-request-id"])
        response = ask("GET /v1/products/lamp", { "X-Request-Id: mine-1" })
        assert.equal("mine-1", response.fields["x-request-id"])
        response = ask("GET /v1/products/lamp", { "X-Request-Id: not an id" })
        assert.equal(400, response.status)
        assert.equal(32, #response.fields["x-request-id"])
    end)

    it("opens carts to those who have a key only", function()
        local response, problem = ask "GET /v1/carts/1"
        assert.equal(401, response.status)
        assert.equal("application/problem+json", response.fields["content-type"])
        assert.equal('ApiKey realm="gateway"', response.fields["www-authenticate"])
        assert.equal(response.fields["x-request-id"], problem.instance)
        assert.equal(401, (ask("GET /v1/carts/1", { "X-Api-Key: guessed" })).status)
    end)

    it("keeps a cart, and the upstream knows whose it is and not the key", function()
        assert.equal(200, (ask("PUT /v1/carts/42", { ALICE }, "two lamps")).status)
        local response, answer = ask("GET /v1/carts/42", { ALICE, "X-Consumer: root" })
        assert.equal(200, response.status)
        assert.equal("two lamps", answer.result)
        assert.equal("alice", answer.seen["x-consumer"])
        assert.is_nil(answer.seen["x-api-key"])
        assert.equal(200, (ask("DELETE /v1/carts/42", { ALICE })).status)
        assert.equal(404, (ask("GET /v1/carts/42", { ALICE })).status)
    end)

    it("answers browsers before they have a key", function()
        local asks = { "Origin: https://a.shop.example", "Access-Control-Request-Method: PUT" }
        local response = ask("OPTIONS /v1/carts/42", asks)
        assert.equal(204, response.status)
        assert.equal("https://a.shop.example", response.fields["access-control-allow-origin"])
        asks[1] = "Origin: https://evil.example"
        assert.equal(403, (ask("OPTIONS /v1/carts/42", asks)).status)
    end)

    it("tells a customer who is too fast when to return", function()
        local statuses = {}
        for i = 1, 4 do
            statuses[i] = (ask("GET /v1/products", { BATCH })).status
        end
        assert.same({ 200, 200, 200, 200 }, statuses) -- no key is asked for there
        for i = 1, 4 do
            statuses[i] = (ask("GET /v1/carts/none", { BATCH })).status
        end
        assert.same({ 404, 404, 404, 429 }, statuses)
        local response, problem = ask("GET /v1/carts/none", { BATCH })
        local wait_s = tonumber(response.fields["retry-after"])
        assert.is_true(wait_s >= 1 and wait_s <= 10)
        assert.same({ "fair.batch" }, problem["violated-policies"])
        assert.equal(404, (ask("GET /v1/carts/none", { ALICE })).status)
    end)

    it("answers by itself about itself", function()
        local response = ask "GET /about"
        assert.equal("a shop of moon lamps\n", response.body)
        assert.equal("max-age=60", response.fields["cache-control"])
    end)

    it("says what it does not have and what it does not do", function()
        assert.equal(404, (ask "GET /nowhere").status)
        local response = ask "POST /v1/products"
        assert.equal(405, response.status)
        assert.equal("GET,HEAD,OPTIONS", (response.fields.allow:gsub(" ", "")))
    end)

    it("remembers over a restart how often a customer came", function()
        local function visit()
            local greeting = (ask("GET /v1/carts/1", { ALICE })).fields["x-greeting"]
            return tonumber(greeting:match "^hello, alice: visit (%d+)$")
        end
        local before = visit()
        gw:restart(e2e.SIGTERM)
        assert.equal(before + 1, visit())
    end)

    it("takes three orders an hour, and a kill does not begin the hour anew", function()
        for _ = 1, 3 do
            assert.equal("cart", (ask("POST /v1/carts/9/order", { ALICE })).fields["x-served-by"])
        end
        assert.equal(429, (ask("POST /v1/carts/9/order", { ALICE })).status)
        e2e.eventually("the count to be on disk", function()
            return command("state", "scan", "policy:limiters", "orders"):find('"used":3', 1, true)
        end)
        gw:restart(e2e.SIGKILL)
        local response, problem = ask("POST /v1/carts/9/order", { ALICE })
        assert.equal(429, response.status)
        assert.same({ "orders" }, problem["violated-policies"])
    end)

    it("stops asking a service of which half the calls fail, and comes back to it", function()
        local response, answer
        for _ = 1, 20 do
            response, answer = ask("GET /v1/carts/broken", { ALICE })
            if not answer.served_by then break end
        end
        assert.equal(503, response.status)
        assert.is_nil(answer.served_by)
        assert.is_true(tonumber(response.fields["retry-after"]) >= 1)
        assert.truthy(command("top", "--once", "--interval", "100ms"):find "\ncart .*open")
        e2e.eventually("the breaker to close", function()
            return (ask("GET /v1/carts/1", { ALICE })).status == 404
        end)
    end)

    it("hides an endpoint that dies, and uses it when it is back", function()
        upstreams["catalog-b"]:kill()
        for _ = 1, 4 do
            assert.equal("catalog-a", (ask("GET /v1/products", { OLD })).fields["x-served-by"])
        end
        assert.truthy(gw:log "host_down")
        assert.truthy(command("top", "--once", "--interval", "100ms"):find "\ncatalog +1/2 ")
        start_upstream "catalog-b"
        e2e.eventually("catalog-b to be used", function()
            return (ask("GET /v1/products", { OLD })).fields["x-served-by"] == "catalog-b"
        end)
    end)

    it("brings in a new catalogue that does well, and asks the old one where a client wants it", function()
        e2e.eventually("the new catalogue to have all", function()
            for i = 1, 50 do
                ask("GET /v1/products", { "X-User: user-" .. i })
            end
            return gw:metric("moongate_rollout_weight") == 100
        end)
        for i = 1, 50 do
            local response = ask("GET /v1/products", { "X-User: user-" .. i })
            assert.equal("catalog-next", response.fields["x-served-by"])
        end
        assert.truthy((ask("GET /v1/products", { OLD })).fields["x-served-by"]:find "^catalog%-[ab]$")
        e2e.eventually("the step to be on disk", function()
            return command("state", "scan", "policy:rollouts"):find('"step":1', 1, true)
        end)
        gw:restart(e2e.SIGKILL)
        assert.equal("catalog-next", (ask "GET /v1/products").fields["x-served-by"])
    end)
end)
