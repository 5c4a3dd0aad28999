--- output: how results look on a terminal: a line a file, then each failure with the command that repeats it.
local base = require("busted.outputHandlers.base")
local world = require("moongate.test.world")

local LOGGED = 5 -- lines of a failed test's gateways that are shown, the last ones

local function place(failure)
    local trace = failure.element.trace or failure.trace
    if not trace or not trace.short_src then
        return ((failure.element.name or ""):gsub("^%./", "")) -- a file that does not load, or is not there
    end
    return ("%s:%d"):format((trace.short_src:gsub("^%./", "")), trace.currentline)
end

local function quoted(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- A Lua pattern that is this text.
local function pattern(text)
    return (text:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"))
end

return function(options)
    local busted = require("busted")
    local handler = base()
    local files, current = {}, nil
    local pretty = require("pl.pretty")

    local function message(failure)
        local text = failure.message
        if type(text) ~= "string" then
            text = text == nil and "(no message)" or pretty.write(text)
        end
        return (text:gsub("\n+$", ""):gsub("\n", "\n    "))
    end

    function handler.fileStart(file)
        current = { name = (file.name:gsub("^%./", "")), ok = 0, failed = 0, pending = 0 }
        files[#files + 1] = current
        return nil, true
    end

    function handler.fileEnd()
        if current and current.ok + current.failed + current.pending > 0 then
            local parts = { ("%d ok"):format(current.ok) }
            if current.failed > 0 then
                parts[#parts + 1] = ("%d FAILED"):format(current.failed)
            end
            if current.pending > 0 then
                parts[#parts + 1] = ("%d pending"):format(current.pending)
            end
            io.write(("%-50s %s\n"):format(current.name, table.concat(parts, ", ")))
            io.flush()
        end
        return nil, true
    end

    function handler.testEnd(_, _, status)
        if current then
            local kind = status == "success" and "ok" or status == "pending" and "pending" or "failed"
            current[kind] = current[kind] + 1
        end
        return nil, true
    end

    local function tell(failure)
        local at = place(failure)
        local name = failure.name or failure.element.name or ""
        io.write(("  FAILED %s   %s\n    %s\n"):format(name, at, message(failure)))
        local logged = world.logged[name] or {}
        for i = math.max(1, #logged - LOGGED + 1), #logged do
            io.write("    the gateway logged ", logged[i], "\n")
        end
        if options.verbose and failure.trace and failure.trace.traceback then
            io.write(failure.trace.traceback, "\n")
        end
        if failure.element.descriptor == "it" or failure.element.descriptor == "test" then
            io.write(("    again: moongate test %s --filter %s --seed %d\n"):format(at:match("^(.*):%d+$") or at,
                quoted(pattern(name)), world.base_seed))
        end
    end

    function handler.suiteEnd()
        for _, failure in ipairs(handler.failures) do
            tell(failure)
        end
        for _, failure in ipairs(handler.errors) do
            tell(failure)
        end
        local pending = handler.pendingsCount > 0 and (", %d pending"):format(handler.pendingsCount) or ""
        io.write(("%d passed, %d failed%s, %d leaked; %s of virtual time in %.2f s\n"):format(handler.successesCount,
            handler.failuresCount + handler.errorsCount, pending, world.leaked or 0,
            ("%.3g s"):format(world.spans_ms / 1000), handler.getDuration()))
        return nil, true
    end

    busted.subscribe({ "file", "start" }, handler.fileStart)
    busted.subscribe({ "file", "end" }, handler.fileEnd)
    busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
    busted.subscribe({ "suite", "end" }, handler.suiteEnd)
    return handler
end
