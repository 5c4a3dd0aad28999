--- slot: what one coroutine does all its life: wait for an exchange, run its chain, wait again.
local call = require("moongate.ffi.call")
local await = require("moongate.worker.await")
local beside = require("moongate.worker.beside")
local chain = require("moongate.worker.chain")
local context = require("moongate.sdk.ctx")
local running = require("moongate.sdk.running")
local stream = require("moongate.worker.stream")
local clear = require("table.clear")

local park = await.park
local phase, index_of = call.phase, call.chain
local LOG, UNANSWERED, TASK = 1, 3, 4

---@class moongate.Slot
---@field call moongate.Call
---@field ctx moongate.Ctx
---@field request moongate.Request
---@field response moongate.Response
---@field params table
---@field state table
---@field dirty boolean  state was looked at
---@field reached number  how far in the chain the last request got

--- Nothing of a request is left for the next one, no metatable either.
local function wipe(slot)
    if getmetatable(slot.state) ~= nil then
        slot.state = {}
    else
        clear(slot.state)
    end
    slot.dirty = false
end

--- Makes the body of slots.
---@param chains fun(ctx: moongate.Ctx)[]
---@param logs ({ log: function, index: integer }[]|false)[]  by chain
---@param streams integer[]  by chain: bodies that still go by when the handlers are through keep ctx.state
return function(chains, logs, streams)
    return function(pointer)
        local slot = context.new(call.of(pointer))
        local ctx = slot.ctx
        stream.slots[tostring(pointer)] = slot

        while true do
            park(slot)
            local at = index_of(slot.call) + 1
            local now = phase(slot.call)
            if now == LOG then
                running.may_wait = false
                chain.log(logs[at], ctx)
            elseif now == UNANSWERED then
                chain.unanswered(chains[at], slot.reached)
            elseif now == TASK then
                beside(slot.call)
            else
                if slot.dirty then -- the exchange before ended before its log ran
                    wipe(slot)
                end
                running.may_wait = true
                chains[at](ctx)
                slot.reached = running.depth
            end
            if slot.dirty and (phase(slot.call) == LOG or not (logs[at] or streams[at] > 0)) then
                wipe(slot)
            end
        end
    end
end
