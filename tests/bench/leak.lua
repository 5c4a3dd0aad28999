#!/usr/bin/env luajit
--- leak: a plugin that keeps something of every request, at a steady rate, beside a good one in the same worker. Prints
--- a line a minute, then what must hold; ends with 99 where it does not.
---     tests/bench/leak.lua [seconds=600] [leak=1000] [good=100]      requests a second
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/release/moongate"

local conf = { seconds = 600, leak = 1000, good = 100 }
for _, word in ipairs(arg) do
    local key, value = word:match "^(%l+)=(%d+)$"
    if not conf[key] then
        io.stderr:write("leak: no setting is called '" .. word .. "'; there are seconds, leak, good\n")
        os.exit(2)
    end
    conf[key] = tonumber(value)
end
io.stdout:setvbuf "line"

local LEAK = [[
return { name = "leak", version = "1", new = function()
    local T = {}
    return function(ctx)
        T[#T + 1] = ("x"):rep(2000) .. #T
        ctx:respond(200, (("abc"):rep(100):gsub("b", "dd")))
    end
end }
]]
local GOOD = [[
return { name = "good", version = "1", new = function()
    return function(ctx)
        ctx:respond(200, { json = { path = ctx.request.path, ids = { 1, 2, 3 } } })
    end
end }
]]

local function route(name)
    return { name = name, match = { paths = { { prefix = "/" .. name } } }, plugins = { name } }
end

local gw = e2e.gateway {
    plugins = { leak = { use = "./plugins/leak" }, good = { use = "./plugins/good" } },
    files = { ["plugins/leak/plugin.lua"] = LEAK, ["plugins/good/plugin.lua"] = GOOD },
    routes = { route "leak", route "good" },
}

--- A stream of requests, each sent when it is due, whatever became of the ones before.
local function stream(name, per_s)
    local self = { name = name, per_s = per_s, sent = 0, counts = {}, took_ms = {} }
    local bytes = "GET /" .. name .. " HTTP/1.1\r\nHost: a\r\n\r\n"
    local load = e2e.load(gw, { count = 0, each = function(request, what)
        self.counts[what] = (self.counts[what] or 0) + 1
        self.took_ms[#self.took_ms + 1] = sys.now_ms() - request.sent_ms
    end })
    function self.offer(passed_ms)
        while self.sent < passed_ms * per_s / 1000 do
            self.sent = self.sent + 1
            load:offer { bytes = bytes, sent_ms = sys.now_ms() }
        end
    end
    function self.await() load:await() end
    return self
end

local function text_of(counts)
    local parts = {}
    for what, count in pairs(counts) do parts[#parts + 1] = what .. ": " .. count end
    table.sort(parts)
    return table.concat(parts, ", ")
end

local function report(stream_, passed_s)
    table.sort(stream_.took_ms)
    local took = stream_.took_ms
    local function quantile(share) return took[math.max(1, math.ceil(#took * share))] or 0 end
    print(("%5.0f s  %-5s %6.1f/s  p50 %.2f p99 %.2f p99.9 %.2f longest %.1f ms  %s"):format(passed_s, stream_.name,
        stream_.sent / passed_s, quantile(0.5), quantile(0.99), quantile(0.999), took[#took] or 0,
        text_of(stream_.counts)))
    stream_.took_ms = {}
end

local leak, good = stream("leak", conf.leak), stream("good", conf.good)
local began_ms, told_s = sys.now_ms(), 0
while true do
    local passed_ms = sys.now_ms() - began_ms
    if passed_ms >= conf.seconds * 1000 then break end
    leak.offer(passed_ms)
    good.offer(passed_ms)
    if gw.process:ended() then break end
    sys.wait({}, sys.now_ms() + 1, true)
    gw.process.err.text = gw.process.err.text:sub(-65536)
    if passed_ms / 1000 - told_s >= 60 then
        told_s = passed_ms / 1000
        report(leak, told_s)
        report(good, told_s)
        print(("         %.0f MiB, %d Lua states renewed"):format(gw:rss_kib() / 1024,
            gw:metric "moongate_lua_vm_renewals_total" or 0))
    end
end
local lives = not gw.process:ended()
local passed_s = (sys.now_ms() - began_ms) / 1000
if lives then
    leak.await()
    good.await()
end
report(leak, passed_s)
report(good, passed_s)

local missed = false
local function must(holds, ...)
    print((holds and "ok      " or "MISSED  ") .. string.format(...))
    missed = missed or not holds
end
must(lives, "the gateway lives")
must(good.counts[200] == good.sent, "good: %d of %d requests answered with 200", good.counts[200] or 0, good.sent)
if lives then
    print(("%.0f MiB, %d Lua states renewed"):format(gw:rss_kib() / 1024,
        gw:metric "moongate_lua_vm_renewals_total" or 0))
    e2e.finish()
end
os.exit(missed and 99 or 0)
