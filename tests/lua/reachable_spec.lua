--- Every function that a plugin can reach, and what bounds the work of one call. A function that is not in the table
--- fails the spec, and so does one that works for long between two looks at the clock. The clock here is this thread's
--- CPU time, so that what else the machine does is not measured, and the bounds are wide: a hole takes seconds.
local machine = require("tests.lua.machine")
local ffi_bounds = require("moongate.ffi.bounds")

local STRETCH_S = 0.25 -- between two looks; a few ms where nothing slows the code down
local BUDGET_MS = 10

-- Every look of the budget passes here.
local looked_s, worst_s = 0, 0
local function now_s()
    return os.clock()
end
local kept = { fresh_s = ffi_bounds.fresh_s, cpu_s = ffi_bounds.cpu_s }
ffi_bounds.fresh_s = function()
    local now = now_s()
    worst_s = math.max(worst_s, now - looked_s)
    looked_s = now
    return now
end
ffi_bounds.cpu_s = now_s

local ours = {
    "moongate.worker.budget", "moongate.worker.strings", "moongate.worker.loader", "moongate.worker.sandbox",
}
local before = {}
for _, name in ipairs(ours) do
    before[name], package.loaded[name] = package.loaded[name], nil
end
local budget = require("moongate.worker.budget")
local strings = require("moongate.worker.strings")
local sandbox = require("moongate.worker.sandbox")
local loader = require("moongate.worker.loader")
for _, name in ipairs(ours) do
    package.loaded[name] = before[name]
end
ffi_bounds.fresh_s, ffi_bounds.cpu_s = kept.fresh_s, kept.cpu_s

-- What the libraries of some systems have, and those of others not.
local MAYBE = { ["table.move"] = true, ["table.pack"] = true, ["table.unpack"] = true }

local running = require("moongate.sdk.running")
local classes = require("moongate.sdk.scope").classes

-- ---- what can be reached ----

--- The functions of a table, of those in it, and of what its metatable looks up, by path.
local function walk(found, seen, path, value)
    if type(value) == "function" then
        found[path] = true
    elseif type(value) == "table" and not seen[value] then
        seen[value] = true
        for key, member in next, value do
            if type(key) == "string" then
                walk(found, seen, path == "" and key or path .. "." .. key, member)
            end
        end
        local meta = debug.getmetatable(value)
        local index = meta and rawget(meta, "__index")
        if type(index) == "table" then
            walk(found, seen, path, index)
        end
    end
end

local function reachable()
    local sdk = require("moongate.sdk.init")
    local found = {}
    sandbox.bound(budget, strings)
    walk(found, {}, "", sandbox.env("p", {}, sdk))
    walk(found, {}, "mg", sdk)
    walk(found, {}, "ctx", require("moongate.sdk.ctx").members)
    for name, property in pairs(require("moongate.sdk.ctx").properties) do
        found["ctx." .. name] = type(property) == "function" or nil
    end
    for _, of in ipairs({ "request", "response" }) do
        local message = require("moongate.sdk." .. of)
        walk(found, {}, "ctx." .. of, message.members)
        for name in pairs(message.properties) do
            found["ctx." .. of .. "." .. name] = true
        end
    end
    for name in pairs(require("moongate.sdk.service").properties) do
        found["ctx.service." .. name] = true
    end
    for class, methods in pairs(classes) do
        walk(found, {}, "a " .. class, methods)
    end
    for name in pairs(found) do
        if name:find("__mg_", 1, true) then -- no source can name them
            found[name] = nil
        end
    end
    return found
end

-- ---- what bounds each: words, a call with an extreme argument, and what is made before it ----

local LARGE = "local s = ('x'):rep(16 * 1048576) "
local NUMBERS = "local t = {} for i = 1, 1e6 do t[i] = i end "
local LIMITER = "local l = mg.limiter({ rate = '10/s' }) "
local function constant(call, new)
    return { "constant", call, new }
end
local function charged(what, call, new)
    return { "charged by " .. what, call, new }
end
local function bounded(what, call, new)
    return { "bounded: " .. what, call, new }
end
local function waits(what, call, new)
    return { "waits: " .. what, call, new, what }
end

