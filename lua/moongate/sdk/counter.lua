--- counter: numbers that only grow, one cell a worker, summed in /metrics.
local bind = require("moongate.ffi.host")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local add, type, error = bind.counter_add, type, error
local handles = setmetatable({}, { __mode = "k" })
local NOWHERE = {} -- in the place of a handle: the plugin's share is used up

local function handle_of(self)
    return handles[self] or scope.handle(handles, self, "counter", 3)
end

---@class moongate.Counter
local counter = {}

--- Counts.
---@param by? integer  0 or more; 1 when left out
function counter:add(by)
    by = by or 1
    if type(by) ~= "number" or not (by >= 0 and by <= 4294967296) then
        error("add: a counter grows by 0 or more", 2)
    end
    local handle = handle_of(self)
    if handle ~= NOWHERE then
        add(running.host, handle, by)
    end
end

--- The sum over all workers, of this moment.
---@return number
function counter:sum()
    local handle = handle_of(self)
    return handle == NOWHERE and 0 or bind.counter_sum(running.host, handle)
end

local meta = scope.meta("counter", counter)

local nowhere = setmetatable({}, meta)
handles[nowhere] = NOWHERE

--- A counter too many is no reason to fail a request: what it counts is dropped, and C counts that and tells it once.
local function open(full)
    local self = running.counters[full]
    if self then
        return self
    end
    local handle = bind.counter(running.host, full)
    if not handle then
        return nowhere
    end
    self = setmetatable({}, meta)
    handles[self] = handle
    running.counters[full] = self
    return self
end

local counters = {}

--- Makes a counter, or finds the one of that name. In new(conf). A plugin has 256; what is counted in more is dropped.
---@param name string  of letters, digits, '.', '_', '-'
---@return moongate.Counter
function counters.new(name)
    object.dot(name, "moongate", "counter", 2)
    return open(scope.name("counter", name))
end

--- The same in a request, for ctx:counter.
function counters.named(name)
    if type(name) ~= "string" or #name > 64 or not name:find("^[%w._%-]+$") then
        error("counter: a name has 1 to 64 letters, digits, '.', '_' or '-'", 3)
    end
    return open((running.names[running.here.plugin + 1] or "") .. "/" .. name)
end

return counters
