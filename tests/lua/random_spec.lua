--- Random numbers of plugins: of each its own, in the places of math.random and math.randomseed.
require("tests.lua.machine")
local sandbox = require("moongate.worker.sandbox")
local random = require("moongate.sdk.random")

local function env(name)
    return sandbox.env(name, {}, {})
end

local function drawn(of, count)
    local numbers = {}
    for i = 1, count or 5 do
        numbers[i] = of.math.random()
    end
    return numbers
end

describe("math.random of a plugin", function()
    before_each(function()
        random.seed("7")
    end)

    it("is its own: what another seeds or draws changes nothing", function()
        local alone = drawn(env("a"))
        random.seed("7")
        local a, b = env("a"), env("b")
        b.math.randomseed(1)
        drawn(b, 100)
        assert.same(alone, drawn(a))
    end)

    it("is another in each plugin, and for each seed of the gateway, and the same for the same", function()
        local seen, count = {}, 0
        for _, seed in ipairs { "1", "2", "9007199254740991" } do
            random.seed(seed)
            for _ = 1, 100 do
                local first = drawn(env("p"), 1)[1]
                assert.is_nil(seen[first])
                seen[first] = true
                count = count + 1
            end
        end
        assert.equal(300, count)
        random.seed("1")
        assert.is_true(seen[drawn(env("p"), 1)[1]])
    end)

    it("repeats what randomseed says, whatever number that is", function()
        local a, b = env("a"), env("b")
        for _, seed in ipairs { 0, 1, -1, 0.5, 1e308, 0 / 0, math.huge, "12" } do
            a.math.randomseed(seed)
            b.math.randomseed(seed)
            assert.same(drawn(a), drawn(b))
        end
        a.math.randomseed(1)
        b.math.randomseed(2)
        assert.are_not.same(drawn(a), drawn(b))
    end)

    it("draws evenly from its range, ends and all", function()
        local a = env("a")
        local faces, sum = {}, 0
        for _ = 1, 60000 do
            local face = a.math.random(6)
            faces[face] = (faces[face] or 0) + 1
            local unit = a.math.random()
            assert.is_true(unit >= 0 and unit < 1)
            sum = sum + unit
        end
        for face = 1, 6 do
            assert.is_true(faces[face] > 9500 and faces[face] < 10500, face .. ": " .. faces[face])
        end
        assert.is_nil(faces[0] or faces[7])
        assert.is_true(math.abs(sum / 60000 - 0.5) < 0.01)
        for _ = 1, 1000 do
            local n = a.math.random(-3, 3)
            assert.is_true(n >= -3 and n <= 3 and n % 1 == 0)
        end
        assert.equal(5, a.math.random(5, 5))
    end)

    it("says what is wrong with its arguments, at the plugin's line", function()
        local a = env("a")
        for _, case in ipairs {
            { function() a.math.random(0) end, "bad argument #1 to 'random' (interval is empty)" },
            { function() a.math.random(2, 1) end, "bad argument #2 to 'random' (interval is empty)" },
            { function() a.math.random({}) end, "bad argument #1 to 'random' (number expected, got table)" },
            { function() a.math.randomseed() end, "bad argument #1 to 'randomseed' (number expected, got no value)" },
        } do
            local _, problem = pcall(case[1])
            assert.truthy(problem:find(case[2], 1, true), problem)
            assert.truthy(problem:find("random_spec.lua:", 1, true), problem)
        end
    end)
end)
