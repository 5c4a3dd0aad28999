--- strings: string and table as plugins have them. No function of theirs computes for long without its plugin's budget:
--- patterns run on a matcher that counts its steps (runtime/script/match.c), and what costs by size is charged by size.
--- They answer as Lua's own do.
local bounds = require("moongate.ffi.bounds")
local budget = require("moongate.worker.budget")

local error, type, tonumber, tostring, select = error, type, tonumber, tostring, select
local floor, min, max = math.floor, math.min, math.max
local string_find, string_rep, sub, format = string.find, string.rep, string.sub, string.format
local check_open = require("moongate.sdk.frozen").check
local concat, insert, remove, move, sort = table.concat, table.insert, table.remove, table.move, table.sort
local next, os_date = next, os.date
local find, tired_at, place, captures = bounds.find, bounds.tired_at, bounds.place, bounds.captures
local capture = bounds.capture
local charge, budget_bytes, budget_text = budget.charge, budget.bytes, budget.text
local ANCHORS, MAYBE_PLAIN, PLAIN = bounds.ANCHORS, bounds.MAYBE_PLAIN, bounds.PLAIN
local NONE, FOUND, TIRED = bounds.is.NONE, bounds.is.FOUND, bounds.is.TIRED

local STEPS = 4096 -- of a search before it asks the budget
local FREE_STEPS = 64 -- the loop around a search counts those
local LARGE = 1024 -- bytes; what is smaller costs nothing worth counting
local BYTES = 64 -- a check's worth
local LONG_PATTERN, PATTERN_BYTE_S = 65536, 2.5e-9 -- what has more is prepared for so long before it is looked for
local RESULT_MAX = 16 * 1048576 -- bytes that rep makes at most
local MOVE_MAX = 16 * 1048576 -- items that move copies at most
local DATE_MAX = 256 -- bytes of a date's format
local NUMBER_MAX = 65536 -- bytes of a text that is read as a number
local ARGUMENTS_MAX = 256 -- of format, each of which may take some microseconds
local TEXT_PART = 1048576 -- bytes that are changed between two looks
local ITEMS_PART = 8192 -- items that are moved or joined between two looks

-- Whether a start past the end is the end, or finds nothing (as LuaJIT built for Lua 5.2 has it).
local PAST_IS_END = string.find("", "", 2) ~= nil

local strings = {}
for name, value in pairs(string) do
    strings[name] = value
end
local tables = {}
for name, value in pairs(table) do
    if name ~= "clear" and name ~= "new" then -- LuaJIT's own, which are there once somebody has required them
        tables[name] = value
    end
end

--- An argument as text; three levels up is the plugin's line.
local function text_of(value, at, name)
    if type(value) == "string" then
        return value
    elseif type(value) == "number" then
        return tostring(value)
    end
    error(format("bad argument #%d to '%s' (string expected, got %s)", at, name, value == nil and "no value"
        or type(value)), 3)
end

local function whole(value, at, name)
    local number = tonumber(value)
    if not number then
        error(format("bad argument #%d to '%s' (number expected, got %s)", at, name, type(value)), 3)
    end
    return number < 0 and -floor(-number) or floor(number)
end

-- ---- patterns ----

--- Searches on for as long as the budget lasts. What was tried at a place is tried again with more steps.
local function search_on(text, pattern, how)
    local steps, is, used = STEPS, TIRED, STEPS
    while is == TIRED do
        charge(used / 2)
        local from = tired_at()
        steps = min(steps, budget.steps())
        is, used = find(text, pattern, from, how, steps)
        if is == TIRED and tired_at() == from then
            if steps >= 1e9 then
                error("pattern too complex", 4)
            end
            steps = min(steps * 8, 1e9)
        end
    end
    return is
end

