-- Plugins that keep what they should let go: their worker takes a fresh Lua state, and others beside them see nothing.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function plugin(new, body)
    return "return { name = 'p', version = '1', new = function()\n" .. new .. "\nreturn function(ctx, next)\n" .. body
        .. "\nend end }\n"
end

local GOOD = plugin("", [[ctx:respond(200, ("a"):rep(100) .. ctx.request.path:gsub("g", "G"))]])

local function beside(leak)
    return e2e.gateway {
        files = { ["plugins/leak/plugin.lua"] = leak, ["plugins/good/plugin.lua"] = GOOD },
        plugins = { leak = { use = "./plugins/leak", cpu = "5s" }, good = { use = "./plugins/good" } },
        routes = {
            { name = "leak", match = { paths = { { prefix = "/leak" } } }, plugins = { "leak" } },
            { name = "good", match = { paths = { { prefix = "/good" } } }, plugins = { "good" } },
        },
    }
end

local function status_of(client, path)
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    return client:response().status
end

local RENEWALS = "moongate_lua_vm_renewals_total"

--- Until more states were replaced, however long the builder takes; the good plugin is served meanwhile.
local function await_renewal(gw, client, before)
    e2e.eventually("a fresh state", function()
        assert.equal(200, status_of(client, "/good"))
        return gw:metric(RENEWALS) > before
    end)
end

--- Until a state was replaced; the good plugin is asked between all of it, on the same connection. The one that leaks
--- may be refused from the moment the state is nearly full until the fresh one is there, and only then.
local function leak_until_renewed(gw)
    local client = gw:client()
    for _ = 1, 2000 do
        local status = status_of(client, "/leak")
        assert.equal(200, status_of(client, "/good"))
        if status ~= 200 then
            assert.equal(503, status)
            await_renewal(gw, client, 0)
        end
        if gw:metric(RENEWALS) > 0 then return client end
    end
    error("not renewed in 2000 requests")
end

describe("a plugin that leaks", function()
    for name, body in pairs {
        ["a megabyte a request"] = "kept[#kept + 1] = ('x'):rep(1e6) .. #kept ctx:respond(200, 'ok')",
        ["small tables"] = "for i = 1, 20000 do kept[#kept + 1] = { i } end ctx:respond(200, 'ok')",
        ["texts that C made"] = [[
            local json = require("moongate").json
            for i = 1, 50 do kept[#kept + 1] = json.encode({ ("x"):rep(20000) .. i .. #kept }) end
            ctx:respond(200, "ok")]],
    } do
        it("that keeps " .. name .. " has its state replaced, and no other is refused", function()
            local gw = beside(plugin("local kept = {}", body))
            local client = leak_until_renewed(gw)
            gw:log "plugin leak holds"
            for _ = 1, 10 do
                assert.equal(200, status_of(client, "/leak"))
                assert.equal(200, status_of(client, "/good"))
            end
            e2e.eventually("the old state to be gone", function()
                return gw:metric "moongate_lua_memory_bytes" < 32 * 1048576
            end)
        end)
    end

    it("that fills one state after the other is held off, and the others go on in fresh ones", function()
        local gw = beside(plugin("local kept = {}",
            "for i = 1, 150000 do kept[#kept + 1] = { i } end ctx:respond(200, 'ok')"))
        local client = gw:client()
        local refused
        for _ = 1, 2000 do
            local renewals = gw:metric(RENEWALS)
            client:send "GET /leak HTTP/1.1\r\nHost: a\r\n\r\n"
            local answer = client:response()
            for _ = 1, 3 do assert.equal(200, status_of(client, "/good")) end
            if answer.status == 503 and gw.process.err.text:find("requests are refused for", 1, true) then
                refused = answer
                break
            elseif answer.status == 503 and renewals == gw:metric(RENEWALS) then
                await_renewal(gw, client, renewals)
            end
        end
        assert.truthy(refused, "it was never held off")
        assert.is_true(tonumber(refused.fields["retry-after"]) >= 1)
        assert.is_true(gw:metric(RENEWALS) >= 1)
        assert.equal(200, gw:status("/readyz").status) -- other routes are served
        gw:log "plugin leak holds"
        e2e.eventually("it to be served again", function()
            assert.equal(200, status_of(client, "/good"))
            return status_of(client, "/leak") == 200
        end)
    end)
end)
