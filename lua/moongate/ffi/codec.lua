--- codec: bytes as text and back, by C.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local encode, decode = c.mg_encode, c.mg_decode
local string_of, new, format = ffi.string, ffi.new, string.format
local sub, byte, concat, min = string.sub, string.byte, table.concat, math.min

local PART = 49152 -- bytes at once: whole groups of base64 (3 and 4 bytes) and of hex (2)
local PARTS = 4 -- between two pauses
local kept = new("char[?]", 3 * PART + 4)
local length, at = new("uint32_t[1]"), new("uint32_t[1]")

local codec = {
    BASE64 = c.MG_CODEC_BASE64,
    BASE64URL = c.MG_CODEC_BASE64URL,
    HEX = c.MG_CODEC_HEX,
    PERCENT = c.MG_CODEC_PERCENT,
    PAUSE_BYTES = PARTS * PART,
}
local PERCENT = codec.PERCENT

---@param which integer  codec.BASE64, ..
---@param bytes string
---@param pause? fun()  called after each PAUSE_BYTES; may wait
---@return string text
function codec.encode(which, bytes, pause)
    if #bytes <= PART then
        return (string_of(kept, encode(which, bytes, #bytes, kept)))
    end
    local parts = {}
    for from = 1, #bytes, PART do
        local part = sub(bytes, from, from + PART - 1)
        parts[#parts + 1] = string_of(kept, encode(which, part, #part, kept))
        if pause and #parts % PARTS == 0 then
            pause()
        end
    end
    return (concat(parts))
end

--- Where a part ends that begins at `from`: not in the middle of an escape.
local function part_end(which, text, from)
    local last = min(#text, from + PART - 1)
    if which == PERCENT and last < #text then
        return byte(text, last) == 37 and last - 1 or byte(text, last - 1) == 37 and last - 2 or last
    end
    return last
end

--- One part; what it means, or nil and what is wrong.
local function decode_part(which, text, from, last)
    local part = sub(text, from, last)
    local wrong = decode(which, part, #part, kept, length, at)
    if wrong ~= nil then
        return nil, format("byte %d: %s", from + at[0], string_of(wrong))
    end
    return (string_of(kept, length[0]))
end

---@param which integer
---@param text string
---@param pause? fun()  called after each PAUSE_BYTES; may wait
---@return string? bytes, string? problem
function codec.decode(which, text, pause)
    if #text <= PART then
        return decode_part(which, text, 1, #text)
    end
    local parts, from = {}, 1
    while from <= #text do
        local last = part_end(which, text, from)
        -- Padding, and more behind it: C says what is wrong with that.
        local padded = last < #text and which ~= PERCENT and byte(text, last) == 61
        local part, problem = decode_part(which, text, from, padded and last + 1 or last)
        if not part then
            return nil, problem
        end
        parts[#parts + 1] = part
        from = last + 1
        if pause and #parts % PARTS == 0 then
            pause()
        end
    end
    return (concat(parts))
end

return codec
