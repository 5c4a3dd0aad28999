--- await: the one place where Lua yields. C resumes the coroutine with the answer in its call.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")

local yield, isyieldable = coroutine.yield, coroutine.isyieldable
local cancelled, timed_out, set_wait, enter = call.cancelled, call.timed_out, call.wait, call.enter
local DONE, PAUSE = call.wait_for.DONE, call.wait_for.PAUSE
local CANCELLED = running.CANCELLED

local await = {}

--- Makes the slot the one that runs.
local function resume(slot)
    running.slot = slot
    running.call = slot.call
    running.ctx = slot.ctx
    running.request = slot.request
    running.response = slot.response
    running.params = slot.params
    running.turn = running.turn + 1
end

await.resume = resume

--- No request runs: what a plugin kept of one raises from now on.
function await.none()
    running.ctx = false
    running.request = false
    running.response = false
    running.params = false
    running.call = false
end

--- Waits inside a chain. Another request may run meanwhile.
---@param wait integer  of call.wait_for
function await.await(wait)
    if not running.may_wait then
        error("this waits, and here nothing can wait: only a handler may", 3)
    end
    local slot, depth, plugin = running.slot, running.depth, running.plugin
    local pointer = slot.call
    enter(pointer, plugin)
    set_wait(pointer, wait)
    yield()
    resume(slot)
    running.depth = depth
    running.plugin, running.memory.owner = plugin, plugin
    running.may_wait = true
    if cancelled(pointer) then
        error(CANCELLED, 0)
    end
    if timed_out(pointer) then
        error(running.place() .. "this waited longer than the plugin's timeout allows", 0)
    end
end

--- Between two parts of long work.
---@param checks number  what the part cost: charged where nothing can wait
function await.pause(checks)
    if running.may_wait and isyieldable() then
        running.await(PAUSE)
    else
        running.charge(checks)
    end
    running.look()
end

--- Waits for the next exchange, or for the log of this one.
---@param slot moongate.Slot
function await.park(slot)
    set_wait(slot.call, DONE)
    await.none()
    yield()
    resume(slot)
    running.depth = 0
    running.plugin, running.memory.owner = -1, -1
    running.traceback = false
end

return await
