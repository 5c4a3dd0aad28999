-- The durable store from the outside: moongate state against a running gateway, and a backup back in its place.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- A gateway with a store and an admin listener, whose plugin answers with what its namespace has under the path.
local function gateway(opts)
    opts = opts or {}
    return e2e.gateway {
        extra = { admin = { bind = "unix:run/admin.sock" }, state = not opts.in_memory and { path = "state" } or nil },
        files = { ["plugins/shelf/plugin.lua"] = [[
            local plugin = { name = "shelf", version = "1.0.0", capabilities = { "kv" } }
            function plugin.new()
                return function(ctx)
                    return ctx:respond(200, ctx.kv:get(ctx.request.path:sub(2)) or "nothing")
                end
            end
            return plugin]] },
        plugins = { shelf = { use = "./plugins/shelf" } },
        limiters = opts.limiters,
        routes = { { name = "all", match = { paths = { { prefix = "/" } } },
            plugins = opts.limiters and { { limit = "few" }, "shelf" } or { "shelf" } } },
    }
end

--- Runs `moongate state ..` in the gateway's folder; fails on another exit status than 0. Returns what it printed.
local function state(gw, ...)
    local result = gw:command { "state", ... }
    assert.equal(0, result.code, result.err)
    return result.out
end

local function shelf(gw, key)
    return gw:ask("GET /" .. key .. " HTTP/1.1\r\nHost: a\r\n\r\n").body
end

describe("moongate state", function()
    it("shares keys with the plugin of that name", function()
        local gw = gateway()
        assert.equal("", state(gw, "set", "shelf", "book", "a thousand pages"))
        assert.equal("a thousand pages", shelf(gw, "book"))
        assert.equal("a thousand pages", state(gw, "get", "shelf", "book"))
        state(gw, "del", "shelf", "book")
        assert.equal("nothing", shelf(gw, "book"))
        assert.equal(1, gw:command({ "state", "get", "shelf", "book" }).code)
    end)

    it("keeps any byte of keys and values", function()
        local gw = gateway()
        local set = gw:command({ "state", "set", "shelf", "a/../b ?#%\n", "-" }, { stdin = "\1\0\255 end\n" })
        assert.equal(0, set.code, set.err)
        assert.equal("\1\0\255 end\n", state(gw, "get", "shelf", "a/../b ?#%\n"))
        assert.equal("a/../b ?#%\\n\tbase64:AQD/IGVuZAo=\n", state(gw, "scan", "shelf"))
        state(gw, "set", "shelf", "minus", "--", "-5")
        assert.equal("-5", state(gw, "get", "shelf", "minus"))
    end)

    it("lists keys in order, by their beginning, and so many", function()
        local gw = gateway()
        for _, key in ipairs { "user:2", "user:1", "zoo", "user:3" } do state(gw, "set", "shelf", key, "v") end
        assert.equal("user:1\tv\nuser:2\tv\nuser:3\tv\nzoo\tv\n", state(gw, "scan", "shelf"))
        assert.equal("user:1\tv\nuser:2\tv\n", state(gw, "scan", "shelf", "user:", "--limit", "2"))
        local rows = e2e.json.decode(state(gw, "scan", "shelf", "zoo", "--json"))
        assert.equal("zoo", rows[1].key)
    end)

    it("has on disk what it said it has set", function()
        local gw = gateway()
        state(gw, "set", "shelf", "book", "kept")
        gw:restart(e2e.SIGKILL)
        assert.equal("kept", state(gw, "get", "shelf", "book"))
    end)

    it("gives a value its time", function()
        local gw = gateway()
        state(gw, "set", "shelf", "book", "soon gone", "--ttl", "1h")
        local rows = e2e.json.decode(state(gw, "scan", "shelf", "--json"))
        local left_s = rows[1].expires_at_ms / 1000 - os.time()
        assert.is_true(left_s > 3500 and left_s <= 3601, tostring(left_s))
        assert.equal(1, gw:command({ "state", "set", "shelf", "book", "x", "--ttl", "soon" }).code)
    end)

    it("tells how much there is", function()
        local gw = gateway()
        state(gw, "set", "shelf", "book", "kept")
        local stats = e2e.json.decode(state(gw, "stats", "--json"))
        assert.equal("shelf", stats.namespaces[1].name)
        assert.is_true(stats.namespaces[1].used_bytes > 8)
        assert.is_true(stats.ledger.used_bytes > 0)
        assert.truthy(state(gw, "stats"):find("shelf", 1, true))
    end)

    it("says what is wrong, by its exit status too", function()
        local gw = gateway()
        for _, args in ipairs { {}, { "got" }, { "get" }, { "get", "shelf" }, { "get", "a", "b", "c" },
            { "set", "shelf", "k" }, { "scan", "shelf", "--ttl", "1s" }, { "get", "shelf", "k", "--state", "x" },
            { "stats", "--admin", "http://127.0.0.1:1" }, { "restore", "x", "--json" },
            { "scan", "s", "--limit", "0" } } do
            local result = gw:command { "state", unpack(args) }
            assert.equal(2, result.code, table.concat(args, " ") .. ": " .. result.err)
        end
        state(gw, "set", "shelf", "k", "v")
        local unknown = gw:command { "state", "get", "shelv", "k" }
        assert.equal(1, unknown.code)
        assert.truthy(unknown.err:find('did you mean "shelf"?', 1, true), unknown.err)
        assert.equal(4, gw:command({ "state", "stats", "--admin", "unix:nowhere" }).code)
    end)

    it("shows what policies keep and lets nobody write it", function()
        local gw = gateway { limiters = { few = { key = "header:x-key", rate = "2/d" } } }
        gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Key: k1\r\n\r\n"
        local row = e2e.eventually("the key to be stored", function()
            local rows = e2e.json.decode(state(gw, "scan", "policy:limiters", "--json"))
            return rows[1]
        end)
        assert.truthy(row.key:find("^few/"))
        assert.equal(1, gw:command({ "state", "set", "policy:limiters", row.key, "x" }).code)
        assert.equal(1, gw:command({ "state", "scan", "policy:secrets" }).code)
    end)
end)

