--- log_shipper: a line of each request goes to a collector, in batches and beside the requests. While the collector is
--- away the lines wait, up to a bound; what is dropped beyond it is counted, and told with the next batch.
local plugin = { name = "log_shipper", version = "1.0.0" }
local mg = require("moongate")

---@class plugins.log_shipper.Conf
---@field url string  gets POSTs of { dropped = 0, lines = [..] }
---@field every number  seconds
---@field batch integer  lines in one POST
---@field keep integer  lines that wait, on each worker

---@param conf plugins.log_shipper.Conf
function plugin.new(conf)
    local queue, dropped = {}, 0

    --- Sends what is first in the queue; it stays there when it could not be sent.
    local function ship(ctx)
        local lines = mg.json.list({})
        for i = 1, math.min(#queue, conf.batch) do
            lines[i] = queue[i]
        end
        local told = dropped
        local answer, problem = ctx.http:post(conf.url, ctx.json.encode({ lines = lines, dropped = told }),
            { headers = { ["content-type"] = "application/json" } })
        if not answer or answer.status >= 300 then
            error("the collector: " .. (problem or "status " .. answer.status), 0)
        end
        dropped = dropped - told
        local rest = {}
        for i = #lines + 1, #queue do
            rest[#rest + 1] = queue[i]
        end
        queue = rest
    end

    mg.every(conf.every, function(ctx)
        while #queue > 0 do
            ship(ctx)
        end
    end)

    return {
        handler = function(ctx, next)
            return next(ctx)
        end,
        log = function(ctx)
            if #queue >= conf.keep then
                dropped = dropped + 1
                return
            end
            local request = ctx.request
            queue[#queue + 1] = { at = ctx.time.now(), method = request.method, path = request.path,
                status = ctx.response.status, client = request.client_address, route = ctx.route }
        end,
    }
end

return plugin
