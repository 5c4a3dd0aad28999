--- request_id: takes the client's id or makes one, and sends it both ways.
local plugin = { name = "request_id", version = "1.0.0" }

---@param conf { header: string }
---@return moongate.Handler
function plugin.new(conf)
    local header = conf.header

    return function(ctx, next)
        local id = ctx.request:header(header)
        if not id then
            id = ctx:new_id()
            ctx.request:set_header(header, id)
        end

        next(ctx)

        ctx.response:set_header(header, id)
    end
end

return plugin