local bounds_of = {
    assert = constant "assert(false, ('x'):rep(1000))",
    error = constant "error(s)",
    getmetatable = constant "getmetatable({})",
    ipairs = constant("ipairs(t)", NUMBERS),
    load = charged("the text's length", "load(s)", "local s = ('f() '):rep(2e5) "),
    next = charged("8 checks a call", "next(t)", "local t = {} for i = 1, 1e5 do t['k' .. i] = 1 end "
        .. "for k in pairs(t) do t[k] = nil end "),
    pairs = charged("8 checks a call", "for _ in pairs(t) do end", NUMBERS),
    pcall = constant "pcall(error, 'x')",
    rawequal = constant("rawequal(s, s .. 'x')", LARGE),
    rawget = constant("rawget(t, 1)", NUMBERS),
    rawset = constant("rawset(t, #t + 1, 1)", NUMBERS),
    require = bounded("a module is loaded once, and charged as load", "require('moongate')"),
    select = bounded("as many arguments as a stack holds", "select(-1, unpack(t, 1, 7000))", NUMBERS),
    setmetatable = constant "setmetatable({}, {})",
    tonumber = bounded("64 KiB of text", "tonumber(s)", "local s = ('1'):rep(65536) "),
    tostring = constant "tostring(0.1)",
    type = constant "type(1)",
    unpack = bounded("as many results as a stack holds", "return (unpack(t, 1, 7000))", NUMBERS),
    xpcall = constant "xpcall(error, function() end)",

    ["math.random"] = constant "math.random(1, 2^31)",
    ["math.randomseed"] = constant "math.randomseed(1)",
    ["math.max"] = bounded("as many arguments as a stack holds", "math.max(unpack(t, 1, 7000))", NUMBERS),
    ["math.min"] = bounded("as many arguments as a stack holds", "math.min(unpack(t, 1, 7000))", NUMBERS),
    ["bit.tohex"] = constant "bit.tohex(-1, 8)",
    ["os.clock"] = constant "os.clock()",
    ["os.date"] = bounded("256 bytes of format, 100 checks a call", "os.date(('%c'):rep(128))"),
    ["os.time"] = constant "os.time({ year = 2026, month = 500, day = 1e6 })",

    ["string.byte"] = bounded("as many results as a stack holds", "s:byte(1, 7000)", LARGE),
    ["string.char"] = bounded("as many arguments as a stack holds", "string.char(unpack(t, 1, 7000))",
        "local t = {} for i = 1, 7000 do t[i] = 65 end "),
    ["string.find"] = charged("steps", "s:find('x-x-x-y')", LARGE),
    ["string.format"] = bounded("256 arguments; charged by what is written", "(('%.99f'):rep(255)):format(unpack(t))",
        "local t = {} for i = 1, 255 do t[i] = 1e300 end "),
    ["string.gfind"] = charged("steps", "for _ in s:gfind('x-y') do end", LARGE),
    ["string.gmatch"] = charged("steps", "for _ in s:gmatch('x-y') do end", LARGE),
    ["string.gsub"] = charged("steps, and by what is written", "s:gsub('.', 'yy')", LARGE),
    ["string.len"] = constant("s:len()", LARGE),
    ["string.lower"] = charged("length, 1 MiB at a time", "s:lower()", LARGE),
    ["string.match"] = charged("steps", "s:match('x-x-x-y')", LARGE),
    ["string.rep"] = bounded("16 MiB; charged by what is written", "('x'):rep(16 * 1048576)"),
    ["string.reverse"] = charged("length, 1 MiB at a time", "s:reverse()", LARGE),
    ["string.sub"] = charged("what is copied", "s:sub(2)", LARGE),
    ["string.upper"] = charged("length, 1 MiB at a time", "s:upper()", LARGE),

    ["table.concat"] = charged("items, 4096 at a time", "table.concat(t)", NUMBERS),
    ["table.foreach"] = charged("items", "table.foreach(t, type)", NUMBERS),
    ["table.foreachi"] = charged("items", "table.foreachi(t, type)", NUMBERS),
    ["table.getn"] = constant("table.getn(t)", NUMBERS),
    ["table.insert"] = charged("items, 8192 at a time", "table.insert(t, 1, 0)", NUMBERS),
    ["table.maxn"] = charged("items", "table.maxn(t)", NUMBERS),
    ["table.unpack"] = bounded("as many results as a stack holds", "return (table.unpack(t, 1, 7000))", NUMBERS),
    ["table.pack"] = bounded("as many arguments as a stack holds", "table.pack(unpack(t, 1, 7000))", NUMBERS),
    ["table.move"] = charged("items, 8192 at a time", "table.move({}, 1, 16e6, 1)"),
    ["table.remove"] = charged("items, 8192 at a time", "table.remove(t, 1)", NUMBERS),
    ["table.sort"] = charged("comparisons", "table.sort(t, function(a, b) return a > b end)", NUMBERS),

    ["mg.base64.decode"] = waits("PAUSE", "mg.base64.decode(s)", "local s = ('xxxx'):rep(4e6) "),
    ["mg.base64.encode"] = waits("PAUSE", "mg.base64.encode(s)", LARGE),
    ["mg.base64url.decode"] = waits("PAUSE", "mg.base64url.decode(s)",
        "local s = ('xxxx'):rep(4e6) "),
    ["mg.base64url.encode"] = waits("PAUSE", "mg.base64url.encode(s)", LARGE),
    ["mg.hex.decode"] = waits("PAUSE", "mg.hex.decode(s)", "local s = ('aa'):rep(8e6) "),
    ["mg.hex.encode"] = waits("PAUSE", "mg.hex.encode(s)", LARGE),
    ["mg.breaker"] = bounded("only when it is loaded", "mg.breaker({})"),
    ["mg.cookie.format"] = bounded("4 KiB, and 1 KiB an option", "mg.cookie.format(s, s, { path = s })", LARGE),
    ["mg.cookie.parse"] = bounded("1 MiB; charged by length", "mg.cookie.parse(s)", "local s = ('a=b;'):rep(260000) "),
    ["mg.counter"] = bounded("64 bytes of name, only when it is loaded", "mg.counter(s)", LARGE),
    ["mg.every"] = bounded("only when it is loaded", "mg.every(1, print)"),
    ["mg.json.decode"] = waits("PAUSE", "mg.json.decode(s)", "local s = '[' .. ('[1],'):rep(1e5) .. '1]' "),
    ["mg.json.encode"] = waits("PAUSE", "mg.json.encode(t)", "local t = {} for i = 1, 5000 do t['k' .. i] = i end "),
    ["mg.json.list"] = constant("mg.json.list(t)", NUMBERS),
    ["mg.key"] = bounded("only when it is loaded", "mg.key('ip')"),
    ["mg.limiter"] = bounded("only when it is loaded", "mg.limiter({ rate = s })", LARGE),
    ["mg.pool"] = constant("mg.pool('cart')"),
    ["mg.router"] = bounded("only when it is loaded", "mg.router({ { path = '/x' } })"),
    ["mg.time.mono"] = constant "mg.time.mono()",
    ["mg.time.now"] = constant "mg.time.now()",
    ["mg.url.build_query"] = charged("length", "mg.url.build_query(t)",
        "local t = {} for i = 1, 1e5 do t['k' .. i] = 'v' end "),
    ["mg.url.decode"] = waits("PAUSE", "mg.url.decode(s)", "local s = ('%20'):rep(5e6) "),
    ["mg.url.encode"] = waits("PAUSE", "mg.url.encode(s)", LARGE),
    ["mg.url.parse"] = charged("length; 1 MiB", "mg.url.parse(s)", "local s = 'http://a/' .. ('x'):rep(16e6) "),
    ["mg.url.parse_query"] = waits("PAUSE", "mg.url.parse_query(s)", "local s = ('a=%20&'):rep(2e6) "),

    ["ctx.counter"] = bounded("64 bytes of name", "ctx:counter(s)", LARGE),
    ["ctx.new_id"] = constant "ctx:new_id()",
    ["ctx.respond"] = charged("the body's length", "ctx:respond(200, s, t)", LARGE
        .. "local t = {} for i = 1, 1e5 do t['k' .. i] = 'v' end "),
    ["ctx.set_backend"] = constant("ctx:set_backend(s)", LARGE),
    ["ctx.set_consumer"] = bounded("256 bytes", "ctx:set_consumer(s)", LARGE),
    ["ctx.set_service"] = constant("ctx:set_service(s)", LARGE),
    ["ctx.sleep"] = waits("SLEEP", "ctx:sleep(0)"),
    ["ctx.task"] = charged("200 checks a call, and their number", "ctx:task(function() end)"),
    ["ctx.json.decode"] = waits("PAUSE", "ctx.json.decode(s)", "local s = (' '):rep(16e6) "),
    ["ctx.json.encode"] = waits("PAUSE", "ctx.json.encode({ s, s })", LARGE),
    ["ctx.json.list"] = constant("ctx.json.list(t)", NUMBERS),
    ["ctx.time.mono"] = constant "ctx.time.mono()",
    ["ctx.time.now"] = constant "ctx.time.now()",
    ["ctx.breaker.ask"] = constant "ctx.breaker:ask('cart')",
    ["ctx.breaker.finish"] = constant "ctx.breaker:finish('cart', 1ULL, 'ok')",
    ["ctx.breaker.new"] = bounded("only when it is loaded", "ctx.breaker.new({})"),
    ["ctx.limit.new"] = bounded("only when it is loaded", "ctx.limit.new({ rate = '1/s' })"),
    ["ctx.breaker.run"] = constant("ctx.breaker:run(s, error)", LARGE),
    -- The exchange of these specs has no network and no tasks: an end-to-end spec calls these.
    ["ctx.http.get"] = bounded("64 KiB of URL", false),
    ["ctx.http.post"] = bounded("64 KiB of URL", false),
    ["ctx.http.request"] = bounded("64 KiB of URL; charged by fields and bytes", false),
    ["ctx.kv.barrier"] = waits("BARRIER", "ctx.kv:barrier()"),
    ["ctx.kv.cas"] = bounded("255 bytes of key, 64 KiB of value", "ctx.kv:cas(s, s, s)", LARGE),
    ["ctx.kv.delete"] = bounded("255 bytes of key", "ctx.kv:delete(s)", LARGE),
    ["ctx.kv.get"] = bounded("255 bytes of key, 64 KiB of value", "ctx.kv:get('k')"),
    ["ctx.kv.incr"] = bounded("255 bytes of key", "ctx.kv:incr(s, 1)", LARGE),
    ["ctx.kv.set"] = bounded("255 bytes of key, 64 KiB of value", "ctx.kv:set('k', s)",
        "local s = ('x'):rep(65536) "),
    ["ctx.limit.cancel"] = constant "ctx.limit:cancel({})",
    ["ctx.limit.commit"] = constant "ctx.limit:commit({})",
    ["ctx.limit.reserve"] = bounded("64 KiB of key", "ctx.limit:reserve('orders', s)", LARGE),
    ["ctx.limit.take"] = bounded("64 KiB of key", "ctx.limit:take('orders', s)", LARGE),

    ["ctx.request.body"] = charged("length", "ctx.request:body()"),
    ["ctx.request.cookie"] = charged("length", "ctx.request:cookie('a')"),
    ["ctx.request.cookies"] = charged("length", "ctx.request:cookies()"),
    ["ctx.request.param"] = constant("ctx.request:param(s)", LARGE),
    ["ctx.request.query_param"] = charged("a fixed share; a query has 64 KiB",
        "ctx.request:set_query(s) for _ = 1, 200 do ctx.request:query_param('z') end",
        "local s = ('a=b&'):rep(1900) "),
    ["ctx.request.query_params"] = charged("what is found; a query has 64 KiB",
        "ctx.request:set_query(s) for _ = 1, 200 do ctx.request:query_params('a') end",
        "local s = ('a=b&'):rep(1900) "),
    ["ctx.request.set_method"] = bounded("32 bytes", "ctx.request:set_method(s)", LARGE),
    ["ctx.request.set_path"] = bounded("64 KiB", "ctx.request:set_path('/' .. s)", "local s = ('x'):rep(65000) "),
    ["ctx.request.set_query"] = bounded("64 KiB", "ctx.request:set_query(s)", "local s = ('x'):rep(65000) "),
    ["ctx.response.set_cookie"] = bounded("4 KiB, and 1 KiB an option",
        "ctx.response:set_cookie('a', s)", "local s = ('x'):rep(4000) "),
    ["ctx.response.set_status"] = constant "ctx.response:set_status(200)",

    ["a breaker.ask"] = constant("b:ask()", "local b = mg.breaker({}) "),
    ["a breaker.finish"] = constant("b:finish(1ULL, 'ok')", "local b = mg.breaker({}) "),
    ["a breaker.retry_after"] = constant("b:retry_after()", "local b = mg.breaker({}) "),
    ["a breaker.run"] = constant("b:run(error)", "local b = mg.breaker({}) "),
    ["a breaker.state"] = constant("b:state()", "local b = mg.breaker({}) "),
    ["a counter.add"] = constant("c:add(1)", "local c = mg.counter('c') "),
    ["a counter.sum"] = constant("c:sum()", "local c = mg.counter('c') "),
    ["a key.read"] = charged("a fixed share, and length", "k:read()", "local k = mg.key('header:a+route') "),
    ["a limiter.fields"] = constant("l:fields(1, 1, 1)", "local l = mg.limiter({ rate = '10/s' }) "),
    ["a limiter.reserve"] = bounded("64 KiB of key", "l:reserve(s)", LARGE .. LIMITER),
    ["a limiter.take"] = bounded("64 KiB of key", "l:take(s)", LARGE .. LIMITER),
    ["a reservation.cancel"] = constant("r.cancel({})", "local r = {} "),
    ["a reservation.commit"] = constant("r.commit({})", "local r = {} "),
    ["a router.match"] = bounded("64 KiB of path", "r:match({ path = s })", LARGE
        .. "local r = mg.router({ { path = '/a/{b}' } }) "),
    ["a task.detach"] = constant("ctx:task(function() end):detach()"),
    ["a task.wait"] = waits("TASK", false),
}

