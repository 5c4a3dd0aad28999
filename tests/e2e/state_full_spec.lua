-- A durable store without room, from the outside: traffic goes on, what is deleted goes, also over a kill, and storing
-- goes on by itself.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local LARGE = ("v"):rep(60000)

local function gateway(max_size)
    return e2e.gateway {
        extra = { admin = { bind = "unix:run/admin.sock" }, state = { path = "state", max_size = max_size or "1MiB" } },
        files = { ["plugins/shelf/plugin.lua"] = [[
            local plugin = { name = "shelf", version = "1.0.0", capabilities = { "kv" } }
            function plugin.new()
                return function(ctx)
                    local key = ctx.request.path:sub(2)
                    if ctx.request.method == "DELETE" then
                        ctx.kv:delete(key)
                        local done, problem = ctx.kv:barrier()
                        return ctx:respond(done and 200 or 507, problem or "gone")
                    end
                    return ctx:respond(200, ctx.kv:get(key) or "nothing")
                end
            end
            return plugin]] },
        plugins = { shelf = { use = "./plugins/shelf" } },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "shelf" } } },
    }
end

local function shelf(gw, key, method)
    return gw:ask((method or "GET") .. " /" .. key .. " HTTP/1.1\r\nHost: a\r\n\r\n")
end

local function set(gw, key, value)
    return gw:command({ "state", "set", "shelf", key, "-" }, { stdin = value })
end

local function del(gw, key)
    local result = gw:command { "state", "del", "shelf", key }
    assert.equal(0, result.code, result.err)
end

--- Large values until one has no room; how many had.
local function fill(gw)
    for i = 1, 40 do
        local result = set(gw, "large" .. i, LARGE)
        if result.code ~= 0 then
            assert.truthy(result.err:find("full", 1, true), result.err)
            return i - 1
        end
    end
    error "a store of 1 MiB has room for 2"
end

local function stored(gw)
    return e2e.json.decode(gw:status("/healthz").body).checks.state.stored
end

describe("a store that is full", function()
    it("is told of, deletes at once, and stores again when there is room", function()
        local gw = gateway()
        assert.equal(0, set(gw, "small", "kept").code)
        assert.is_true(stored(gw))
        local count = fill(gw)
        assert.is_true(count > 5)
        assert.is_false(stored(gw))
        assert.is_true(gw:metric "moongate_state_errors_total" >= 1)
        assert.equal("kept", shelf(gw, "small").body)
        assert.equal(LARGE, shelf(gw, "large" .. count + 1).body) -- from memory

        assert.equal(0, set(gw, "small2", "has room").code)
        del(gw, "small") -- durable, although something else still waits
        del(gw, "small2")
        gw:restart(e2e.SIGKILL)
        assert.equal("nothing", shelf(gw, "small").body)
        assert.equal("nothing", shelf(gw, "small2").body)
        assert.equal(LARGE, shelf(gw, "large1").body)
        assert.equal("nothing", shelf(gw, "large" .. count + 1).body) -- was never told to be stored

        for i = 1, count do del(gw, "large" .. i) end
        assert.equal(count, fill(gw))
        assert.equal(507, shelf(gw, "small3", "DELETE").status) -- a namespace is told of what of it waits
        assert.equal(200, shelf(gw, "large1", "DELETE").status) -- which makes room for it
        assert.is_true(stored(gw))
        gw:restart(e2e.SIGKILL)
        assert.equal("nothing", shelf(gw, "large1").body)
        assert.equal(LARGE, shelf(gw, "large" .. count + 1).body)
    end)

    it("makes room as values age", function()
        local gw = gateway()
        for i = 1, 40 do
            local result = gw:command({ "state", "set", "shelf", "large" .. i, "-", "--ttl", "1s" },
                { stdin = LARGE })
            if result.code ~= 0 then break end
        end
        assert.equal(0, set(gw, "small", "kept").code)
        e2e.eventually("room for another", function() return set(gw, "next", LARGE).code == 0 and stored(gw) end)
    end)

    it("is compacted and counted as any other", function()
        local gw = gateway()
        local count = fill(gw)
        assert.equal(0, gw:command({ "state", "compact" }).code)
        for i = 1, count do del(gw, "large" .. i) end
        assert.equal(0, gw:command({ "state", "compact" }).code)
        local stats = e2e.json.decode(gw:command({ "state", "stats", "--json" }).out)
        assert.is_true(stats.ledger.used_bytes < 512 * 1024, tostring(stats.ledger.used_bytes))
        assert.equal(1048576, stats.ledger.max_bytes)
    end)
end)
