--- json: ctx.json, strict JSON. Lists and maps stay what they are: an empty list decodes to a table that encodes as []
--- again; null is json.null; a table is a list when its keys are 1..n, and an empty one is {} unless json.list made it.
local bind = require("moongate.ffi.json")
local frozen = require("moongate.sdk.frozen")
local json_fault = require("moongate.sdk.json_fault")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, tostring, error, pairs, floor, min = type, tostring, error, pairs, math.floor, math.min
local setmetatable, getmetatable = setmetatable, getmetatable
local concat = table.concat
local quote, quote_piece = bind.quote, bind.quote_piece
local next, rawget, pcall = next, rawget, pcall
local CANCELLED = running.CANCELLED
local MAX_DEPTH = bind.DEPTH
local PART_BYTES = bind.PART_BYTES -- of a text that is read at once
local DECODE_COST, ENCODE_COST = 1, 1 -- checks for each byte
local VALUE_COST = 256 -- bytes that writing a value takes as long as
local KEYS = 256 -- that are noted between two looks
local PIECE_BYTES = bind.PIECE -- of a text that is quoted at once
local WHOLE_MAX = 2 ^ 53 -- up to here a number tells all integers apart

---@class moongate.Json
local json = {}

--- JSON's null, which nil cannot be in a table.
json.null = setmetatable({}, {
    __tostring = function()
        return "null"
    end,
    __newindex = function()
        error("json.null cannot be assigned to", 2)
    end,
    __metatable = "locked",
})

local list_meta = { __metatable = "json.list" }

--- A table that encodes as a list even when it is empty.
---@param items? table  made a list itself
---@return table
function json.list(items)
    if items ~= nil and (type(items) ~= "table" or object.name(items)) then
        object.dot(items, "json", "list", 2)
        error("list: items are a table, not " .. (object.name(items) or type(items)), 2)
    end
    return setmetatable(items or {}, list_meta)
end

local function new_list()
    return setmetatable({}, list_meta)
end

--- Whether wide integers are asked for as text.
local function wants_text(options)
    if type(options) ~= "table" then
        error("decode: options are a table, not " .. type(options), 3)
    end
    for key, value in frozen.pairs(options) do
        if key ~= "integers" then
            error("decode: no option '" .. tostring(key) .. "': there is integers", 3)
        elseif value ~= "int64" and value ~= "text" then
            error("decode: integers is \"int64\" or \"text\", not " .. tostring(value), 3)
        end
    end
    return options.integers == "text"
end

---@class moongate.JsonOptions
---@field integers? "int64"|"text"  what an integer beyond 2^53 is, which no number holds exactly: a 64-bit integer
--- (9007199254740993LL, for arithmetic with such), or its digits as text. "int64" when left out.

--- Between two parts of a long text.
local function pause()
    running.pause(PART_BYTES * DECODE_COST)
end

