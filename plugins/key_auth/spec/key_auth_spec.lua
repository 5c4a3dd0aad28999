local mg = require("moongate.test")

local function key_auth(more)
    local conf = { keys = { ["k-alice"] = "alice", ["k-bob"] = "bob" } }
    for key, value in pairs(more or {}) do
        conf[key] = value
    end
    return mg.plugin("key_auth", conf)
end

local function refused(ctx)
    assert.is_false(ctx.proxied)
    assert.equal(401, ctx.response.status)
    assert.equal("Unauthorized", ctx.response:json().title)
    assert.equal('ApiKey realm="gateway"', ctx.response:header("www-authenticate"))
    assert.is_nil(ctx.consumer)
end

describe("key_auth", function()
    it("lets a known key pass under its consumer's name", function()
        local ctx = key_auth():run({ headers = { ["x-api-key"] = "k-bob" } })
        assert.is_true(ctx.proxied)
        assert.equal("bob", ctx.consumer)
        assert.equal("bob", ctx.request:header("x-consumer"))
    end)

    it("answers a missing, an empty and an unknown key itself", function()
        refused(key_auth():run())
        refused(key_auth():run({ headers = { ["x-api-key"] = "" } }))
        refused(key_auth():run({ headers = { ["x-api-key"] = "k-Bob" } }))
    end)

    it("does not take what every table has for a key", function()
        for _, name in ipairs({ "__index", "1", "key" }) do
            refused(key_auth():run({ headers = { ["x-api-key"] = name } }))
        end
    end)

    it("takes the list form too, with several keys of one consumer", function()
        local plugin = key_auth({ keys = { { key = "a1", consumer = "alice" }, { key = "a2", consumer = "alice" } } })
        assert.equal("alice", plugin:run({ headers = { ["x-api-key"] = "a1" } }).consumer)
        assert.equal("alice", plugin:run({ headers = { ["x-api-key"] = "a2" } }).consumer)
        refused(plugin:run({ headers = { ["x-api-key"] = "1" } }))
    end)

    it("refuses a configuration in which two consumers have one key, without telling it", function()
        local ok, problem = pcall(key_auth, { keys = {
            { key = "s3cret", consumer = "alice" }, { key = "s3cret", consumer = "bob" },
        } })
        assert.is_false(ok)
        assert.truthy(problem:find('"alice" and "bob" have the same key; every key names one consumer', 1, true))
        assert.is_nil(problem:find("s3cret", 1, true))
    end)

    it("hides the key from the upstream, or not", function()
        assert.is_nil(key_auth():run({ headers = { ["x-api-key"] = "k-bob" } }).request:header("x-api-key"))
        local ctx = key_auth({ hide = false }):run({ headers = { ["x-api-key"] = "k-bob" } })
        assert.equal("k-bob", ctx.request:header("x-api-key"))
    end)

    it("puts its own word in place of a consumer that the client claims to be", function()
        local ctx = key_auth():run({ headers = { ["x-api-key"] = "k-bob", ["x-consumer"] = { "root", "alice" } } })
        assert.same({ "bob" }, ctx.request:header_values("x-consumer"))
    end)

    it("tells the upstream nothing when it shall not", function()
        local ctx = key_auth({ consumer_header = "" }):run({ headers = { ["x-api-key"] = "k-bob" } })
        assert.is_nil(ctx.request:header("x-consumer"))
        assert.equal("bob", ctx.consumer)
    end)

    it("looks into the query where the field is absent", function()
        local plugin = key_auth({ query = "api_key" })
        assert.equal("bob", plugin:run({ query = "a=1&api_key=k-bob" }).consumer)
        local both = plugin:run({ query = "api_key=k-bob", headers = { ["x-api-key"] = "k-alice" } })
        assert.equal("alice", both.consumer)
        refused(key_auth():run({ query = "api_key=k-bob" }))
    end)

    it("hides the parameter however it was written, and keeps the others as they were", function()
        local plugin = key_auth({ query = "api_key" })
        local ctx = plugin:run({ query = "a=%20&api%5Fkey=k-bob&b&api_key=x&=c" })
        assert.equal("a=%20&b&=c", ctx.request.query)
        assert.is_nil(plugin:run({ query = "api_key=k-bob" }).request.query)
    end)

    it("refuses to look nowhere", function()
        assert.error_matches(function()
            key_auth({ header = "" })
        end, "a key is looked for nowhere: name a header or a query parameter")
        assert.equal("bob", key_auth({ header = "", query = "k" }):run({ query = "k=k-bob" }).consumer)
    end)
end)
