--- layer: one layer of an onion. Loaded anew for each depth of a chain: the compiler takes a function that stands twice
--- on the stack for recursion, and then neither the way in nor the way out becomes one trace.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")
local message_of = require("moongate.worker.raised").message
local text_of = require("moongate.sdk.shown")

local xpcall, error = xpcall, error
local traceback = debug.traceback
local mono_s, raised, limit = call.mono_s, call.raised, call.limit
local sleep, limit_waited, SLEEP = call.sleep, call.limit_waited, call.wait_for.SLEEP
local CANCELLED, ANSWERED = running.CANCELLED, running.ANSWERED
local memory = running.memory
local here = running.here
local SKIP_S = 30 -- a plugin that raised under on_error skip is not run for so long

local layer = {}

--- Why next was not to be called: it belongs to the layer before it, of this chain, and passes once.
local function refusal(ctx, depth)
    if running.ctx ~= ctx then
        return "next wants the ctx of this request: call next(ctx)"
    elseif running.slot.is_task then
        return "next is for the handler to call: a task has none"
    elseif here.depth == ANSWERED then
        return "this request is answered: return after ctx:respond"
    elseif here.depth < depth or depth <= running.slot.before then
        return "this next is of another handler: call the one that this handler was given"
    end
    return "next(ctx) was called twice"
end

--- Judges a call of next; two levels up is the plugin's line.
local function check_next(ctx, depth)
    if running.ctx ~= ctx or here.depth ~= depth - 1 then
        error(refusal(ctx, depth), 3)
    end
end
layer.check_next = check_next

--- Notes where it was raised, while the stack still stands.
local function on_raise(err)
    if err ~= CANCELLED and not running.traceback then
        running.traceback = traceback(text_of(err), 2)
    end
    return err
end
layer.on_raise = on_raise

--- What it raises leaves the whole chain.
---@param handler moongate.Handler
---@param inner fun(ctx: moongate.Ctx)
---@param index integer  of the plugin in the plan, from 0
---@param depth integer  the chain's, and its number there, from 1
function layer.closed(handler, inner, index, depth)
    return function(ctx)
        check_next(ctx, depth)
        local outer = here.plugin
        here.depth = depth
        here.plugin, memory.owner = index, index
        handler(ctx, inner)
        here.plugin, memory.owner = outer, outer
    end
end

--- on_error open: as if it had called next. skip: the same, and not run again for 30 s.
---@param skips boolean
function layer.lenient(handler, inner, index, depth, skips)
    local resting_until_s = 0

    return function(ctx)
        check_next(ctx, depth)
        local outer = here.plugin
        here.depth = depth
        if skips and mono_s(running.call) < resting_until_s then
            return inner(ctx)
        end
        here.plugin, memory.owner = index, index
        local ok, err = xpcall(handler, on_raise, ctx, inner)
        if not ok then
            if err == CANCELLED or here.plugin ~= index then
                error(err, 0) -- not this plugin's
            end
            local trace = running.traceback or ""
            raised(running.call, index, message_of(err, text_of(err), trace), trace)
            running.traceback = false
            running.turn = running.turn + 1 -- whoever runs now has a whole budget
            if skips then
                resting_until_s = mono_s(running.call) + SKIP_S
            end
            here.plugin, memory.owner = outer, outer
            if here.depth == depth then
                return inner(ctx)
            end
        end
        here.plugin, memory.owner = outer, outer
    end
end

--- The request's turn comes later. No plugin's time-out is held against it.
local function wait(seconds)
    local outer = here.plugin
    here.plugin = -1
    sleep(running.call, seconds)
    running.await(SLEEP)
    limit_waited(running.call)
    here.plugin = outer
end

--- A limiter of the configuration that stands between plugins.
---@param limiter integer  its index in the configuration
function layer.limit(limiter, inner, depth)
    return function(ctx)
        check_next(ctx, depth)
        here.depth = depth
        local wait_s = limit(running.call, limiter)
        if wait_s > 0 then
            wait(wait_s)
        end
        if wait_s >= 0 then
            return inner(ctx)
        end
        here.depth = ANSWERED
    end
end

return layer
