--- codec: base64, base64url and hex of require "moongate", and what makes such a pair of functions. What was written by
--- others and cannot be read is nil and what is wrong; what is no string is the plugin's mistake and raises.
local bind = require("moongate.ffi.codec")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, error = type, error
local encode, decode = bind.encode, bind.decode
local COST = 0.4 -- checks for each byte; a check is 10 ns
local PAUSE_BYTES, min = bind.PAUSE_BYTES, math.min

---@class moongate.Codec
---@field encode fun(bytes: string): string
---@field decode fun(text: string): string?, string?

--- base64 (RFC 4648 section 4): encode pads with "=" and writes one line. decode is strict: no blanks or line breaks,
--- all padding, no bits left over; so no two texts are the same bytes.
---@class moongate.Base64 : moongate.Codec

--- base64url (RFC 4648 section 5), as tokens and URLs have it: encode writes no padding. decode is strict: no padding,
--- no blanks, no bits left over; so no two texts are the same bytes.
---@class moongate.Base64url : moongate.Codec

--- Two hex digits for each byte: encode writes lower case, decode reads either case.
---@class moongate.Hex : moongate.Codec

--- Makes encode and decode of one encoding.
---@param of string  its name in require "moongate", for messages
---@param which integer  of moongate.ffi.codec
---@param encoded string  what messages call the argument of encode
---@param cost number  checks for each byte
---@return moongate.Codec codec
---@return fun(method: string, name: string, value: any) check  checks and charges an argument; its caller's caller is
--- told
---@return fun() pause  between two parts of a long text
local function new(of, which, encoded, cost)
    local function check(method, name, value)
        if type(value) ~= "string" then
            object.dot(value, of, method, 3)
            error(of .. "." .. method .. ": " .. name .. " is a string, not " .. type(value), 3)
        end
        running.bytes(3 * #value)
        running.charge(cost * min(#value, PAUSE_BYTES))
    end

    local function pause()
        running.pause(cost * PAUSE_BYTES)
    end

    local codec = {}

    --- The bytes as text.
    ---@param bytes string
    ---@return string text
    function codec.encode(bytes)
        check("encode", encoded, bytes)
        return (encode(which, bytes, pause))
    end

    --- The bytes of a text.
    ---@param text string
    ---@return string? bytes  nil when the text is not of this encoding
    ---@return string? problem  where and what
    function codec.decode(text)
        check("decode", "text", text)
        local bytes, problem = decode(which, text, pause)
        return bytes, problem
    end

    return codec, check, pause
end

return {
    new = new,
    base64 = new("base64", bind.BASE64, "bytes", COST), ---@type moongate.Base64
    base64url = new("base64url", bind.BASE64URL, "bytes", COST), ---@type moongate.Base64url
    hex = new("hex", bind.HEX, "bytes", COST), ---@type moongate.Hex
}
