--- @NAME@: sets a field of the response.
local plugin = { name = "@NAME@", version = "0.1.0" }

---@class @NAME@.Conf
---@field header string  the field
---@field text string  its value

---@param conf @NAME@.Conf  checked against schema.json, with its defaults
---@return moongate.Handler
function plugin.new(conf)                         -- once a configuration
    return function(ctx, next)                    -- once a request
        next(ctx)                                 -- the layers further in, then the service
        ctx.response:set_header(conf.header, conf.text)
    end
end

return plugin
