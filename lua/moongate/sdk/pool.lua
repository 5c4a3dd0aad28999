--- pool: a look at the connections to a service. Nothing can be changed from here.
local bind = require("moongate.ffi.host")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local services = require("moongate.ffi.service")

--- Connections to the endpoints of a service: idle, active and waiting are this worker's; open and max_connections
--- are of the whole gateway.
---@param service string  its name
---@return { idle: integer, active: integer, waiting: integer, open: integer, max_connections: integer }?
---@return string? problem  when no service has that name
return function(service)
    if type(service) ~= "string" then
        object.dot(service, "moongate", "pool", 2)
        error("pool: a service is a string, not " .. type(service), 2)
    end
    local view = #service <= 1024 and bind.pool_view(running.host, service)
    if not view then
        local all = running.call and services.names(running.call, services.of.SERVICES) or {}
        return nil, "no service is named " .. object.quoted(service)
            .. (#all > 0 and ": " .. object.choices(service, all) or "")
    end
    return {
        idle = view.idle,
        active = view.active,
        waiting = view.waiting,
        open = view.open,
        max_connections = view.max_connections,
    }
end
