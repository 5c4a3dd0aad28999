--- router: routes of a plugin's own, matched as the gateway matches its own.
local bind = require("moongate.ffi.router")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local max = math.max
local MATCHED_MAX = 65536 -- bytes
local PAIR_BYTES = 1024 -- that building takes for a path of one host, about

local handles = setmetatable({}, { __mode = "k" })

---@class moongate.Router
local router = {}

--- The route for a request.
---@param request { host?: string, path: string, method?: string }  path normalised, as ctx.request.path; method "GET"
---@return any value  that of the route; nil when none matches
---@return table|integer params  of the path, as they stand in it; or 404, 405, or 501 for an unknown method
function router:match(request)
    local my = scope.handle(handles, self, "router")
    if type(request) ~= "table" or type(request.path) ~= "string" then
        error("match: a request is a table with a path, a string", 2)
    end
    local bytes = #request.path + #tostring(request.host or "") + #tostring(request.method or "")
    if bytes > MATCHED_MAX then
        error("match: host, path and method have at most " .. MATCHED_MAX .. " bytes together, not " .. bytes, 2)
    end
    running.charge(bytes / 8)
    for name in pairs({ host = true, method = true }) do
        if request[name] ~= nil and type(request[name]) ~= "string" then
            error("match: " .. name .. " is a string, not " .. type(request[name]), 2)
        end
    end
    local status, index = bind.match(my.routes, request.host or "", request.path, request.method or "GET")
    if not index then
        return nil, status
    end
    local params, at = {}, 0
    local name, value = bind.param_at(my.routes, at)
    while name do
        params[name] = value
        at = at + 1
        name, value = bind.param_at(my.routes, at)
    end
    return my.values[index], params
end

local meta = scope.meta("router", router)

local function list(value)
    return type(value) == "table" and value or { value }
end

local M = {}

---@class moongate.RouterRoute
---@field path string|string[]  as in the configuration: "/v1/carts/{id}", or "/lab/*" for a prefix
---@field host? string|string[]
---@field method? string|string[]  tokens, or "*" for any; left out: the standard ones and those that some route names
---@field value any  what match returns

--- Builds a router. In new(conf).
---@param routes moongate.RouterRoute[]
---@return moongate.Router
function M.new(routes)
    object.dot(routes, "moongate", "router", 2)
    if type(routes) ~= "table" then
        error("router: routes are a list, not " .. type(routes), 2)
    end
    local wanted, values, pairs_of = {}, {}, 0
    for i, route in ipairs(routes) do
        if type(route) ~= "table" or not route.path then
            error("router: route " .. i .. " needs a path", 2)
        end
        local hosts, paths = list(route.host), list(route.path)
        values[i] = route.value
        wanted[i] = { name = "route " .. i, hosts = hosts, paths = paths, methods = list(route.method) }
        pairs_of = pairs_of + max(1, #hosts) * max(1, #paths)
    end
    running.bytes(pairs_of * PAIR_BYTES)
    local handle, problem = bind.new(wanted)
    if not handle then
        error("router: " .. problem, 2)
    end
    local self = setmetatable({}, meta)
    handles[self] = { routes = handle, values = values }
    return self
end

return M
