--- json: C's reader of JSON as a cursor, and its quoting of text.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local open, close, next_item, quote = c.mg_json_open, c.mg_json_close, c.mg_json_next, c.mg_json_quote
local string_of, is_of, tostring = ffi.string, ffi.istype, tostring
local string_byte, sub, gsub, concat = string.byte, string.sub, string.gsub, table.concat

local NULL, FALSE, TRUE, NUMBER, STRING, ARRAY, INT64, UINT64, DIGITS = 0, 1, 2, 3, 4, 5, 7, 8, 9
local int64, uint64 = ffi.typeof("int64_t"), ffi.typeof("uint64_t")
local item = ffi.new("mg_json_item")
local why = ffi.new("char[256]")
local PIECE = 8192 -- bytes of a text that are quoted at once
local room = ffi.new("char[?]", 6 * PIECE + 2)

--- An integer that no number holds exactly.
local function wide_integer(kind, as_text)
    if as_text or kind == DIGITS then
        return string_of(item.text.p, item.text.n)
    end
    return kind == INT64 and item.integer or uint64(item.integer)
end

--- Builds the value that the cursor stands on; `new_list` makes an empty list, `null` stands for null.
local function build(doc, new_list, null, as_text)
    local kind, count = item.kind, item.count
    if kind == STRING then
        return string_of(item.text.p, item.text.n)
    elseif kind == NUMBER then
        return item.number
    elseif kind == TRUE then
        return true
    elseif kind == FALSE then
        return false
    elseif kind == NULL then
        return null
    elseif kind == ARRAY then
        local list = new_list()
        for i = 1, count do
            next_item(doc, item)
            list[i] = build(doc, new_list, null, as_text)
        end
        return list
    elseif kind == INT64 or kind == UINT64 or kind == DIGITS then
        return wide_integer(kind, as_text)
    end
    local map = {}
    for _ = 1, count do
        next_item(doc, item)
        local key = string_of(item.key.p, item.key.n)
        map[key] = build(doc, new_list, null, as_text)
    end
    return map
end

local json = {}

---@param text string
---@param new_list fun(): table
---@param null any  what null becomes; nil leaves such a member out
---@param as_text? boolean  integers that no number holds exactly become their digits, not 64-bit integers
---@return any value  nil with the problem when it is no JSON
---@return string? problem
function json.decode(text, new_list, null, as_text)
    local doc = open(text, #text, as_text or false, why)
    if doc == nil then
        return nil, string_of(why)
    end
    doc = ffi.gc(doc, close) -- building may run into the memory cap
    next_item(doc, item)
    local value = build(doc, new_list, null, as_text)
    close(ffi.gc(doc, nil))
    return value
end

--- Where the piece that begins at `from` ends: not inside a character of UTF-8.
local function piece_end(text, from)
    local last = from + PIECE - 1
    for at = last + 1, last - 2, -1 do
        local byte = string_byte(text, at)
        if not byte or byte < 0x80 or byte > 0xbf then
            return at - 1
        end
    end
    return last
end

--- A long text, in pieces that one room is enough for.
local function quote_long(text)
    local out, from = { '"' }, 1
    while from <= #text do
        local last = piece_end(text, from)
        local piece = sub(text, from, last)
        local n = quote(piece, #piece, room)
        out[#out + 1] = string_of(room + 1, n - 2)
        from = last + 1
    end
    out[#out + 1] = '"'
    return concat(out)
end

--- The digits of a 64-bit integer; nil for any other cdata.
---@param value ffi.cdata*
---@return string?
function json.digits(value)
    if is_of(int64, value) or is_of(uint64, value) then
        return (gsub(tostring(value), "U?LL$", ""))
    end
end

--- The text as a JSON string, quotes included; what is no UTF-8 becomes U+FFFD.
function json.quote(text)
    if #text > PIECE then
        return quote_long(text)
    end
    return string_of(room, quote(text, #text, room))
end

return json
