--- router: the gateway's own matcher over routes of a plugin.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local outside = require("moongate.ffi.bounds").outside
local match, param_at = c.mg_routes_match, c.mg_routes_param
local string_of = ffi.string
local why, index = ffi.new("char[256]"), ffi.new("uint32_t[1]")
local slice, slice2 = ffi.new("mg_slice"), ffi.new("mg_slice")

local router = {}

---@param routes { name: string, hosts: string[], paths: string[], methods: string[] }[]
---@return ffi.cdata*? router, string? problem
function router.new(routes)
    local self = ffi.gc(c.mg_routes_new(), c.mg_routes_free)
    for _, route in ipairs(routes) do
        c.mg_routes_begin(self, route.name, #route.name)
        for _, host in ipairs(route.hosts) do
            c.mg_routes_host(self, host, #host)
        end
        for _, path in ipairs(route.paths) do
            c.mg_routes_path(self, path, #path)
        end
        for _, method in ipairs(route.methods) do
            c.mg_routes_method(self, method, #method)
        end
    end
    if not c.mg_routes_build(self, why) then
        return nil, string_of(why)
    end
    local bytes = tonumber(c.mg_routes_bytes(self))
    outside(bytes)
    return ffi.gc(self, function(handle)
        outside(-bytes)
        c.mg_routes_free(handle)
    end)
end

---@return integer status, integer? index  from 1
function router.match(self, host, path, method)
    local status = match(self, host, #host, path, #path, method, #method, index)
    if status == 200 then
        return 200, tonumber(index[0]) + 1
    end
    return status
end

---@return string? name, string? value
function router.param_at(self, at)
    if param_at(self, at, slice, slice2) then
        return string_of(slice.p, slice.n), string_of(slice2.p, slice2.n)
    end
end

return router
