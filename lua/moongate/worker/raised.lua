--- raised: what a plugin raised, as a message that begins with the plugin's line.

-- Not the methods of texts: those are charged to the plugin, whose budget may be what is spent.
local find, gmatch, gsub, sub, type = string.find, string.gmatch, string.gsub, string.sub, type

--- The first line of a traceback that is a plugin's.
local function place_in(trace)
    for chunk, line in gmatch(trace, "\n\t([^\n:]+):(%d+): in ") do
        if sub(chunk, 1, 13) ~= "lua/moongate/" and sub(chunk, 1, 1) ~= "[" then
            return chunk .. ":" .. line .. ": "
        end
    end
    return ""
end

--- Whether a text begins with a line: error(text, 0) and assert give it none. An address and its port are no line.
local function has_place(text)
    return find(text, "^[^\n:]*%.lua:%d+: ") ~= nil
end

local A_FUNCTION = "^(.*attempt to index %a+ '([%w_]+)' %(a function value%))$"

--- A text has its line, unless who raised it wanted none; that, and anything else, gets the line of the traceback.
---@param err any
---@param text string  of sdk.shown, made while the plugin's budget still bounds what its __tostring does
---@param trace string  of debug.traceback
---@return string
return function(err, text, trace)
    if type(err) == "string" then
        text = gsub(text, "^lua/moongate/[^\n:]*%.lua:%d+: ", "") -- where a tail call has lost the plugin's line
        text = gsub(text, A_FUNCTION, "%1: it is a method, and called with a colon, as in ctx.request:%2(..)")
        if has_place(text) then
            return text
        end
    end
    return place_in(trace) .. (err == nil and "error(nil) was raised: give error a text" or text)
end
