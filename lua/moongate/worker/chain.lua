--- chain: composes the layers of a route into one function, once a snapshot.
---
--- A layer notes how far in the chain is (next cannot be called twice, nor behind an answer, nor that of another layer
--- or chain) and whose code runs (for messages and namespaces). Only a layer whose on_error lets a request pass stands
--- under xpcall.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")
local text_of = require("moongate.sdk.shown")
local message_of = require("moongate.worker.raised").message

local error, getinfo, setmetatable = error, debug.getinfo, setmetatable
local INNERMOST = running.INNERMOST
local here = running.here
local NEXT = call.wait_for.NEXT

local chain = {}
local by_depth = {} -- a copy of worker.layer for each
local layers_of = setmetatable({}, { __mode = "k" }) ---@type table<function, moongate.Layer[]>  by what compose made
local depth_of = setmetatable({}, { __mode = "k" }) ---@type table<function, integer>  before the first layer
local deepest = 0 -- of all chains: no two have a depth in common

---@class moongate.Layer
---@field handler? moongate.Handler
---@field index? integer  of the plugin in the plan, from 0
---@field on_error? "closed"|"open"|"skip"
---@field limit? integer  instead of a handler: the index of a limiter of the configuration

---@param layers moongate.Layer[]  the first outermost
---@param fresh fun(name: string): table  loads a module anew
---@return fun(ctx: moongate.Ctx)
function chain.compose(layers, fresh)
    by_depth[0] = by_depth[0] or fresh("moongate.worker.layer")
    local check_next = by_depth[0].check_next
    local before = deepest
    local last = before + #layers + 1
    deepest = last

    --- The innermost next: proxy this.
    local function inner(ctx)
        check_next(ctx, last)
        here.depth = INNERMOST
        running.await(NEXT)
    end

    for depth = #layers, 1, -1 do
        local wanted = layers[depth]
        local make = by_depth[depth] or fresh("moongate.worker.layer")
        by_depth[depth] = make
        if wanted.limit then
            inner = make.limit(wanted.limit, inner, before + depth)
        elseif wanted.on_error == "open" or wanted.on_error == "skip" then
            inner = make.lenient(wanted.handler, inner, wanted.index, before + depth, wanted.on_error == "skip")
        else
            inner = make.closed(wanted.handler, inner, wanted.index, before + depth)
        end
    end
    layers_of[inner], depth_of[inner] = layers, before
    return inner
end

--- What here.depth is before a chain begins.
---@param composed fun(ctx: moongate.Ctx)  of compose
---@return integer
function chain.before(composed)
    return depth_of[composed]
end

--- Raises that a chain is through and there is no response: the innermost handler that ran did not go on.
---@param composed fun(ctx: moongate.Ctx)  of compose
---@param reached integer  the depth of that handler
function chain.unanswered(composed, reached)
    local layer = layers_of[composed][reached - depth_of[composed]]
    if not layer or not layer.handler then
        error("no handler of the chain answered, and there is no response", 0)
    end
    local where = getinfo(layer.handler, "S")
    here.plugin, running.memory.owner = layer.index, layer.index
    error(where.short_src .. ":" .. where.linedefined .. ": the handler neither answered nor called next: "
        .. "write next(ctx) to let the request pass, or ctx:respond(..) to answer it", 0)
end

--- Runs log(ctx) of each layer that has one. What one raises does not keep the others from running.
---@param logs { log: fun(ctx: moongate.Ctx), index: integer }[]
function chain.log(logs, ctx)
    for i = 1, #logs do
        local index = logs[i].index
        here.plugin, running.memory.owner = index, index
        local ok, err = xpcall(logs[i].log, by_depth[0].on_raise, ctx)
        if not ok then
            local trace = running.traceback or ""
            call.raised(running.call, index, message_of(err, text_of(err), trace), trace)
            running.traceback = false
            running.turn = running.turn + 1 -- the next has a whole budget
        end
    end
end

return chain
