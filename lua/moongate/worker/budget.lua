--- budget: no plugin computes for ever. LuaJIT cannot stop compiled code from outside, so the source of a plugin gets
--- checks at its loops, functions and labels when it is loaded (runtime/script/weave.c). They count down; every so
--- many the clock is read. What a library function computes for a plugin is charged by its size.
---
--- A budget is a plugin's own and begins anew whenever the VM is resumed. Its clock starts at the first look, so a
--- request whose plugins do little never reads one. Past it each further look raises, until the handler is left.
---
--- Between two looks there are up to 200 checks, and a plugin may do something between two of these that takes
--- milliseconds and that nobody charges: compare texts of megabytes, or calculate with them. Once that was seen, the
--- clock starts when the VM is resumed, and each check is a look, for as long as it happens again.
---
--- Memory is bounded in the same places. The allocator refuses nothing (see mg_memory in moongate.h); a look lets the
--- collector make the steps that are due for what was made, and raises when the state is past its cap all the same.
--- What makes something large charges its bytes before it does.
local bounds = require("moongate.ffi.bounds")
local join = require("moongate.worker.join")
local problems = require("moongate.ffi.problem")
local running = require("moongate.sdk.running")

local error, load, floor, min, max = error, load, math.floor, math.min, math.max
local getinfo, sub, format = debug.getinfo, string.sub, string.format
local concat, sort, ipairs, pairs = table.concat, table.sort, ipairs, pairs
local collect = collectgarbage
local fresh_s, cpu_s, fits, cap_bytes = bounds.fresh_s, bounds.cpu_s, bounds.fits, bounds.cap_bytes
local COUNTER, CALL = bounds.how.COUNTER, bounds.how.CALL

local CHECKS = 200 -- between two looks, as long as they are cheap
local CHECK_S = 1e-8 -- what one is taken for where no clock can be read
local LOOK_S = 0.0005 -- looks are about so far apart where each check stands for much
local LONG_S = 0.005 -- between two looks: so much is not meant to be
local WARY = 100 -- budgets that begin with a look at each check, after that
local LOAD_S = 1 -- of a file and of new
local DEFAULT_S = 0.010
local LARGE = 1024 -- bytes; what is smaller is not charged
local BYTES = 64 -- a check's worth of bytes written or looked at
local HOLDERS = 3 -- plugins that a message about memory names
local COLLECT_S = 0.002 -- for the collector, of a turn, to keep pace; where there is no room as long again as the
-- plugin has run, and at least so long; and where that has room neither, before it is raised at:
local MAKE_ROOM_S, LAST_S = 0.003, 0.005
local CHUNK_KIB = 16 -- of its steps, between two looks at the clock
local here = running.here -- which plugin runs

local budget = {}

local joins = {} -- what stands for `..` in woven chunks, by the number of operands
local limits_s = {} -- by index of the plugin
local turn, plugin = -1, -1 -- whose budget the rest is about
local began_s, began_cpu_s, looked_s = 0, 0, 0
local counted = 0 -- checks of this budget
local checks = CHECKS -- until the next look
local wary = 0 -- budgets that still do
local resumed = { turn = -1, s = 0, cpu_s = 0 } -- the clocks as of a resume, while wary
local over = false ---@type function|false  the budget is spent, or the memory: what raises it
local memory = false ---@type ffi.cdata*|false  what this state's allocator counts

local function limit_s()
    return running.ctx and (limits_s[here.plugin] or DEFAULT_S) or LOAD_S
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

local raise
function raise()
    over = raise
    local name = running.names[here.plugin + 1] or "?"
    local did = "plugin %q used more than %g ms of CPU between two waits"
    local advice = running.may_wait and " (cpu: raise it, or yield with ctx:sleep(0))" or " (cpu: raise it)"
    if not running.ctx then
        did, advice = "loading plugin %q used more than %g ms of CPU", ""
    end
    error(place() .. format(did, name, limit_s() * 1000) .. advice, 0)
end

local raise_spent
function raise_spent()
    over = raise_spent
    error(place() .. format("plugin %q used %g ms of CPU in all its waits, 100 times its cpu (cpu: raise it, or wait "
        .. "less often)", running.names[here.plugin + 1] or "?", limit_s() * 100000), 0)
end

--- All that a request may compute over its waits has been computed: raises, and no pcall of the plugin's keeps it.
function budget.spent()
    turn, plugin = running.turn, here.plugin
    raise_spent()
end

