--- rewrite: tells the upstream who asks, sets fixed fields, removes others.
local plugin = { name = "rewrite", version = "1.0.0" }

---@param conf { consumer: string, set: table<string, string>, remove: string[] }
---@return moongate.Handler
function plugin.new(conf)
    local consumer, remove = conf.consumer, conf.remove
    local names, values = {}, {}
    for name, value in pairs(conf.set) do
        names[#names + 1], values[#values + 1] = name, value
    end

    return function(ctx, next)
        local request = ctx.request
        request:set_header(consumer, ctx.consumer)
        for i = 1, #names do
            request:set_header(names[i], values[i])
        end
        for i = 1, #remove do
            request:remove_header(remove[i])
        end
        return next(ctx)
    end
end

return plugin
