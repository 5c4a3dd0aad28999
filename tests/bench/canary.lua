#!/usr/bin/env luajit
--- canary: what other requests of a worker notice of plugins that compute or keep without end. For each handler of
--- tests/support/hostile.lua there is a gateway with one worker, on which it is asked again and again, one at a time; a
--- canary on another route is asked every 10 ms. Prints the canary's worst latency, from the moment it was due; how
--- much CPU the gateway used while one waited, at most, which is what it would have taken on an idle machine; and
--- whether one was refused. What is above the bound in CPU is run again, and the best of the runs is shown. Ends with
--- 99 where it is above the bound in all, or a canary was refused.
---     tests/bench/canary.lua [ms=1000] [bound=25] [runs=5] [only=0]
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"
local hostile = require "tests.support.hostile"

e2e.prefer "build/release/moongate"

local conf = { ms = 1000, bound = 25, runs = 5, only = 0 }
for _, word in ipairs(arg) do
    local key, value = word:match "^(%w+)=(%d+)$"
    if not conf[key] then
        io.stderr:write("canary: no setting is called '" .. word .. "'; there are ms, bound, runs, only\n")
        os.exit(2)
    end
    conf[key] = tonumber(value)
end
local EVERY_MS = 10

local function gateway(input)
    local body, new = input, nil
    if type(input) == "table" then
        body, new = input[1], input[2]
    end
    return e2e.gateway {
        shared = true,
        files = {
            ["plugins/bad/plugin.lua"] = hostile.plugin(body, new),
            ["plugins/good/plugin.lua"] = hostile.plugin("ctx:respond(200, 'here')"),
        },
        plugins = { bad = { use = "./plugins/bad" }, good = { use = "./plugins/good" } },
        routes = {
            { name = "bad", match = { paths = { { exact = "/bad" } } }, plugins = { "bad" }, timeout = "500ms" },
            { name = "good", match = { paths = { { exact = "/good" } } }, plugins = { "good" } },
        },
    }
end

local function ask(path)
    return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n"
end

--- What tells the CPU of all threads of a process so far, in milliseconds.
local function cpu_clock(pid)
    local paths = {}
    for path in io.popen(("ls /proc/%d/task/*/schedstat"):format(pid)):lines() do paths[#paths + 1] = path end
    return function()
        local ns = 0
        for _, path in ipairs(paths) do
            local file = io.open(path)
            if file then
                ns = ns + file:read "*n"
                file:close()
            end
        end
        return ns / 1e6
    end
end

--- Of one run: the worst latency of the canary, the most CPU that one waited for, how many hostile requests there
--- were, and how many canaries failed.
local function run(input)
    local gw = gateway(input)
    local cpu_ms = cpu_clock(gw.process.pid)
    local worst_ms, most_ms, failed, asked = 0, 0, 0, 0
    local canaries = e2e.load(gw, { count = 0, each = function(request, what)
        if what ~= 200 then failed = failed + 1 end
        worst_ms = math.max(worst_ms, sys.now_ms() - request.due_ms)
        most_ms = math.max(most_ms, cpu_ms() - request.cpu_ms)
    end })
    local waits = false -- one hostile request at a time: what is measured is one, not a queue of them
    local bad = e2e.load(gw, { count = 0, each = function()
        asked, waits = asked + 1, false
    end })
    local start_ms = sys.now_ms()
    for i = 0, conf.ms / EVERY_MS - 1 do
        local due_ms = start_ms + i * EVERY_MS
        while sys.now_ms() < due_ms do sys.wait({}, due_ms, true) end
        canaries:offer { bytes = ask "/good", due_ms = due_ms, cpu_ms = cpu_ms() }
        if i % 5 == 1 and not waits then
            waits = true
            bad:offer { bytes = ask "/bad", due_ms = due_ms }
        end
    end
    canaries:await()
    bad:await()
    gw:stop()
    return worst_ms, most_ms, asked, failed
end

local inputs = {}
for _, list in ipairs({ hostile.endless, hostile.waiting }) do
    for _, input in ipairs(list) do inputs[#inputs + 1] = input end
end

local broken, above = 0, 0
for i, input in ipairs(inputs) do
    if conf.only == 0 or conf.only == i then
        local best_ms, least_ms, asked, refused = math.huge, math.huge, 0, 0
        for _ = 1, conf.runs do
            local worst_ms, most_ms, count, failed = run(input)
            best_ms, least_ms = math.min(best_ms, worst_ms), math.min(least_ms, most_ms)
            asked, refused = count, refused + failed
            if least_ms <= conf.bound then break end
        end
        above = above + (least_ms > conf.bound and 1 or 0)
        broken = broken + refused
        io.write(("%3d  %7.1f ms  %7.1f ms of CPU  %d refused  %d asked  %s\n"):format(i, best_ms, least_ms, refused,
            asked, type(input) == "table" and (input[2] or "") .. " " .. input[1] or input))
        io.flush()
    end
end
io.write(("%d inputs, %d above %d ms, %d canaries refused\n"):format(#inputs, above, conf.bound, broken))
os.exit((above > 0 or broken > 0) and 99 or 0)
