--- Patterns of plugins beside Lua's own: the same answers and the same refusals. SEED repeats a run.
local machine = require("tests.lua.machine") -- luacheck: ignore
local strings = require("moongate.worker.strings").string
local tables = require("moongate.worker.strings").table
local running = require("moongate.sdk.running")

local seed = tonumber(os.getenv("SEED")) or 20240501
local RUNS = 10000

--- What a call answers, as one text; the place of a mistake is left out.
local function outcome(fn, ...)
    local answer = { pcall(fn, ...) }
    for i = 1, 40 do
        answer[i] = tostring(answer[i])
    end
    if answer[1] == "false" then
        return "raises " .. answer[2]:gsub("^[^:]*:%d+: ", ""):gsub("to '[%w?]+'", "to '?'")
    end
    return table.concat(answer, "\1")
end

local function same(name, ...)
    local stock, ours = outcome(string[name], ...), outcome(strings[name], ...)
    if stock ~= ours then
        local shown = {}
        for i = 1, select("#", ...) do
            shown[i] = ("%q"):format(tostring((select(i, ...))))
        end
        error(("seed %d: %s(%s)\n  is   %q\n  not  %q"):format(seed, name, table.concat(shown, ", "), ours, stock), 0)
    end
end

local function pick(list)
    return list[math.random(#list)]
end

local ITEMS = { "a", "b", "c", ".", "%a", "%d", "%s", "%w", "%A", "%p", "%x", "%g", "%c", "%l", "%u", "%z", "%.", "%%",
    "[ab]", "[^ab]", "[a-c]", "[%d_]", "[]]", "[^]]", "[a-]", "[%a-z]", "[^%s]", "%bab", "%b()", "%f[%a]", "%f[^b]",
    "()", "(", ")", "%1", "%2", "^", "$", " ", "-", "\0", "[", "]", "%", "%f", "%b", "1", "\200" }
local SUFFIXES = { "", "", "", "*", "+", "-", "?" }
local BYTES = { "a", "b", "c", "a", "b", "A", "1", " ", "_", "(", ")", "%", ".", "-", "]", "\0", "\200", "\n" }

local function random_pattern()
    local out = { math.random(5) == 1 and "^" or "" }
    local open = 0
    for _ = 1, math.random(0, 5) do
        local item = pick(ITEMS)
        if math.random(4) == 1 then
            out[#out + 1] = "("
            open = open + 1
        end
        out[#out + 1] = item .. pick(SUFFIXES)
        if open > 0 and math.random(2) == 1 then
            out[#out + 1] = ")"
            open = open - 1
        end
    end
    out[#out + 1] = math.random(20) == 1 and "" or (")"):rep(open)
    return table.concat(out) .. (math.random(6) == 1 and "$" or "")
end

local function random_text()
    local out = {}
    for i = 1, math.random(0, 12) do
        out[i] = pick(BYTES)
    end
    return table.concat(out)
end

local function walked(gmatch, text, pattern)
    local seen = {}
    for a, b, c in gmatch(text, pattern) do
        seen[#seen + 1] = tostring(a) .. "," .. tostring(b) .. "," .. tostring(c)
    end
    return table.concat(seen, ";")
end
local function stock_walk(text, pattern)
    return walked(string.gmatch, text, pattern)
end
local function our_walk(text, pattern)
    return walked(strings.gmatch, text, pattern)
end

describe("patterns", function()
    it("answer as Lua's own, for any pattern and text", function()
        math.randomseed(seed)
        local replacements = { "x", "<%0>", "%1%1", "%2", "%", "a%%b", "%z", 7, { a = "A", b = 1, c = false },
            function(a, b) return b or (a ~= "a" and a) end, function() end, { a = {} } }
        for _ = 1, RUNS do
            local text, pattern = random_text(), random_pattern()
            same("find", text, pattern)
            same("find", text, pattern, math.random(-15, 15), math.random(8) == 1)
            same("match", text, pattern)
            same("match", text, pattern, math.random(-15, 15))
            same("gsub", text, pattern, pick(replacements))
            same("gsub", text, pattern, pick(replacements), math.random(-1, 4))
            local stock, ours = outcome(stock_walk, text, pattern), outcome(our_walk, text, pattern)
            if stock ~= ours then
                error(("seed %d: gmatch(%q, %q)\n  is   %q\n  not  %q"):format(seed, text, pattern, ours, stock), 0)
            end
        end
    end)

    it("know every class", function()
        for byte = 0, 255 do
            for letter = 1, 255 do
                local class = "%" .. string.char(letter)
                if not class:find("[%d%%bf]", 2) then
                    same("find", string.char(byte), class)
                    if letter % 8 == byte % 8 then
                        same("find", string.char(byte), "[" .. class .. "]")
                    end
                end
            end
        end
    end)

    it("take and refuse the same arguments", function()
        for _, name in ipairs({ "find", "match", "gsub" }) do
            for _, text in ipairs({ "", "abc", 12.5, 100 }) do
                for _, pattern in ipairs({ "", "b", 2, "." }) do
                    for _, third in ipairs({ "x", 1, "2", 1.7, -1.7, 0, 100, -100 }) do
                        same(name, text, pattern, third)
                    end
                end
            end
        end
        same("find", "a.b", ".", 1, true)
        same("find", "a\0b.c", "\0b")
        same("find", ("ab"):rep(40), ("(a)b"):rep(33))
        same("match", "abc", "b", nil)
        same("find", {}, "a")
        same("gsub", "a", {}, "b")
        same("gsub", "a", "a", true)
        same("gsub", "a", "a", "b", "c")
    end)

    it("are as complex as Lua's own may be", function()
        for _, count in ipairs({ 10, 195, 196, 197, 198, 199, 200, 201, 202, 400 }) do
            same("find", ("a"):rep(count), ("a?"):rep(count))
            same("find", ("a"):rep(count), ("a-"):rep(count) .. "$")
            same("find", ("a"):rep(count), ("a"):rep(count))
        end
    end)

    it("stay quick in long texts", function()
        local text = ("x"):rep(1e6) .. "y"
        same("find", text, "y")
        same("find", text, "[yz]")
        same("match", text, "x*(y)")
        same("gsub", text, "y", "%0%0")
        same("find", text, "xy", 5, true)
    end)

    it("say where a mistake is", function()
        local ok, problem = pcall(assert(loadstring("local s = ...\n\nreturn (s.find('a', '[a'))", "@plugins/p.lua")),
            strings)
        assert.is_false(ok)
        assert.truthy(problem:find("^plugins/p.lua:3: malformed pattern"), problem)
        for _, call in ipairs({ "s.rep({}, 2)", "s.lower()", "s.format('%d', 'x')", "s.sub({})", "s.find()",
            "s.gsub('a', 'a', '%2')", "s.match('a', '(a')", "s.rep('a', 1e9)" }) do
            ok, problem = pcall(assert(loadstring("local s = ...\n" .. call, "@plugins/p.lua")), strings)
            assert.is_false(ok)
            assert.truthy(problem:find("^plugins/p.lua:2: "), call .. ": " .. problem)
        end
    end)
end)

describe("what is charged by size", function()
    it("answers as Lua's own", function()
        for _, text in ipairs({ "", "aB", ("xY"):rep(1000), 12 }) do
            same("lower", text)
            same("upper", text)
            same("reverse", text)
            same("format", "%s %q", text, "x")
            for _, n in ipairs({ -1, 0, 1, 3 }) do
                same("rep", text, n)
                same("rep", text, n, ", ")
                same("sub", text, n)
                same("sub", text, n, -2)
            end
        end
        local list = {}
        for i = 1, 3000 do
            list[i] = (i * 7919) % 3001
        end
        tables.sort(list)
        for i = 2, #list do
            assert.is_true(list[i - 1] < list[i])
        end
        tables.sort(list, function(a, b) return a > b end)
        for i = 2, #list do
            assert.is_true(list[i - 1] > list[i])
        end
        tables.insert(list, 1, 5)
        tables.insert(list, 6)
        assert.equal(5, tables.remove(list, 1))
        assert.equal(6, tables.remove(list))
        assert.equal("1,2,3", tables.concat({ 1, 2, 3 }, ","))
        assert.equal("2", tables.concat({ 1, 2, 3 }, ",", 2, 2))
    end)

    it("makes no text above 16 MiB", function()
        assert.equal(16 * 1048576, #strings.rep("x", 16 * 1048576))
        local ok, problem = pcall(strings.rep, "x", 16 * 1048576 + 1)
        assert.is_false(ok)
        assert.truthy(problem:find("16777217 bytes, more than 16 MiB", 1, true), problem)
        assert.is_false(pcall(strings.rep, "x", 1, ("y"):rep(10)) and pcall(strings.rep, "x", math.huge))
        assert.equal("", strings.rep("", 1e15))
    end)

    it("costs nothing where no plugin runs", function()
        assert.equal(-1, (running.here.plugin))
        for _ = 1, 50 do
            strings.rep("x", 1e6)
        end
    end)

    it("is the same for long texts and lists, which are worked on in parts", function()
        local text = ("aBc"):rep(400000) .. "xY"
        for _, name in ipairs({ "lower", "upper", "reverse" }) do
            assert.is_true(string[name](text) == strings[name](text), name)
        end
        for _, case in ipairs({ { "x", 3e6 }, { "abc", 1e6 + 1 }, { "ab", 1048577.7 }, { ("y"):rep(6e5), 5 } }) do
            assert.is_true(string.rep(case[1], case[2]) == strings.rep(case[1], case[2]), case[2])
        end
        local function list(n)
            local made = {}
            for i = 1, n do
                made[i] = i
            end
            return made
        end
        for _, move in ipairs({ { 1, 30000, 2 }, { 2, 30000, 1 }, { 1, 20000, 15000 }, { 9000, 29000, 1 } }) do
            local stock, ours = list(30000), list(30000)
            table.move(stock, move[1], move[2], move[3])
            tables.move(ours, move[1], move[2], move[3])
            assert.same(stock, ours)
            assert.same(table.move(stock, move[1], move[2], move[3], {}),
                tables.move(ours, move[1], move[2], move[3], {}))
        end
        for _, at in ipairs({ 1, 2, 9000, 29999, 30000, 30001 }) do
            local stock, ours = list(30000), list(30000)
            table.insert(stock, at, "new")
            tables.insert(ours, at, "new")
            assert.same(stock, ours)
            assert.equal(table.remove(stock, at), tables.remove(ours, at))
            assert.same(stock, ours)
        end
        assert.equal(table.concat(list(30000), ", "), tables.concat(list(30000), ", "))
        assert.equal(table.concat(list(30000), "", 7, 29998), tables.concat(list(30000), "", 7, 29998))
    end)
end)
