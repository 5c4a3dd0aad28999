--- problem: what C found wrong with what a plugin gave it, as text.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local string_of, error = ffi.string, error
local NO_ROOM = c.mg_call_no_room()

local problem = {
    --- Raises where a request would hold more memory than it may. Set by worker.budget: nobody catches that one.
    raise_room = function()
        error(string_of(NO_ROOM), 0)
    end,
}

---@param chars ffi.cdata*  static text, or a null pointer
---@return string? problem
function problem.text(chars)
    if chars == nil then
        return nil
    elseif chars == NO_ROOM then
        problem.raise_room()
    end
    return (string_of(chars))
end

return problem
