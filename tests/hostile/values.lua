--- values: expressions of Lua that make extreme values, as text for the source of a plugin. What they name (cyc, deep,
--- evil, keep, r) stands in PRELUDE or in the function around them.
local values = {}

--- What a plugin's file begins with.
values.PRELUDE = [[
local mg = require "moongate"
local keep = {}
local cyc = { 1 } cyc.self = cyc cyc[2] = cyc
local deep = {}
do local d = deep for i = 1, 300 do d[1] = {} d = d[1] end end
local function boom() error("boom", 0) end
local function spin() while true do end end
local function again(...) return pcall(again or boom, ...) end
local evil = setmetatable({}, {
    __index = function(t, k) return k end, __newindex = function() error({}) end, __len = function() return 2^40 end,
    __tostring = function() error("no text") end, __call = function(...) return ... end, __eq = function() spin() end,
    __lt = function() return true end, __le = function() return true end, __concat = function() return "c" end,
    __unm = boom, __add = boom, __mode = "kv", __pairs = spin, __ipairs = boom, __gc = boom,
})
local loud = setmetatable({}, { __tostring = function() return ("x"):rep(1e6) end, __index = function() spin() end })
local limiter, breaker = mg.limiter { rate = "1000/s" }, mg.breaker { failures = 2, open_for = 0.01 }
local counter, router = mg.counter("c"), mg.router { { path = "/{a}", value = 1 } }
]]

local NUMBERS = {
    "0", "1", "-1", "2", "3", "0.5", "-0", "7", "64", "255", "256", "1000", "65535", "65536", "1e5", "1e6", "1e7",
    "2^31", "2^31-1", "-2^31", "-2^31-1", "2^32", "2^53", "2^53+1", "-2^53", "2^63", "3e10", "1e308", "1/0", "-1/0",
    "0/0", "1e-320", "200", "404", "500", "599", "600", "204", "304",
}
local NAMES = {
    '"a"', '"x-a"', '"x-b"', '"content-type"', '"content-length"', '"transfer-encoding"', '"connection"', '"host"',
    '"set-cookie"', '"cookie"', '"etag"', '"via"', '"trailer"', '"te"', '"expect"', '"upgrade"', '"content-encoding"',
    '"range"', '"content-range"', '""', '"A B"', '"x\\r\\ny"', '"x\\0"', '("n"):rep(70000)', '"location"', '"date"',
    '"keep-alive"', '"x-forwarded-for"', '"grpc-timeout"', '"authorization"', '"loose"', '"tight"', '"up"', '"dead"',
}
local TEXTS = {
    '""', '"a"', '"ok"', '"\\0"', '"\\r\\n"', '"a\\r\\nb: c"', '"%d+"', '"%"', '"%q%s%99999d"', '"chunked"', '"0"',
    '"1e400"', '"0x7fffffff"', '"{}"', '"[1,2,{\\"a\\":null}]"', '"[9007199254740993]"', '"{\\"a\\":"', '"\\255\\254"',
    '"/a/b?c=d#e"', '"/../../x"', '"a=b; c=d"', '"a=b&a=c&%zz"', '"nil"', '"close"', '"gzip"', '"bytes=0-1"',
    '"http://127.0.0.1:1/"', '"*"', '"GET"', '"HEAD"', '"CONNECT"', '"POST"', '"ip"', '"100/s"', '"1/d"', '"ok"',
        '"fail"',
}
local PATTERNS = {
    '"a"', '".-b"', '"(.-)(.-)(.-)x"', '"(a*)*b"', '("a?"):rep(200) .. ("a"):rep(200)', '"%b()"', '"%f[%w]"', '"^"',
    '"$"', '""', '"[^]"', '"("', '"%1"', '"(x)%1"', '("("):rep(40)', '(".-"):rep(20) .. "z"', '"[\\0-\\255]*"', '"%"',
    '("x"):rep(1e6)', '"()"', '(".*"):rep(12) .. "y"',
}
local UNITS = {
    '"x"', '"ab"', '"%"', '"%%"', '"\\0"', '"["', '"{\\"a\\":"', '"[1,"', '"("', '"a=b&"', '"a=b;"', '" "', '"\\n"',
        '"1"',
    '"%1"', '"%41"', '"/"', '"../"', '"\\\\"', '"\\""', '"é"', '"local x=1 "', '"{"', '"--"',
}

local function number(rng)
    if rng:chance(15) then return tostring(rng:int(-10, 70000)) end
    return rng:pick(NUMBERS)
end

local function text(rng)
    if rng:chance(30) then
        local unit = rng:pick(UNITS)
        return "(" .. unit .. "):rep(" .. rng:size(rng:chance(15) and 15e6 or 1e5) .. ")"
    elseif rng:chance(20) then
        return rng:pick(NAMES)
    end
    return rng:pick(TEXTS)
end

