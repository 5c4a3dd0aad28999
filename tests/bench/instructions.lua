#!/usr/bin/env luajit
--- instructions: user instructions a request, counted by callgrind, which other load on the machine does not move. What
--- a gateway did for its first requests is not counted: it starts then, and compiles. Drivers start gateways as
--- side-by-side benchmarks have them (tests/bench/gateway is ours): `DRIVER start`, with SCENARIO, PORT, UPSTREAM, RUN,
--- KEYS and ROUTES to go by.
---     tests/bench/instructions.lua [proxy] [plugins] [routes] [requests=12000] [NAME=DRIVER ..]
--- Needs valgrind, for others what their drivers start. The gateway is $MOONGATE, else that of build/bench.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"
local lfs = require "lfs"
local peer = require "tests.e2e.harness.peer"
local Process = require "tests.e2e.harness.process"
local routes = require "tests.bench.routes"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/bench/moongate"
sys.patience_ms = 600000

local WARM, AT_ONCE, KEYS = 9000, 16, 1000
local scenarios, drivers, requests = {}, {}, 12000

for _, word in ipairs(arg) do
    local name, value = word:match "^([%w_-]+)=(.+)$"
    if name == "requests" and tonumber(value) then
        requests = tonumber(value)
    elseif name then
        drivers[#drivers + 1] = { name = name, path = value }
    elseif word == "proxy" or word == "plugins" or word == "routes" then
        scenarios[#scenarios + 1] = word
    else
        io.stderr:write("instructions: no scenario is called '" .. word .. "'; there are proxy, plugins, routes\n")
        os.exit(2)
    end
end
if #scenarios == 0 then scenarios = { "proxy", "plugins", "routes" } end
if #drivers == 0 then drivers = { { name = "moongate", path = "tests/bench/gateway" } } end

local function line_file(path, count, line)
    local lines = {}
    for i = 0, count - 1 do lines[i + 1] = line(i) .. "\n" end
    Gateway.write(path, table.concat(lines))
end

local function key(i) return ("key-%024x"):format(i * 7919) end

--- The n-th request of a scenario: others come in turn, so that nothing is found where it was left.
local request = {
    proxy = function() return "/hello", "" end,
    plugins = function(n) return "/hello", "apikey: " .. key(n * 31 % KEYS) .. "\r\n" end,
    routes = function(n)
        local i = n * 7919 % routes.count
        local path = routes.line(i):match "\t(%S+)\t"
        return path:gsub(":id", n % 999983):gsub(":oid", n * 7 % 999983):gsub("/assets/$", "/assets/css/7/site.css"), ""
    end,
}

--- Programs under the names that drivers start, which run the real ones under callgrind.
local function shims(dir)
    for name, real in pairs { moongate = Gateway.binary(), nginx = "/usr/sbin/nginx", haproxy = "/usr/sbin/haproxy" } do
        local path = dir .. "/bin/" .. name
        Gateway.write(path, "#!/bin/sh\nexec valgrind -q --tool=callgrind --callgrind-out-file=" .. dir
            .. "/counts.%p " .. real .. ' "$@"\n')
        os.execute("chmod +x " .. path)
    end
end

--- Tells callgrind in all processes of the run: "-z" to begin at zero, "-d" to write what it has counted.
local function control(dir, flag)
    local told = 0
    for pid in lfs.dir "/proc" do
        local file = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/cmdline")
        local command = file and file:read "*a" or ""
        if file then file:close() end
        if command:find("--callgrind-out-file=" .. dir .. "/counts.", 1, true) then
            local pipe = io.popen("callgrind_control " .. flag .. " " .. pid .. " 2>&1")
            local said = pipe:read "*a"
            pipe:close()
            if not said:find "OK%." then sys.fail("callgrind_control %s: %s", flag, said) end
            told = told + 1
        end
    end
    if told == 0 then sys.fail "no process of the gateway runs under callgrind" end
end

--- What all processes of the run counted.
local function sum(dir)
    local all
    for name in lfs.dir(dir) do
        if name:find "^counts%.%d+%.1$" then
            for line in io.lines(dir .. "/" .. name) do
                local count = line:match "^totals: (%d+)" or line:match "^summary: (%d+)"
                if count then
                    all = (all or 0) + tonumber(count)
                    break
                end
            end
        end
    end
    return all or sys.fail "callgrind has written no counts"
end

local function run(driver, scenario)
    local dir, up = Gateway.folder(), e2e.server "up"
    up:does(function()
        return e2e.message(200, ("x"):rep(128), "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n")
    end)
    shims(dir)
    line_file(dir .. "/keys.tsv", KEYS, function(i) return key(i) .. "\tconsumer" .. i end)
    line_file(dir .. "/routes.tsv", routes.count, routes.line)
    os.execute("mkdir " .. dir .. "/run")
    local gateway = { port = sys.free_port() }
    local path = driver.path:sub(1, 1) == "/" and driver.path or lfs.currentdir() .. "/" .. driver.path
    local process = Process.start { argv = { path, "start" }, env = {
        SCENARIO = scenario, PORT = gateway.port, UPSTREAM = up.port, RUN = dir .. "/run",
        KEYS = dir .. "/keys.tsv", ROUTES = dir .. "/routes.tsv",
        MOONGATE = dir .. "/bin/moongate", PATH = dir .. "/bin:" .. os.getenv "PATH",
    } }
    sys.eventually(driver.name .. " to listen", function()
        if process:ended() then sys.fail("%s ended at its start\n%s", driver.name, process.err.text) end
        local probe = peer.connect(gateway.port, { name = "probe" })
        return probe and (probe:close() or true)
    end)
    local sent = 0
    local function load(count)
        local answers = e2e.load(gateway, { count = count, at_once = AT_ONCE, request = function(n)
            local target, fields = request[scenario](sent + n)
            return ("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n"):format(target, gateway.port, fields)
        end }):await()
        sent = sent + count
        if answers[200] ~= count then
            sys.fail("%s answered %s of %d requests with 200\n%s", driver.name, answers[200] or 0, count,
                process.err.text)
        end
    end
    load(WARM)
    control(dir, "-z")
    load(requests)
    control(dir, "-d")
    process:signal(sys.SIGTERM)
    process:wait()
    local instructions = sum(dir)
    Gateway.remove_folder(dir)
    up:die()
    return instructions / requests
end

for _, scenario in ipairs(scenarios) do
    for _, driver in ipairs(drivers) do
        print(("%-10s %-12s %6.0f instructions a request"):format(scenario, driver.name, run(driver, scenario)))
    end
end
