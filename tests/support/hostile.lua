--- hostile: handlers that compute or keep without end, for the spec that wants each to fail alone and for the bench
--- that measures what others notice of it.
local function plugin(body, new)
    return "return { name = 'a', version = '1', new = function(conf) " .. (new or "") .. " return function(ctx, next) "
        .. body .. " end end }\n"
end

-- What must end by its budget or its memory, or be refused at its line.
local ENDLESS = {
    "local r = ('%%'):rep(8000000) for i=1,1e6 do pcall(string.gsub,'x','y',r) end",
    "for i=1,300 do pcall(function() local t = {} for j=1,1e8 do t[j]=j end end) end",
    "local s = 'x' while true do s = s .. s end",
    "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    "while true do local t = {} for i = 1, 200 do t[i] = ('x'):rep(1e6) .. i end end",
    "table.move({},1,3e10,1)",
    "while true do table.move({},1,1e6,1) end",
    "while true do pcall(table.insert, {}, -2^31, 'x') end",
    "table.insert({}, -2^31, 'x')",
    "table.insert({ 1, 2 }, 0 / 0, 'x')",
    "table.insert({ 1, 2 }, 'nan', 'x')",
    "while true do pcall(table.insert, { 1, 2 }, 0 / 0, 'x') end",
    "table.move({}, 0 / 0, 1e3, 1)",
    "while true do pcall(table.move, {}, 'nan', 1e3, 1) end",
    "while true do pcall(table.move, {}, 1, 0 / 0, 1) end",
    "pcall(table.concat, {}, ',', 0 / 0, 0 / 0) while true do ('x'):rep(1e6):upper() end",
    "pcall(string.rep, 'x', 0 / 0) pcall(string.sub, ('x'):rep(1e4), 0 / 0, 0 / 0) "
        .. "while true do ('x'):rep(1e6):upper() end",
    "local t = {} for i = 1, 5e4 do t[i] = i end while true do table.insert(t, 1, 'x') end",
    "local t = {} for i = 1, 1e5 do t['k' .. i] = 1 end for k in pairs(t) do t[k] = nil end "
        .. "while true do ctx.json:encode(t) end",
    "local t = {} for i = 1, 1e5 do t['k' .. i] = 1 end for k in pairs(t) do t[k] = nil end while true do next(t) end",
    "local t = {} for i = 1, 1e5 do t['k' .. i] = 1 end for k in pairs(t) do t[k] = nil end "
        .. "while true do for _ in pairs(t) do end end",
    "local s = '{\"a\":' .. ('1,'):rep(4e6) while true do pcall(ctx.json.decode, s) end",
    "local p = ('x'):rep(16e6) while true do string.find(p, p, 1, true) end",
    "local p = ('x'):rep(16e6) while true do string.find(p, p .. 'y', 1, true) end",
    "local p = ('xy'):rep(4e6) while true do string.find(p, 'yy', 1, true) end",
    "local s = ('x'):rep(8388608) while true do ctx:respond(200, s) end",
    "local r = ('%1'):rep(500000) while true do ('xyz'):gsub('(x)', r) end",
    "local s = ('1'):rep(16e6) while true do tonumber(s) end",
    "local s = (' '):rep(16e6) while true do tonumber(s) end",
    "local t = {} for i = 1, 40 do t[i] = ('x'):rep(3e5) .. i end while true do "
        .. "table.sort(t, function(a, b) return b < a end) table.sort(t) end",
    "local s = ('x'):rep(1e6) while true do ctx.log:info(s) end",
    "while true do pcall(ctx.log.info, ctx.log, ('%s'):rep(100), ('x'):rep(1e5)) end",
    "error(('x'):rep(1e5), 0)",
    "error(('a:1'):rep(1e5), 0)",
    "assert(false, ('x'):rep(1e6))",
    "local t = setmetatable({}, { __tostring = function() return ('x'):rep(1e6) end }) error(t)",
    "local x x[('k'):rep(1e6)] = 1",
    "while true do pcall(os.date, ('%c'):rep(5e5)) end",
    "os.date(('%c'):rep(5e5))",
    "local s = ('\\0'):rep(4e6) while true do local q = ('%q'):format(s) end",
    "local s = ('x'):rep(15e6) while true do local q = ('%s%s%s'):format(s, s, s) end",
    "local function f() return pcall(f) end while true do f() end",
    "local function f() return pcall(f) end f()",
    "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e5) end while true do table.concat(t) end",
    "while true do table.concat({ 1, 2 }, ('x'):rep(1e6)) end",
    "local t = { [2^40] = 1 } while true do table.maxn(t) end",
    "local s = ('x'):rep(1e6) while true do s:byte(1, 7000) end",
    "local s = ('x '):rep(1e5) while true do load('return ' .. s) end",
    "while true do load(('local x = 1 '):rep(1e4)) end",
    "local s = ('x'):rep(1e6) while true do s:reverse():upper():lower():len() end",
    "while true do ctx:new_id() end",
    "while true do ctx.request:header('x') end",
    "while true do for _ in ctx.request:headers() do end end",
    "while true do ctx.kv:set('k', ('v'):rep(60000)) end",
    "while true do ctx.kv:get('k') end",
    "local t = {} for i = 1, 3e5 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
    "while true do table.move({}, 1, 16e6, 1) end",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.concat(t) end",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.foreach(t, type) end",
    "local t = {} for i = 1, 200 do t[i] = 1e300 end while true do (('%.99f'):rep(200)):format(unpack(t)) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.breaker.run, ctx.breaker, s, error) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.limit.take, ctx.limit, 'none', s) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.set_service, ctx, s) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.http.get, ctx.http, s) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.counter, ctx, s) end",
    "local s = ('x'):rep(8e6) while true do pcall(ctx.respond, ctx, 400, { title = s, detail = s }) end",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do pcall(ctx.request.set_header, ctx.request, 'a', t) end",
    "local t = {} for i = 1, 1e5 do t[i] = i end while true do pcall(ctx.respond, ctx, 200, '', t) end",
    "local t = {} for i = 1, 3e4 do t[i] = i end t[#t] = error while true do pcall(ctx.json.encode, t) end",
    "local s = ('a'):rep(60000) while true do ctx.request:set_query(s) ctx.request:query_param('z') end",
    "while true do xpcall(error, function() end) end",
}

-- What lets others go on while it works, so that it ends by the deadline of its request.
local WAITING = {
    { "while true do ctx.json.decode(s) end", "local s = '[' .. ('1,'):rep(1e6)" },
    { "while true do pcall(ctx.json.decode, s) end", "local s = '[' .. ('1,'):rep(3e5) .. '}'" },
    { "while true do ctx.json.decode(s) end", "local s = '[' .. ('1,'):rep(4e5) .. '1]'" },
    { "while true do ctx.json.decode(s) end", "local s = (' '):rep(4e6)" },
    { "while true do ctx:sleep(0) end" },
    { "while true do mg.base64.decode(s) end", "local mg, s = require 'moongate', ('xxxx'):rep(1e6)" },
    { "while true do mg.url.encode(s) end", "local mg, s = require 'moongate', ('/'):rep(1e6)" },
    { "while true do mg.url.parse_query(s) end", "local mg, s = require 'moongate', ('a=b&'):rep(1e5)" },
    { "while true do ctx.json.encode(s) end", "local s = ('x'):rep(2e6)" },
    { "while true do ctx.json.encode(t) end", "local t = {} for i = 1, 5e3 do t['k' .. i] = { i } end" },
}

return { plugin = plugin, endless = ENDLESS, waiting = WAITING }
