--- address: the part of a client's address that counts. One IPv6 customer owns a whole /64, so that limits by single
--- addresses would be free to evade.
local address = {}

local function groups_of(text)
    local groups = {}
    for group in text:gmatch("[^:]+") do
        groups[#groups + 1] = group
    end
    return groups
end

--- "203.0.113.9" -> "203.0.113.9/32", "2001:db8:1:2:3::4" -> "2001:db8:1:2::/64"; IPv4 inside IPv6 counts as IPv4.
---@param text string  an address as inet_ntop writes it; anything else is its own prefix
---@return string
function address.prefix(text)
    if not text:find(":", 1, true) then
        return text .. "/32"
    end
    local embedded = text:lower():match("^::ffff:(%d+%.%d+%.%d+%.%d+)$")
    if embedded then
        return embedded .. "/32"
    end
    local front = groups_of(text:match("^(.-)::") or text)
    local back = groups_of(text:match("::(.*)$") or "")
    local network = {}
    for i = 1, 4 do
        -- "::" stands for as many zeros as are missing to eight groups.
        network[i] = front[i] or back[i - 8 + #back] or "0"
    end
    return table.concat(network, ":"):lower() .. "::/64"
end

return address
