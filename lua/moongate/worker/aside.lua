--- aside: what runs beside a slot's coroutine, which may wait meanwhile or be dead: filters of bodies that pass piece
--- by piece, and log handlers. A request's body goes by the plugins in the order of the chain, a response's in the
--- opposite one, as their handlers see the heads.
local call = require("moongate.ffi.call")
local await = require("moongate.worker.await")
local chain = require("moongate.worker.chain")
local forget = require("moongate.sdk.ctx").forget
local running = require("moongate.sdk.running")
local text_of = require("moongate.sdk.shown")

local LOG = call.asides.LOG

---@class moongate.Filter
---@field filter moongate.BodyFilter
---@field index integer  of the plugin in the plan

--- One piece through the filters.
---@param slot moongate.Slot
---@param filters moongate.Filter[]
local function pass(slot, filters)
    local bytes, last = call.chunk(slot.call)
    local changed = false
    for i = 1, #filters do
        running.here.plugin, running.memory.owner = filters[i].index, filters[i].index
        local made = filters[i].filter(slot.ctx, bytes, last)
        if made ~= nil then
            if type(made) ~= "string" then
                local where = debug.getinfo(filters[i].filter, "S")
                error(where.short_src .. ":" .. where.linedefined .. ": a body's filter returns a string, or nil to "
                    .. "leave the piece as it is, not " .. type(made), 0)
            end
            bytes, changed = made, true
        end
    end
    local wrong = changed and call.set_chunk(slot.call, bytes)
    if wrong then
        error(wrong, 0)
    end
end

local function on_raise(err)
    running.traceback = debug.traceback(text_of(err), 2)
    return err
end

--- Makes what C calls.
---@param filters { [1]: moongate.Filter[], [2]: moongate.Filter[] }[]  by chain: of the request, of the response
---@param logs ({ log: function, index: integer }[]|false)[]  by chain
---@param fault fun(co: thread?, err: any): integer, integer, string, string
return function(filters, logs, fault)
    ---@param slot moongate.Slot
    ---@param what integer  enum mg_aside
    return function(slot, what)
        local at = call.chain(slot.call) + 1
        await.resume(slot)
        running.may_wait = false
        local ok, err
        if what == LOG then
            ok, err = xpcall(chain.log, on_raise, logs[at], slot.ctx)
            forget(slot)
            slot.logs = false
        else
            ok, err = xpcall(pass, on_raise, slot, filters[at][what + 1])
        end
        if ok then
            await.none()
            running.here.plugin, running.memory.owner = -1, -1
            return true
        end
        return false, fault(nil, err)
    end
end
