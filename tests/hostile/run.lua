#!/usr/bin/env luajit
--- run: hostile plugins, written at random, against the real gateway. Whatever they do, the process lives, a good
--- plugin beside them is served, every answer belongs to its request, and what they held comes back. It prints its
--- seed; the same seed writes the same plugins and requests. A plugin that fails is shown, as short as it still fails.
---     luajit tests/hostile/run.lua [--seed N] [--seconds N] [--round N] [--plugins N] [--clients N] [--length S]
---         [--loads N] [--stall MS]
--- A round has --plugins on as many routes for --length seconds, and --loads reloads with one that is hostile where it
--- is loaded. --round begins with that round. --stall also fails when one plugin alone keeps the canary waiting for so
--- long, of the worker's CPU. The gateway is $MOONGATE, else that of build/bench. Ends with 1 when something failed.
package.path = (arg[0]:match "^(.*)tests/hostile/" or "") .. "?.lua;" .. package.path
local client = require "tests.hostile.client"
local e2e = require "tests.e2e.harness"
local Rng = require "tests.hostile.rng"
local sys = require "tests.e2e.harness.sys"
local World = require "tests.hostile.world"
local write = require "tests.hostile.write"

local conf = { seed = os.time() % 1000000, seconds = 60, round = 1, plugins = 24, clients = 6, stall = 0, loads = 4,
    length = 12 }
