--- response: marks responses and counts them by status; on one route it answers with the count of 200s.
local moongate = require "moongate"

local plugin = { name = "response", version = "1.0.0" }

---@param conf { header: string, value: string, count_route: string, statuses: integer[] }
---@return moongate.Handler
function plugin.new(conf)
    local header, value, count_route = conf.header, conf.value, conf.count_route
    local counters = {}
    for _, status in ipairs(conf.statuses) do
        counters[status] = moongate.counter("status_" .. status)
    end
    local other = moongate.counter("status_other")

    return function(ctx, next)
        if ctx.route == count_route then
            return ctx:respond(200, tostring(counters[200]:sum()))
        end

        next(ctx)

        ctx.response:set_header(header, value)
        local counter = counters[ctx.response.status] or other
        counter:add()
    end
end

return plugin
