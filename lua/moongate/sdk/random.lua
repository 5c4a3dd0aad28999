--- random: math.random and math.randomseed of a plugin, over a generator of its own (xoshiro128**, Blackman and Vigna
--- 2018): what one plugin seeds or draws tells nothing of the numbers of another. Not for secrets.
local bit = require("bit")

local bxor, lshift, rshift, rol, tobit = bit.bxor, bit.lshift, bit.rshift, bit.rol, bit.tobit
local floor, tonumber, type, error, format = math.floor, tonumber, type, error, string.format
local byte = string.byte

local random = {}

--- A state from any text: FNV-1a, told apart by a number before it.
local function word(text, number)
    local hash = bxor(-2128831035, number)
    for i = 1, #text do
        hash = bxor(hash, byte(text, i))
        hash = tobit(hash + lshift(hash, 1) + lshift(hash, 4) + lshift(hash, 7) + lshift(hash, 8) + lshift(hash, 24))
    end
    hash = bxor(hash, rshift(hash, 15))
    hash = tobit(tobit(hash) * 0x1b873 + lshift(hash, 16))
    return bxor(hash, rshift(hash, 13))
end

--- One generator: a function that draws from [0, 1), and one that seeds it with a text.
---@return fun(): number, fun(seed: string)
local function generator()
    local s0, s1, s2, s3 = 1, 2, 3, 4

    local function next_word()
        local drawn = tobit(rol(tobit(s1 * 5), 7) * 9)
        local shifted = lshift(s1, 9)
        s2, s3 = bxor(s2, s0), bxor(s3, s1)
        s1, s0 = bxor(s1, s2), bxor(s0, s3)
        s2, s3 = bxor(s2, shifted), rol(s3, 11)
        return drawn
    end

    local function seed(text)
        s0, s1, s2, s3 = word(text, 1), word(text, 2), word(text, 3), word(text, 4)
        if s0 == 0 and s1 == 0 and s2 == 0 and s3 == 0 then
            s0 = 1
        end
        for _ = 1, 16 do
            next_word()
        end
    end

    return function()
        return (rshift(next_word(), 5) * 67108864 + rshift(next_word(), 6)) / 9007199254740992
    end, seed
end

local parent, seed_parent = generator()
local made = 0

--- Where all generators of this state come from: the same seed, the same numbers.
---@param seed string
function random.seed(seed)
    made = 0
    seed_parent(seed)
end

local function check(what, number, value)
    local as_number = tonumber(value)
    if not as_number then
        error(format("bad argument #%d to '%s' (number expected, got %s)", number, what,
            value == nil and "no value" or type(value)), 3)
    end
    return as_number
end

--- The functions of one plugin.
---@return fun(m?: number, n?: number): number, fun(seed: number)
function random.functions()
    local draw, seed = generator()
    made = made + 1
    seed(format("%d %.17g %.17g", made, parent(), parent()))

    return function(m, n)
        local drawn = draw()
        if m == nil then
            return drawn
        end
        local low, high = 1, check("random", 1, m)
        if n ~= nil then
            low, high = high, check("random", 2, n)
        end
        if low > high or low ~= low or high ~= high then
            error(format("bad argument #%d to 'random' (interval is empty)", n ~= nil and 2 or 1), 2)
        end
        return floor(drawn * (high - low + 1)) + low
    end, function(value)
        seed(format("%.17g", check("randomseed", 1, value)))
    end
end

return random
