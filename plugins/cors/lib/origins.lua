--- origins: which web origins may read answers: exact ones, all below a domain ("https://*.shop.example"), any ("*").
local origins = {}

--- "https://*.shop.example" as what must stand before and behind one or more labels.
local function split_wildcard(origin)
    local before, behind = origin:match("^(%a[%w+.-]*://)%*(%..+)$")
    return before, behind
end

--- A function from an Origin field to whether it may. Origins are compared as browsers send them: lower-case.
---@param list string[]
---@return fun(origin: string): boolean
function origins.matcher(list)
    local exact, before, behind, any = {}, {}, {}, false

    for _, origin in ipairs(list) do
        origin = origin:lower()
        local scheme, suffix = split_wildcard(origin)
        if origin == "*" then
            any = true
        elseif scheme then
            before[#before + 1], behind[#behind + 1] = scheme, suffix
        else
            exact[origin] = true
        end
    end

    return function(origin)
        if any or exact[origin] then
            return true
        end
        for i = 1, #before do
            local scheme, suffix = before[i], behind[i]
            local labels = origin:sub(#scheme + 1, -#suffix - 1)
            if origin == scheme .. labels .. suffix and labels:find("^[%w.-]+$") then
                return true
            end
        end
        return false
    end, any
end

return origins
