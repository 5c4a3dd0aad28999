--- pool: a look at the connections to a service. Nothing can be changed from here.
local bind = require("moongate.ffi.host")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local services = require("moongate.ffi.service")

--- Connections to the endpoints of a service: idle, active and waiting are this worker's; open and max_connections
--- are of the whole gateway.
---@param service string  its name
---@return { idle: integer, active: integer, waiting: integer, open: integer, max_connections: integer }?
---@return string? problem  when no service has that name, or while a plugin is made
return function(service)
    if type(service) ~= "string" then
        object.dot(service, "moongate", "pool", 2)
        error("pool: a service is a string, not " .. type(service), 2)
    end
    if not running.call then
        return nil, "pool: connections are this worker's, which a plugin does not run on while it is made: ask in a "
            .. "handler or a run of mg.every"
    end
    local view = #service <= 1024 and bind.pool_view(running.host, service)
    if not view then
        local all = services.names(running.call, services.of.SERVICES)
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
