local mg = require "moongate.test"

describe("this gateway", function()
    it("answers", function()
        local gw = mg.gateway { file = "moongate.yaml" }
        local response = gw:get("/")
        assert.equal(200, response.status)
        assert.equal("it works\n", response.body)
        assert.equal("hello", response:header("x-hello"))
    end)
end)
