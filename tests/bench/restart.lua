#!/usr/bin/env luajit
--- restart: how soon a gateway is ready that has a million keys of a limiter to remember, after a stop and after a
--- kill -9. Prints what it took, then what must hold; ends with 99 where it does not.
---     tests/bench/restart.lua [keys=1000000]
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/release/moongate"

local keys = tonumber((arg[1] or ""):match "^keys=(%d+)$" or 1000000)
local STEP = 10000 -- keys of one request

-- Charges STEP keys from the number in the path on; answers how many of them had been charged before.
local FILL = [[
local plugin = { name = "fill", version = "1.0.0" }

function plugin.new(conf)
    return function(ctx)
        local from, known = tonumber(ctx.request.path:match "%d+"), 0
        for i = from, from + conf.step - 1 do
            local _, remaining = ctx.limit:take("big", "key-" .. i)
            if remaining < 9 then known = known + 1 end
        end
        return ctx:respond(200, tostring(known))
    end
end

return plugin
]]
local SCHEMA = '{"type":"object","properties":{"step":{"type":"integer"}},"additionalProperties":false}'

--- Charges every key; returns how many had been charged before.
local function fill(gw)
    local known, from = 0, 0
    while from < keys do
        local answer = gw:ask("GET /" .. from .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        if answer.status ~= 200 then error("status " .. answer.status .. ": " .. answer.body, 0) end
        known = known + tonumber(answer.body)
        from = from + STEP
    end
    return known
end

local missed = false
local function must(holds, ...)
    print((holds and "ok      " or "MISSED  ") .. string.format(...))
    missed = missed or not holds
end

local function timed(what, act)
    local start_ms = sys.now_ms()
    local result = act()
    local took_s = (sys.now_ms() - start_ms) / 1000
    print(string.format("%-44s %7.3f s", what, took_s))
    return took_s, result
end

sys.patience_ms = 120000
local gw
timed("ready without anything to remember", function()
    gw = e2e.gateway {
        limiters = { big = { key = "global", rate = "1/d", burst = 10, max_keys = keys } },
        plugins = { fill = { use = "./plugins/fill", config = { step = STEP }, cpu = "10s" } },
        files = { ["plugins/fill/plugin.lua"] = FILL, ["plugins/fill/schema.json"] = SCHEMA },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fill" } } },
        extra = { state = { path = "state", max_size = "4GiB" } },
    }
end)
timed(keys .. " keys charged", function() return fill(gw) end)

local function stopped_by(signal)
    gw.process:signal(signal)
    gw.process:wait()
end

timed("stopped, all of them stored", function() stopped_by(e2e.SIGTERM) end)
local after_stop_s = timed("ready after the stop", function() gw:launch() end)
local _, known = timed("charged again", function() return fill(gw) end)
must(known >= 0.999 * keys, "%d of %d keys were known", known, keys)
local midst_ms = sys.now_ms() + 1500 -- it stores once a second, and that takes it longer than this
while sys.now_ms() < midst_ms do sys.wait({}, midst_ms) end
stopped_by(e2e.SIGKILL)
local after_kill_s = timed("ready after kill -9 while it was storing", function() gw:launch() end)
e2e.finish()

must(after_stop_s < 1, "ready %.3f s after a stop, wanted 1 s", after_stop_s)
must(after_kill_s < 1, "ready %.3f s after kill -9, wanted 1 s", after_kill_s)
os.exit(missed and 99 or 0)
