--- query: takes a parameter out of a query, however its name was encoded.
local query = {}

local function byte_of(hex)
    return string.char(tonumber(hex, 16))
end

local function plain(text)
    return (text:gsub("%+", " "):gsub("%%(%x%x)", byte_of))
end

--- The query without all parameters of that name; what is left keeps its bytes and its order.
---@param text string  without the "?"
---@param name string  decoded
---@return string
function query.without(text, name)
    local kept = {}
    for pair in (text .. "&"):gmatch("([^&]*)&") do
        if plain(pair:match("^[^=]*")) ~= name then
            kept[#kept + 1] = pair
        end
    end
    return table.concat(kept, "&")
end

return query
