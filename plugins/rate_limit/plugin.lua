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
    local by = mg.key(conf.key, on_missing)
    local common = mg.limiter({ name = conf.name, rate = conf.rate, burst = conf.burst, max_keys = conf.max_keys })
    local name_of = { [common] = conf.name }
    local own = limiters_of(conf, name_of)
    local has_own = next(own) ~= nil

    return function(ctx, next_layer)
        local key = by:read()
        if not key then
            if on_missing == "skip" then
                return next_layer(ctx)
            end
            return ctx:respond(403, { title = "Forbidden", detail = "what this limit counts by is missing" })
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
