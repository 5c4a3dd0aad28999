--- log: ctx.log, lines in the gateway's log that name route and plugin.
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")
local text_of = require("moongate.sdk.shown")

local LINE = 8192 -- bytes; what is longer is cut

---@class moongate.Log
local log = {}

local function write(level, text, ...)
    if not running.ctx then
        error("a log line needs a request: here is none", 3)
    end
    if select("#", ...) > 0 then
        text = text:format(...)
    end
    text = text_of(text, LINE)
    running.bytes(16 * #text)
    running.charge(100)
    call.enter(running.call, running.plugin)
    call.log(running.call, level, text)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:debug(text, ...) -- luacheck: ignore self
    write(0, text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:info(text, ...) -- luacheck: ignore self
    write(1, text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:warn(text, ...) -- luacheck: ignore self
    write(2, text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:error(text, ...) -- luacheck: ignore self
    write(3, text, ...)
end

return log
