--- One plugin at a time. Run by `moongate test tests/test`.
local mg = require("moongate.test")

describe("mg.plugin", function()
    it("runs a bundled plugin with its configuration", function()
        local plugin = mg.plugin("key_auth", { keys = { k1 = "alice" } })
        local refused = plugin:run()
        assert.equal(401, refused.status)
        assert.is_false(refused.proxied)
        assert.is_nil(refused.request)
        assert.is_nil(refused.consumer)
        local passed = plugin:run({ headers = { ["x-api-key"] = "k1" } })
        assert.equal(200, passed.status)
        assert.equal("alice", passed.consumer)
        assert.equal("alice", passed.request:header("x-consumer"))
    end)

    it("refuses a configuration as the gateway does", function()
        local ok, why = pcall(mg.plugin, "respond", { status = 204, body = "x" })
        assert.is_false(ok)
        assert.truthy(why:find("a 204 has no body", 1, true), why)
    end)

    it("runs a handler that stands in the spec", function()
        local plugin = mg.plugin(mg.handler([[
            if ctx.request.method == "POST" then
                return ctx:respond(400, { title = conf.title })
            end
            ctx.log:info("seen %s", ctx.request.path)
            ctx.request:set_header("x-a", "1")
            next(ctx)
            ctx.response:set_header("x-b", ctx.response:header("x-up") .. "!")
        ]], { config = { title = "No" } }))
        assert.equal("No", plugin:run({ method = "POST" }).response:json().title)
        local result = plugin:run({
            path = "/p", query = "a=1", upstream = { status = 201, headers = { ["x-up"] = "u" } },
        })
        assert.equal(201, result.status)
        assert.equal("u!", result.response:header("x-b"))
        assert.equal("1", result.request:header("x-a"))
        assert.equal("/p?a=1", result.request.target)
        assert.equal(1, #result.log)
        assert.truthy(result.log[1].message:find("seen /p", 1, true))
    end)

    it("has a consumer when the test says so", function()
        local plugin = mg.plugin(mg.handler('ctx:respond(200, tostring(ctx.consumer))'))
        assert.equal("nil", plugin:run().response.body)
        assert.equal("bob", plugin:run({ consumer = "bob" }).response.body)
    end)

    it("takes bodies", function()
        local plugin = mg.plugin(mg.handler([[
            ctx.request:set_body(ctx.request:body():upper())
            next(ctx)
            ctx.response:set_body(ctx.response:body() .. "!")
        ]], { request = "buffer(64KiB)", response = "buffer(64KiB)" }))
        local result = plugin:run({ method = "POST", body = "abc", upstream = { body = "up" } })
        assert.equal("ABC", result.request.body)
        assert.equal("up!", result.response.body)
    end)
end)
