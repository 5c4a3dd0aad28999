--- bounds: the weaver, the clocks and the memory that budgets go by, and patterns that count their steps.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local string_of, new, sub = ffi.string, ffi.new, string.sub
local weave, find = c.mg_weave, c.mg_pattern_find

-- One VM runs one thing at a time and nothing here yields, so one of each is enough.
local match, why = new("mg_match"), new("char[256]")

local bounds = {
    fresh_s = c.mg_host_fresh_s,
    cpu_s = c.mg_host_cpu_s,
    how = { COUNTER = c.MG_WEAVE_COUNTER, CALL = c.MG_WEAVE_CALL },
    ANCHORS = c.MG_MATCH_ANCHORS,
    MAYBE_PLAIN = c.MG_MATCH_MAYBE_PLAIN,
    PLAIN = c.MG_MATCH_PLAIN,
    is = {
        NONE = c.MG_MATCH_NONE, FOUND = c.MG_MATCH_FOUND, TIRED = c.MG_MATCH_TIRED, INVALID = c.MG_MATCH_INVALID,
    },
}

local watched = false ---@type ffi.cdata*|false

--- Counts what C holds for an object of Lua's; below 0: what it gave back.
---@param bytes number
function bounds.outside(bytes)
    if watched then
        c.mg_memory_outside(watched, bytes)
    end
end

--- A state's own memory, from the light userdata that C hands to boot.
---@param pointer userdata
---@param plugins integer  how many are told apart
---@return ffi.cdata* memory  .over: 1 while steps of the collector are due; .owner: index of who runs, or -1
function bounds.watch(pointer, plugins)
    local memory = ffi.cast("mg_memory *", pointer)
    c.mg_memory_tell_apart(memory, plugins)
    watched = memory
    return memory
end

bounds.fits, bounds.bursts, bounds.cycling = c.mg_memory_fits, c.mg_memory_bursts, c.mg_memory_cycling
bounds.due, bounds.stepped, bounds.crowded = c.mg_memory_due, c.mg_memory_stepped, c.mg_memory_crowded
bounds.held_bytes, bounds.cap_bytes = c.mg_memory_held, c.mg_memory_cap

--- The source with checks in it.
---@param source string
---@param how integer  of bounds.how
---@return string? woven, string? problem
function bounds.weave(source, how)
    local bytes = weave(source, #source, how, nil, 0, why)
    if bytes < 0 then
        return nil, string_of(why)
    end
    local out = new("char[?]", bytes)
    weave(source, #source, how, out, bytes, why)
    return string_of(out, bytes)
end

--- Looks for a pattern. What it found is asked for below, until the next call.
---@param from integer  bytes to pass over, at most #text
---@param how integer  ANCHORS, MAYBE_PLAIN, PLAIN
---@param steps integer  at most
---@return integer is  of bounds.is
---@return integer used  steps
function bounds.find(text, pattern, from, how, steps)
    match.steps = steps
    local is = find(match, text, #text, pattern, #pattern, from, how)
    return is, steps - match.steps
end

--- Where a search that ran out of steps goes on.
---@return integer from
function bounds.tired_at()
    return match.at
end

function bounds.problem()
    return string_of(match.problem)
end

---@return integer before  bytes before the match
---@return integer last  position of its last byte
function bounds.place()
    return match.begin, match.past
end

---@return integer count  of captures that the pattern has
function bounds.captures()
    return match.captures
end

--- A capture, or its position; the whole match where the pattern has none and the first is asked for.
---@param index integer  from 0
---@return string|integer|nil value, string? problem
function bounds.capture(text, index)
    if index >= match.captures then
        if index == 0 then
            return sub(text, match.begin + 1, match.past)
        end
        return nil, "invalid capture index"
    end
    local start, length = match.start[index], match.length[index]
    if length >= 0 then
        return sub(text, start + 1, start + length)
    elseif length == -1 then
        return start + 1
    end
    return nil, "unfinished capture"
end

return bounds
