--- rewrite: paths become others on their way to the upstream, or clients are sent elsewhere. The first rule whose
--- pattern matches the path counts; `from` is a Lua pattern, and %1 to %9 in `to` are its captures.
local plugin = { name = "rewrite", version = "1.0.0" }

---@class plugins.rewrite.Rule
---@field from string
---@field to string  a path; of a redirect also a whole URL
---@field redirect? integer  301, 302, 303, 307 or 308: the client is sent there

---@param conf { rules: plugins.rewrite.Rule[] }
---@return moongate.Handler
function plugin.new(conf)
    for i, rule in ipairs(conf.rules) do
        local ok, problem = pcall(string.gsub, "/", rule.from, rule.to)
        if not ok then
            error(("rules[%d]: %q to %q: %s"):format(i - 1, rule.from, rule.to, problem), 0)
        end
    end

    return function(ctx, next)
        local request = ctx.request
        for _, rule in ipairs(conf.rules) do
            local target, found = request.path:gsub(rule.from, rule.to, 1)
            if found > 0 then
                if rule.redirect then
                    local query = request.query
                    return ctx:respond(rule.redirect, "", { location = query and target .. "?" .. query or target })
                end
                request:set_path(target)
                break
            end
        end
        return next(ctx)
    end
end

return plugin
