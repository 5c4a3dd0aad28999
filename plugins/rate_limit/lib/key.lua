--- key: whose bucket a request draws from: "consumer", "ip", "header:x", "cookie:x", "route", "global", joined by "+".
local address = require("rate_limit.address")

local key = {}

local parts = {
    consumer = function(ctx)
        return ctx.consumer
    end,
    ip = function(ctx)
        return address.prefix(ctx.request.client_address)
    end,
    route = function(ctx)
        return ctx.route
    end,
    global = function()
        return "global"
    end,
}

local function header_part(name)
    return function(ctx)
        local value = ctx.request:header(name)
        return value ~= "" and value or nil
    end
end

local function cookie_part(name)
    local start = name .. "="
    return function(ctx)
        local cookies = ctx.request:header("cookie")
        for pair in (cookies or ""):gmatch("[^;]+") do
            local from = pair:find("[^ ]")
            if from and pair:sub(from, from + #start - 1) == start then
                return pair:sub(from + #start)
            end
        end
    end
end

local named_parts = { header = header_part, cookie = cookie_part }

local function part_of(text)
    local kind, name = text:match("^(%a+):(.+)$")
    if kind and named_parts[kind] then
        return named_parts[kind](name)
    end
    return parts[text]
end

--- All parts of several, with their lengths between them, so that no two sets of parts make one key.
local function joined(list)
    return function(ctx)
        local all = {}
        for i = 1, #list do
            local value = list[i](ctx)
            if value == nil then
                return nil
            end
            all[i] = #value .. ":" .. value
        end
        return table.concat(all, "+")
    end
end

--- A function from ctx to the key, which is nil where a part is absent.
---@param text string  as the schema allows it
---@return fun(ctx: moongate.Ctx): string?
function key.reader(text)
    local list = {}
    for one in text:gmatch("[^+]+") do
        list[#list + 1] = part_of(one) or error(("key: no part is named %q"):format(one), 0)
    end
    return #list == 1 and list[1] or joined(list)
end

return key
