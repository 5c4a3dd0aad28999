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

    it("replaces bytes that are no UTF-8", function()
        assert.equal('"a\239\191\189b"', json.encode("a\255b"))
    end)
end)
