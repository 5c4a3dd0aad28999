--- log: ctx.log, lines in the gateway's log that name route and plugin.
local call = require("moongate.ffi.call")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local text_of = require("moongate.sdk.shown")

local levels = call.log_levels
local LINE = 8192 -- bytes; what is longer is cut
local gsub = string.gsub

---@class moongate.Log
local log = {}

--- Two levels up is the plugin's line.
local function write(self, name, text, ...)
    object.colon(self, "ctx.log", name, 3)
    if not running.ctx then
        error("a log line needs a request: no request is served here", 3)
    end
    if select("#", ...) > 0 then
        if type(text) ~= "string" then
            error(name .. ": with more arguments the text is a format, a string, not " .. type(text), 3)
        end
        local ok, made = pcall(text.format, text, ...)
        if not ok then
            error(name .. ": " .. gsub(gsub(tostring(made), "^[^%s:]+:%d+: ", ""), "'%?'", "'format'"), 3)
        end
        text = made
    end
    text = text_of(text, LINE)
    running.bytes(16 * #text)
    running.charge(100)
    call.enter(running.call, running.here.plugin)
    call.log(running.call, levels[name], text)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:debug(text, ...)
    write(self, "debug", text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:info(text, ...)
    write(self, "info", text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:warn(text, ...)
    write(self, "warn", text, ...)
end

---@param text any  with more arguments, as for string.format; of a table the fields are shown
function log:error(text, ...)
    write(self, "error", text, ...)
end

return log
