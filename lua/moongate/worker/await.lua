--- await: the one place where Lua yields. C resumes the coroutine with the answer in its call.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")

local yield, isyieldable, traceback = coroutine.yield, coroutine.isyieldable, debug.traceback
local cancel_reason, wait_end, set_wait, enter = call.cancel_reason, call.wait_end, call.wait, call.enter
local DONE, PAUSE = call.wait_for.DONE, call.wait_for.PAUSE
local FINE, SPENT = call.wait_ends.FINE, call.wait_ends.SPENT
local CANCELLED = running.CANCELLED
local here = running.here

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
    if running.on_resume then
        running.on_resume()
    end
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

--- Raises where nothing can wait.
function await.check()
    if not running.may_wait then
        error(running.place() .. "this waits, and here nothing can wait: only a handler may", 0)
    end
end

--- The request is over, and no pcall of a plugin keeps it going. The log wants to know where it waited.
local function unwind(reason)
    running.over_by = reason
    running.traceback = traceback("", 3)
    error(CANCELLED, 0)
end

--- The wait itself failed: that the plugin may catch.
local function fail(ended)
    if ended == SPENT then
        running.spent()
    end
    error(running.place() .. "this waited longer than the plugin's timeout allows", 0)
end

--- Waits inside a chain. Another request may run meanwhile.
---@param wait integer  of call.wait_for
function await.await(wait)
    await.check()
    local slot, depth, plugin = running.slot, here.depth, here.plugin
    local pointer = slot.call
    enter(pointer, plugin)
    set_wait(pointer, wait)
    yield()
    resume(slot)
    here.depth = depth
    here.plugin, running.memory.owner = plugin, plugin
    running.resumed = plugin
    running.may_wait = true
    local reason = cancel_reason(pointer)
    if reason then
        unwind(reason)
    end
    local ended = wait_end(pointer)
    if ended ~= FINE then
        fail(ended)
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

--- Behind a wait for the next exchange.
local function begin(slot)
    resume(slot)
    here.depth = 0
    here.plugin, running.memory.owner = -1, -1
    running.resumed = -1
    running.traceback = false
end

--- Waits for the next exchange.
---@param slot moongate.Slot
function await.park(slot)
    set_wait(slot.call, DONE)
    await.none()
    yield()
    begin(slot)
end

--- The first wait of a slot: hands it to C.
---@param slot moongate.Slot
function await.present(slot)
    set_wait(slot.call, DONE)
    await.none()
    yield(slot)
    begin(slot)
end

return await
