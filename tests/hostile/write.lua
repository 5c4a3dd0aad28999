--- write: hostile plugins as text: random calls of all that a plugin can reach, with extreme arguments, in every phase.
local Rng = require "tests.hostile.rng"
local values = require "tests.hostile.values"

local kinds = values.kinds
local write = {}

-- What arguments usually look like, by the last words of a path; a function that is not here gets anything. Letters are
-- those of values.kinds.
local SHAPES = {
    ["string.rep"] = "TNT", ["string.format"] = "TVV", ["string.find"] = "TPNV", ["string.match"] = "TPN",
    ["string.gmatch"] = "TP", ["string.gsub"] = "TPRN", ["string.byte"] = "TNN", ["string.char"] = "NNN",
    ["string.sub"] = "TNN", ["string.lower"] = "T", ["string.upper"] = "T", ["string.reverse"] = "T",
    ["table.concat"] = "LTNN", ["table.insert"] = "LNV", ["table.remove"] = "LN", ["table.sort"] = "LF",
    ["table.move"] = "LNNNL", ["table.maxn"] = "L", ["unpack"] = "LNN", ["table.unpack"] = "LNN", ["select"] = "NVV",
    ["ipairs"] = "L", ["pairs"] = "L", ["next"] = "LV", ["rawget"] = "LV", ["rawset"] = "LVV", ["setmetatable"] = "LM",
    ["load"] = "CTTV", ["pcall"] = "FVV", ["xpcall"] = "FFV", ["error"] = "VN", ["assert"] = "VV", ["require"] = "H",
    ["tonumber"] = "TN", ["tostring"] = "V", ["os.date"] = "TN", ["os.time"] = "L",
    ["ctx.respond"] = "sBh", ["ctx.sleep"] = "S", ["ctx.counter"] = "HN", ["ctx.set_consumer"] = "T",
    ["ctx.set_service"] = "H", ["ctx.set_backend"] = "H", ["ctx.task"] = "FVV", ["task.wait"] = "S",
    header = "H", header_values = "H", set_header = "HT", add_header = "HT", remove_header = "H", set_body = "T",
    set_status = "s", set_method = "T", set_path = "T", set_query = "T", param = "H", query_param = "H",
    query_params = "H", cookie = "H", set_cookie = "HTO",
    ["kv.get"] = "K", ["kv.set"] = "KTN", ["kv.delete"] = "K", ["kv.incr"] = "KNN", ["kv.cas"] = "KTTN",
    ["http.get"] = "UO", ["http.post"] = "UTO", ["http.request"] = "O",
    ["limit.take"] = "HKN", ["limit.reserve"] = "HKNS", ["limit.cancel"] = "V", ["limit.commit"] = "V",
    ["breaker.run"] = "HFV", ["breaker.ask"] = "H", ["breaker.finish"] = "HVTN",
    ["log.debug"] = "TV", ["log.info"] = "TVV", ["log.warn"] = "TV", ["log.error"] = "TV",
    ["json.encode"] = "V", ["json.decode"] = "JO", ["json.list"] = "L",
    ["mg.limiter"] = "O", ["mg.breaker"] = "O", ["mg.counter"] = "H", ["mg.router"] = "L", ["mg.pool"] = "H",
    ["limiter.take"] = "KN", ["limiter.reserve"] = "KNS", ["counter.add"] = "N", ["router.match"] = "O",
    ["mg.every"] = "SF", encode = "T", decode = "T", parse = "T", parse_query = "T", build_query = "L",
}

-- Objects whose functions are called with a dot.
local DOTTED = { json = true, time = true, base64 = true, base64url = true, hex = true, url = true, cookie = true }

--- Splits "ctx.kv.set" into "ctx.kv", "kv", "set".
local function parts_of(path)
    local object, name = path:match "^(.*)%.([%w_]+)$"
    return object, object and object:match "[%w_]+$", name or path
end

local function shape_of(path)
    local _, owner, name = parts_of(path)
    return SHAPES[path] or owner and SHAPES[owner .. "." .. name] or SHAPES[name]
end

