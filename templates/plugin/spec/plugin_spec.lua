local mg = require "moongate.test"

describe("@NAME@", function()
    it("sets its field on whatever answer comes", function()
        local plugin = mg.plugin("@NAME@", { text = "hi" })
        local result = plugin:run { upstream = { status = 201, body = "made" } }
        assert.equal(201, result.status)
        assert.equal("hi", result.response:header("x-@NAME@"))
    end)
end)
