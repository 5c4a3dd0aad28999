--- beside: what a slot does when it is resumed for a task, or for a run of what a plugin gave to mg.every.
local call = require("moongate.ffi.call")
local await = require("moongate.worker.await")
local context = require("moongate.sdk.ctx")
local message_of = require("moongate.worker.raised").message
local on_raise = require("moongate.worker.layer").on_raise
local running = require("moongate.sdk.running")
local tasks = require("moongate.sdk.task")
local text_of = require("moongate.sdk.shown")

local xpcall, unpack, select = xpcall, unpack, select
local CANCELLED, ANSWERED = running.CANCELLED, running.ANSWERED

--- What became of it, for whoever waits, and for the log.
---@param record moongate.Began
local function finish(record, pointer, ok, ...)
    record.done = true
    if ok then
        record.values, record.count = { ... }, select("#", ...)
        return
    end
    local err = ...
    if err == CANCELLED then
        record.problem = call.cancel_reason(pointer)
        return
    end
    local trace = running.traceback or ""
    running.traceback = false
    record.failed, record.raised = true, err
    call.task_raised(pointer, message_of(err, text_of(err), trace), trace)
end

--- The function that a slot is to run.
---@return moongate.Began
local function take(number)
    if number < 0 then
        local every = tasks.everies[-number]
        return { plugin = every.plugin, fn = every.fn, arguments = {}, count = 0 }
    end
    local record = tasks.begun[number]
    tasks.begun[number] = nil
    return record
end

---@param pointer moongate.Call
return function(pointer)
    local record = take(call.task_number(pointer))
    local reason = call.cancel_reason(pointer)
    if reason then
        record.done, record.problem = true, reason
        return
    end
    local slot = context.beside(pointer)
    await.resume(slot)
    running.may_wait = true
    running.here.depth = ANSWERED -- no next is the task's to call
    running.here.plugin, running.memory.owner = record.plugin, record.plugin
    local fn, arguments = record.fn, record.arguments
    record.fn, record.arguments = nil, nil
    finish(record, pointer, xpcall(fn, on_raise, slot.ctx, unpack(arguments, 1, record.count)))
end
