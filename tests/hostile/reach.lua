--- reach: what a plugin can call, asked of a plugin in the real gateway. A function that is new is found without
--- anybody naming it here: libraries list their members, and objects of the SDK name theirs when asked for one that
--- they do not have.
local json = require "tests.e2e.harness.json"

local reach = {}

-- The plugin that looks around. GLOBALS is the list of names that Lua itself has.
local PROBE = [[
local GLOBALS = { @GLOBALS@ }
local found = {}

-- The names that an object tells when asked for one that it does not have.
local function names_of(object)
    local names = {}
    local fine, said = pcall(function() return object.zzqqzz end)
    if fine then
        for name in pairs(object) do names[#names + 1] = tostring(name) end
        return names
    end
    for name in said:match("has no 'zzqqzz': (.*)$"):gmatch("[%w_]+") do names[#names + 1] = name end
    return names
end

local function visit(shown, value, depth)
    if type(value) == "function" then
        found[#found + 1] = shown
    elseif type(value) == "table" and depth < 4 then
        local ok, names = pcall(names_of, value)
        for _, name in ipairs(ok and names or {}) do
            local there, member = pcall(function() return value[name] end)
            if there then visit(shown .. "." .. name, member, depth + 1) end
        end
        if not ok and depth == 1 then error(shown .. ": " .. tostring(names), 0) end
    end
end

for _, name in ipairs(GLOBALS) do
    local there, value = pcall(load("return " .. name))
    if there then visit(name, value, 1) end
end
local mg = require "moongate"
visit("mg", mg, 1)
visit("limiter", mg.limiter { rate = "1000/s" }, 1)
visit("breaker", mg.breaker {}, 1)
visit("counter", mg.counter("probe"), 1)
visit("router", mg.router { { path = "/a", value = 1 } }, 1)

return { name = "probe", version = "1", new = function()
    return function(ctx, next)
        next(ctx)
        visit("ctx", ctx, 1)
        local turn = ctx.limit:reserve("loose", "probe")
        visit("turn", turn, 1)
        ctx:respond(200, { json = found })
    end
end }
]]

--- The source of the plugin that looks around.
function reach.source()
    local names = {}
    for name in pairs(_G) do
        if name:match "^[%a_][%w_]*$" then names[#names + 1] = '"' .. name .. '"' end
    end
    table.sort(names)
    return (PROBE:gsub("@GLOBALS@", (table.concat(names, ", "))))
end

--- What it found: paths such as "string.rep", "ctx.kv.get", "turn.commit", in order.
function reach.read(body)
    local list, seen = {}, {}
    for _, path in ipairs(json.decode(body)) do
        if not seen[path] then list[#list + 1] = path end
        seen[path] = true
    end
    table.sort(list)
    return list
end

return reach