--- Reads a JSON text; encode writes a 64-bit integer as it was. One of more than 64 bits is not JSON
--- here, except as text. A text of more than 128 KiB, or some 4000 values, is read in parts: between them other
--- requests go on, as in any call that waits. Where nothing can wait (in new, in filters and log, under table.sort)
--- all of it counts to the plugin's `cpu`.
---@param text string  at most 16 MiB and 500,000 values, nested at most 64 deep
---@param options? moongate.JsonOptions
---@return any value  nil when it is not JSON
---@return string? problem
function json.decode(text, options)
    if type(text) ~= "string" then
        object.dot(text, "json", "decode", 2)
        error("decode: text is a string, not " .. type(text), 2)
    end
    local as_text = options ~= nil and wants_text(options)
    running.bytes(#text)
    running.charge(min(#text, PART_BYTES) * DECODE_COST)
    local value, problem = bind.decode(text, new_list, json.null, as_text, pause)
    return value, problem
end

--- The length of a list, or nil for a map.
local function list_length(value)
    local n = #value
    local count = 0
    for key in pairs(value) do
        running.charge(2)
        if type(key) ~= "number" then
            if getmetatable(value) == "json.list" then
                error("a list has the key " .. tostring(key), 0)
            end
            return nil
        end
        count = count + 1
    end
    if count == n and (n > 0 or getmetatable(value) == "json.list") then
        return n
    end
end

local encode_into

---@class moongate.Encoding  what is being written
---@field out string[]  of this part
---@field parts string[]
---@field spent integer  of this part
---@field depth integer  tables that are open
---@field maps (table|false)[]  by depth: the map whose members are being written
---@field keys any[]  by depth: the key that came last
---@field rests (table|false)[]  by depth: the keys that are left, once there has been a pause
---@field at integer[]  by depth: how many of these have come

--- Others may change a table while this waits, and a walk of its keys would go wrong: the keys are noted before.
local function note_keys(work)
    for level = 1, work.depth do
        local map = work.maps[level]
        if map and not work.rests[level] then
            local rest, n = {}, 0
            for key in next, map, work.keys[level] do
                n = n + 1
                rest[n] = key
                if n % KEYS == 0 then
                    running.charge(2 * KEYS)
                end
            end
            work.rests[level], work.at[level] = rest, 0
        end
    end
end

--- The next key of the map at a depth, and its value.
local function next_member(work, level)
    local rest, map = work.rests[level], work.maps[level]
    if not rest then
        local key, member = next(map, work.keys[level])
        work.keys[level] = key
        return key, member
    end
    local key, member
    repeat
        local at = work.at[level] + 1
        work.at[level] = at
        key = rest[at]
        member = key ~= nil and rawget(map, key)
    until key == nil or member ~= nil
    return key, member
end

local function end_part(work)
    work.parts[#work.parts + 1] = concat(work.out)
    work.out, work.spent = {}, 0
    note_keys(work)
    running.pause(PART_BYTES * ENCODE_COST)
end

--- A text, of which a long one is written in parts.
local function encode_text(work, value)
    running.bytes(2 * #value)
    if #value <= PIECE_BYTES then
        work.out[#work.out + 1] = quote(value)
        return
    end
    work.out[#work.out + 1] = '"'
    local from = 1
    while from <= #value do
        local piece, last = quote_piece(value, from)
        work.out[#work.out + 1] = piece
        work.spent = work.spent + last - from
        from = last + 1
        if work.spent >= PART_BYTES then
            end_part(work)
        end
    end
    work.out[#work.out + 1] = '"'
end

local function encode_map(work, value, depth)
    local first = true
    work.out[#work.out + 1] = "{"
    work.maps[depth], work.keys[depth], work.rests[depth] = value, nil, false
    while true do
        local key, member = next_member(work, depth)
        if key == nil then
            break
        end
        running.charge(2)
        if type(key) ~= "string" then
            error("a table has both a list's and a map's keys, or gaps: " .. tostring(key), 0)
        end
        if #key <= PIECE_BYTES then
            work.out[#work.out + 1] = (first and "" or ",") .. quote(key) .. ":"
        else
            work.out[#work.out + 1] = first and "" or ","
            encode_text(work, key)
            work.out[#work.out + 1] = ":"
        end
        first = false
        encode_into(work, member, depth + 1)
    end
    work.maps[depth] = false
    if first and object.name(value) then -- what has no members of its own: it is the SDK's
        error(object.name(value) .. " has no JSON", 0)
    end
    work.out[#work.out + 1] = "}"
end

local function encode_list(work, value, n, depth)
    work.out[#work.out + 1] = "["
    work.maps[depth] = false
    for i = 1, n do
        if i > 1 then
            work.out[#work.out + 1] = ","
        end
        encode_into(work, value[i], depth + 1)
    end
    work.out[#work.out + 1] = "]"
end

local function encode_table(work, value, depth)
    if depth > MAX_DEPTH then
        error("tables nest deeper than " .. MAX_DEPTH, 0)
    end
    value = frozen.of(value)
    running.look() -- a table that was emptied is walked all the same
    local n = list_length(value)
    work.depth = depth
    if n then
        encode_list(work, value, n, depth)
    else
        encode_map(work, value, depth)
    end
    work.depth = depth - 1
end

local function encode_number(value)
    if value ~= value or value == math.huge or value == -math.huge then
        error("JSON has no " .. tostring(value), 0)
    end
    if value == floor(value) and value >= -WHOLE_MAX and value <= WHOLE_MAX then
        return ("%d"):format(value)
    end
    local short = ("%.15g"):format(value)
    return tonumber(short) == value and short or ("%.17g"):format(value)
end

function encode_into(work, value, depth)
    local kind = type(value)
    if kind == "string" then
        encode_text(work, value)
        work.spent = work.spent + #value
    elseif kind == "number" then
        work.out[#work.out + 1] = encode_number(value)
    elseif kind == "boolean" then
        work.out[#work.out + 1] = tostring(value)
    elseif value == nil or value == json.null then
        work.out[#work.out + 1] = "null"
    elseif kind == "table" then
        encode_table(work, value, depth)
    else
        local digits = kind == "cdata" and bind.digits(value)
        if not digits then
            error("a " .. kind .. " has no JSON", 0)
        end
        work.out[#work.out + 1] = digits
    end
    work.spent = work.spent + VALUE_COST
    if work.spent >= PART_BYTES then
        end_part(work)
    end
end

--- Writes a value as JSON on one line. Raises on what JSON cannot say: functions, NaN, mixed keys, cycles. A large
--- value is written in parts, as decode reads a long text; what is changed of it meanwhile may be in it or not.
---@param value any
---@return string
function json.encode(value)
    local work = { out = {}, parts = {}, spent = 0, depth = 0, maps = {}, keys = {}, rests = {}, at = {} }
    local ok, problem = pcall(encode_into, work, value, 1)
    if not ok then
        if problem == CANCELLED or running.is_over() then
            error(problem, 0)
        end
        object.dot(value, "json", "encode", 2)
        error("encode: " .. json_fault(value, "value", tostring(problem)), 2)
    end
    running.bytes(#work.out * 8)
    if #work.parts == 0 then
        return concat(work.out)
    end
    work.parts[#work.parts + 1] = concat(work.out)
    running.bytes(#work.parts * PART_BYTES)
    return concat(work.parts)
end

return json
