local mg = require("moongate.test")

describe("request_id", function()
    it("makes an id where there is none, for both sides", function()
        local ctx = mg.plugin("request_id"):run()
        local id = ctx.request:header("x-request-id")
        assert.is_truthy(id:find("^%x+$"))
        assert.equal(32, #id)
        assert.equal(id, ctx.response:header("x-request-id"))
    end)

    it("makes an id where an empty one was sent", function()
        local ctx = mg.plugin("request_id"):run({ headers = { ["x-request-id"] = "" } })
        assert.equal(32, #ctx.request:header("x-request-id"))
    end)

    it("keeps the client's id", function()
        local ctx = mg.plugin("request_id"):run({ headers = { ["x-request-id"] = "A-7" } })
        assert.equal("A-7", ctx.request:header("x-request-id"))
        assert.equal("A-7", ctx.response:header("x-request-id"))
    end)

    it("replaces an id that the upstream answers with", function()
        local ctx = mg.plugin("request_id"):run({
            headers = { ["x-request-id"] = "mine" },
            upstream = { headers = { ["x-request-id"] = "theirs" } },
        })
        assert.same({ "mine" }, ctx.response:header_values("x-request-id"))
    end)

    it("answers a malformed id itself", function()
        for _, id in ipairs({ ("a"):rep(65), "a b", "a;b", "a\"b", "\195\164" }) do
            local ctx = mg.plugin("request_id"):run({ headers = { ["x-request-id"] = id } })
            assert.is_false(ctx.proxied)
            assert.equal(400, ctx.response.status)
            assert.equal("Malformed request id", ctx.response:json().title)
            assert.is_truthy(ctx.response:header("x-request-id"):find("^%x+$"))
        end
        local ctx = mg.plugin("request_id"):run({ headers = { ["x-request-id"] = ("a"):rep(64) } })
        assert.is_true(ctx.proxied)
    end)

    it("uses the field it is told to", function()
        local ctx = mg.plugin("request_id", { header = "x-correlation-id" }):run()
        assert.is_nil(ctx.request:header("x-request-id"))
        assert.equal(32, #ctx.response:header("x-correlation-id"))
    end)
end)
