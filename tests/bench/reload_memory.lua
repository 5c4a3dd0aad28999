#!/usr/bin/env luajit
--- reload_memory: what a gateway of 10,000 routes with a plugin each, as the side-by-side benchmark has it, takes after
--- its start and after reloads of the same file. Prints resident memory, then what must hold; ends with 99 where it
--- does not.
---     tests/bench/reload_memory.lua [reloads=60] [most_mb=60]
--- The gateway is $MOONGATE, else that of build/release.
package.path = (arg[0]:match "^(.*)tests/bench/" or "") .. "?.lua;" .. package.path
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"
local routes = require "tests.bench.routes"
local sys = require "tests.e2e.harness.sys"

e2e.prefer "build/release/moongate"
sys.patience_ms = 60000

local conf = { reloads = 60, most_mb = 60 }
for _, word in ipairs(arg) do
    local key, value = word:match "^([%l_]+)=(%d+)$"
    if not conf[key] then
        io.stderr:write("reload_memory: no setting is called '" .. word .. "'; there are reloads, most_mb\n")
        os.exit(2)
    end
    conf[key] = tonumber(value)
end
io.stdout:setvbuf "line"

--- The benchmark's own configuration, with a listener that tells how many reloads are through.
local function document()
    local dir, lines = Gateway.folder(), {}
    for i = 0, routes.count - 1 do lines[i + 1] = routes.line(i) .. "\n" end
    Gateway.write(dir .. "/routes.tsv", table.concat(lines))
    local driver = (arg[0]:match "^(.*/)" or "./") .. "gateway"
    local pipe = assert(io.popen("SCENARIO=routes PORT=@PORT@ UPSTREAM=1 ROUTES=" .. dir .. "/routes.tsv "
        .. driver .. " config"))
    local text = pipe:read "*a"
    pipe:close()
    Gateway.remove_folder(dir)
    return text .. 'status: { bind: "127.0.0.1:@STATUS@" }\n'
end

local gw = e2e.gateway { text = document() }
local missed = false

local function measure(when)
    local mb = gw:rss_kib() / 1024
    print(("%-18s %6.1f MB resident"):format(when, mb))
    return mb
end

local function must(holds, ...)
    print((holds and "ok      " or "MISSED  ") .. string.format(...))
    missed = missed or not holds
end

local most = measure "after the start"
for i = 1, conf.reloads do
    if gw:reload() ~= "ok" then error("a reload was refused", 0) end
    if i % 10 == 0 or i == conf.reloads then most = math.max(most, measure("after reload " .. i)) end
end
must(most < conf.most_mb, "at most %.1f MB, less than %d MB", most, conf.most_mb)
gw:stop()
os.exit(missed and 99 or 0)