local function arguments(rng, path)
    local shape, list = shape_of(path), {}
    if not shape then
        for i = 1, rng:int(0, 4) do list[i] = values.any(rng) end
        return list
    end
    for i = 1, math.max(0, #shape - (rng:chance(30) and rng:int(0, 2) or 0)) do
        list[i] = rng:chance(12) and values.any(rng) or kinds[shape:sub(i, i)](rng)
    end
    return list
end

--- Whether a path is of an object that only a request has.
local function is_ctx(path) return path == "ctx" or path:sub(1, 4) == "ctx." or path:sub(1, 5) == "turn." end

--- An expression that calls what can be reached.
local function call(rng, reached, phase)
    local path = rng:pick(reached)
    if is_ctx(path) and (phase == "file" or phase == "new") then path = rng:pick(reached) end
    local object, owner, name = parts_of(path)
    local list = arguments(rng, path)
    if owner == "turn" then
        return ("turn and turn:%s(%s)"):format(name, table.concat(list, ", "))
    end
    local colon = object and not DOTTED[owner] and (object:sub(1, 4) == "ctx." or object == "ctx" or object == "limiter"
        or object == "breaker" or object == "counter" or object == "router")
    if colon and rng:chance(95) then return ("%s:%s(%s)"):format(object, name, table.concat(list, ", ")) end
    return ("%s(%s)"):format(path, table.concat(list, ", "))
end

local statement

local function block(rng, reached, phase, depth)
    local lines = {}
    for i = 1, rng:int(1, 2) do lines[i] = statement(rng, reached, phase, depth + 1) end
    return table.concat(lines, " ")
end

local function guarded(rng, expression)
    return rng:chance(75) and ("pcall(function() return %s end)"):format(expression) or expression
end

--- Statements with a call in them.
local CALLS = {
    function(rng, expression) return ("r[%d] = %s"):format(rng:int(1, 8), expression) end,
    function(_, expression) return ("local _ = %s"):format(expression) end,
    function(rng, expression) return ("_, r[%d] = %s"):format(rng:int(1, 8), guarded(rng, expression)) end,
    function(rng, expression) return ("_, r[%d] = %s"):format(rng:int(1, 8), guarded(rng, expression)) end,
    function(rng, expression) return ("for i = 1, %d do local _ = %s end"):format(rng:size(1e6), guarded(rng,
        expression)) end,
    function(rng, expression) return ("while true do local _ = %s end"):format(guarded(rng, expression)) end,
    function(rng, expression) return ("keep[%d] = { %s }"):format(rng:int(1, 9), expression) end,
}

-- Of what calls may have given: reservations, tasks, limiters, breakers, counters, routers.
local METHODS = { "commit", "cancel", "wait", "take", "reserve", "run", "ask", "finish", "add", "sum", "match", "state",
    "stop", "fields" }

-- Statements around others, or of a kind of their own. `go` is next, where there is one.
local OTHERS = {
    function(rng, ...) return "for i = 1, " .. rng:size(1e5) .. " do " .. block(rng, ...) .. " end" end,
    function(rng, ...) return "while true do " .. block(rng, ...) .. " end" end,
    function(rng, ...) return "local ok, e = pcall(function() " .. block(rng, ...) .. " end)" end,
    function(rng, ...) return "pcall(function() " .. block(rng, ...) .. " end)" end,
    function(rng, ...) return "xpcall(function() " .. block(rng, ...) .. " end, function(e) " .. block(rng, ...)
        .. " end)" end,
    function(rng, ...) return "local function f(n) " .. block(rng, ...) .. " return f(n) end pcall(f, 1)" end,
    function(rng, ...) return "local function f(n) " .. block(rng, ...) .. " return 1 + f(n) end pcall(f, 1)" end,
    function(rng, ...) return "repeat " .. block(rng, ...) .. " until " .. values.any(rng) end,
    function(rng, ...) return "for k, v in pairs(" .. kinds.L(rng) .. ") do " .. block(rng, ...) .. " end" end,
    function(rng) return "keep[#keep + 1] = " .. values.any(rng) end,
    function(rng) return "for i = 1, " .. rng:size(1e7) .. " do keep[#keep + 1] = { i } end" end,
    function(rng) return "local s = " .. kinds.T(rng) .. " for i = 1, 40 do s = s .. s end" end,
    function(rng) return "keep.ctx, keep.go, keep.r = ctx, go, r" end,
    function(rng) return "if keep.ctx then pcall(keep.go or boom, keep.ctx) keep.ctx:respond(200, 'stale') end" end,
    function(rng)
        local name, at = rng:pick(METHODS), rng:pick { "r[1]", "r[2]", "r[3]", "keep[1]", "keep.turn" }
        return ("pcall(function() r[%d] = %s:%s(%s) end)"):format(rng:int(1, 3), at, name, values.any(rng))
    end,
    function() return "keep.turn = turn or r[1] or r[2] or r[3]" end,
    function(rng) return "if keep.ctx then r[1] = keep.ctx.request:header('x-token') end" end,
    function(rng) return "pcall(go or boom, ctx)" end,
    function(rng) return "if go then go(" .. rng:pick { "ctx", "ctx", "ctx", "nil", "{}", "keep.ctx" } .. ") end" end,
    function(rng) return "error(" .. values.any(rng) .. ")" end,
    function(rng) return "setmetatable(r, " .. kinds.M(rng) .. ")" end,
    function(rng) return "local _ = " .. values.any(rng) .. rng:pick { " .. ", " == ", " < ", " + ", " % ", " ^ " }
        .. values.any(rng) end,
    function(rng) return "local _ = #" .. values.any(rng):gsub("^%-", "") end,
    function(rng) return "if ctx then pcall(function() turn = ctx.limit:reserve('loose', 'k', 1, 0.01) end) end" end,
    function(rng) return "if ctx then ctx.state[" .. rng:int(1, 3) .. "] = " .. values.any(rng) .. " end" end,
    function(rng, _, phase)
        return phase == "handler" and "do return end" or "do return " .. values.any(rng) .. " end"
    end,
}

statement = function(rng, reached, phase, depth)
    if depth >= 3 or rng:chance(60) then return rng:pick(CALLS)(rng, call(rng, reached, phase)) end
    return rng:pick(OTHERS)(rng, reached, phase, depth)
end

local function statements(rng, reached, phase, count)
    local list = {}
    for i = 1, count do list[i] = statement(rng, reached, phase, 1) end
    return list
end

--- What runs while the plugin is loaded. Most of it is kept from failing, so that the plugin gets requests.
local function load_statements(rng, reached, phase)
    local list = statements(rng, reached, phase, rng:int(0, 3))
    for i = 1, #list do
        if rng:chance(85) then list[i] = "pcall(function() " .. list[i] .. " end)" end
    end
    return list
end

local HELPERS = [[
local function big(n) local t = {} for i = 1, n do t[i] = i end return t end
local function texts(n) local t = {} for i = 1, n do t[i] = "text" .. i end return t end
local function emptied(n) local t = big(n) for k in pairs(t) do t[k] = nil end return t end
local ctx, conf, go, turn, _
local r = {}
]]

--- A plugin: lists of statements by phase, which `text` makes a file of.
---@param reached string[]  of reach.read
---@param loading boolean  hostile where it is loaded, too
function write.plugin(reached, loading, ...)
    local rng = Rng.new(...)
    local plugin = { phases = {} }
    local phases = plugin.phases
    phases.file = loading and load_statements(rng, reached, "file") or {}
    phases.new = loading and load_statements(rng, reached, "new") or {}
    phases.before = statements(rng, reached, "handler", rng:int(0, 3))
    phases.after = statements(rng, reached, "handler", rng:int(0, 3))
    plugin.goes = rng:chance(75)
    if rng:chance(30) then phases.log = statements(rng, reached, "log", rng:int(1, 2)) end
    plugin.body = {}
    for _, kind in ipairs { "request", "response" } do
        if rng:chance(25) then
            plugin.body[kind] = "stream"
            phases[kind] = statements(rng, reached, "filter", rng:int(0, 2))
        elseif rng:chance(25) then
            plugin.body[kind] = ("buffer(%dKiB)"):format(rng:pick { 1, 64, 4096 })
        end
    end
    plugin.conf = { on_error = rng:pick { "closed", "closed", "closed", "open", "skip" }, timeout = "1s",
        cpu = rng:chance(20) and rng:pick { "1ms", "5ms", "20ms" } or nil }
    plugin.answers = rng:pick { "nil", "nil", "bytes", "bytes .. bytes", "''", "bytes:upper()" }
    return plugin
end

--- The phases of a plugin, in the order in which they stand in its file.
write.PHASES = { "file", "new", "before", "after", "log", "request", "response" }

local function lines(list) return table.concat(list or {}, "\n    ") end

--- The file of a plugin.
function write.text(plugin, up_port)
    local phases, out = plugin.phases, {}
    local function add(...) out[#out + 1] = string.format(...) end
    add("%s%s%s", values.PRELUDE, HELPERS, lines(phases.file))
    add("return { name = \"a\", version = \"1\", body = { request = %s, response = %s }, new = function(conf)",
        plugin.body.request and ("%q"):format(plugin.body.request) or "nil",
        plugin.body.response and ("%q"):format(plugin.body.response) or "nil")
    add("    %s\n    return { handler = function(ctx, go)\n    local r, turn, _ = {}", lines(phases.new))
    add("    %s\n    %s\n    %s\n    end,", lines(phases.before), plugin.goes and "go(ctx)" or "", lines(phases.after))
    if phases.log then add("log = function(ctx)\n    local r, turn, _ = {}\n    %s\nend,", lines(phases.log)) end
    for _, kind in ipairs { "request", "response" } do
        if phases[kind] then
            add("%s_body = function(ctx, bytes, last)\n    local r, turn, _ = {}\n    %s\n    do return %s end\nend,",
                kind,
                lines(phases[kind]), plugin.answers)
        end
    end
    add("} end }")
    return (table.concat(out, "\n"):gsub("@UP@", tostring(up_port))) .. "\n"
end

return write