local function list(rng)
    return rng:pick {
        "{}", "{1,2,3}", "cyc", "deep", "evil", "keep", "r", "{nil,1,nil,2}", "{'a','b','c'}", "{[2^31]=1}", "{[-1]=1}",
        "{n=2^31}", "big(" .. rng:size(3e5) .. ")", "texts(" .. rng:size(1e4) .. ")", "emptied(" .. rng:size(1e5)
            .. ")",
        "setmetatable({}, {__len=function() return 2^31 end})",
            "setmetatable({1}, {__index=function(t,i) return i end})",
    }
end

local function fn(rng)
    return rng:pick {
        "boom", "spin", "again", "pcall", "error", "next", "type", "string.rep", "function() end", "evil",
        "function(...) return ... end", "function(a, b) return true end", "function(a) return a .. a end",
        "function(...) keep[#keep+1] = {...} end", "function(a) return tostring(a):rep(1e5) end", "ctx and ctx.respond",
        "function() if ctx then ctx:sleep(0) end end", "function() if go then go(ctx) end end", "table.sort", "select",
    }
end

local ANY = {
    function() return "nil" end, function() return "true" end, function() return "false" end,
    function() return "5LL" end, function() return "-1ULL" end, function() return "2i" end,
        function() return "loud" end,
    function() return "ctx" end, function() return "ctx and ctx.request" end, function() return "ctx and ctx.json" end,
    function() return "conf" end, function() return "mg" end, function() return "mg.json.null" end,
    function() return "limiter" end, function() return "breaker" end, function() return "counter" end,
    function(rng) return "keep[" .. rng:int(1, 9) .. "]" end, function(rng) return "r[" .. rng:int(1, 8) .. "]" end,
    number, number, number, text, text, text, list, list, fn, fn,
}

local function any(rng) return rng:pick(ANY)(rng) end

local function options(rng)
    local parts = {}
    for _ = 1, rng:int(0, 3) do
        local key = rng:pick { "timeout", "body", "headers", "max_body", "method", "json", "title", "detail", "rate",
            "burst", "per", "failures", "open_for", "path", "host", "url", "max_age", "domain", "integers", "service" }
        parts[#parts + 1] = key .. "=" .. any(rng)
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

-- Kinds of arguments by letter.
values.kinds = {
    N = number, T = text, L = list, F = fn, V = any, O = options,
    S = function(rng) return tostring(rng:pick { 0, 0, 0, 0.001, 0.002, 0.01, -1, 1e9, 0.05 }) end,
    s = function(rng) return tostring(rng:pick { 200, 200, 204, 304, 404, 500, 599, 201, 206, 205, 401, 100, 101,
        0 }) end,
    H = function(rng) return rng:pick(NAMES) end,
    P = function(rng) return rng:pick(PATTERNS) end,
    K = function(rng) return '"k' .. rng:int(1, 5) .. '"' end,
    U = function(rng)
        return rng:pick { '"http://127.0.0.1:@UP@/own"', '"http://127.0.0.1:1/"', '"http://127.0.0.1:@UP@/slow"',
            '"x"' }
    end,
    B = function(rng)
        return rng:pick { "nil", '"body"', "{json={1,2}}", "{title='t',detail='d'}", "{json=cyc}", "{json=deep}", "{}" }
    end,
    h = function(rng)
        return "{[" .. rng:pick(NAMES) .. "]=" .. (rng:chance(50) and text(rng) or any(rng)) .. "}"
    end,
    J = function(rng)
        local unit = rng:pick { "[1,", "[", "{\"a\":", "1", "\"x\",", "[[]," }
        return rng:pick { '"[1,2]"', '"{}"', "('" .. unit .. "'):rep(" .. rng:size(1e6) .. ")",
            "'[' .. ('1,'):rep(" .. rng:size(1e6) .. ") .. '1]'", "mg.json.encode(big(" .. rng:size(1e5) .. "))" }
    end,
    M = function(rng)
        return "{" .. rng:pick { "__index", "__tostring", "__len", "__call", "__concat", "__eq", "__lt", "__newindex",
            "__gc", "__mode", "__metatable", "__pairs", "__unm", "__le" } .. "=" .. (rng:chance(60) and fn(rng)
                or any(rng))
            .. "}"
    end,
    C = function(rng)
        return rng:pick { '"return 1"', '"return " .. ("x"):rep(100)', '("local x=1 "):rep(' .. rng:size(1e5) .. ")",
            '"while true do end"', '("("):rep(' .. rng:size(3e5) .. ")", '"return function() end"', '"\\27LJ\\2"',
            '"return " .. ("{"):rep(' .. rng:size(1e4) .. ")", '("if x then "):rep(' .. rng:size(1e4) .. ")",
            '"return " .. ("a.."):rep(300) .. "a"', '"goto x ::x::"', '"return ..." .. ("+1"):rep(' .. rng:size(1e5)
                .. ")" }
    end,
    R = function(rng)
        return rng:pick { '"y"', '"%1"', '"%0%0"', '("%0"):rep(' .. rng:size(3e5) .. ")", "string.upper", "boom",
            "{x='y'}",
            "evil", '"%9"', "function(a) return a .. a end", "function() return 1 end", "spin", "loud" }
    end,
}
values.any = any

return values