for _, name in ipairs({
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "ldexp",
    "log", "log10", "modf", "pow", "rad", "sin", "sinh", "sqrt", "tan", "tanh",
}) do
    bounds_of["math." .. name] = constant("math." .. name .. "(1e300, 3)")
end
for _, name in ipairs({
    "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift", "tobit",
}) do
    bounds_of["bit." .. name] = constant("bit." .. name .. "(2^31 - 1, 7)")
end
for _, level in ipairs({ "debug", "info", "warn", "error" }) do
    bounds_of["ctx.log." .. level] = bounded("8 KiB of a line, 100 checks a call", "ctx.log:" .. level .. "(s)", LARGE)
end
for _, name in ipairs({ "request", "response", "params", "state", "route", "consumer", "remaining" }) do
    bounds_of["ctx." .. name] = constant("return ctx." .. name)
end
for _, name in ipairs({ "method", "scheme", "host", "path", "query", "target", "client_address", "bytes" }) do
    bounds_of["ctx.request." .. name] = constant("return ctx.request." .. name)
end
for _, name in ipairs({ "status", "error", "bytes" }) do
    bounds_of["ctx.response." .. name] = constant("return ctx.response." .. name)
end
for _, name in ipairs({ "name", "size", "healthy", "panic", "inflight", "breaker", "retry_after", "hosts", "pool" }) do
    bounds_of["ctx.service." .. name] = bounded("what the configuration has", "return ctx.service." .. name)
