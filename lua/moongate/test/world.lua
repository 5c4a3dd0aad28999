--- world: the simulated clock and network of one test, and whatever the test has in it. Each test gets a world of its
--- own, made when it is first needed and taken apart behind the test; what is then still alive is a leak.
local c = require("moongate.test.c")
local files = require("moongate.test.files")
local units = require("moongate.test.units")

local world = { base_seed = 1, name = "?", spans_ms = 0, logged = {} }

local World = {}
World.__index = World

--- 32 bits of the test's name and the run's seed (FNV-1a): a test has the same world whichever others run.
local function seed_of(name, base)
    local hash = 2166136261
    for byte in (base .. "|" .. name):gmatch(".") do
        hash = bit.bxor(hash, byte:byte())
        hash = bit.tobit(hash * 403 + bit.lshift(hash, 24)) -- times 16777619, within 53 bits
    end
    return hash % 2 ^ 32
end

--- The world of the test that runs.
function world.here()
    if not world.current then
        local seed = seed_of(world.name, world.base_seed)
        world.current = setmetatable({
            spec = c.new(seed), seed = seed, sources = {}, timers = {}, nodes = {}, open = {}, hosts = 0,
            random = seed,
        }, World)
    end
    return world.current
end

---@return number ms  since the world began
function World:now()
    return c.now_ms(self.spec)
end

--- A random whole number below n, of this world.
function World:draw(n)
    self.random = (self.random * 16807 + 11) % 2147483647
    return self.random % n
end

--- Something that is asked again and again what it has to do: source:pump() is true when it has done something.
function World:add(source)
    local with = { source }
    for _, one in ipairs(self.sources) do
        with[#with + 1] = one
    end
    self.sources = with
    return source
end

--- The list is replaced, not changed: it may be walked just now.
function World:remove(source)
    local rest = {}
    for _, one in ipairs(self.sources) do
        if one ~= source then
            rest[#rest + 1] = one
        end
    end
    self.sources = rest
end

--- Calls fn in `ms` of virtual time.
function World:after(ms, fn)
    local timer = { at = self:now() + ms, fn = fn }
    local at = #self.timers + 1
    while at > 1 and self.timers[at - 1].at > timer.at do
        at = at - 1
    end
    table.insert(self.timers, at, timer)
    return timer
end

function World:cancel(timer)
    for at, one in ipairs(self.timers) do
        if one == timer then
            table.remove(self.timers, at)
            return
        end
    end
end

--- Runs all that can run now.
function World:settle()
    repeat
        c.settle(self.spec)
        local moved = false
        for _, source in ipairs(self.sources) do
            moved = source:pump() or moved
        end
        while self.timers[1] and self.timers[1].at <= self:now() + 1e-6 do
            table.remove(self.timers, 1).fn()
            moved = true
        end
    until not moved
end

--- Lets time pass until done() is true, `ms` at most.
---@return boolean done
function World:wait(ms, done)
    local limit = self:now() + ms
    self:settle()
    while not (done and done()) do
        if self:now() >= limit then
            return false
        end
        local to = limit
        if self.timers[1] and self.timers[1].at < to then
            to = self.timers[1].at
        end
        c.run(self.spec, to)
        self:settle()
    end
    return true
end

--- Something went wrong where nobody of the spec is on the stack: the next call that waits raises it, or the end of the
--- test.
---@param text string
function World:blame(text)
    self.problem = self.problem or text
end

--- What was blamed, once.
---@return string?
function World:blamed()
    local problem = self.problem
    self.problem = nil
    return problem
end

--- Notes that something is alive, made by the line of the spec that called.
---@return table mark
function World:opened(what)
    local mark = { what = what, where = units.caller() }
    self.open[mark] = true
    return mark
end

function World:closed(mark)
    self.open[mark] = nil
end

local function left_of(self)
    local left = {}
    for mark in pairs(self.open) do
        left[#left + 1] = mark.what .. ", made by " .. mark.where
    end
    table.sort(left)
    for _, node in ipairs(self.nodes) do
        for _, line in ipairs(node:runs() and node:left() or {}) do
            left[#left + 1] = line .. ", in the gateway made by " .. node.where
        end
    end
    return left
end

--- What the gateways of the test have logged as errors, a line each: a plugin's mistake among them.
---@return string[] lines
function world.errors()
    local lines = {}
    for _, node in ipairs(world.current and world.current.nodes or {}) do
        for _, entry in ipairs(node:runs() and node:log() or {}) do
            if entry.level == "error" then
                lines[#lines + 1] = entry.event .. ": " .. files.shown(entry.message:match("^[^\n]*"))
            end
        end
    end
    return lines
end

--- Takes the world of the test apart. What was alive, a line each; and what went wrong and was not raised.
---@return string[] left, string? problem
function world.finish()
    local self = world.current
    if not self then
        return {}
    end
    self:settle()
    local left, problem = left_of(self), self:blamed()
    for _, node in ipairs(self.nodes) do
        if node:runs() then
            node:close()
        end
    end
    local sources = self.sources
    self.sources = {}
    for _, source in ipairs(sources) do
        source:drop()
    end
    c.settle(self.spec)
    if #left == 0 and c.sockets(self.spec) + c.timers(self.spec) > 0 then
        left[1] = ("%d sockets and %d timers of the gateway"):format(c.sockets(self.spec), c.timers(self.spec))
    end
    world.spans_ms = world.spans_ms + self:now()
    c.free(self.spec)
    world.current = nil
    return left, problem
end

return world
