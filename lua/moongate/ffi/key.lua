--- key: the reader of keys that the limiters of the configuration have.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local outside = require("moongate.ffi.bounds").outside
local read = c.mg_call_key
local string_of = ffi.string
local why, slice = ffi.new("char[256]"), ffi.new("mg_slice")

local key = {}

---@return ffi.cdata*? key, string? problem
function key.new(text, on_missing)
    local self = c.mg_key_new(text, #text, on_missing, #on_missing, why)
    if self == nil then
        return nil, string_of(why)
    end
    local bytes = tonumber(c.mg_key_bytes(self))
    outside(bytes)
    return ffi.gc(self, function(handle)
        outside(-bytes)
        c.mg_key_free(handle)
    end)
end

---@return string? text  of the request; nil when a part is missing
---@return string? problem
function key.read(self, call)
    local wrong = read(call, self, slice)
    if wrong ~= nil then
        return nil, string_of(wrong)
    end
    if slice.n > 0 then
        return string_of(slice.p, slice.n)
    end
end

return key