describe("a backup", function()
    it("is taken while the gateway runs, and put back while none does", function()
        local gw = gateway()
        state(gw, "set", "shelf", "book", "first edition")
        assert.truthy(state(gw, "backup", "copies/monday"):find(gw.dir .. "/copies/monday", 1, true))
        state(gw, "set", "shelf", "book", "second edition")
        state(gw, "set", "shelf", "pen", "new")

        local busy = gw:command { "state", "restore", "copies/monday" }
        assert.equal(1, busy.code)
        assert.truthy(busy.err:find("in use", 1, true), busy.err)
        assert.equal("second edition", shelf(gw, "book"))

        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        local restored = state(gw, "restore", "copies/monday")
        local aside = restored:match "(%.before%-%d+)"
        assert.truthy(aside, restored)
        gw:launch()
        assert.equal("first edition", shelf(gw, "book"))
        assert.equal("nothing", shelf(gw, "pen"))
        local kept = io.open(gw.dir .. "/state/ledger" .. aside .. "/data.mdb")
        assert.truthy(kept)
        kept:close()
    end)

    it("does not overwrite another", function()
        local gw = gateway()
        state(gw, "backup", "copy")
        local again = gw:command { "state", "backup", "copy" }
        assert.equal(1, again.code)
        assert.truthy(again.err:find("not empty", 1, true), again.err)
    end)

    it("is told from what is none", function()
        local gw = gateway()
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        local result = gw:command { "state", "restore", "plugins" }
        assert.equal(1, result.code)
        assert.truthy(result.err:find("not a backup", 1, true), result.err)
        gw:launch()
    end)

    it("needs a store", function()
        local gw = gateway { in_memory = true }
        state(gw, "set", "shelf", "book", "light")
        local result = gw:command { "state", "backup", "copy" }
        assert.equal(1, result.code)
        assert.truthy(result.err:find("state: { path: state }", 1, true), result.err)
        assert.equal(1, gw:command({ "state", "compact" }).code)
    end)
end)

describe("a client that leaves before its answer", function()
    it("harms nobody, and what it asked for is done", function()
        local gw = gateway()
        for i = 1, 20 do
            gw:admin_send("PUT", "/v1/state/shelf/k" .. i, "v"):close()
            gw:admin_send("POST", "/v1/state/compact"):close()
        end
        gw:admin_send("POST", "/v1/state/backup", '{"path":"' .. gw.dir .. '/copy"}'):close()
        e2e.eventually("the last key", function() return shelf(gw, "k20") == "v" end)
        gw:admin_send("POST", "/v1/state/compact")
        gw:admin_send("PUT", "/v1/state/shelf/last", "v")
        gw:stop()
    end)
end)

describe("compaction", function()
    it("gives back what was deleted and keeps the rest", function()
        local gw = gateway()
        for i = 1, 20 do
            gw:admin("PUT", "/v1/state/shelf/large" .. i, ("x"):rep(60000))
        end
        state(gw, "set", "shelf", "book", "kept")
        for i = 1, 20 do gw:admin("DELETE", "/v1/state/shelf/large" .. i) end
        local result = e2e.json.decode(state(gw, "compact", "--json"))
        assert.is_true(result.after.file_bytes < result.before.file_bytes / 4)
        assert.equal("kept", state(gw, "get", "shelf", "book"))
        gw:restart(e2e.SIGTERM)
        assert.equal("kept", shelf(gw, "book"))
    end)
end)
