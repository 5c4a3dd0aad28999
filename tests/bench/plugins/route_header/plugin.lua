--- route_header: tells the upstream by which route a request comes.
local plugin = { name = "route_header", version = "1.0.0" }

---@param conf { header: string }
---@return moongate.Handler
function plugin.new(conf)
    local header = conf.header

    return function(ctx, next)
        ctx.request:set_header(header, ctx.route)
        return next(ctx)
    end
end

return plugin
