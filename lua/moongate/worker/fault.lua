--- fault: what made a coroutine die, for the log: whose code it was, at which line, and the way there.
local await = require("moongate.worker.await")
local context = require("moongate.sdk.ctx")
local running = require("moongate.sdk.running")
local message_of = require("moongate.worker.raised").message
local text_of = require("moongate.sdk.shown")

local TRACE = 8192 -- bytes of a traceback that are shown

-- Not the methods of texts: those are charged to the plugin, whose budget may be what is spent.
local match, gmatch, sub = string.match, string.gmatch, string.sub

--- The chunk id that LuaJIT shows for a name of ours: long ones lose their beginning.
local function names_chunk(shown, chunkname)
    local tail = match(shown, "^%.%.%.(.+)$")
    return shown == chunkname or (tail ~= nil and sub(chunkname, -#tail) == tail)
end

--- The first line of the text, or of the traceback, that stands in one of the chunks.
local function line_in(chunks, text)
    for shown, line in gmatch(text, "([^%s:]+):(%d+):") do
        for _, chunkname in ipairs(chunks) do
            if names_chunk(shown, chunkname) then
                return tonumber(line)
            end
        end
    end
    return 0
end

--- The traceback of a dead coroutine. LuaJIT has lost the line of its uppermost frame; the message has it.
local function dead_traceback(co, message)
    local trace = debug.traceback(co, message)
    local chunk, line = match(message, "^([^%s:]+):(%d+): ")
    if not chunk then
        return trace
    end
    local before, shown, after = match(trace, "^(.-\nstack traceback:\n\t)([^\n:]+)(: in .*)$")
    if shown ~= chunk then
        return trace
    end
    return before .. shown .. ":" .. line .. after
end

--- Makes the describer.
---@param chunks string[][]  chunk names by plugin, from 1
return function(chunks)
    ---@return integer plugin, integer line, string message, string traceback
    return function(co, err)
        local plugin = running.here.plugin
        local message = text_of(err)
        local trace = sub(running.traceback or dead_traceback(co, message), 1, TRACE)
        if co and running.slot and not running.slot.logs then
            context.forget(running.slot)
        end
        await.none()
        running.here.plugin, running.memory.owner, running.traceback = -1, -1, false
        message = match(message_of(err, message, trace), "^[^\n]*")
        return plugin, line_in(chunks[plugin + 1] or {}, message .. "\n" .. trace), message, trace
    end
end
