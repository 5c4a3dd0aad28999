--- canary: a process of its own that asks a good plugin every 10 ms. Its stdout tells what was not as it should be, and
--- how long the worker let it wait: by the clock, and by the CPU that the worker used meanwhile, which does not change
--- with what else the machine does.
---     luajit tests/hostile/canary.lua PORT PID
--- Lines: "wait MS CPU_MS" for each answer that took more than 5 ms of CPU, "bad TEXT", and "ok COUNT" each second.
local peer = require "tests.e2e.harness.peer"
local sys = require "tests.e2e.harness.sys"

local port, pid = tonumber(arg[1]), arg[2]
local EVERY_MS, SHOWN_MS = 10, 5

local function say(...)
    io.write(string.format(...), "\n")
    io.flush()
end

--- Nanoseconds of CPU by thread.
local function threads()
    local found = {}
    local list = io.popen("ls /proc/" .. pid .. "/task 2>/dev/null")
    for tid in list:lines() do
        local file = io.open("/proc/" .. pid .. "/task/" .. tid .. "/schedstat")
        if file then
            found[tid] = tonumber(file:read "*l":match "^%d+")
            file:close()
        end
    end
    list:close()
    return found
end

local client

local function ask(number)
    client = client or assert(peer.connect(port, { name = "canary" }))
    client:send("GET /canary/" .. number .. " HTTP/1.1\r\nHost: a\r\nX-Token: c" .. number .. "\r\n\r\n")
    local answer = client:response()
    if answer.status ~= 200 or answer.body ~= "canary c" .. number then
        say("bad status %d: %s", answer.status, peer.shown(answer.body))
    end
    if (answer.fields.connection or "") == "close" then
        client:close()
        client = nil
    end
end

--- The thread that worked most while it asked.
local function worker()
    local before = threads()
    for i = 1, 200 do ask(i) end
    local best, most = nil, -1
    for tid, ns in pairs(threads()) do
        local used = ns - (before[tid] or ns)
        if used > most then best, most = tid, used end
    end
    return best
end

local stat = assert(io.open("/proc/" .. pid .. "/task/" .. worker() .. "/schedstat"))
stat:setvbuf "no"

local function used_ms()
    stat:seek "set"
    local line = stat:read "*l"
    return line and tonumber(line:match "^%d+") / 1e6 or 0
end

local count, said_ms = 0, sys.now_ms()
while true do
    local began_ms, began_cpu_ms = sys.now_ms(), used_ms()
    local ok, err = pcall(ask, 1000 + count)
    local took_ms, cpu_ms = sys.now_ms() - began_ms, used_ms() - began_cpu_ms
    if not ok then
        say("bad %s", tostring(err):gsub("%s+", " "))
        if client then client:close() end
        client = nil
        sys.wait({}, sys.now_ms() + 100)
    else
        count = count + 1
        if cpu_ms >= SHOWN_MS then say("wait %.1f %.1f", took_ms, cpu_ms) end
    end
    if sys.now_ms() - said_ms > 1000 then
        say("ok %d", count)
        count, said_ms = 0, sys.now_ms()
    end
    sys.wait({}, began_ms + EVERY_MS)
end