--- Whether the pattern is found. Three levels up is the plugin's line.
local function search(text, pattern, from, how)
    if #pattern > LONG_PATTERN and #pattern <= #text - from then
        budget.foresee(#pattern * PATTERN_BYTE_S)
    end
    local is, used = find(text, pattern, from, how, STEPS)
    if is == TIRED then
        is = search_on(text, pattern, how)
    elseif used > FREE_STEPS then
        charge(used / 2)
    end
    if is == FOUND or is == NONE then
        return is == FOUND
    end
    error(bounds.problem(), 3)
end

local function one(text, index)
    local value, problem = capture(text, index)
    if value == nil then
        error(budget.place() .. problem, 0)
    end
    return value
end

--- Captures from index on, up to count.
local function some(text, index, count)
    if index == count - 1 then
        return (one(text, index))
    end
    return one(text, index), some(text, index + 1, count)
end

--- All captures; whole: the match itself where there are none.
local function all(text, whole_too)
    local count = captures()
    if count == 0 then
        if whole_too then
            return (one(text, 0))
        end
        return
    elseif count == 1 then
        return (one(text, 0))
    end
    return some(text, 0, count)
end

--- Bytes to pass over for a start as find and match take it; nil: nothing can be found.
local function start_of(text, init)
    local from = init > 0 and init - 1 or init < 0 and max(0, #text + init) or 0
    if from > #text then
        return PAST_IS_END and #text or nil
    end
    return from
end

function strings.find(text, pattern, init, plain)
    text, pattern = text_of(text, 1, "find"), text_of(pattern, 2, "find")
    local from = 0
    if init ~= nil then
        from = start_of(text, whole(init, 3, "find"))
        if not from then
            return nil
        end
    end
    if not search(text, pattern, from, plain and PLAIN or ANCHORS + MAYBE_PLAIN) then
        return nil
    end
    local before, last = place()
    if captures() == 0 then
        return before + 1, last
    end
    return before + 1, last, all(text, false)
end

function strings.match(text, pattern, init)
    text, pattern = text_of(text, 1, "match"), text_of(pattern, 2, "match")
    local from = 0
    if init ~= nil then
        from = start_of(text, whole(init, 3, "match"))
        if not from then
            return nil
        end
    end
    if not search(text, pattern, from, ANCHORS) then
        return nil
    end
    return all(text, true)
end

function strings.gmatch(text, pattern)
    text, pattern = text_of(text, 1, "gmatch"), text_of(pattern, 2, "gmatch")
    local from = 0
    return function()
        if from > #text or not search(text, pattern, from, 0) then
            from = #text + 1
            return nil
        end
        local before, last = place()
        from = last > before and last or last + 1
        return all(text, true)
    end
end

--- A replacement with %0 to %9 in parts: text as it is, captures as numbers.
local function parts_of(repl)
    local parts, from = {}, 1
    while true do
        local at = string_find(repl, "%", from, true)
        if not at then
            parts[#parts + 1] = sub(repl, from)
            return parts
        end
        parts[#parts + 1] = sub(repl, from, at - 1)
        local letter = sub(repl, at + 1, at + 1)
        parts[#parts + 1] = tonumber(letter) or (letter == "" and "\0" or letter)
        from = at + 2
        charge(4)
    end
end

--- What the parts are for this match.
local function filled(text, parts, before, last)
    local out, bytes = {}, 0
    charge(#parts * 4)
    for i = 1, #parts do
        local part = parts[i]
        if part == 0 then
            part = sub(text, before + 1, last)
        elseif type(part) == "number" then
            part = one(text, part - 1)
        end
        out[i] = part
        bytes = bytes + (type(part) == "string" and #part or 16)
    end
    budget_text(bytes)
    return concat(out)
end

--- How a match is replaced: by text, parts, table or function.
local function replacer(repl)
    local kind = type(repl)
    if kind == "number" then
        repl, kind = tostring(repl), "string"
    end
    if kind == "string" and not string_find(repl, "%", 1, true) then
        return function()
            return repl
        end
    elseif kind == "string" then
        local parts = parts_of(repl)
        return function(text, before, last)
            return filled(text, parts, before, last)
        end
    elseif kind == "table" then
        return function(text)
            return repl[one(text, 0)]
        end
    elseif kind == "function" then
        return function(text)
            return (repl(all(text, true)))
        end
    end
    error("bad argument #3 to 'gsub' (string/function/table expected)", 3)
end

--- What stands in place of a match.
local function replaced(text, value, before, last)
    if not value then
        return sub(text, before + 1, last)
    elseif type(value) == "string" then
        return value
    elseif type(value) == "number" then
        return tostring(value)
    end
    error("invalid replacement value (a " .. type(value) .. ")", 3)
end

function strings.gsub(text, pattern, repl, limit)
    text, pattern = text_of(text, 1, "gsub"), text_of(pattern, 2, "gsub")
    local replace = replacer(repl)
    local most = limit == nil and #text + 1 or whole(limit, 4, "gsub")
    local anchored = sub(pattern, 1, 1) == "^"
    local out, n, count, from = {}, 0, 0, 0 -- out has n pieces of text up to `from`
    local bytes = #text -- of the result
    while count < most and search(text, pattern, from, ANCHORS) do
        local before, last = place()
        count = count + 1
        out[n + 1] = sub(text, from + 1, before)
        out[n + 2] = replaced(text, replace(text, before, last), before, last)
        bytes = bytes + #out[n + 2] - (last - before)
        n = n + 2
        from = last
        if last == before then -- an empty match: the byte behind it stays
            from = last + 1
            n = n + 1
            out[n] = sub(text, from, from)
        end
        charge(1)
        if anchored or from > #text then
            break
        end
    end
    if count == 0 then
        return text, 0
    end
    out[n + 1] = sub(text, from + 1)
    budget_text(bytes)
    return concat(out), count
end
strings.gfind = strings.gmatch

-- ---- what costs by size ----

--- A long result of a short text: copying pieces takes half as long as Lua's own way.
local function rep_long(text, n)
    local each = floor(TEXT_PART / #text)
    local piece, parts = string_rep(text, each), {}
    local count = floor(n / each)
    for i = 1, count do
        parts[i] = piece
    end
    parts[count + 1] = string_rep(text, floor(n) - each * count)
    return concat(parts)
end

function strings.rep(text, n, separator)
    if type(text) == "string" and type(n) == "number" then
        -- What has more is refused, so that a slip of a digit is told at its line.
        local bytes = max(0, #text * n + (type(separator) == "string" and #separator * (n - 1) or 0))
        if bytes > RESULT_MAX then
            error(format("rep: the result would have %.0f bytes, more than 16 MiB", bytes), 2)
        elseif bytes == 0 then
            return ""
        end
        budget_bytes(bytes)
        if bytes > 2 * TEXT_PART and 2 * #text < TEXT_PART and separator == nil then
            return (rep_long(text, n))
        end
    end
    return string_rep(text, n, separator)
end

--- A function of one text, a part at a time; `backwards`: what comes of the last part stands first.
local function in_parts(fn, text, backwards)
    local parts, n = {}, floor((#text + TEXT_PART - 1) / TEXT_PART)
    for i = 1, n do
        charge(TEXT_PART / BYTES)
        parts[backwards and n + 1 - i or i] = fn(sub(text, (i - 1) * TEXT_PART + 1, i * TEXT_PART))
    end
    charge(#text / BYTES)
    return concat(parts)
end

--- Charges a function of one text by what it reads. These are tail calls, so that what Lua's own function raises has
--- the plugin's line.
local function by_text(fn, backwards)
    return function(text)
        if type(text) == "string" and #text > LARGE then
            budget_bytes(#text)
            if #text > TEXT_PART then
                return in_parts(fn, text, backwards)
            end
        end
        return fn(text)
    end
end
strings.lower, strings.upper = by_text(string.lower), by_text(string.upper)
strings.reverse = by_text(string.reverse, true)

function strings.sub(text, from, to)
    if type(text) == "string" and #text > LARGE and type(from) == "number" then
        local n = #text
        local first = from < 0 and from + n or from - 1
        local last = to == nil and n or type(to) == "number" and (to < 0 and to + n + 1 or to) or n
        budget_bytes(min(n, max(0, last - max(0, first))))
    end
    return sub(text, from, to)
end

--- Bytes that the values make at most; %q may write each byte as four.
local function format_bytes(layout, ...)
    local bytes, each = #layout, 1
    if string_find(layout, "%q", 1, true) then
        each = 4
    end
    for i = 1, select("#", ...) do
        local value = select(i, ...)
        bytes = bytes + (type(value) == "string" and #value * each or 0)
    end
    return bytes
end

function strings.format(layout, ...)
    local count = select("#", ...)
    if count > ARGUMENTS_MAX then
        error("format: " .. count .. " arguments, more than " .. ARGUMENTS_MAX, 2)
    end
    charge(4 + count)
    if type(layout) == "string" then
        budget_text(format_bytes(layout, ...))
    end
    return format(layout, ...)
end

--- Bytes that a list's items from..to have as texts; what is neither text nor number is left to concat to name.
local function joined_bytes(list, separator, from, to)
    local bytes = (to - from) * (type(separator) == "string" and #separator or 0)
    for i = from, to do
        local item = list[i]
        local kind = type(item)
        if kind == "string" then
            bytes = bytes + #item
        elseif kind == "number" then
            bytes = bytes + 32
        else
            break
        end
        charge(0.5)
    end
    return bytes
end

--- Joins a part at a time, since numbers take long.
local function concat_long(list, separator, first, last)
    local parts = {}
    for from = first, last, ITEMS_PART do
        parts[#parts + 1] = concat(list, separator, from, min(last, from + ITEMS_PART - 1))
        charge(ITEMS_PART)
    end
    return concat(parts, separator)
end

function tables.concat(list, separator, from, to)
    if type(list) == "table" then
        local first, last = tonumber(from) or 1, tonumber(to) or #list
        charge(4)
        budget_text(joined_bytes(list, separator, first, last))
        if last - first >= ITEMS_PART then
            return concat_long(list, separator, first, last)
        end
    end
    return concat(list, separator, from, to)
end

--- Calls a function for each item; what it returns first ends it.
function tables.foreachi(list, fn)
    if type(list) ~= "table" or type(fn) ~= "function" then
        error("foreachi: it wants a table and a function", 2)
    end
    for i = 1, #list do
        charge(1)
        local result = fn(i, list[i])
        if result ~= nil then
            return result
        end
    end
end

--- Calls a function for each key and value; what it returns first ends it.
function tables.foreach(map, fn)
    if type(map) ~= "table" or type(fn) ~= "function" then
        error("foreach: it wants a table and a function", 2)
    end
    for key, value in next, map do
        charge(1)
        local result = fn(key, value)
        if result ~= nil then
            return result
        end
    end
end

--- Lua's own walks the whole table without looking up.
function tables.maxn(list)
    local most = 0
    if type(list) ~= "table" then
        error("bad argument #1 to 'maxn' (table expected, got " .. type(list) .. ")", 2)
    end
    for key in next, list do
        charge(1)
        if type(key) == "number" and key > most then
            most = key
        end
    end
    return most
end

--- Moves list[from..last] to list[at..], a part at a time. What is above another part is moved first where it would be
--- written over.
local function move_long(list, from, last, at, other)
    local up = at > from and at <= last and (other == nil or other == list)
    local count = last - from + 1
    for done = 0, count - 1, ITEMS_PART do
        local size = min(ITEMS_PART, count - done)
        local first = up and count - done - size or done
        charge(ITEMS_PART)
        move(list, from + first, from + first + size - 1, at + first, other)
    end
    return other or list
end

function tables.insert(list, ...)
    check_open("insert", list)
    if select("#", ...) == 1 then
        return insert(list, (...))
    end
    if type(list) == "table" then
        local at, n = tonumber((...)), #list
        if at and not (at >= 1 and at <= n + 1) then -- nor NaN, which is no less and no more
            error(format("bad argument #2 to 'insert' (position %s, and the list has %d)", tostring((...)), n), 2)
        end
        if at and n - at > ITEMS_PART and select("#", ...) == 2 then
            at = floor(at)
            move_long(list, at, n, at + 1)
            list[at] = select(2, ...)
            return
        end
        charge(at and (n + 1 - at) / 8 or 1)
    end
    return insert(list, ...)
end

function tables.remove(list, ...)
    check_open("remove", list)
    if type(list) == "table" and select("#", ...) > 0 then
        local at, n = tonumber((...)), #list
        if at and at >= 1 and n - at > ITEMS_PART then
            at = floor(at)
            local value = list[at]
            move_long(list, at + 1, n, at)
            list[n] = nil
            return value
        end
        charge(at and at >= 1 and at <= n and (n - at) / 8 or 1)
    end
    return remove(list, ...)
end

function tables.move(list, from, to, at, other)
    check_open("move", other == nil and list or other)
    local first, last, target = tonumber(from), tonumber(to), tonumber(at)
    if first ~= first or last ~= last then
        error("move: a place in a list is a number, not NaN", 2)
    elseif first and last and target and last >= first then
        local count = last - first + 1
        if count > MOVE_MAX then
            error(format("move: %.0f items, more than %d", count, MOVE_MAX), 2)
        end
        budget_bytes(count * 16)
        charge(count / 2)
        if count > ITEMS_PART and type(list) == "table" and (other == nil or type(other) == "table") then
            return move_long(list, floor(first), floor(last), floor(target), other)
        end
    end
    return move(list, from, to, at, other)
end

--- What comparing two values costs: texts with a long common beginning are read to its end.
local function compared(a, b)
    if type(a) == "string" and type(b) == "string" then
        return 10 + min(#a, #b) / BYTES
    end
    return 10
end

function tables.sort(list, less)
    if type(list) ~= "table" then
        return sort(list, less)
    end
    check_open("sort", list)
    return sort(list, less and function(a, b)
        charge(10)
        return less(a, b)
    end or function(a, b)
        charge(compared(a, b))
        return a < b
    end)
end

-- ---- what is no library's ----

local globals = {}

function globals.tonumber(value, base)
    if type(value) == "string" and #value > LARGE then
        if #value > NUMBER_MAX then
            error(format("tonumber: a text of %d bytes, more than %d", #value, NUMBER_MAX), 2)
        end
        budget_bytes(#value)
    end
    return tonumber(value, base)
end

--- The date, in a format of at most 256 bytes.
function globals.date(layout, time)
    if type(layout) == "string" and #layout > DATE_MAX then
        error(format("date: the format has %d bytes, more than %d", #layout, DATE_MAX), 2)
    end
    charge(100)
    return os_date(layout, time)
end

return { string = strings, table = tables, globals = globals }
