--- raised: what a plugin raised, as a message that begins with the plugin's line.

-- Not the methods of texts: those are charged to the plugin, whose budget may be what is spent.
local gmatch, sub, type = string.gmatch, string.sub, type

--- The first line of a traceback that is a plugin's.
local function place_in(trace)
    for chunk, line in gmatch(trace, "\n\t([^\n:]+):(%d+): in ") do
        if sub(chunk, 1, 13) ~= "lua/moongate/" and sub(chunk, 1, 1) ~= "[" then
            return chunk .. ":" .. line .. ": "
        end
    end
    return ""
end

--- A text has its line, unless who raised it wanted none; anything else gets that of the traceback.
---@param err any
---@param text string  of sdk.shown, made while the plugin's budget still bounds what its __tostring does
---@param trace string  of debug.traceback
---@return string
return function(err, text, trace)
    if type(err) == "string" then
        return text
    end
    return place_in(trace) .. (err == nil and "error(nil) was raised: give error a text" or text)
end
