#!/usr/bin/env luajit
--- blocked_log: what a stdout that nobody reads costs the requests. Two gateways of one configuration, one with
--- /dev/null as stdout and one with a pipe that nobody reads, take turns under the same load; latency is counted from
--- the moment a request was due, and a quantile is the median of those of all rounds, so that what else the machine
--- does in a few of them does not count. Prints one line a gateway, then what must hold; ends with 99 where it does
--- not.
---     tests/bench/blocked_log.lua [rate=1000] [seconds=1] [rounds=25]
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/release/moongate"

local conf = { rate = 1000, seconds = 1, rounds = 25 }
for _, word in ipairs(arg) do
    local key, value = word:match "^(%w+)=(%d+)$"
    if not conf[key] then
        io.stderr:write("blocked_log: no setting is called '" .. word .. "'; there are rate, seconds, rounds\n")
        os.exit(2)
    end
    conf[key] = tonumber(value)
end
local LINE = ("x"):rep(2000) -- in each request's path, so that the queue is full before the first round
local ASK = "GET /" .. LINE .. " HTTP/1.1\r\nHost: a\r\n\r\n"

local function quantile(sorted, share)
    return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

local function gateway(name, out)
    local gw = e2e.gateway { access_log = true, out = out, shared = true,
        plugins = { fix = { use = "respond", config = { body = "yes" } } },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fix" } } } }
    return { name = name, gw = gw, rounds = {}, lost = 0 }
end

--- Sends at the rate for so many seconds; `keep` makes it a round of the gateway's.
local function offer(side, seconds, keep)
    local start_ms, took_ms = sys.now_ms(), {}
    local load = e2e.load(side.gw, { count = 0, each = function(request, what)
        if what ~= 200 then side.lost = side.lost + 1 end
        table.insert(took_ms, sys.now_ms() - request.due_ms)
    end })
    for i = 0, conf.rate * seconds - 1 do
        local due_ms = start_ms + i * 1000 / conf.rate
        while sys.now_ms() < due_ms do sys.wait({}, due_ms, true) end
        load:offer { bytes = ASK, due_ms = due_ms }
    end
    load:await()
    table.sort(took_ms)
    if keep then table.insert(side.rounds, took_ms) end
end

--- The median over the rounds.
local function typical(side, share)
    local all = {}
    for i, took_ms in ipairs(side.rounds) do all[i] = quantile(took_ms, share) end
    table.sort(all)
    return quantile(all, 0.5)
end

local missed = false
local function must(holds, ...)
    print((holds and "ok      " or "MISSED  ") .. string.format(...))
    missed = missed or not holds
end

local null, blocked = gateway("/dev/null", "/dev/null"), gateway "blocked"
e2e.pause(blocked.gw.process.out)
local function dropped(side) return side.gw:metric("moongate_log_lines_dropped_total", { log = "access" }) end
while dropped(blocked) == 0 do offer(blocked, 1) end
offer(null, 2)
local before_kib = blocked.gw:rss_kib()
for round = 1, conf.rounds do
    offer(round % 2 == 0 and null or blocked, conf.seconds, true)
    offer(round % 2 == 0 and blocked or null, conf.seconds, true)
end
local growth_kib = blocked.gw:rss_kib() - before_kib
for _, side in ipairs { null, blocked } do
    print(string.format("%-9s %d/s  p50 %.3f p99 %.3f p99.9 %.3f ms  lost %d, lines dropped %d", side.name, conf.rate,
        typical(side, 0.5), typical(side, 0.99), typical(side, 0.999), side.lost, dropped(side)))
end
local ratio = typical(blocked, 0.99) / typical(null, 0.99)
must(null.lost + blocked.lost == 0, "every request was answered")
must(dropped(blocked) > 0 and dropped(null) == 0, "lines were dropped where nobody reads, and only there")
must(ratio <= 1.1, "p99 with a blocked stdout is %.2f of that with /dev/null, wanted 1.10 at most", ratio)
must(growth_kib <= 1024, "memory of the blocked one grew by %d KiB, wanted 1024 at most", growth_kib)
must(blocked.gw:status("/livez").status == 200, "the blocked one is alive")
null.gw:stop()
blocked.gw:stop()
e2e.finish()
os.exit(missed and 99 or 0)