end
for _, of in ipairs({ "request", "response" }) do
    -- As many fields as there may be, each of them looked at.
    local many = "local m = ctx." .. of .. " for i = 1, 1000 do pcall(m.add_header, m, 'k' .. i, 'v') end "
    local respond = of == "response" and "ctx:respond(200) " or ""
    for method, more in pairs({
        add_header = "for i = 1, 1000 do m:add_header('a', s) end", set_header = "m:set_header('a', t)",
        header = "for i = 1, 1000 do m:header('z') end", header_values = "for i = 1, 1000 do m:header_values('k1') end",
        headers = "for _ in m:headers() do end", remove_header = "for i = 1, 1000 do m:remove_header('z') end",
        set_body = "m:set_body(s)",
    }) do
        bounds_of["ctx." .. of .. "." .. method] = charged("length, and its fields are few", respond .. many .. more,
            method == "set_header" and NUMBERS or method == "set_body" and LARGE or "local s = ('x'):rep(1000) ")
    end
end
bounds_of["ctx.response.body"] = charged("length", "ctx.response:body()")

-- ---- running them ----

--- A worker whose handler is this code, over and over.
local function worker(code, new)
    local text = "local mg = require 'moongate'\nlocal plugin = {}\nfunction plugin.new() " .. (new or "")
        .. " return function(ctx, next)\nwhile true do " .. code .. " end end end\nreturn plugin\n"
    budget.limit(0, BUDGET_MS)
    sandbox.bound(budget, strings)
    getmetatable("").__index = strings.string
    require("moongate.worker.await").none()
    running.here.plugin = -1
    local lent = machine.new({})
    local plugins = { { name = "p1", use = "./p1", chunkname = "p1.lua", source = text } }
    local made = loader.all(plugins, { { 0 } })
    local m = machine.new({ { handler = made[1].handler, index = 0, on_error = "closed" } })
    m.lent = lent
    running.names[1] = "p1"
    return m
