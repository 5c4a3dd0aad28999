--- ab_test: a part of the clients is sent to another service, and stays with it by a cookie. Who asks for a group with
--- the cookie, or with X-Abtest-Group, gets it.
local plugin = { name = "ab_test", version = "1.0.0" }

---@class plugins.ab_test.Conf
---@field name string  of the test, and of its cookie
---@field service string  where group "b" goes; "a" stays with the route's
---@field share number  of the clients, 0 to 1
---@field days integer  for which a client stays in its group

local groups = { a = true, b = true }

---@param conf plugins.ab_test.Conf
---@return moongate.Handler
function plugin.new(conf)
    local cookie = "ab_" .. conf.name

    return function(ctx, next)
        local asked = ctx.request:header("x-abtest-group")
        local kept = ctx.request:cookie(cookie)
        local group = groups[asked] and asked or groups[kept] and kept
        if not group then
            group = math.random() < conf.share and "b" or "a"
        end
        if group == "b" then
            ctx:set_service(conf.service)
        end
        ctx.request:set_header("x-abtest-group", group)
        ctx:counter("group_" .. group)
        next(ctx)
        if kept ~= group then
            ctx.response:set_cookie(cookie, group, { path = "/", max_age = conf.days * 86400, same_site = "Lax" })
        end
    end
end

return plugin
