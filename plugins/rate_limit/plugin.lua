--- rate_limit: how fast one client may go on. A token bucket a key, shared by all workers of the gateway.
local mg = require("moongate")

local plugin = { name = "rate_limit", version = "1.0.0" }

local QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"

---@class plugins.rate_limit.Rate
---@field rate string  "100/s"
---@field burst? integer  by default the count of the rate

---@class plugins.rate_limit.Conf : plugins.rate_limit.Rate
---@field name string
---@field key string
---@field on_missing_key "ip"|"skip"|"deny"
---@field max_keys integer
---@field fields boolean
---@field consumers table<string, plugins.rate_limit.Rate>

local function groups_of(text)
    local groups = {}
    for group in text:gmatch("[^:]+") do
        groups[#groups + 1] = group
    end
    return groups
end

--- The part of a client's address that counts. One IPv6 customer owns a whole /64, so that limits by single addresses
--- would be free to evade. "203.0.113.9" -> "203.0.113.9/32", "2001:db8:1:2:3::4" -> "2001:db8:1:2::/64"; IPv4 inside
--- IPv6 counts as IPv4.
---@param text string  an address as inet_ntop writes it; anything else is its own prefix
---@return string
local function prefix_of(text)
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

local parts = {
    consumer = function(ctx)
        return ctx.consumer
    end,
    ip = function(ctx)
        return prefix_of(ctx.request.client_address)
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

--- A function from ctx to the key that `text` means ("ip", "header:x+route", ..), which is nil where a part is absent.
---@param text string  as the schema allows it
---@return fun(ctx: moongate.Ctx): string?
local function key_reader(text)
    local list = {}
    for one in text:gmatch("[^+]+") do
        list[#list + 1] = part_of(one) or error(("key: no part is named %q"):format(one), 0)
    end
    return #list == 1 and list[1] or joined(list)
end

--- A limiter's name for a consumer, which may be any text: no two consumers share one.
local function escaped(consumer)
    return (consumer:gsub("[^%w.-]", function(char)
        return ("_%02x"):format(char:byte())
    end))
end

--- The limiters of consumers with a rate of their own. Their names go into `name_of`.
---@return table<string, moongate.Limiter>
local function limiters_of(conf, name_of)
    local by_consumer = {}
    for consumer, own in pairs(conf.consumers) do
        local name = conf.name .. "." .. escaped(consumer)
        local limiter = mg.limiter({
            name = name,
            rate = own.rate,
            burst = own.burst,
            max_keys = conf.key == "consumer" and 8 or conf.max_keys,
        })
        by_consumer[consumer], name_of[limiter] = limiter, name
    end
    return by_consumer
end

--- Says what is left, unless a stricter limit said so before.
local function tell(response, limiter, remaining, retry_ms, reset_ms)
    local told = response:header("ratelimit")
    if told then
        local left = tonumber(told:match(";%s*r=(%d+)"))
        if left and left < remaining then
            return
        end
    end
    local policy, state = limiter:fields(remaining, retry_ms, reset_ms)
    response:set_header("ratelimit-policy", policy)
    response:set_header("ratelimit", state)
end

local function refuse(ctx, name, limiter, fields, remaining, retry_ms, reset_ms)
    local headers = { ["content-type"] = "application/problem+json" }
    if retry_ms >= 0 then
        headers["retry-after"] = ("%d"):format(math.max(1, math.ceil(retry_ms / 1000)))
    end
    ctx:respond(429, { json = {
        type = QUOTA_EXCEEDED,
        title = "Too many requests",
        status = 429,
        detail = "this client may go on later",
        instance = ctx.request:header("x-request-id"),
        ["violated-policies"] = { name },
    } }, headers)
    if fields then
        tell(ctx.response, limiter, remaining, retry_ms, reset_ms)
    end
end

---@param conf plugins.rate_limit.Conf
---@return moongate.Handler
function plugin.new(conf)
    local fields, on_missing = conf.fields, conf.on_missing_key
    local key_of = key_reader(conf.key)
    local common = mg.limiter({ name = conf.name, rate = conf.rate, burst = conf.burst, max_keys = conf.max_keys })
    local name_of = { [common] = conf.name }
    local own = limiters_of(conf, name_of)
    local has_own = next(own) ~= nil

    return function(ctx, next_layer)
        local key = key_of(ctx)
        if not key then
            if on_missing == "skip" then
                return next_layer(ctx)
            elseif on_missing == "deny" then
                return ctx:respond(403, { title = "Forbidden", detail = "what this limit counts by is missing" })
            end
            key = "\0" .. prefix_of(ctx.request.client_address) -- no key of another kind begins so
        end

        local limiter = has_own and own[ctx.consumer or ""] or common
        local allowed, remaining, retry_ms, reset_ms = limiter:take(key)
        if not allowed then
            return refuse(ctx, name_of[limiter], limiter, fields, remaining, retry_ms, reset_ms)
        end
        if not fields then
            return next_layer(ctx)
        end

        next_layer(ctx)

        tell(ctx.response, limiter, remaining, retry_ms, reset_ms)
    end
end

return plugin
