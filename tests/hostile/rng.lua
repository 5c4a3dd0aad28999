--- rng: numbers that look random and are the same for the same seed, on every machine.
local bit = require "bit"

local Rng = {}
Rng.__index = Rng

local function mixed(a, b)
    local h = bit.bxor(bit.tobit(a), bit.rol(bit.tobit(b), 13), 0x3c6ef372)
    for _ = 1, 4 do
        h = bit.bxor(h, bit.lshift(h, 13))
        h = bit.bxor(h, bit.rshift(h, 17))
        h = bit.bxor(h, bit.lshift(h, 5))
        h = bit.bxor(h, bit.rol(bit.tobit(b), 7))
    end
    return h == 0 and 1 or h
end

--- One stream of numbers for each list of whole numbers.
local function new(...)
    local state = 1
    for i = 1, select("#", ...) do state = mixed(state + i, (select(i, ...))) end
    return setmetatable({ state = state }, Rng)
end

--- A whole number from 0 to 2^32 - 1.
function Rng:word()
    local x = self.state
    x = bit.bxor(x, bit.lshift(x, 13))
    x = bit.bxor(x, bit.rshift(x, 17))
    x = bit.bxor(x, bit.lshift(x, 5))
    self.state = x
    return x % 4294967296
end

--- A whole number from `from` to `to`.
function Rng:int(from, to) return from + self:word() % (to - from + 1) end

--- True in so many of a hundred cases.
function Rng:chance(percent) return self:word() % 100 < percent end

function Rng:pick(list) return list[1 + self:word() % #list] end

--- A size between 1 and `most`, each order of magnitude as likely.
function Rng:size(most)
    return math.max(1, math.floor(math.exp(self:word() / 4294967296 * math.log(most))))
end

return { new = new }
