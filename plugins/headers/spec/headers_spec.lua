local mg = require("moongate.test")

describe("headers", function()
    it("changes nothing when nothing is asked", function()
        local ctx = mg.plugin("headers"):run({ headers = { a = "1" }, upstream = { headers = { b = "2" } } })
        assert.equal("1", ctx.request:header("a"))
        assert.equal("2", ctx.response:header("b"))
    end)

    it("changes the request before the upstream sees it", function()
        local request = mg.plugin("headers", {
            request = { remove = { "Cookie" }, set = { ["X-Env"] = "prod" }, add = { accept = "text/html" } },
        }):run({ headers = { cookie = { "a=1", "b=2" }, ["x-env"] = "client's", accept = "*/*" } }).request
        assert.is_nil(request:header("cookie"))
        assert.same({ "prod" }, request:header_values("x-env"))
        assert.same({ "*/*", "text/html" }, request:header_values("accept"))
    end)

    it("changes the response on its way out, and the request not", function()
        local ctx = mg.plugin("headers", {
            response = { remove = { "server" }, set = { ["x-frame-options"] = "DENY" } },
        }):run({ headers = { server = "request's" }, upstream = { headers = { server = "up" } } })
        assert.is_nil(ctx.response:header("server"))
        assert.equal("DENY", ctx.response:header("x-frame-options"))
        assert.equal("request's", ctx.request:header("server"))
    end)

    it("adds each value of a list", function()
        local ctx = mg.plugin("headers", { response = { add = { ["set-cookie"] = { "a=1", "b=2" } } } }):run({
            upstream = { headers = { ["set-cookie"] = "own=0" } },
        })
        assert.same({ "own=0", "a=1", "b=2" }, ctx.response:header_values("set-cookie"))
    end)

    it("renames with all values, over what stood there", function()
        local ctx = mg.plugin("headers", { request = { rename = { ["X-Old"] = "x-new" } } }):run({
            headers = { ["x-old"] = { "1", "2" }, ["x-new"] = "there before" },
        })
        assert.same({}, ctx.request:header_values("x-old"))
        assert.same({ "1", "2" }, ctx.request:header_values("x-new"))
    end)

    it("leaves the new name alone when there is nothing to rename", function()
        local ctx = mg.plugin("headers", { request = { rename = { ["x-old"] = "x-new" } } }):run({
            headers = { ["x-new"] = "stays" },
        })
        assert.same({ "stays" }, ctx.request:header_values("x-new"))
    end)

    it("removes before it renames, sets and adds", function()
        local ctx = mg.plugin("headers", {
            request = { remove = { "a" }, rename = { b = "a" }, set = { c = "set" }, add = { c = "added" } },
        }):run({ headers = { a = "old", b = "from b", c = "old" } })
        assert.same({ "from b" }, ctx.request:header_values("a"))
        assert.same({ "set", "added" }, ctx.request:header_values("c"))
    end)
end)
