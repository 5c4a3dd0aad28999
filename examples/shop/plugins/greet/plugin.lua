--- greet: greets customers by name, tells the upstream, and counts their visits. The count survives a restart.
local plugin = { name = "greet", version = "0.3.0", capabilities = { "kv" } }

---@class plugins.greet.Conf
---@field header string  the field with the greeting, both ways
---@field text string  what stands before the name

---@param conf plugins.greet.Conf
---@return moongate.Handler
function plugin.new(conf)
    local header, text = conf.header, conf.text
    local stranger = text .. ", stranger"

    return function(ctx, next)
        local consumer = ctx.consumer
        if not consumer then
            ctx.request:set_header(header, stranger)
            return next(ctx)
        end

        local visits, problem = ctx.kv:incr("visits:" .. consumer)
        if not visits then
            ctx.log:warn("a visit is not counted: %s", problem)
        end
        ctx.request:set_header(header, text .. ", " .. consumer)

        next(ctx)

        if visits then
            ctx.response:set_header(header, ("%s, %s: visit %d"):format(text, consumer, visits))
        end
    end
end

return plugin
