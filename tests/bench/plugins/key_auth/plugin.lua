--- key_auth: finds out who asks by a key in a header; others get a 401.
local plugin = { name = "key_auth", version = "1.0.0" }

---@param conf { header: string, keys: table<string, string> }
---@return moongate.Handler
function plugin.new(conf)
    local header, consumers = conf.header, {}
    for key, consumer in pairs(conf.keys) do
        consumers[key] = consumer
    end

    return function(ctx, next)
        local key = ctx.request:header(header)
        local consumer = key and consumers[key]
        if not consumer then
            return ctx:respond(401, { title = "Unauthorized" })
        end
        ctx:set_consumer(consumer)
        return next(ctx)
    end
end

return plugin
