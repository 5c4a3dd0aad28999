--- join: what stands for `a .. b .. c` in a plugin's code, so that a text is charged before it is made. A text that
--- doubles in a loop would pass every bound between two looks of the budget.
local error, getmetatable, load, select, type = error, debug.getmetatable, load, select, type
local concat, format = table.concat, string.format

local join = {}

local LARGE = 1024 -- bytes; what is smaller is not charged
local NUMBER = 32 -- bytes of a number as text, at most

-- One function for each number of operands: the compiler makes short code of it.
local SOURCE = [[
local bytes, slow, type = ...
return function(OPERANDS)
    if TEXTS then
        local n = LENGTHS
        if n > LARGE then
            bytes(n)
        end
    else
        slow(OPERANDS)
    end
    return JOINED
end]]

--- Charges operands of which some are not texts; raises what Lua would, and says which operand it is.
local function slow_of(bytes, place)
    return function(...)
        local total, wrong = 0, nil
        for i = 1, select("#", ...) do
            local value = select(i, ...)
            local kind = type(value)
            if kind == "string" then
                total = total + #value
            elseif kind == "number" then
                total = total + NUMBER
            else
                local meta = getmetatable(value)
                if meta and meta.__concat then
                    return -- its metamethod decides
                end
                wrong = wrong or i
            end
        end
        if wrong then
            error(place() .. format("attempt to concatenate a %s value (operand %d of %d)",
                type((select(wrong, ...))), wrong, select("#", ...)), 0)
        end
        bytes(total)
    end
end

--- The function for so many operands.
---@param count integer
---@param bytes fun(n: number)  charges so many bytes
---@param place fun(): string  the plugin's line, as messages begin with it
function join.of(count, bytes, place)
    local names, texts, lengths = {}, {}, {}
    for i = 1, count do
        names[i] = "a" .. i
        texts[i] = format('type(a%d) == "string"', i)
        lengths[i] = "#a" .. i
    end
    local parts = {
        OPERANDS = concat(names, ", "), TEXTS = concat(texts, " and "), LENGTHS = concat(lengths, " + "),
        LARGE = LARGE, JOINED = concat(names, " .. "),
    }
    local source = SOURCE:gsub("%u%u+", parts)
    return assert(load(source, "@lua/moongate/worker/join.lua"))(bytes, slow_of(bytes, place), type)
end

return join
