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
local quote = bind.quote
local MAX_DEPTH = 64
local PART_BYTES = bind.PART_BYTES -- of a text that is read at once
local DECODE_COST = 1 -- checks for each byte
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

--- Reads a JSON text; encode writes a 64-bit integer as it was. One of more than 64 bits is no JSON
--- here, except as text. A text of more than 128 KiB, or some 4000 values, is read in parts: between them other
--- requests go on, as in any call that waits. Where nothing can wait (in new, in filters and log, under table.sort)
--- all of it counts to the plugin's `cpu`.
---@param text string  at most 16 MiB and 500,000 values, nested at most 64 deep
---@param options? moongate.JsonOptions
---@return any value  nil when it is no JSON
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

--- As decode, with nulls left out: for configuration.
---@param text string
function json.decode_plain(text)
    return bind.decode(text, new_list, nil, false, function() end)
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

local function encode_map(out, value, depth)
    local first = true
    out[#out + 1] = "{"
    for key, member in pairs(value) do
        running.charge(2)
        if type(key) ~= "string" then
            error("a table has both a list's and a map's keys, or gaps: " .. tostring(key), 0)
        end
        out[#out + 1] = (first and "" or ",") .. quote(key) .. ":"
        first = false
        encode_into(out, member, depth + 1)
    end
    if first and object.name(value) then -- what has no members of its own: it is the SDK's
        error(object.name(value) .. " has no JSON", 0)
    end
    out[#out + 1] = "}"
end

local function encode_table(out, value, depth)
    if depth > MAX_DEPTH then
        error("tables nest deeper than " .. MAX_DEPTH, 0)
    end
    value = frozen.of(value)
    running.look() -- a table that was emptied is walked all the same
    local n = list_length(value)
    if not n then
        return encode_map(out, value, depth)
    end
    out[#out + 1] = "["
    for i = 1, n do
        if i > 1 then
            out[#out + 1] = ","
        end
        encode_into(out, value[i], depth + 1)
    end
    out[#out + 1] = "]"
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

function encode_into(out, value, depth)
    local kind = type(value)
    if kind == "string" then
        running.bytes(2 * #value)
        out[#out + 1] = quote(value)
    elseif kind == "number" then
        out[#out + 1] = encode_number(value)
    elseif kind == "boolean" then
        out[#out + 1] = tostring(value)
    elseif value == nil or value == json.null then
        out[#out + 1] = "null"
    elseif kind == "table" then
        encode_table(out, value, depth)
    else
        local digits = kind == "cdata" and bind.digits(value)
        if not digits then
            error("a " .. kind .. " has no JSON", 0)
        end
        out[#out + 1] = digits
    end
end

--- Writes a value as JSON on one line. Raises on what JSON cannot say: functions, NaN, mixed keys, cycles.
---@param value any
---@return string
function json.encode(value)
    local out = {}
    local ok, problem = pcall(encode_into, out, value, 1)
    if not ok then
        if running.is_over() then
            error(problem, 0)
        end
        object.dot(value, "json", "encode", 2)
        error("encode: " .. json_fault(value, "value", tostring(problem)), 2)
    end
    running.bytes(#out * 8)
    return concat(out)
end

return json
