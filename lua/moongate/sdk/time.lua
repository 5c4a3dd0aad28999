--- time: ctx.time, the clocks of this worker. Read once a turn of its loop, so they stand still while Lua computes.
local call = require("moongate.ffi.call")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

---@class moongate.Time
local time = {}

--- Seconds since 1970, with their fraction.
---@return number
function time.now(...)
    if ... then
        object.dot((...), "time", "now", 2)
    end
    if not running.ctx then
        error("the time needs a request: no request is served here", 2)
    end
    return (call.now_s(running.call))
end

--- Seconds on a clock that never runs backwards; for durations.
---@return number
function time.mono(...)
    if ... then
        object.dot((...), "time", "mono", 2)
    end
    if not running.ctx then
        error("the time needs a request: no request is served here", 2)
    end
    return (call.mono_s(running.call))
end

return time
