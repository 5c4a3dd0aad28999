--- sha256: SHA-256 (FIPS 180-4) and HMAC (RFC 2104) of bytes, in plain Lua.
local bit = require("bit")

local band, bnot, bxor, ror, rshift, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit

--- The first 32 bits of what stands behind the point of each root: the constants of the standard.
local function roots_of_primes(count, power)
    local found, n = {}, 2
    while #found < count do
        local prime = true
        for divisor = 2, math.floor(n ^ 0.5) do
            prime = prime and n % divisor ~= 0
        end
        if prime then
            found[#found + 1] = tobit(math.floor(n ^ power % 1 * 2 ^ 32))
        end
        n = n + 1
    end
    return found
end

local ROUND, START = roots_of_primes(64, 1 / 3), roots_of_primes(8, 1 / 2)

local function word_at(text, at)
    local a, b, c, d = text:byte(at, at + 3)
    return tobit(a * 2 ^ 24 + b * 2 ^ 16 + c * 2 ^ 8 + d)
end

local function bytes_of(word)
    return string.char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

--- Adds a block of 64 bytes to the state.
local function compress(state, text, at)
    local w = {}
    for i = 1, 16 do
        w[i] = word_at(text, at + (i - 1) * 4)
    end
    for i = 17, 64 do
        local x, y = w[i - 15], w[i - 2]
        w[i] = tobit(w[i - 16] + bxor(ror(x, 7), ror(x, 18), rshift(x, 3)) + w[i - 7]
            + bxor(ror(y, 17), ror(y, 19), rshift(y, 10)))
    end
    local a, b, c, d, e, f, g, h = unpack(state)
    for i = 1, 64 do
        local mixed = bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g))
        local one = tobit(h + mixed + ROUND[i] + w[i])
        local two = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c)))
        a, b, c, d, e, f, g, h = tobit(one + two), a, b, c, tobit(d + one), e, f, g
    end
    for i, word in ipairs({ a, b, c, d, e, f, g, h }) do
        state[i] = tobit(state[i] + word)
    end
end

local sha256 = {}

---@param text string
---@return string digest  32 bytes
function sha256.digest(text)
    local state = { unpack(START) }
    local padded = text .. "\128" .. ("\0"):rep(-(#text + 9) % 64)
        .. bytes_of(tobit(math.floor(#text * 8 / 2 ^ 32))) .. bytes_of(tobit(#text * 8))
    for at = 1, #padded, 64 do
        compress(state, padded, at)
    end
    local words = {}
    for i, word in ipairs(state) do
        words[i] = bytes_of(word)
    end
    return table.concat(words)
end

local function masked(key, mask)
    return (key:gsub(".", function(byte)
        return string.char(bit.bxor(byte:byte(), mask))
    end))
end

---@param key string
---@param text string
---@return string code  32 bytes
function sha256.hmac(key, text)
    if #key > 64 then
        key = sha256.digest(key)
    end
    key = key .. ("\0"):rep(64 - #key)
    return sha256.digest(masked(key, 0x5c) .. sha256.digest(masked(key, 0x36) .. text))
end

return sha256
