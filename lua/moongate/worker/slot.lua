--- slot: what one coroutine does all its life: wait for an exchange, run its chain, wait again.
local call = require("moongate.ffi.call")
local await = require("moongate.worker.await")
local beside = require("moongate.worker.beside")
local chain = require("moongate.worker.chain")
local context = require("moongate.sdk.ctx")
local running = require("moongate.sdk.running")

local park = await.park
local here = running.here
local begin, forget = context.begin, context.forget
local phase, index_of = call.phase, call.chain
local UNANSWERED, TASK = call.phases.UNANSWERED, call.phases.TASK

---@class moongate.Slot
---@field call moongate.Call
---@field ctx moongate.Ctx|false  of the last request
---@field request moongate.Request|false
---@field response moongate.Response|false
---@field params table|false
---@field consumer string|false  of the last request; what C was told
---@field state table|false  of the last request; false: nobody asked for it
---@field logs boolean  the state is needed until the log has run
---@field before integer  the depth before the first layer of the last request's chain
---@field reached number  how far in the chain the last request got

--- Makes the body of slots.
---@param chains fun(ctx: moongate.Ctx)[]
---@param logs ({ log: function, index: integer }[]|false)[]  by chain: what runs once the last byte has passed
return function(chains, logs)
    local depths = {}
    for i = 1, #chains do
        depths[i] = chain.before(chains[i])
    end

    return function(pointer)
        local slot = context.new(call.of(pointer))
        await.present(slot)

        while true do
            local at = index_of(slot.call) + 1
            local now = phase(slot.call)
            if now == UNANSWERED then
                chain.unanswered(chains[at], slot.reached)
            elseif now == TASK then
                beside(slot.call)
            else
                forget(slot) -- the exchange before may have ended before its log ran
                begin(slot)
                slot.logs = logs[at] ~= false
                running.may_wait = true
                here.depth, slot.before = depths[at], depths[at]
                chains[at](slot.ctx)
                slot.reached = here.depth
            end
            if not slot.logs then
                forget(slot)
            end
            park(slot)
        end
    end
end