--- Who holds how much, the most first.
local function holders()
    local held, texts = {}, {}
    for i, name in ipairs(running.names) do
        held[i] = { name = name, bytes = bounds.held_bytes(memory, i - 1) }
    end
    sort(held, function(a, b)
        return a.bytes > b.bytes
    end)
    for i = 1, min(#held, HOLDERS) do
        if held[i].bytes >= 1048576 then
            texts[#texts + 1] = format("%q holds %.0f MiB", held[i].name, held[i].bytes / 1048576)
        end
    end
    return #texts > 0 and "; " .. concat(texts, ", ") or ""
end

local raise_memory
function raise_memory()
    over = raise_memory
    error(place() .. format("plugin %q: not enough memory; all plugins of a worker share %.0f MiB%s",
        running.names[here.plugin + 1] or "?", cap_bytes(memory) / 1048576, holders()), 0)
end

--- Steps of the collector; true when a cycle has ended with them.
local function step(kib)
    local ended = collect("step", kib)
    collect("stop")
    bounds.stepped(memory, kib, ended)
    return ended
end

local FORGIVEN_S = 0.5
local collected_turn, collected_s = -1, 0 -- how long the collector has worked in this turn

--- How long the collector may work now.
local function share_s(now_s, has_room)
    local ran_s = turn == running.turn and now_s - began_s or 0
    return max(has_room and COLLECT_S or MAKE_ROOM_S, ran_s) - collected_s
end

--- Steps until there is room for so many bytes and no more are due, or until the time for that is over. Returns how
--- many cycles have to end from then on until it is certain that there is no room.
local function collect_some(bytes, at_s, may_s, cycles)
    local has_room = fits(memory, bytes)
    local due = bounds.due(memory)
    while cycles > 0 and (due > 0 or not has_room) and fresh_s(running.host) - at_s < may_s do
        if step(has_room and min(due, CHUNK_KIB) or CHUNK_KIB) then
            cycles = cycles - 1
        end
        has_room = fits(memory, bytes)
        due = (memory.over ~= 0 or not has_room) and bounds.due(memory) or 0
    end
    return cycles
end

--- Makes room for so many bytes more, or raises. Garbage is nobody's: the time that takes counts to no budget, but past
--- FORGIVEN_S in one turn to that of whoever makes it, because a file is loaded in one turn, however long that lasts.
--- What does not get done in this turn's share waits for the next one, unless that would be far more than the cap.
local function relieve(bytes)
    if bounds.crowded(memory) and not fits(memory, bytes) then
        raise_memory()
    end
    if collected_turn ~= running.turn then
        collected_turn, collected_s = running.turn, 0
    end
    local at_s, at_cpu_s = fresh_s(running.host), cpu_s(running.host)
    local cycles = collect_some(bytes, at_s, share_s(at_s, fits(memory, bytes)), bounds.cycling(memory) and 2 or 1)
    local fails = not fits(memory, bytes) and (cycles == 0 or bounds.crowded(memory))
    if not fails and bounds.bursts(memory, bytes) then
        collect_some(bytes, at_s, max(LAST_S, share_s(at_s, false)), cycles)
        fails = not fits(memory, bytes)
    end
    local took_s = fresh_s(running.host) - at_s
    looked_s = looked_s + took_s
    if collected_s < FORGIVEN_S then
        began_s = began_s + took_s
        began_cpu_s = began_cpu_s + cpu_s(running.host) - at_cpu_s
    end
    collected_s = collected_s + took_s
    if fails then
        raise_memory()
    end
end

--- Called at each resume while wary.
local function note_resume()
    resumed.turn, resumed.s, resumed.cpu_s = running.turn, fresh_s(running.host), cpu_s(running.host)
end

--- Whether the plugin that runs is the first since the resume: the one that waited, or the outermost.
local function is_first()
    return turn ~= running.turn and (running.resumed == here.plugin or running.resumed < 0 and here.depth == 1)
end

local function begin(now_s)
    local noted = resumed.turn == running.turn and is_first()
    turn, plugin = running.turn, here.plugin
    began_s = noted and resumed.s or now_s
    began_cpu_s = noted and resumed.cpu_s or cpu_s(running.host)
    looked_s = began_s
    counted, checks, over = 0, CHECKS, false
    if wary > 0 then
        wary = wary - 1
        checks = 1
        running.on_resume = wary > 0 and note_resume or false
    end
end

--- Before something is raised that is to last as long as this budget.
local function ensure_begun()
    if turn ~= running.turn or plugin ~= here.plugin then
        begin(fresh_s(running.host))
    end
end

local raise_room
function raise_room()
    over = raise_room
    error(place() .. format("plugin %q: this request holds 32 MiB of fields and texts that plugins have set on it, "
        .. "the most it may: set fewer", running.names[here.plugin + 1] or "?"), 0)
end

--- A request's memory in C is spent, for good: no pcall of its plugins keeps this.
function problems.raise_room()
    ensure_begun()
    raise_room()
end

--- CPU seconds used so far. That clock costs a system call: while less time has passed, less has been computed.
local function used_s(now_s)
    if now_s < 0 then
        return counted * CHECK_S
    end
    local passed_s = now_s - began_s
    return passed_s <= limit_s() and passed_s or cpu_s(running.host) - began_cpu_s
end

local raise_given_up
function raise_given_up()
    over = raise_given_up
    error(place() .. "the gateway is ending: this plugin is not loaded any more", 0)
end

--- After so many checks: raises when the budget is spent. How many to count down until the next look.
---@param spent integer
---@return integer checks
local function look(spent)
    if here.plugin < 0 then
        return CHECKS
    end
    local now_s = fresh_s(running.host)
    if turn ~= running.turn or plugin ~= here.plugin then
        begin(now_s)
    elseif over then
        over()
    end
    if not running.ctx and memory and memory.given_up[0] ~= 0 then
        raise_given_up()
    end
    if memory and memory.over ~= 0 then
        relieve(0)
        now_s = fresh_s(running.host)
    end
    counted = counted + spent
    local took_s = now_s - looked_s
    looked_s = now_s
    if took_s > LONG_S and running.ctx then
        wary, running.on_resume = WARY, note_resume
    end
    if used_s(now_s) > limit_s() then
        raise()
    end
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
    if left <= 0 or left ~= left then
        left = look(left <= 0 and CHECKS - left or CHECKS) -- of NaN, too, which would never be spent
    end
end

--- Charges bytes that are about to be made or looked at.
---@param bytes number
function budget.bytes(bytes)
    if bytes > LARGE then
        if memory and not fits(memory, bytes) then
            relieve(bytes)
        end
        budget.charge(bytes / BYTES)
    end
end

--- Charges a text that is about to be made of others, byte by byte: while that lasts there is a buffer that is at least
--- as large, so what has more than half of what a state may hold is not begun.
---@param bytes number
function budget.text(bytes)
    if bytes > LARGE then
        if memory and bytes > cap_bytes(memory) / 2 then
            ensure_begun()
            raise_memory()
        end
        budget.bytes(bytes)
    end
end

--- Charges what took a time that nobody knows before: reads the clock.
function budget.look()
    left = look(1)
end

--- Steps that a matcher may take before it asks again: what would use up the budget, at 5 ns each.
---@return integer steps
function budget.steps()
    if here.plugin < 0 then
        return 1e9
    end
    return max(1000, min(1e9, floor((limit_s() - used_s(fresh_s(running.host))) / (CHECK_S / 2))))
end

--- Raises where what is about to be done is known to take longer than the budget lasts, and cannot be cut into parts.
---@param seconds number
function budget.foresee(seconds)
    budget.look()
    if here.plugin >= 0 and used_s(fresh_s(running.host)) + seconds > limit_s() then
        raise()
    end
end

--- Whether this plugin's budget is spent: then no pcall of its own keeps what was raised.
function budget.is_over()
    return over and turn == running.turn and plugin == here.plugin
end

--- From now on the memory of this state is bounded.
---@param watched ffi.cdata*  of bounds.watch
function budget.watch(watched)
    memory = watched
    running.memory = watched
end

running.charge, running.bytes, running.look, running.is_over = budget.charge, budget.bytes, budget.look, budget.is_over
running.place, running.spent = place, budget.spent

---@param index integer  of the plugin in the plan, from 0
---@param cpu_ms number?
function budget.limit(index, cpu_ms)
    limits_s[index] = cpu_ms and cpu_ms > 0 and cpu_ms / 1000 or DEFAULT_S
end

--- What stands around a call that a plugin returns, so that it is no tail call and its line stays on the stack.
local function keep(...)
    return ...
end

--- What woven chunks reach in their environment under names that no source may have.
function budget.equip(env)
    env.__mg_more, env.__mg_keep = more, keep
    env.__mg_spend = function()
        budget.charge(1)
    end
    for count, joined in pairs(joins) do
        env["__mg_cat" .. count] = joined
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

for count = 1, 8 do
    joins[count] = join.of(count, budget.text, place)
end

return budget
