--- json: C's reader of JSON, and its quoting of text.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local open, close, next_item, quote = c.mg_json_open, c.mg_json_close, c.mg_json_next, c.mg_json_quote
local refuse_key, problem_of = c.mg_json_refuse_key, c.mg_json_problem
local string_of, is_of, tostring = ffi.string, ffi.istype, tostring
local string_byte, sub, gsub = string.byte, string.sub, string.gsub

local FALSE, TRUE, NUMBER, STRING = c.MG_JSON_FALSE, c.MG_JSON_TRUE, c.MG_JSON_NUMBER, c.MG_JSON_STRING
local ARRAY, OBJECT, INT64, DIGITS = c.MG_JSON_ARRAY, c.MG_JSON_OBJECT, c.MG_JSON_INT64, c.MG_JSON_DIGITS
local CLOSED, PART, END = c.MG_JSON_CLOSED, c.MG_JSON_PART, c.MG_JSON_END
local LIST, MAP = 0, -1
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

--- What the reader has come to, as a value.
local function value_of(kind, new_list, null, as_text)
    if kind == STRING then
        return string_of(item.text.p, item.text.n)
    elseif kind == NUMBER then
        return item.number
    elseif kind == OBJECT then
        return {}
    elseif kind == ARRAY then
        return new_list()
    elseif kind == TRUE then
        return true
    elseif kind == FALSE then
        return false
    elseif kind >= INT64 then
        return wide_integer(kind, as_text)
    end
    return null
end

local json = { PART_BYTES = c.MG_JSON_PART_BYTES, DEPTH = c.MG_JSON_DEPTH, PIECE = PIECE }

--- Reads to the end, or to what is not JSON. `item` is read before anything else can run.
local function read(doc, text, new_list, null, as_text, pause)
    local bytes = #text
    local root = {}
    local outer, counts, depth = {}, {}, 0 -- what the value that is being read stands in
    local into, count = root, LIST -- values of a list so far, or MAP
    while true do
        local kind = next_item(doc, text, bytes, item)
        if kind < CLOSED then
            local value = value_of(kind, new_list, null, as_text)
            if count >= LIST then
                count = count + 1
                into[count] = value
            else
                local key = string_of(item.key.p, item.key.n)
                if into[key] ~= nil then
                    refuse_key(doc)
                    return nil, true
                end
                into[key] = value
            end
            if kind == ARRAY or kind == OBJECT then
                depth = depth + 1
                outer[depth], counts[depth] = into, count
                into, count = value, kind == ARRAY and LIST or MAP
            end
        elseif kind == CLOSED then
            into, count = outer[depth], counts[depth]
            depth = depth - 1
        elseif kind == PART then
            pause()
        else
            return root[1], kind ~= END
        end
    end
end

---@param text string
---@param new_list fun(): table
---@param null any  what null becomes; nil leaves such a member out
---@param as_text boolean  integers that no number holds exactly become their digits, not 64-bit integers
---@param pause fun()  called after each part of a long text; may wait
---@return any value  nil with the problem when it is not JSON
---@return string? problem
function json.decode(text, new_list, null, as_text, pause)
    local doc = ffi.gc(open(as_text), close) -- a pause may raise
    local value, wrong = read(doc, text, new_list, null, as_text, pause)
    local problem
    if wrong then
        problem_of(doc, text, #text, why)
        value, problem = nil, string_of(why)
    end
    close(ffi.gc(doc, nil))
    return value, problem
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

--- A piece of a long text, without quotes, and where it ends.
---@return string quoted, integer last
function json.quote_piece(text, from)
    local last = piece_end(text, from)
    local piece = sub(text, from, last)
    return string_of(room + 1, quote(piece, #piece, room) - 2), last
end

--- The digits of a 64-bit integer; nil for any other cdata.
---@param value ffi.cdata*
---@return string?
function json.digits(value)
    if is_of(int64, value) or is_of(uint64, value) then
        return (gsub(tostring(value), "U?LL$", ""))
    end
end

--- A text of at most PIECE bytes as a JSON string, quotes included; what is no UTF-8 becomes U+FFFD.
function json.quote(text)
    return string_of(room, quote(text, #text, room))
end

return json
