--- raised: what a plugin raised, and the plugin's line where.

-- Not the methods of texts: those are charged to the plugin, whose budget may be what is spent.
local find, gmatch, gsub, sub = string.find, string.gmatch, string.gsub, string.sub
local tonumber, type = tonumber, type
local getinfo, load = debug.getinfo, load

local TRIES = 8 -- what may be the end of a chunk's name
local NAME = 4096 -- bytes of a chunk's name, at most

local raised = {}

local known = {} -- chunk names of plugins' files, by what LuaJIT shows of them: of long ones it is the end

--- A file of a plugin is loaded: lines of it are recognised.
---@param chunkname string
function raised.know(chunkname)
    known[getinfo(load("", "@" .. chunkname), "S").short_src] = chunkname
end

--- The first line of a traceback that is a plugin's.
local function place_in(trace)
    for chunk, line in gmatch(trace, "\n\t([^\n]-):(%d+): in ") do
        if known[chunk] or sub(chunk, 1, 13) ~= "lua/moongate/" and sub(chunk, 1, 1) ~= "[" then
            return known[chunk] or chunk, tonumber(line)
        end
    end
end

--- The line that a text begins with, and the rest: it is one where its chunk is a plugin's, or stands in the traceback.
--- error(text, 0) and assert give a text none, and an address and its port are no line. A folder may be named like one.
local function place_of(text, trace)
    local from = 1
    for _ = 1, TRIES do
        local first, last, line = find(text, ":(%d+): ", from)
        local chunk = first and first <= NAME and sub(text, 1, first - 1)
        if not chunk then
            return nil
        elseif known[chunk] or find(trace, "\n\t" .. chunk .. ":" .. line .. ": in ", 1, true) then
            return known[chunk] or chunk, tonumber(line), sub(text, last + 1)
        end
        from = first + 1
    end
end

local A_FUNCTION = "^(.*attempt to index %a+ '([%w_]+)' %(a function value%))$"

--- A text has its line, unless who raised it wanted none; that, and anything else, gets the line of the traceback.
---@param err any
---@param text string  of sdk.shown, made while the plugin's budget still bounds what its __tostring does
---@param trace string  of debug.traceback
---@return string? file, integer? line, string message
function raised.place(err, text, trace)
    if type(err) == "string" then
        text = gsub(text, "^lua/moongate/[^\n:]*:%d+: ", "") -- where a tail call has lost the plugin's line
        text = gsub(text, A_FUNCTION, "%1: it is a method, and called with a colon, as in ctx.request:%2(..)")
        local file, line, rest = place_of(text, trace)
        if file then
            return file, line, rest
        end
    end
    local file, line = place_in(trace)
    return file, line, err == nil and "error(nil) was raised: give error a text" or text
end

--- The same as a text that begins with the line.
---@param file string?
---@param line integer?
---@param message string
---@return string
function raised.text(file, line, message)
    return (file and file .. ":" or "") .. (line and line .. ":" or "") .. (file and " " or "") .. message
end

---@return string
function raised.message(err, text, trace)
    return raised.text(raised.place(err, text, trace))
end

return raised
