--- chain: composes the layers of a route into one function, once a snapshot.
---
--- A layer notes how far in the chain is (next cannot be called twice) and whose code runs (for messages and
--- namespaces). Only a layer whose on_error lets a request pass stands under xpcall.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")

local xpcall, error, tostring = xpcall, error, tostring
local traceback = debug.traceback
local mono_s, raised, limit = call.mono_s, call.raised, call.limit
local NEXT = call.wait_for.NEXT
local CANCELLED = running.CANCELLED
local INNERMOST = math.huge
local SKIP_S = 30 -- a plugin that raised under on_error skip is not run for so long

local chain = {}

--- Judges a call of next; two levels up is the plugin's line.
local function check_next(ctx, depth)
    if running.ctx ~= ctx then
        error("next wants the ctx of this request: call next(ctx)", 3)
    end
    if running.depth >= depth then
        error("next(ctx) was called twice", 3)
    end
end

--- Notes where it was raised, while the stack still stands.
local function on_raise(err)
    if err ~= CANCELLED and not running.traceback then
        running.traceback = traceback(tostring(err), 2)
    end
    return err
end

local function closed_layer(handler, inner, index, depth)
    return function(ctx)
        check_next(ctx, depth)
        local outer = running.plugin
        running.depth = depth
        running.plugin = index
        handler(ctx, inner)
        running.plugin = outer
    end
end

--- on_error open: as if it had called next. skip: the same, and not run again for 30 s.
local function lenient_layer(handler, inner, index, depth, skips)
    local resting_until_s = 0

    return function(ctx)
        check_next(ctx, depth)
        local outer = running.plugin
        if skips and mono_s(running.call) < resting_until_s then
            return inner(ctx)
        end
        running.depth = depth
        running.plugin = index
        local ok, err = xpcall(handler, on_raise, ctx, inner)
        if not ok then
            if err == CANCELLED or running.plugin ~= index then
                error(err, 0) -- not this plugin's
            end
            raised(running.call, index, tostring(err), running.traceback or "")
            running.traceback = false
            if skips then
                resting_until_s = mono_s(running.call) + SKIP_S
            end
            running.plugin = outer
            if running.depth == depth then
                return inner(ctx)
            end
        end
        running.plugin = outer
    end
end

local function limit_layer(name, inner, depth)
    return function(ctx)
        check_next(ctx, depth)
        running.depth = depth
        if limit(running.call, name) then
            return inner(ctx)
        end
    end
end

--- The innermost next: proxy this.
local function core(ctx)
    check_next(ctx, INNERMOST)
    running.depth = INNERMOST
    running.await(NEXT)
end

---@class moongate.Layer
---@field handler? moongate.Handler
---@field index? integer  of the plugin in the plan, from 0
---@field on_error? "closed"|"open"|"skip"
---@field limit? string  instead of a handler: the name of a limiter

---@param layers moongate.Layer[]  the first outermost
---@return fun(ctx: moongate.Ctx)
function chain.compose(layers)
    local inner = core
    for depth = #layers, 1, -1 do
        local layer = layers[depth]
        if layer.limit then
            inner = limit_layer(layer.limit, inner, depth)
        elseif layer.on_error == "open" or layer.on_error == "skip" then
            inner = lenient_layer(layer.handler, inner, layer.index, depth, layer.on_error == "skip")
        else
            inner = closed_layer(layer.handler, inner, layer.index, depth)
        end
    end
    return inner
end

--- Runs log(ctx) of each layer that has one. What one raises does not keep the others from running.
---@param logs { log: fun(ctx: moongate.Ctx), index: integer }[]
function chain.log(logs, ctx)
    for i = 1, #logs do
        local index = logs[i].index
        running.plugin = index
        local ok, err = xpcall(logs[i].log, on_raise, ctx)
        if not ok then
            raised(running.call, index, tostring(err), running.traceback or "")
            running.traceback = false
        end
    end
end

return chain
