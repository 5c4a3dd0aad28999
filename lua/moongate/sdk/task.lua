--- task: ctx:task, functions that run beside a request, and mg.every, functions that run by themselves. Each run has a
--- slot, a budget and a deadline of its own, and a ctx without a request.
local call = require("moongate.ffi.call")
local object = require("moongate.sdk.object")
local frozen = require("moongate.sdk.frozen")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local TASK = call.wait_for.TASK
local TIMEOUT_S, TIMEOUT_MAX_S = 30, 3600
local EVERY_MIN_S, EVERY_MAX_S, EVERY_MOST = 0.1, 86400, 16
local BEGIN = 200 -- checks that beginning a task is charged
local type, error, unpack, select, setmetatable = type, error, unpack, select, setmetatable
local getinfo, format = debug.getinfo, string.format

---@class moongate.Began  a function that was given to run
---@field plugin integer  index in the plan, from 0
---@field fn function
---@field where string  where the function stands
---@field number? number  of a task
---@field arguments? table
---@field count? integer  of the arguments
---@field done? boolean
---@field values? table  what it returned
---@field failed? boolean  it raised
---@field raised? any
---@field problem? string  why it ended before it was through

local records = setmetatable({}, { __mode = "k" }) ---@type table<moongate.Task, moongate.Began>

---@class moongate.Task
local task = {}

local function record_of(self)
    return records[self]
        or error("this is not a task: its methods are called with a colon, on what ctx:task returned", 3)
end

--- Waits for the end of the task. What the function raised is raised again here.
---@return any ...  what the function returned; nil and "deadline" when its time was over before
function task:wait()
    local my = record_of(self)
    if not my.done then
        local wrong = running.may_wait and call.task_wait(running.call, my.number)
        if wrong then
            error("wait: " .. wrong, 2)
        end
        running.await(TASK)
    end
    if my.failed then
        error(my.raised, 0)
    elseif my.values then
        return unpack(my.values, 1, my.count)
    end
    return nil, my.problem or "memory"
end

--- Lets the task go on when the request has ended. Nothing waits for it then.
---@return moongate.Task self
function task:detach()
    local my = record_of(self)
    local wrong = not my.done and call.task_detach(running.call, my.number)
    if wrong then
        error("detach: " .. wrong, 2)
    end
    return self
end

local meta = scope.meta("task", task)

local tasks = {
    begun = {}, ---@type table<number, moongate.Began>  by number, until their slot runs them
    everies = {}, ---@type moongate.Began[]  with seconds and timeout
}

local option_kinds = { timeout = "number" }

---@class moongate.TaskOptions
---@field timeout? number  seconds from now until it is ended, 0.001 to 3600; 30 when left out

--- The time that options give; `level` is for its error.
local function timeout_of(what, options, level)
    if options == nil then
        return TIMEOUT_S
    end
    if type(options) ~= "table" then
        error(what .. ": options are a table, not " .. type(options), level + 1)
    end
    for key, value in frozen.pairs(options) do
        if not option_kinds[key] then
            error(format("%s: no option '%s': %s", what, tostring(key),
                object.choices(key, object.members(option_kinds))), level + 1)
        end
        if type(value) ~= "number" or not (value >= 0.001 and value <= TIMEOUT_MAX_S) then
            error(format("%s: timeout is 0.001 to %d seconds", what, TIMEOUT_MAX_S), level + 1)
        end
    end
    return options.timeout or TIMEOUT_S
end

local function place_of(fn)
    local where = getinfo(fn, "S")
    return where.short_src .. ":" .. where.linedefined
end

--- For ctx:task; three levels up is the plugin's line.
---@param first function|moongate.TaskOptions
---@return moongate.Task
function tasks.start(first, ...)
    local options, fn, skipped = nil, first, 0
    if type(first) == "table" then
        options, fn, skipped = first, (...), 1
    end
    if type(fn) ~= "function" then
        error("task: what runs is a function, not " .. type(fn) .. ": ctx:task(function(ctx, ..) .. end, ..)", 3)
    end
    local timeout_s, where = timeout_of("task", options, 3), place_of(fn)
    running.charge(BEGIN)
    local number, problem = call.task_start(running.call, running.here.plugin, where, timeout_s)
    if not number then
        error("task: " .. problem, 3)
    end
    local count = select("#", ...) - skipped
    local record = {
        plugin = running.here.plugin, fn = fn, where = where, number = number, count = count,
        arguments = { select(1 + skipped, ...) },
    }
    tasks.begun[number] = record
    local self = setmetatable({}, meta)
    records[self] = record
    return self
end

--- Runs a function again and again, on each worker by itself: as soon as the worker serves this configuration, and
--- then `seconds` after the end of each run, a tenth more or less. When a reload or a renewal of the state retires it,
--- or the gateway stops, and its requests have ended, it runs once more. Called when the plugin is loaded: in its file,
--- or in new(conf).
---@param seconds number  0.1 to 86400
---@param fn fun(ctx: moongate.TaskCtx)
---@param options? moongate.TaskOptions  the time that each run has
function tasks.every(seconds, fn, options)
    object.dot(seconds, "moongate", "every", 2)
    if running.ctx then
        error("every: call it when the plugin is loaded, in its file or in new(conf), not for a request", 2)
    end
    if running.here.plugin < 0 then
        error("every: only a plugin's function runs", 2)
    end
    if type(seconds) ~= "number" or not (seconds >= EVERY_MIN_S and seconds <= EVERY_MAX_S) then
        error(format("every: seconds are a number from %g to %d", EVERY_MIN_S, EVERY_MAX_S), 2)
    end
    if type(fn) ~= "function" then
        error("every: what runs is a function, not " .. type(fn) .. ": mg.every(60, function(ctx) .. end)", 2)
    end
    local mine = 0
    for i = 1, #tasks.everies do
        mine = mine + (tasks.everies[i].plugin == running.here.plugin and 1 or 0)
    end
    if mine >= EVERY_MOST then
        error(format("every: a plugin has at most %d functions that run", EVERY_MOST), 2)
    end
    tasks.everies[#tasks.everies + 1] = {
        plugin = running.here.plugin, fn = fn, where = place_of(fn), seconds = seconds,
        timeout = timeout_of("every", options, 2),
    }
end

return tasks
