--- kv: a namespace of the key-value store, as moongate.h gives it.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local get, set, delete, incr, cas = c.mg_kv_get, c.mg_kv_set, c.mg_kv_delete, c.mg_kv_incr, c.mg_kv_cas
local string_of = ffi.string
local slice, number, swapped = ffi.new("mg_slice"), ffi.new("double[1]"), ffi.new("bool[1]")

local kv = {}

---@return ffi.cdata*? space
function kv.open(host, name)
    local space = c.mg_kv_space_new(host, name, #name)
    if space ~= nil then
        return ffi.gc(space, c.mg_kv_space_free)
    end
end

---@return string? value, string? problem
function kv.get(self, key)
    local wrong = get(self, key, #key, slice)
    if wrong ~= nil then
        return nil, string_of(wrong)
    elseif slice.p ~= nil then
        return (string_of(slice.p, slice.n))
    end
end

---@return string? problem
function kv.set(self, key, value, ttl_s)
    local wrong = set(self, key, #key, value, #value, ttl_s)
    if wrong ~= nil then
        return (string_of(wrong))
    end
end

---@return string? problem
function kv.delete(self, key)
    local wrong = delete(self, key, #key)
    if wrong ~= nil then
        return (string_of(wrong))
    end
end

---@return number? result, string? problem
function kv.incr(self, key, by, ttl_s)
    local wrong = incr(self, key, #key, by, ttl_s, number)
    if wrong ~= nil then
        return nil, string_of(wrong)
    end
    return number[0]
end

---@return boolean? swapped, string? problem
function kv.cas(self, key, expected, value, ttl_s)
    local wrong = cas(self, key, #key, expected, expected and #expected or 0, value, value and #value or 0, ttl_s,
        swapped)
    if wrong ~= nil then
        return nil, string_of(wrong)
    end
    return swapped[0]
end

---@return string? problem
function kv.flush_error(self)
    local wrong = c.mg_kv_flush_error(self)
    if wrong ~= nil then
        return (string_of(wrong))
    end
end

return kv
