--- service: ctx.service, a look at the service of a request and at others by name. What is read is as of that
--- moment; nothing can be changed from here.
local bind = require("moongate.ffi.service")
local host_bind = require("moongate.ffi.host")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local list = require("moongate.sdk.json").list -- [] in JSON where there are none
local seen, host_at = bind.seen, bind.host
local type, error, tostring, setmetatable = type, error, tostring, setmetatable

---@class moongate.Host
---@field authority string  "10.0.0.11:9000"
---@field address? string  "10.0.0.11", of an authority that is a name; each of its addresses is a host
---@field health "unknown"|"healthy"|"unhealthy"  what active checks say
---@field ejected boolean  taken out because it failed real requests
---@field healthy boolean  neither unhealthy, nor ejected, nor taken out by an operator
---@field usable boolean  what the balancer goes by: in a panic, others than the healthy ones, too
---@field weight integer  in force: the configured one, or what its load made of it
---@field inflight integer  requests of this gateway that it works on

---@class moongate.Pool
---@field idle integer  connections of this worker
---@field active integer  connections of this worker
---@field waiting integer  requests of this worker
---@field open integer  connections of the whole gateway
---@field max_connections integer  of the whole gateway

--- Of the request's own service; ctx.service("cart") is that of another one: nil and a text when no service has that
--- name.
---@class moongate.Service
---@field name? string  nil where the route has no service
---@field size integer  how many hosts it has
---@field healthy integer  how many of them are healthy
---@field panic boolean  so few are healthy that the balancer uses all
---@field inflight integer  requests of this gateway that its hosts work on
---@field breaker? "closed"|"open"|"half_open"|"forced_open"|"forced_closed"  nil when it has none
---@field retry_after number  seconds until an open breaker lets a probe through; else 0
---@field hosts moongate.Host[]  in the order of the configuration
---@field pool? moongate.Pool  nil where the route has no service
---@overload fun(name: string): moongate.Service?, string?
local service = {}

local names = {} -- of each view; "": the request's own
local views = {} -- by name: as many as the configuration has services

--- What is known now; nil where there is no service.
local function look(self)
    local name = names[self]
    if not running.call then
        error("ctx.service works only while a request is served", 3)
    end
    local view = seen(running.call, name)
    if not view and name ~= "" then
        error("the configuration has no service '" .. name .. "' any more", 3)
    end
    return view
end

local properties = {
    name = function(self)
        look(self)
        return names[self] ~= "" and names[self] or bind.own_name(running.call)
    end,
    size = function(self)
        local view = look(self)
        return view and view.hosts or 0
    end,
    healthy = function(self)
        local view = look(self)
        return view and view.healthy or 0
    end,
    panic = function(self)
        local view = look(self)
        return view ~= nil and view.panic
    end,
    inflight = function(self)
        local view = look(self)
        return view and view.inflight or 0
    end,
    breaker = function(self)
        look(self)
        local state = bind.breaker_state(running.call, names[self])
        return state
    end,
    retry_after = function(self)
        look(self)
        local _, retry_s = bind.breaker_state(running.call, names[self])
        return retry_s
    end,
    hosts = function(self)
        look(self)
        local hosts, name = list({}), names[self]
        local host, authority, health, address = host_at(running.call, name, 0)
        while host do
            hosts[#hosts + 1] = {
                authority = authority,
                address = address,
                health = health,
                ejected = host.ejected,
                healthy = host.healthy,
                usable = host.usable,
                weight = host.weight,
                inflight = host.inflight,
            }
            host, authority, health, address = host_at(running.call, name, #hosts)
        end
        return hosts
    end,
    pool = function(self)
        local name = look(self) and (names[self] ~= "" and names[self] or bind.own_name(running.call))
        local view = name and host_bind.pool_view(running.host, name)
        return view and {
            idle = view.idle,
            active = view.active,
            waiting = view.waiting,
            open = view.open,
            max_connections = view.max_connections,
        } or nil
    end,
}

local meta = {
    __index = function(self, key)
        local get = properties[key]
        if not get then
            object.unknown("ctx.service", key, object.members(properties), 2)
        end
        return (get(self))
    end,
    __newindex = function(_, key)
        error("ctx.service." .. tostring(key) .. " cannot be assigned: it is only looked at", 2)
    end,
    __tostring = function(self)
        return names[self] ~= "" and names[self] or running.call and bind.own_name(running.call) or "no service"
    end,
    __metatable = "locked",
}

--- The view of a name.
local function view_of(name)
    local view = views[name]
    if not view then
        view = setmetatable({}, meta)
        names[view] = name
        views[name] = view
    end
    return view
end

function meta.__call(_, name)
    if type(name) ~= "string" then
        error("ctx.service: a service's name is a string, not " .. type(name), 2)
    end
    if not running.call then
        error("ctx.service works only while a request is served", 2)
    end
    if name == "" or not seen(running.call, name) then
        local near = object.nearest(name, bind.names(running.call, bind.of.SERVICES))
        return nil, "no service is named " .. object.quoted(name) .. (near and ": did you mean '" .. near .. "'?" or "")
    end
    return (view_of(name))
end

service.own = view_of("")
service.properties = properties

return service
