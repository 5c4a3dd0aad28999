-- What a plugin raised or logs, as text: bounded, sorted, and whatever metatables say.
local running = require "moongate.sdk.running"
local shown = require "moongate.sdk.shown"

describe("shown", function()
    it("leaves texts and scalars what they are", function()
        assert.equal("broken", shown "broken")
        assert.equal("5", shown(5))
        assert.equal("false", shown(false))
        assert.equal("nil", shown(nil))
        assert.equal("5LL", shown(5LL))
    end)

    it("has no addresses", function()
        assert.equal("a function", shown(print))
        assert.equal("a thread", shown(coroutine.create(print)))
        assert.equal("a table: {a = table, f = function}", shown { a = { 1 }, f = print })
    end)

    it("shows scalars of a table, numbers first, then names, in order", function()
        assert.equal('a table: {[1] = "one", [2.5] = true, b = 2, ["c d"] = "x", z = -1}',
            shown { z = -1, b = 2, ["c d"] = "x", [2.5] = true, "one" })
        assert.equal("a table: {}", shown {})
        assert.equal("a table: {}", shown { [true] = 1, [{}] = 2 })
    end)

    it("shows 64-bit integers", function()
        assert.equal("a table: {id = 9007199254740993LL}", shown({ id = 9007199254740993LL }))
    end)

    it("stays one line", function()
        assert.equal('a table: {["a\\10b"] = "c\\13\\10d\\34\\92"}', shown { ["a\nb"] = "c\r\nd\"\\" })
    end)

    it("is bounded in fields, keys and values", function()
        local many = {}
        for i = 1, 100000 do many[i] = i end
        local text = shown(many)
        assert.truthy(text:find("%[16%] = 16, %.%.}$"), text)
        local text_of_long = shown { [("k"):rep(10000)] = ("v"):rep(100000) }
        assert.is_true(#text_of_long < 300, text_of_long)
        local names = {}
        for i = 1, 100000 do names["k" .. i] = ("v"):rep(1000) end
        assert.is_true(#shown(names) < 5000)
    end)

    it("takes the text of a table that has one", function()
        local seat = setmetatable({ seat = 5 }, { __tostring = function(s) return "seat " .. s.seat end })
        assert.equal("seat 5", shown(seat))
    end)

    it("falls back on the fields when that raises or gives no text", function()
        local raises = setmetatable({ code = 5 }, { __tostring = function() error("no") end })
        assert.equal("a table: {code = 5}", shown(raises))
        assert.equal("a table: {code = 5}", shown(setmetatable({ code = 5 }, { __tostring = function() return 1 end })))
        assert.equal("a table: {code = 5}", shown(setmetatable({ code = 5 }, { __tostring = {} })))
    end)

    it("runs no other metamethod", function()
        local function no() error("a metamethod ran") end
        local evil = setmetatable({ code = 5 }, { __index = no, __pairs = no, __len = no, __metatable = "locked" })
        assert.equal("a table: {code = 5}", shown(evil))
        assert.equal("a table: {inner = table}", shown { inner = setmetatable({}, { __tostring = no }) })
    end)

    it("does not let a text wait", function()
        running.may_wait = true
        local waited = shown(setmetatable({}, { __tostring = function() return tostring(running.may_wait) end }))
        assert.equal("false", waited)
        assert.is_true(running.may_wait)
        running.may_wait = false
    end)

    it("takes a table that holds itself", function()
        local own = { code = 5 }
        own.own = own
        assert.equal("a table: {code = 5, own = table}", shown(own))
    end)
end)
