--- rate_limit: a token bucket for each consumer, in memory that all workers share; some have a bucket of another size.
local moongate = require "moongate"

local plugin = { name = "rate_limit", version = "1.0.0" }

---@param conf { rate: string, consumers: table<string, { rate: string, burst: integer }> }
---@return moongate.Handler
function plugin.new(conf)
    local everybody = moongate.limiter { name = "everybody", rate = conf.rate }
    local special = {}
    for consumer, own in pairs(conf.consumers) do
        special[consumer] = moongate.limiter { name = consumer, rate = own.rate, burst = own.burst }
    end

    return function(ctx, next)
        local consumer = ctx.consumer
        if not (special[consumer] or everybody):take(consumer) then
            return ctx:respond(429, { title = "Too Many Requests" })
        end
        return next(ctx)
    end
end

return plugin
