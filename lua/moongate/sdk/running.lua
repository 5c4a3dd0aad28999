--- running: which request this VM works on at this moment. One at a time: a slot that waits puts its own back before it
--- goes on. Plugins never see this table, and with it no pointer.
---@class moongate.Running
local running = {
    ctx = false, ---@type moongate.Ctx|false
    request = false, ---@type moongate.Request|false
    response = false, ---@type moongate.Response|false
    params = false, ---@type table|false
    slot = false, ---@type moongate.Slot|false
    call = false, ---@type moongate.Call|false
    here = require("moongate.ffi.place"), -- which plugin runs, and how far in the chain
    turn = 0, -- counts resumes: each has budgets of its own
    resumed = -1, -- the plugin that waited until the last resume; -1: the chain begins
    on_resume = false, ---@type function|false  of worker.budget, while it measures from each resume on
    may_wait = false, -- false in new, in filters and in log
    traceback = false, ---@type string|false  of the last error that passed a layer
    over_by = "", -- why the request that was ended last was ended
    host = false, ---@type ffi.cdata*|false
    memory = { owner = -1 }, ---@type ffi.cdata*|table  .owner: index of the plugin that holds what is allocated now
    names = {}, -- of the plan's plugins, by index
    spaces = {}, -- of ctx.kv, by the plugin's name
    counters = {}, -- by full name
    --- Waits for what call.wait_for names; raises when the request is over. Set by worker.await.
    await = nil, ---@type fun(wait: integer)
    can_wait = nil, ---@type fun()  raises where nothing can wait. Set by worker.await too
    -- What the SDK does for a plugin is charged to it. Set by worker.budget; where nothing is bounded, as in specs of
    -- plugins, they do nothing.
    charge = function() end, ---@type fun(checks: number)  10 ns each; raises once the budget is spent
    bytes = function() end, ---@type fun(bytes: number)  about to be made or looked at: time, and room in memory
    look = function() end, -- for work whose size nobody knows: reads the clock
    --- Between two parts of long work: others go on meanwhile where the plugin may wait, else the part is charged.
    pause = function() end, ---@type fun(checks: number)  what the part cost
    place = function() return "" end, ---@type fun(): string  the plugin's line that runs, as messages begin with it
    spent = function() end, -- a request has computed what it may over all its waits: raises
    is_over = function() end, -- whether the plugin's budget is spent: then nobody keeps what was raised
}

running.INNERMOST = 2 ^ 52 -- next has reached the upstream
running.ANSWERED = math.huge -- a plugin or a limiter has answered: next is nobody's to call any more

--- What a wait raises once its request is over. No pcall of a plugin keeps it.
running.CANCELLED = setmetatable({}, {
    __tostring = function()
        return "this request is over: " .. running.over_by
    end,
    __metatable = "locked",
})

return running
