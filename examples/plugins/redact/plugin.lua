--- redact: members of JSON answers that clients must not see are replaced, wherever they stand. An answer that is said
--- to be JSON and cannot be read is not passed on.
local plugin = { name = "redact", version = "1.0.0", body = { response = "buffer(1MiB)" } }

---@class plugins.redact.Conf
---@field members string[]
---@field mask string  stands in their place

---@param conf plugins.redact.Conf
---@return moongate.Handler
function plugin.new(conf)
    local hidden = {}
    for _, name in ipairs(conf.members) do
        hidden[name] = true
    end

    local function redact(value)
        for key, member in pairs(value) do
            if hidden[key] then
                value[key] = conf.mask
            elseif type(member) == "table" then
                redact(member)
            end
        end
    end

    return function(ctx, next)
        ctx.request:remove_header("accept-encoding") -- what is packed cannot be read
        ctx.request:remove_header("range") -- nor can a part
        next(ctx)
        local response = ctx.response
        local kind = (response:header("content-type") or ""):lower()
        if not kind:find("^application/[%w.+-]*json") or response:body() == "" then
            return
        end
        local value, problem = ctx.json.decode(response:body())
        if problem then
            ctx.log:error("the answer is not JSON: " .. problem)
            return ctx:respond(502, { title = "Bad Gateway", detail = "the answer cannot be shown" })
        end
        if type(value) == "table" then
            redact(value)
            response:set_body(ctx.json.encode(value))
        end
    end
end

return plugin
