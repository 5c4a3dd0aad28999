--- c: the functions of moongate.h, as the table of pointers that C hands to the VM, and its constants as numbers.
local ffi = require("ffi")
local cdef = require("moongate.ffi.cdef")

local c = setmetatable({}, {
    __index = function(_, name)
        error("moongate.h declares no " .. tostring(name), 2)
    end,
})

--- Declares the types and takes the pointers over. Once a VM, before any other module of moongate.ffi is loaded.
---@param api userdata|ffi.cdata*  address of the table of pointers
---@param hash string  of the header that C was built from
function c.bind(api, hash)
    if hash ~= cdef.hash then
        error(("the Lua side was cut from moongate.h %s, the binary from %s: build both from one tree")
            :format(cdef.hash, hash), 0)
    end
    ffi.cdef(cdef.text)
    local pointers = ffi.cast("const mg_api *", api)
    for _, name in ipairs(cdef.names) do
        c[name] = pointers[name]
    end
    for name, value in pairs(cdef.constants) do
        c[name] = value
    end
end

return c