do
    local i = 1
    while arg[i] do
        local name = arg[i]:match "^%-%-(%l+)$"
        local value = tonumber(arg[i + 1])
        if not conf[name] or not value then
            local names = {}
            for key in pairs(conf) do names[#names + 1] = "--" .. key .. " N" end
            table.sort(names)
            io.stderr:write("run: '", arg[i], "' is not understood; there are ", table.concat(names, ", "), "\n")
            os.exit(2)
        end
        conf[name] = value
        i = i + 2
    end
end
io.stdout:setvbuf "line"

-- What the process may hold more at the end, when no hostile plugin is left: pages that malloc keeps, not a thing of
-- theirs.
local MORE = { descriptors = 8, lua_mib = 8, rss_mib = 256 }

local function say(...) print(string.format(...)) end

local failures = {}

--- The plugins of a round, by number.
local function plugins_of(reached, round)
    local plugins = {}
    for i = 1, conf.plugins do
        local rng = Rng.new(conf.seed, round, i, 5)
        local plugin = write.plugin(reached, false, conf.seed, round, i)
        local problem = select(2, loadstring(write.text(plugin, 1)))
        if problem then error(("round %d, plugin %d: %s\n%s"):format(round, i, problem, write.text(plugin, 1)), 0) end
        plugin.chained = rng:chance(25) and rng:int(1, conf.plugins) or nil
        if plugin.chained == i then plugin.chained = nil end
        plugin.limited = rng:chance(10) and rng:int(1, 2) or nil
        plugins[i] = plugin
    end
    return plugins
end

--- Whether these plugins alone make it happen again: the complaints, and the longest wait of the canary.
local function trial(plugins, seed, requests, canary)
    local world = World.start { stall = conf.stall > 0 and conf.stall }
    local refused = world:load(plugins)
    local list = {}
    for i in pairs(plugins) do list[#list + 1] = i end
    if #list > 0 and not next(refused) then
        if canary then world:start_canary() end
        local until_ms = sys.now_ms() + (canary and 5000 or 3000) + requests * 10
        world:begin(canary and 1 or 3, Rng.new(seed, 9), function(rng) return "/p" .. rng:pick(list) end)
        if canary then world:run(sys.now_ms() + 3000) end
        if world:run(until_ms) then world:settle() end
    end
    world:stop()
    return world
end

local function has(world, kind)
    for _, item in ipairs(world.complaints) do
        if item.kind == kind then return true end
    end
    return false
end

--- Leaves out of a plugin what is not needed to make it fail.
local function shrunk(number, plugin, fails)
    for _, phase in ipairs(write.PHASES) do
        local list = plugin.phases[phase]
        for i = list and #list or 0, 1, -1 do
            local taken = table.remove(list, i)
            if not fails { [number] = plugin } then table.insert(list, i, taken) end
        end
    end
    return plugin
end

local function number_of(path) return tonumber(path:match "^/p(%d+)$") end

--- Finds which plugin did it alone, and shows it as short as it can be.
local function explain(reached, round, kind, paths, fails)
    for _, path in ipairs(paths) do
        local number = number_of(path)
        local plugin = number and plugins_of(reached, round)[number]
        if plugin then
            plugin.chained, plugin.limited = nil, nil
            local before = write.text(plugin, 1)
            if fails { [number] = plugin } then
                say("%s: plugin %d of round %d does it alone; shortened:\n%s", kind, number, round,
                    write.text(shrunk(number, plugin, fails), 1))
                return true
            end
            if #paths == 1 then say("%s: plugin %d of round %d, not alone:\n%s", kind, number, round, before) end
        end
    end
    say("%s: none of %s does it alone", kind, table.concat(paths, " "))
    return false
end

local function fail(reached, round, item, paths)
    failures[#failures + 1] = item.kind
    say("FAILED round %d: %s %s\n%s", round, item.kind, item.path, item.text)
    if item.request then say("request: %s", item.request.bytes:sub(1, 600)) end
    if #failures > 5 then return end
    explain(reached, round, item.kind, item.path ~= "" and { item.path } or paths, function(plugins)
        return has(trial(plugins, conf.seed, 300), item.kind)
    end)
end

--- One stall is a request's own when it does it alone.
local function judge_stalls(reached, round, world)
    local tried = {}
    for _, stall in ipairs(world.stalls) do
        for _, path in ipairs(stall.paths) do
            if not tried[path] and number_of(path) then
                tried[path] = true
                local number = number_of(path)
                local plugin = plugins_of(reached, round)[number]
                plugin.chained = nil
                local alone = trial({ [number] = plugin }, conf.seed, 100, true)
                if alone.longest_ms >= conf.stall then
                    failures[#failures + 1] = "stall"
                    say("FAILED round %d: plugin %d alone kept the worker for %.1f ms", round, number, alone.longest_ms)
                    local function fails(plugins)
                        return trial(plugins, conf.seed, 100, true).longest_ms >= conf.stall
                    end
                    say("%s", write.text(shrunk(number, plugin, fails), 1))
                end
            end
        end
    end
end

local function round_of(world, reached, round)
    local plugins = plugins_of(reached, round)
    local refused = world:load(plugins)
    local rng = Rng.new(conf.seed, round, 1234)
    world.stalls, world.longest_ms, world.complaints = {}, 0, {}
    world:begin(conf.clients, rng, function(own) return client.paths(own, conf.plugins) end)
    local alive, loads = true, { ok = 0, refused = 0 }
    for i = 1, conf.loads do
        alive = alive and world:run(sys.now_ms() + conf.length * 1000 / conf.loads)
        if alive then
            local why = world:load_with(plugins, write.plugin(reached, true, conf.seed, round, 1000 + i))
            local how = why and "refused" or "ok"
            loads[how] = loads[how] + 1
        end
    end
    local paths = world:suspects()
    alive = alive and world:settle()
    local count = 0
    for _ in pairs(refused) do count = count + 1 end
    say("round %d: %d plugins (%d refused), loads %d ok %d refused; longest wait %.1f ms of CPU, %d complaints", round,
        conf.plugins, count, loads.ok, loads.refused, world.longest_ms,
        #world.complaints)
    for _, item in ipairs(world.complaints) do fail(reached, round, item, paths) end
    if conf.stall > 0 and alive then judge_stalls(reached, round, world) end
    return alive
end

local function summary(world)
    local parts = {}
    for what, count in pairs(world.counts) do parts[#parts + 1] = ("%s: %d"):format(what, count) end
    table.sort(parts)
    say("answers: %s; canary %d", table.concat(parts, ", "), world.canaries)
end

local function start()
    local world = World.start { stall = conf.stall > 0 and conf.stall }
    world.was = world:held()
    return world
end

e2e.prefer "build/bench/moongate"
say("seed %d, from round %d, %d s", conf.seed, conf.round, conf.seconds)
local world = start()
local reached = world:reached()
say("%d functions are within reach", #reached)
world:start_canary()
local until_ms, round = sys.now_ms() + conf.seconds * 1000, conf.round
while sys.now_ms() < until_ms and #failures < 20 do
    if not round_of(world, reached, round) then
        summary(world)
        world:stop()
        world = start()
        world:start_canary()
    end
    round = round + 1
end
world.complaints = {}
world:load {}
local now = world:let_go(MORE)
say("at first %.0f MiB, %d descriptors; at the end %.0f MiB (Lua %.0f), %d descriptors", world.was.rss_mib,
    world.was.descriptors, now.rss_mib, now.lua_mib, now.descriptors)
summary(world)
world:stop()
for _, item in ipairs(world.complaints) do
    failures[#failures + 1] = item.kind
    say("FAILED at the end: %s\n%s", item.kind, item.text)
end
e2e.finish()
say("%d failures; seed %d", #failures, conf.seed)
os.exit(#failures > 0 and 1 or 0)
