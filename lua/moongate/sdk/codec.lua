--- codec: base64, base64url and hex of require "moongate". What was written by others and cannot be read is nil and
--- what is wrong; what is no string is the plugin's mistake and raises.
local bind = require("moongate.ffi.codec")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, error = type, error
local encode, decode = bind.encode, bind.decode
local COST = 0.4 -- checks for each byte; a check is 10 ns
local PAUSE_BYTES, min = bind.PAUSE_BYTES, math.min
local BASE64, BASE64URL, HEX = bind.BASE64, bind.BASE64URL, bind.HEX

--- Checks and charges what is about to be read and written.
local function check(of, method, name, value)
    if type(value) ~= "string" then
        object.dot(value, of, method, 3)
        error(of .. "." .. method .. ": " .. name .. " is a string, not " .. type(value), 3)
    end
    running.bytes(3 * #value)
    running.charge(COST * min(#value, PAUSE_BYTES))
end

local function pause()
    running.pause(COST * PAUSE_BYTES)
end

---@class moongate.Codec
---@field encode fun(bytes: string): string
---@field decode fun(text: string): string?, string?

---@class moongate.Base64 : moongate.Codec
local base64 = {}

--- The bytes as base64 (RFC 4648 section 4), padded with "=", on one line.
---@param bytes string
---@return string text
function base64.encode(bytes)
    check("base64", "encode", "bytes", bytes)
    return (encode(BASE64, bytes, pause))
end

--- The bytes of a text. Strict: no blanks or line breaks, all padding, no bits left over; so no two texts are the same
--- bytes.
---@param text string
---@return string? bytes  nil when the text is no base64
---@return string? problem  where and what
function base64.decode(text)
    check("base64", "decode", "text", text)
    local bytes, problem = decode(BASE64, text, pause)
    return bytes, problem
end

---@class moongate.Base64url : moongate.Codec
local base64url = {}

--- The bytes as base64url (RFC 4648 section 5), without padding, as tokens and URLs have it.
---@param bytes string
---@return string text
function base64url.encode(bytes)
    check("base64url", "encode", "bytes", bytes)
    return (encode(BASE64URL, bytes, pause))
end

--- The bytes of a text. Strict: no padding, no blanks, no bits left over; so no two texts are the same bytes.
---@param text string
---@return string? bytes  nil when the text is no base64url
---@return string? problem  where and what
function base64url.decode(text)
    check("base64url", "decode", "text", text)
    local bytes, problem = decode(BASE64URL, text, pause)
    return bytes, problem
end

---@class moongate.Hex : moongate.Codec
local hex = {}

--- Two hex digits for each byte, in lower case.
---@param bytes string
---@return string text
function hex.encode(bytes)
    check("hex", "encode", "bytes", bytes)
    return (encode(HEX, bytes, pause))
end

--- The bytes of hex digits in either case.
---@param text string
---@return string? bytes  nil when the text is no hex
---@return string? problem  where and what
function hex.decode(text)
    check("hex", "decode", "text", text)
    local bytes, problem = decode(HEX, text, pause)
    return bytes, problem
end

return { base64 = base64, base64url = base64url, hex = hex }
