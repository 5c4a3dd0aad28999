--- maintenance: while its switch is on, every request is answered 503, but those from addresses that may look. The
--- switch is a key of the durable store, so it holds for all workers and over a restart:
---
---     moongate state set maintenance on "back at noon"
---     moongate state del maintenance on
local plugin = { name = "maintenance", version = "1.0.0" }

---@class plugins.maintenance.Conf
---@field allow string[]  addresses of clients that pass all the same
---@field retry_after integer  seconds

---@param conf plugins.maintenance.Conf
---@return moongate.Handler
function plugin.new(conf)
    local allowed = {}
    for _, address in ipairs(conf.allow) do
        allowed[address] = true
    end

    return function(ctx, next)
        local reason = ctx.kv:get("on")
        if not reason or allowed[ctx.request.client_address] then
            return next(ctx)
        end
        return ctx:respond(503, { title = "Maintenance", detail = reason }, { ["retry-after"] = conf.retry_after })
    end
end

return plugin
