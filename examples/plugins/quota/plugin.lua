--- quota: so many requests a day or a month for each consumer, counted in the durable store: by all workers together,
--- and over restarts. It stands behind the plugin that finds out who asks; a client without a name counts by address.
local plugin = { name = "quota", version = "1.0.0" }

---@class plugins.quota.Conf
---@field requests integer
---@field per "day"|"month"

local DAY = 86400
local stamp = { day = "!%Y-%m-%d", month = "!%Y-%m" }

--- Seconds until the period that `now` is in ends.
local function left(per, now)
    local finish = now - now % DAY + DAY
    while os.date(stamp[per], finish) == os.date(stamp[per], now) do
        finish = finish + DAY
    end
    return math.ceil(finish - now)
end

---@param conf plugins.quota.Conf
---@return moongate.Handler
function plugin.new(conf)
    local most, per = conf.requests, conf.per

    return function(ctx, next)
        local now = ctx.time.now()
        local who = ctx.consumer or ctx.request.client_address
        local used, problem = ctx.kv:incr(os.date(stamp[per], now) .. " " .. who, 1, left(per, now))
        if not used then
            ctx.log:error("the quota of " .. who .. " is not counted: " .. problem)
            return next(ctx)
        end
        if used > most then
            return ctx:respond(429, {
                title = "Quota used up",
                detail = ("%d requests a %s are yours"):format(most, per),
            }, { ["retry-after"] = left(per, now), ["x-quota-remaining"] = 0 })
        end
        next(ctx)
        ctx.response:set_header("x-quota-remaining", most - used)
    end
end

return plugin
