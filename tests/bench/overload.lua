#!/usr/bin/env luajit
--- overload: what adaptive concurrency is worth. An upstream with so many slots of so many ms, requests at twice that
--- rate, sent when they are due whatever became of earlier ones, and latency counted from that moment. Prints one line
--- a phase, then what must hold; ends with 99 where it does not.
---     tests/bench/overload.lua [slots=8] [ms=20] [seconds=30] [adaptive=yes]
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/release/moongate"

local conf = { slots = 8, ms = 20, seconds = 30, adaptive = "yes" }
for _, word in ipairs(arg) do
    local key, value = word:match "^(%w+)=(%w+)$"
    if not conf[key] then
        io.stderr:write("overload: no setting is called '" .. word .. "'; there are slots, ms, seconds, adaptive\n")
        os.exit(2)
    end
    conf[key] = tonumber(value) or value
end
local capacity_per_s = conf.slots * 1000 / conf.ms
local PATIENCE_MS = 1000 -- of a client; what comes later is no good to it

--- Serves as many at once as it has slots, the others in the order of their coming.
local function slots_habit()
    local free_at_ms = {}
    for i = 1, conf.slots do free_at_ms[i] = 0 end
    return function(_, server)
        local now_ms, first = sys.now_ms(), 1
        for i = 2, conf.slots do
            if free_at_ms[i] < free_at_ms[first] then first = i end
        end
        free_at_ms[first] = math.max(free_at_ms[first], now_ms) + conf.ms
        return e2e.message(200, server.name), free_at_ms[first] - now_ms
    end
end

local function quantile(sorted, share)
    return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

--- A second's worth of answers, by the second in which their requests were due.
local function second_of(phase, request)
    local number = math.floor((request.due_ms - phase.start_ms) / 1000) + 1
    local second = phase.seconds[number] or { good = 0, refused = 0, bad = 0, sent = 0, slowest_ms = 0 }
    phase.seconds[number] = second
    return second
end

local function count(phase, request, what)
    local took_ms, second = sys.now_ms() - request.due_ms, second_of(phase, request)
    local good = what == 200 and took_ms <= PATIENCE_MS
    local kind = good and "good" or what == 503 and "refused" or "bad"
    second[kind] = second[kind] + 1
    phase[kind] = phase[kind] + 1
    if kind ~= "bad" then table.insert(phase[kind .. "_ms"], took_ms) end
    if good then second.slowest_ms = math.max(second.slowest_ms, took_ms) end
end

--- Sends at a rate for so long, then waits for the last answer.
local function offer(gw, name, per_s, seconds)
    local phase = { name = name, good = 0, refused = 0, bad = 0, good_ms = {}, refused_ms = {}, seconds = {},
        start_ms = sys.now_ms(), length_s = seconds }
    local load = e2e.load(gw, { count = 0, each = function(request, what) count(phase, request, what) end })
    for i = 0, per_s * seconds - 1 do
        local due_ms = phase.start_ms + i * 1000 / per_s
        while sys.now_ms() < due_ms do sys.wait({}, due_ms, true) end
        local request = { bytes = e2e.GET, due_ms = due_ms }
        second_of(phase, request).sent = second_of(phase, request).sent + 1
        load:offer(request)
    end
    load:await()
    table.sort(phase.good_ms)
    table.sort(phase.refused_ms)
    local line = "%-9s %4.0f/s offered  good %6.1f/s p50 %4.0f p99 %4.0f ms  refused %6.1f/s p99 %5.1f ms  late %d"
    print(string.format(line, name, per_s, phase.good / seconds, quantile(phase.good_ms, 0.5),
        quantile(phase.good_ms, 0.99), phase.refused / seconds, quantile(phase.refused_ms, 0.99), phase.bad))
    return phase
end

--- The second, from the first on, behind which everything is as if nothing had been.
local function recovered_after_s(phase)
    for number = phase.length_s, 1, -1 do
        local second = phase.seconds[number]
        if second.good < second.sent or second.slowest_ms > 3 * conf.ms then return number end
    end
    return 0
end

local missed = false
local function must(holds, ...)
    print((holds and "ok      " or "MISSED  ") .. string.format(...))
    missed = missed or not holds
end

local gw, up = e2e.behind({ adaptive = conf.adaptive == "yes" and e2e.json.map {} or nil, balance = "round_robin",
    pool = { max_connections = 0, queue = 0 } }, { names = { "up" }, clock = false,
    route = { timeout = PATIENCE_MS .. "ms" } })
up:does(slots_habit())
print(string.format("an upstream of %d slots of %d ms: %d/s; a client waits %d ms", conf.slots, conf.ms, capacity_per_s,
    PATIENCE_MS))
local peak = offer(gw, "calm", capacity_per_s * 0.9, 10)
local twice = offer(gw, "overload", capacity_per_s * 2, conf.seconds)
local after = offer(gw, "after", capacity_per_s * 0.5, 10)
e2e.finish()

local goodput = twice.good / conf.seconds / capacity_per_s
must(peak.good == #peak.good_ms and peak.refused + peak.bad == 0, "calm: none refused, none late")
must(goodput >= 0.8, "overload: goodput is %.0f %% of the capacity, wanted 80 %%", 100 * goodput)
local refusal_ms = quantile(twice.refused_ms, 0.99)
must(twice.refused > 0 and refusal_ms <= 50, "overload: 99 %% of the refusals came within %.1f ms, wanted 50 ms",
    refusal_ms)
must(twice.bad <= 0.01 * 2 * capacity_per_s * conf.seconds, "overload: %d late, wanted 1 %% at most", twice.bad)
must(recovered_after_s(after) <= 5, "after: as before %d s later, wanted 5 s", recovered_after_s(after))
os.exit(missed and 99 or 0)
