--- respond: a fixed answer; the upstream is never asked.
local plugin = { name = "respond", version = "1.0.0" }

---@class plugins.respond.Conf
---@field status integer  200..599
---@field body string
---@field content_type string  of a body that is not empty
---@field headers table<string, string>

local bodiless = { [204] = true, [205] = true, [304] = true }

---@param conf plugins.respond.Conf
---@return moongate.Handler
function plugin.new(conf)
    local status, body = conf.status, conf.body
    local headers = {}

    if bodiless[status] and body ~= "" then
        error("a " .. status .. " has no body: leave body out, or choose another status", 0)
    end
    for name, value in pairs(conf.headers) do
        headers[name:lower()] = value
    end
    if body ~= "" then
        headers["content-type"] = headers["content-type"] or conf.content_type
    else
        body = nil
    end

    return function(ctx)
        ctx:respond(status, body, headers)
    end
end

return plugin
