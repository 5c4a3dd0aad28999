local mg = require("moongate.test")

describe("respond", function()
    it("answers an empty 200 by default and asks no upstream", function()
        local ctx = mg.plugin("respond"):run()
        assert.equal(200, ctx.response.status)
        assert.equal("", ctx.response.body)
        assert.is_nil(ctx.response:header("content-type"))
        assert.is_false(ctx.proxied)
    end)

    it("answers what it is told", function()
        local ctx = mg.plugin("respond", {
            status = 503, body = "closed\n", headers = { ["Retry-After"] = "3600" },
        }):run()
        assert.equal(503, ctx.response.status)
        assert.equal("closed\n", ctx.response.body)
        assert.equal("text/plain; charset=utf-8", ctx.response:header("content-type"))
        assert.equal("3600", ctx.response:header("retry-after"))
    end)

    it("lets a field in headers decide the content type", function()
        local ctx = mg.plugin("respond", { body = "{}", headers = { ["Content-Type"] = "application/json" } }):run()
        assert.same({ "application/json" }, ctx.response:header_values("content-type"))
    end)

    it("answers again and again", function()
        local plugin = mg.plugin("respond", { body = "same" })
        for _ = 1, 3 do
            assert.equal("same", plugin:run().response.body)
        end
    end)

    it("refuses a body where the status allows none", function()
        for _, status in ipairs({ 204, 205, 304 }) do
            assert.error_matches(function()
                mg.plugin("respond", { status = status, body = "x" })
            end, "a " .. status .. " has no body: leave body out, or choose another status")
            assert.equal(status, mg.plugin("respond", { status = status }):run().response.status)
        end
    end)
end)
