--- request_id: every request carries an id, to the upstream and back to the client.
local MAX_ID_BYTES = 64
local plugin = { name = "request_id", version = "1.0.0" }

---@class plugins.request_id.Conf
---@field header string  where the id travels; the schema's default is "x-request-id"

---@param conf plugins.request_id.Conf  valid already, defaults filled in
---@return moongate.Handler
function plugin.new(conf)
    local header = conf.header
    local malformed = {
        title = "Malformed request id",
        detail = header .. " holds at most " .. MAX_ID_BYTES .. " letters, digits and '-'",
    }

    return function(ctx, next)
        local request = ctx.request
        local id = request:header(header)
        if not id or id == "" then
            id = ctx:new_id()
            request:set_header(header, id)
        elseif #id > MAX_ID_BYTES or id:find("[^%w%-]") then
            request:set_header(header, ctx:new_id()) -- the answer and the log name this one
            return ctx:respond(400, malformed)
        end

        next(ctx)

        ctx.response:set_header(header, id)
    end
end

return plugin
