--- world: a gateway with hostile plugins, an upstream, a canary beside it, and what became of all requests.
local client = require "tests.hostile.client"
local e2e = require "tests.e2e.harness"
local echo = require "tests.hostile.echo"
local Process = require "tests.e2e.harness.process"
local reach = require "tests.hostile.reach"
local sys = require "tests.e2e.harness.sys"
local write = require "tests.hostile.write"

local World = {}
World.__index = World

local RECENT_MS = 2000 -- a request that ended so long ago may still be what broke the gateway
local LOG_KEPT = 262144 -- bytes of the gateway's log

local CANARY = [[
return { name = "canary", version = "1", new = function()
    return function(ctx)
        local token = ctx.request:header("x-token")
        ctx.state.seen = { token }
        ctx:respond(200, "canary " .. token)
    end
end }
]]

--- A problem, with all that is known of it. `kind`: "mixed", "garbage", "hang", "refused", "died", "canary", ..
function World:complain(kind, wanted, text)
    local path = wanted and wanted.path or ""
    local item = { kind = kind, path = path, text = text, request = wanted }
    self.complaints[#self.complaints + 1] = item
    if self.opts.loud then
        io.write(("%s %s %s\n"):format(kind, path, wanted and wanted.bytes:sub(1, 200) or ""), text, "\n")
    end
end

function World:count(what, wanted)
    self.counts[what] = (self.counts[what] or 0) + 1
    self.recent[#self.recent + 1] = { path = wanted.path, at_ms = sys.now_ms() }
    if #self.recent > 400 then
        for i = 1, 200 do self.recent[i] = self.recent[i + 200] end
        for i = 201, #self.recent do self.recent[i] = nil end
    end
end

--- Paths of what is under way or has just ended.
function World:suspects()
    local paths, seen, now_ms = {}, {}, sys.now_ms()
    local function add(path)
        if not seen[path] then paths[#paths + 1] = path end
        seen[path] = true
    end
    for _, one in ipairs(self.clients) do
        for _, wanted in ipairs(one.pending) do add(wanted.path) end
    end
    for i = #self.recent, 1, -1 do
        if now_ms - self.recent[i].at_ms < RECENT_MS then add(self.recent[i].path) end
    end
    return paths
end

--- The document's parts for these plugins; `extra` is the source of a plugin that only is loaded.
local function parts(self, plugins, extra)
    local own = { files = { ["plugins/canary/plugin.lua"] = CANARY },
        plugins = { canary = { use = "./plugins/canary" } },
        limiters = { loose = { key = "global", rate = "100000/s" }, tight = { key = "global", rate = "20/s" } },
        services = { up = { endpoints = { { url = self.up:url() } }, pool = { idle_timeout = "1s" } },
            dead = { endpoints = { { url = "http://127.0.0.1:1" } } } },
        routes = { { name = "canary", match = { paths = { { prefix = "/canary" } } }, plugins = { "canary" } } } }
    local function add(name, source, conf)
        own.files["plugins/" .. name .. "/plugin.lua"] = source
        own.plugins[name] = { use = "./plugins/" .. name, on_error = conf.on_error, timeout = conf.timeout,
            cpu = conf.cpu }
    end
    for i, plugin in pairs(plugins) do
        local chain = { "p" .. i }
        add("p" .. i, write.text(plugin, self.up.port), plugin.conf)
        if plugin.chained and plugins[plugin.chained] then chain[2] = "p" .. plugin.chained end
        if plugin.limited then table.insert(chain, plugin.limited, { limit = "tight" }) end
        own.routes[#own.routes + 1] = { name = "r" .. i, match = { paths = { { prefix = "/p" .. i } } }, timeout = "3s",
            plugins = chain, service = "up" }
    end
    if extra then
        add("extra", extra, {})
        own.routes[#own.routes + 1] = { name = "extra", match = { paths = { { prefix = "/extra" } } },
            plugins = { "extra" } }
    end
    return own
end

--- Looks at the gateway's log and keeps its end. False once the gateway has ended.
function World:look()
    local err = self.gw.process.err
    if #err.text > LOG_KEPT or err.text:find("runtime error:", 1, true) then
        local at = err.text:find(": runtime error:", 1, true)
        if at and not self.reported then
            self.reported = true
            self:complain("sanitizer", nil, err.text:sub(math.max(1, at - 500), at + 4000))
        end
        if #err.text > LOG_KEPT then err.text = err.text:sub(-LOG_KEPT / 4) end
    end
    if self.gw.process:ended() then
        if not self.dead then
            self.dead = true
            local code, signal = self.gw.process:wait()
            self:complain("died", nil, ("exit status %s, signal %s\n%s"):format(code, signal, err.text:sub(-12000)))
        end
        return false
    end
    return true
end

--- What the canary said since the last time.
function World:hear_canary()
    local out = self.canary and self.canary.out
    if not out then return end
    local last = out.text:match "^.*\n"
    if not last then return end
    out.text = out.text:sub(#last + 1)
    for line in last:gmatch "[^\n]+" do
        local took_ms, cpu_ms = line:match "^wait (%S+) (%S+)$"
        if took_ms then
            self:waited(tonumber(took_ms), tonumber(cpu_ms))
        elseif line:match "^ok " then
            self.canaries = self.canaries + tonumber(line:match "%d+")
        else
            self:complain("canary", nil, line .. "\nunder way: " .. table.concat(self:suspects(), " "))
        end
    end
    if #self.canary.err.text > 0 then error("the canary: " .. self.canary.err.text, 0) end
end

function World:waited(took_ms, cpu_ms)
    local by = math.min(took_ms, cpu_ms)
    self.longest_ms = math.max(self.longest_ms, by)
    if self.opts.stall and by >= self.opts.stall then
        self.stalls[#self.stalls + 1] = { ms = by, paths = self:suspects() }
    end
end

--- Reloads; nil, or why the gateway refused, in its words.
local function reload(self, own)
    if self.gw:reload(own) == "ok" then return nil end
    local why = "?"
    for line in self.gw.process.err.text:gmatch "[^\n]+" do
        if line:find('"event":"config","message":', 1, true) and line:find('"level":"error"', 1,
            true) then why = line end
    end
    return why
end

--- Makes these plugins what the gateway runs. Takes out those that it refuses; returns its words, by their number.
function World:load(plugins)
    local refused = {}
    while true do
        local why = reload(self, parts(self, plugins))
        if not why then return refused end
        local number = tonumber(why:match 'plugin \\"p(%d+)\\"')
        if not number or not plugins[number] then
            self:complain("load", nil, "a configuration was refused, and no plugin is named:\n" .. why)
            return refused
        end
        refused[number] = why
        plugins[number] = nil
    end
end

--- Reloads with one more plugin, whose file or new is hostile. Returns why it was refused, if it was.
function World:load_with(plugins, extra) return reload(self, parts(self, plugins, write.text(extra, self.up.port))) end

--- Begins `count` clients, whose requests go where `route` says.
function World:begin(count, rng, route)
    for i = 1, count do
        self.clients[i] = client.start(self, rng, i % 3 == 0 and 3 or 1, route)
    end
end

--- Lets everything run until the moment, or until the gateway ends: then false.
function World:run(until_ms)
    while sys.now_ms() < until_ms do
        for _, one in ipairs(self.clients) do one:step() end
        sys.wait({}, math.min(until_ms, sys.now_ms() + 20), true)
        self:hear_canary()
        if not self:look() then return false end
    end
    return true
end

--- Sends no more and waits until all has its end.
function World:settle()
    for _, one in ipairs(self.clients) do one:stop() end
    local idle
    repeat
        idle = true
        for _, one in ipairs(self.clients) do idle = idle and one:idle() end
        if not idle and not self:run(sys.now_ms() + 20) then return false end
    until idle
    for _, one in ipairs(self.clients) do one:close() end
    self.clients = {}
    return self:look()
end

--- What the process holds.
function World:held()
    local descriptors = 0
    local list = io.popen("ls /proc/" .. self.gw.process.pid .. "/fd")
    for _ in list:lines() do descriptors = descriptors + 1 end
    list:close()
    return { rss_mib = self.gw:rss_kib() / 1024, descriptors = descriptors,
        lua_mib = (self.gw:metric "moongate_lua_memory_bytes" or 0) / 1048576 }
end

--- Waits until the process holds no more than at first, and so much more of each. Complains when it goes on to.
function World:let_go(more)
    local function much()
        local now = self:held()
        for what, bound in pairs(more) do
            if now[what] > self.was[what] + bound then return now, what end
        end
        return now
    end
    local until_ms = sys.now_ms() + sys.patience_ms
    local now, what = much()
    while what and sys.now_ms() < until_ms do
        self:run(sys.now_ms() + 100)
        now, what = much()
    end
    if what then self:complain("held", nil, ("%s: at first %g, now %g"):format(what, self.was[what], now[what])) end
    return now
end

function World:start_canary()
    self.canary = Process.start { argv = { "/usr/bin/env", "luajit", "tests/hostile/canary.lua", tostring(self.gw.port),
        tostring(self.gw.process.pid) }, env = { LUA_PATH = package.path } }
end

--- What a plugin of this gateway can reach.
function World:reached()
    local own = parts(self, {})
    own.files["plugins/probe/plugin.lua"] = reach.source()
    own.plugins.probe = { use = "./plugins/probe", cpu = "10s" }
    own.routes[2] = { name = "probe", match = { paths = { { prefix = "/probe" } } }, plugins = { "probe" },
        service = "up" }
    if self.gw:reload(own) ~= "ok" then error(self.gw.process.err.text:sub(-3000), 0) end
    local answer = self.gw:ask "GET /probe HTTP/1.1\r\nHost: a\r\n\r\n"
    if answer.status ~= 200 then error(answer.body .. "\n" .. self.gw.process.err.text:sub(-3000), 0) end
    return reach.read(answer.body)
end

--- Ends it all. Complains when the gateway does not end well.
function World:stop()
    for _, one in ipairs(self.clients) do one:close() end
    self.clients = {}
    if self.canary then self.canary:kill() end
    self.canary = nil
    if self.dead then
        self.gw:abandon()
        return
    end
    local ok, err = pcall(self.gw.stop, self.gw)
    if not ok then self:complain("end", nil, tostring(err)) end
end

--- Options: loud (complaints are written as they come), stall (ms from which on a wait of the canary counts), canary.
local function start(opts)
    local self = setmetatable({ opts = opts, up = echo.start(), complaints = {}, counts = {}, recent = {}, clients = {},
        stalls = {}, longest_ms = 0, canaries = 0 }, World)
    local own = parts(self, {})
    own.measured = true
    self.gw = e2e.gateway(own)
    self.port = self.gw.port
    return self
end

return { start = start }
