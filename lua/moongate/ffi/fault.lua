--- fault: where C reads what a plugin did wrong while it was loaded.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local fault = {}

--- Makes what notes it in C's struct.
---@param pointer userdata  that C hands to boot
---@return fun(plugin: integer, file: string?, line: integer?, message: string)
function fault.of(pointer)
    local into = ffi.cast("mg_fault *", pointer)
    return function(plugin, file, line, message)
        file = file or ""
        c.mg_fault_set(into, plugin, file, #file, line or 0, message, #message)
    end
end

return fault
