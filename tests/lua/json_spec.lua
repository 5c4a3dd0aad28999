require("tests.lua.machine")
local json = require("moongate.sdk.json")

describe("ctx.json", function()
    it("reads values of each kind", function()
        assert.same({ a = { 1, 2.5, -3e2 }, b = { c = "x\"é\n" }, d = true, e = false },
            json.decode([[{"a":[1,2.5,-3e2],"b":{"c":"x\"\u00e9\n"},"d":true,"e":false}]]))
        assert.equal(5, json.decode("5"))
        assert.equal("", json.decode('""'))
        assert.equal(json.null, json.decode("null"))
    end)

    it("writes what it read", function()
        for _, text in ipairs({
            "[]", "{}", "[[],{}]", "[1,2,3]", '"a"', "null", "[null,1]", "0.1", "1e+300", "123456789012345", "true",
            '{"a":[]}', '"\\u0001"', '"/\\"\\\\"',
        }) do
            assert.equal(text, json.encode(json.decode(text)))
        end
    end)

    it("survives random values", function()
        local seed = tonumber(os.getenv("SEED")) or os.time()
        math.randomseed(seed)
        local function random(depth)
            local kind = math.random(depth > 4 and 4 or 6)
            if kind == 1 then
                return math.random(-1e6, 1e6) / 2 ^ math.random(0, 8)
            elseif kind == 2 then
                local bytes = {}
                for i = 1, math.random(0, 20) do
                    bytes[i] = string.char(math.random(1, 127)) -- the reader refuses NUL
                end
                return table.concat(bytes)
            elseif kind == 3 then
                return math.random() < 0.5
            elseif kind == 4 then
                return json.null
            elseif kind == 5 then
                local list = {}
                for i = 1, math.random(0, 5) do
                    list[i] = random(depth + 1)
                end
                return json.list(list)
            end
            local map = {}
            for _ = 1, math.random(0, 5) do
                map["k" .. math.random(1000)] = random(depth + 1)
            end
            return map
        end
        for _ = 1, 300 do
            local value = random(1)
            local text = json.encode(value)
            local again, problem = json.decode(text)
            assert.is_nil(problem, "SEED=" .. seed)
            assert.same(value, again, "SEED=" .. seed)
        end
    end)

    it("is strict, and says where", function()
        for _, text in ipairs({ "", "{", "[1,]", "{'a':1}", "nul", "1 2", '"\\x"', "// x\n1", '{"a":1,"a":2}', "NaN",
            "\"\xff\"", ("["):rep(100) .. ("]"):rep(100) }) do
            local value, problem = json.decode(text)
            assert.is_nil(value)
            assert.truthy(problem:find("^line %d+, column %d+: "), text .. ": " .. tostring(problem))
        end
    end)

    it("refuses to write what JSON cannot say", function()
        local loop = {}
        loop.loop = loop
        for _, value in ipairs({ function() end, 0 / 0, math.huge, { 1, a = 2 }, { [3] = 1 }, loop }) do
            local ok, problem = pcall(json.encode, value)
            assert.is_false(ok)
            assert.truthy(problem:find("encode: "), problem)
        end
    end)

    local wide = {
        "9007199254740993", "-9007199254740993", "1152921504606846976", "9223372036854775807", "-9223372036854775808",
        "9223372036854775808", "18446744073709551615",
    }

    it("keeps every 64-bit integer", function()
        for _, text in ipairs(wide) do
            assert.equal("cdata", type(json.decode(text)))
            assert.equal(text, json.encode(json.decode(text)))
            assert.equal(text, json.encode(json.decode(text, { integers = "int64" })))
            local nested = '{"a":[' .. text .. ',{"id":' .. text .. "}]}"
            assert.equal(nested, json.encode(json.decode(nested)))
        end
        assert.equal("9007199254740994", json.encode(json.decode("9007199254740993") + 1))
    end)

    it("gives integers that are no numbers as text on request", function()
        for _, text in ipairs(wide) do
            assert.equal(text, json.decode(text, { integers = "text" }))
            assert.same({ a = { text } }, json.decode('{"a":[' .. text .. "]}", { integers = "text" }))
        end
        assert.equal("18446744073709551616", json.decode("18446744073709551616", { integers = "text" }))
        assert.equal(("9"):rep(300), json.decode(("9"):rep(300), { integers = "text" }))
        assert.equal(5, json.decode("5", { integers = "text" }))
    end)

    it("reads and writes integers up to 2^53 as numbers, digit by digit", function()
        for _, text in ipairs({ "0", "-1", "123456789012345", "1000000000000000", "-1000000000000000",
            "9007199254740991", "9007199254740992", "-9007199254740992" }) do
            assert.equal("number", type(json.decode(text)))
            assert.equal(text, json.encode(json.decode(text)))
        end
        assert.equal("number", type(json.decode("9007199254740993.0")))
        assert.equal("number", type(json.decode("1e18")))
    end)

    it("refuses an integer of more than 64 bits, and says where", function()
        for _, text in ipairs({ "18446744073709551616", "-9223372036854775809", ("9"):rep(30) }) do
            local value, problem = json.decode('{"a":\n [' .. text .. "]}")
            assert.is_nil(value)
            assert.equal("line 2, column 3: an integer of more than 64 bits", problem)
        end
    end)

    it("raises on options that there are not", function()
        for options, part in pairs({
            [{ integers = "number" }] = 'integers is "int64" or "text", not number',
            [{ integers = true }] = "not true", [{ ints = "text" }] = "no option 'ints'", [5] = "options are a table",
        }) do
            local ok, problem = pcall(json.decode, "1", options)
            assert.is_false(ok)
            assert.truthy(problem:find(part, 1, true), problem)
        end
    end)

    it("tells lists from maps whatever was done to them", function()
        local lists = json.decode('{"empty":[],"deep":[[],{},[[]]],"was":[1,2]}')
        lists.was[2], lists.was[1] = nil, nil
        table.insert(lists.empty, "a")
        table.remove(lists.empty)
        assert.equal("[]", json.encode(lists.empty))
        assert.equal("[]", json.encode(lists.was))
        assert.equal("[[],{},[[]]]", json.encode(lists.deep))
        table.insert(lists.empty, "a")
        assert.equal('["a"]', json.encode(lists.empty))
        local map = json.decode('{"a":{},"b":{"c":1}}')
        map.b.c = nil
        assert.equal("{}", json.encode(map.a))
        assert.equal("{}", json.encode(map.b))
        assert.equal("[]", json.encode(json.list()))
        local list = json.decode("[]")
        list.a = 1
        local ok, problem = pcall(json.encode, { list })
        assert.is_false(ok)
        assert.truthy(problem:find("a list has the key a", 1, true), problem)
    end)

    it("replaces bytes that are not UTF-8", function()
        assert.equal('"a\239\191\189b"', json.encode("a\255b"))
    end)
end)
