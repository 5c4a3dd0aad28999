local fake = require("tests.lua.fake_ctx")

local function greet(conf)
    return fake.plugin("examples/shop/plugins/greet", conf)
end

describe("greet", function()
    it("greets a customer by name, to the upstream and back", function()
        local ctx = greet():run({ consumer = "alice" })
        assert.equal("hello, alice", ctx.request:header("x-greeting"))
        assert.equal("hello, alice: visit 1", ctx.response:header("x-greeting"))
    end)

    it("counts the visits of each customer alone", function()
        local plugin, kv = greet(), fake.kv()
        local function visit(consumer)
            return plugin:run({ consumer = consumer, kv = kv }).response:header("x-greeting")
        end
        visit("alice")
        assert.equal("hello, alice: visit 2", visit("alice"))
        assert.equal("hello, bob: visit 1", visit("bob"))
    end)

    it("greets a stranger too, and counts nothing", function()
        local kv = fake.kv()
        local ctx = greet({ text = "good evening", header = "x-welcome" }):run({ kv = kv })
        assert.equal("good evening, stranger", ctx.request:header("x-welcome"))
        assert.is_nil(ctx.response:header("x-welcome"))
        assert.same({}, kv.values)
    end)

    it("serves on when visits cannot be counted, and says so", function()
        local kv = fake.kv()
        function kv:incr() -- luacheck: ignore self
            return nil, "the namespace is full"
        end
        local ctx = greet():run({ consumer = "alice", kv = kv })
        assert.is_true(ctx.proxied)
        assert.is_nil(ctx.response:header("x-greeting"))
        assert.same({ "warn: a visit is not counted: the namespace is full" }, ctx.log.lines)
    end)
end)
