--- stream: bodies that pass plugins piece by piece. A request's goes by the plugins in the order of the chain, a
--- response's in the opposite one, as their handlers see the heads.
local call = require("moongate.ffi.call")
local await = require("moongate.worker.await")
local running = require("moongate.sdk.running")
local text_of = require("moongate.sdk.shown")

local stream = {
    ---@type table<string, moongate.Slot>  by the address of their call; they die with their coroutines
    slots = setmetatable({}, { __mode = "v" }),
}

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
        running.plugin, running.memory.owner = filters[i].index, filters[i].index
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

--- Makes what C calls for each piece.
---@param filters { [1]: moongate.Filter[], [2]: moongate.Filter[] }[]  by chain: of the request, of the response
---@param fault fun(co: thread?, err: any): integer, integer, string, string
function stream.runner(filters, fault)
    return function(pointer, which)
        local slot = stream.slots[tostring(pointer)]
        local of_chain = filters[call.chain(slot.call) + 1]
        await.resume(slot)
        running.may_wait = false
        local ok, err = xpcall(pass, on_raise, slot, of_chain[which + 1])
        if ok then
            await.none()
            running.plugin = -1
            return true
        end
        return false, fault(nil, err)
    end
end

return stream