end

--- One request: what it waits for, or the error; and the longest time between two looks.
local function run(m)
    collectgarbage()
    looked_s, worst_s = now_s(), 0
    local wait, err = m:begin()
    return wait, err and err.message, worst_s
end

describe("the functions that a plugin can reach", function()
    local charges = { "charge", "bytes", "look", "is_over", "place" }
    local before_us = {}

    setup(function()
        jit.off() -- what these raise would keep the compiler from the runtime's own code in the specs behind this one
        for _, name in ipairs(charges) do
            before_us[name], running[name] = running[name], budget[name]
        end
    end)
    teardown(function()
        for _, name in ipairs(charges) do
            running[name] = before_us[name]
        end
        running.on_resume = false
        jit.on()
    end)
    after_each(function()
        sandbox.bound(false)
        getmetatable("").__index = string
    end)

    it("are these, and each has a bound", function()
        local found, wrong = reachable(), {}
        for name in pairs(found) do
            if not bounds_of[name] then
                wrong[#wrong + 1] = name .. " has no bound"
            end
        end
        for name in pairs(bounds_of) do
            if not found[name] and not MAYBE[name] then
                wrong[#wrong + 1] = name .. " cannot be reached"
            end
        end
        table.sort(wrong)
        assert.equal("", table.concat(wrong, "\n"))
    end)

    local names = {}
    for name in pairs(bounds_of) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local entry = bounds_of[name]
        local kind, call, new, wait = unpack(entry)

        --- Ends within its budget, or waits.
        local function check(code, wanted)
            local waited, problem, worst = run(worker(code, new))
            if os.getenv("SHOW") then
                io.stderr:write(("%9.3f ms  %s  %s\n"):format(worst * 1000, name, waited or problem))
            end
            if wanted then
                assert.equal(wanted, waited, problem)
            else
                assert.truthy(problem and problem:find("used more than", 1, true), waited or problem)
            end
            assert.is_true(worst < STRETCH_S, worst .. " s between two looks")
        end

        if call then
            it(name .. ": " .. kind, function()
                check(wait and call or "pcall(function() " .. call .. " end)", wait)
            end)
        end
        if wait == "PAUSE" then
            it(name .. ": counts to the budget where nothing can wait", function()
                check("table.sort({ 1, 2, 3 }, function() " .. call .. " return false end)")
            end)
        end
    end

    it("are not all: what an operator does for long is looked at each time, once it was seen", function()
        for _, code in ipairs({ "n = texts[i] < texts[3 - i]", "n = texts[i] <= texts[3 - i]", "n = texts[i] + i" }) do
            local quiet = worker("ctx:sleep(0)")
            assert.equal("SLEEP", (quiet:begin()))
            for _ = 1, 300 do -- what was seen before is forgotten
                quiet:resume()
            end
            local m = worker("i = 3 - i local ok, e = pcall(function() " .. code .. " end) if not ok then error(e) end",
                "local s, i, n = ('1'):rep(4 * 1048576), 1 local texts = { s .. '1', s .. '2' } ")
            local _, problem, first = run(m)
            assert.truthy(problem:find("used more than", 1, true), problem)
            local _, again, second = run(m)
            assert.truthy(again:find("used more than", 1, true), again)
            assert.is_true(second < first / 4, code .. ": " .. first .. " s, and then " .. second)
        end
    end)
end)
