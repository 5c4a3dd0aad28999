--- place: where the request is that a VM works on. A struct, which every layer of a chain reads and writes: unlike the
--- fields of a table, the compiler knows where its fields stand, and what they hold.
local ffi = require("ffi")

---@class moongate.Place: ffi.cdata*
---@field depth number  how far in the chain is: the depth of a layer, INNERMOST, or ANSWERED
---@field plugin integer  index in the plan, from 0, of the plugin that runs; -1: none

-- Of no more bytes: the address of a larger one is not compiled in.
return ffi.new("struct { double depth; int32_t plugin; }", 0, -1)
