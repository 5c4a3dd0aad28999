--- codec: bytes as text and back, by C.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local encode, decode = c.mg_encode, c.mg_decode
local string_of, new, format = ffi.string, ffi.new, string.format

local KEPT = 16384
local kept = new("char[?]", KEPT) -- room for what is short
local length, at = new("uint32_t[1]"), new("uint32_t[1]")

local codec = { BASE64 = 0, BASE64URL = 1, HEX = 2, PERCENT = 3 }

local function room(bytes)
    return bytes > KEPT and new("char[?]", bytes) or kept
end

---@param which integer  codec.BASE64, ..
---@param bytes string
---@return string text
function codec.encode(which, bytes)
    local out = room(3 * #bytes + 4)
    local n = encode(which, bytes, #bytes, out)
    return (string_of(out, n))
end

---@param which integer
---@param text string
---@return string? bytes, string? problem
function codec.decode(which, text)
    local out = room(#text)
    local wrong = decode(which, text, #text, out, length, at)
    if wrong ~= nil then
        return nil, format("byte %d: %s", at[0] + 1, string_of(wrong))
    end
    return (string_of(out, length[0]))
end

return codec
