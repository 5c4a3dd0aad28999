--- budget: no plugin computes for ever. LuaJIT cannot stop compiled code from outside, so the source of a plugin gets
--- checks at its loops, functions and labels when it is loaded (runtime/script/weave.c). They count down, and every so
--- many the clock is read. What a library function computes for a plugin is charged by its size.
---
--- A budget is a plugin's own and begins anew whenever the VM is resumed. Its clock starts at the first look, so a
--- request whose plugins do little never reads one. Past it each further look raises, until the handler is left.
local bounds = require("moongate.ffi.bounds")
local running = require("moongate.sdk.running")

local error, load, floor, min, max = error, load, math.floor, math.min, math.max
local getinfo, sub, format = debug.getinfo, string.sub, string.format
local fresh_s, cpu_s = bounds.fresh_s, bounds.cpu_s
local COUNTER, CALL = bounds.how.COUNTER, bounds.how.CALL

local CHECKS = 200 -- between two looks, as long as they are cheap
local CHECK_S = 1e-8 -- what one is taken for where no clock can be read
local LOOK_S = 0.0005 -- looks are about so far apart where each check stands for much
local LOAD_S = 1 -- of a file and of new
local DEFAULT_S = 0.010

local budget = {}

local limits_s = {} -- by index of the plugin
local turn, plugin = -1, -1 -- whose budget the rest is about
local began_s, began_cpu_s, looked_s = 0, 0, 0
local counted = 0 -- checks of this budget
local checks = CHECKS -- until the next look
local over = false -- the budget is spent

local function limit_s()
    return running.ctx and (limits_s[running.plugin] or DEFAULT_S) or LOAD_S
end

--- The plugin's line that runs, as messages begin with it.
---@return string
local function place()
    for level = 2, 20 do
        local info = getinfo(level, "Sl")
        if not info then
            break
        elseif info.currentline > 0 and sub(info.source, 1, 14) ~= "@lua/moongate/" then
            return info.short_src .. ":" .. info.currentline .. ": "
        end
    end
    return ""
end
budget.place = place

local function raise()
    over = true
    local name = running.names[running.plugin + 1] or "?"
    local did = "plugin %q used more than %g ms of CPU between two waits"
    local advice = running.may_wait and " (cpu: raise it, or yield with ctx:sleep(0))" or " (cpu: raise it)"
    if not running.ctx then
        did, advice = "loading plugin %q used more than %g ms of CPU", ""
    end
    error(place() .. format(did, name, limit_s() * 1000) .. advice, 0)
end

local function begin(now_s)
    turn, plugin = running.turn, running.plugin
    began_s, looked_s = now_s, now_s
    began_cpu_s = cpu_s(running.host)
    counted, checks, over = 0, CHECKS, false
end

--- CPU seconds used so far. That clock costs a system call: while less time has passed, less has been computed.
local function used_s(now_s)
    if now_s < 0 then
        return counted * CHECK_S
    end
    local passed_s = now_s - began_s
    return passed_s <= limit_s() and passed_s or cpu_s(running.host) - began_cpu_s
end

--- After so many checks: raises when the budget is spent. How many to count down until the next look.
---@param spent integer
---@return integer checks
local function look(spent)
    if running.plugin < 0 then
        return CHECKS
    end
    local now_s = fresh_s(running.host)
    if turn ~= running.turn or plugin ~= running.plugin then
        begin(now_s)
        return CHECKS
    end
    counted = counted + spent
    if over or used_s(now_s) > limit_s() then
        raise()
    end
    local took_s = now_s - looked_s
    looked_s = now_s
    checks = took_s > LOOK_S and max(1, floor(checks * LOOK_S / took_s)) or min(CHECKS, checks * 2)
    return checks
end

local function more()
    return look(checks)
end

local left = CHECKS -- of what is charged

--- Charges what a library function did for a plugin. A check's worth is about 10 ns, or 64 bytes looked at.
---@param worth number  checks
function budget.charge(worth)
    left = left - worth
    if left <= 0 then
        left = look(CHECKS - left)
    end
end

--- Steps that a matcher may take before it asks again: what would use up the budget, at 5 ns each.
---@return integer steps
function budget.steps()
    if running.plugin < 0 then
        return 1e9
    end
    return max(1000, min(1e9, floor((limit_s() - used_s(fresh_s(running.host))) / (CHECK_S / 2))))
end

--- Whether this plugin's budget is spent: then no pcall of its own keeps what was raised.
function budget.is_over()
    return over and turn == running.turn and plugin == running.plugin
end

---@param index integer  of the plugin in the plan, from 0
---@param cpu_ms number?
function budget.limit(index, cpu_ms)
    limits_s[index] = cpu_ms and cpu_ms > 0 and cpu_ms / 1000 or DEFAULT_S
end

--- What woven chunks reach in their environment under names that no source may have.
function budget.equip(env)
    env.__mg_more = more
    env.__mg_spend = function()
        budget.charge(1)
    end
end

--- Loads text that compiles, with checks woven in.
---@param text string
---@param shown string  its chunk name
---@param env table
---@return function? chunk, string? problem
function budget.load(text, shown, env)
    budget.charge(#text)
    for how = COUNTER, CALL do
        local woven, problem = bounds.weave(text, how)
        if not woven then
            return nil, shown:sub(2) .. ":" .. problem
        end
        local chunk = load(woven, shown, "t", env)
        if chunk then
            return chunk
        end
    end
    return nil, shown:sub(2) .. ": a function is so long that no budget fits into it: split it"
end

return budget
