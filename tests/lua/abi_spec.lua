local machine = require("tests.lua.machine")
local ffi = require("ffi")

--- Where a Lua file writes down the number of a constant of moongate.h itself: "NAME = 3", "name = 3, " and
--- "local A, B = 1, 2", where the header has MG_.._NAME of that value.
---@param path string
---@return string[] found  "path:line: NAME is MG_WAIT_NAME"
local function repeated_constants(path)
    local found, line_number = {}, 0
    local function look(name, value)
        for constant, number in pairs(machine.cdef.constants) do
            if tonumber(value) == number and constant:find("_" .. name:upper() .. "$") then
                found[#found + 1] = ("%s:%d: %s is %s"):format(path, line_number, name, constant)
            end
        end
    end
    for line in io.lines(path) do
        line_number = line_number + 1
        local code = line:gsub("%-%-.*", "")
        for name, value in code:gmatch("([%a_][%w_]*)%s*=%s*(%-?%w+)%s*[,}]") do
            look(name, value)
        end
        local names, values = code:match("^%s*local%s+([%w_,%s]+)=([%-%w,%s]+)$")
        if not names then
            names, values = code:match("^%s*([%a_][%w_]*)%s*=%s*(%-?%w+)%s*$")
        end
        local each = (values or ""):gmatch("%-?%w+")
        for name in (names or ""):gmatch("[%w_]+") do
            look(name, each() or "")
        end
    end
    return found
end

describe("the ABI", function()
    it("resolves every function that the header declares", function()
        local pointers = ffi.cast("const mg_api *", machine.lib.mg_support_api())
        assert.is_true(#machine.cdef.names > 50)
        for _, name in ipairs(machine.cdef.names) do
            assert.is_true(pointers[name] ~= nil, name)
            assert.is_not_nil(machine.c[name], name)
        end
    end)

    it("is reached by its table alone: no function is exported by name", function()
        for _, name in ipairs(machine.cdef.names) do
            ffi.cdef("void " .. name .. "_spec(void) __asm__(\"" .. name .. "\");")
            assert.is_false(pcall(function() return machine.lib[name .. "_spec"] end), name)
        end
    end)

    it("refuses a binary of another header, naming both", function()
        local ok, problem = pcall(machine.c.bind, nil, "0123456789abcdef")
        assert.is_false(ok)
        assert.truthy(problem:find(machine.cdef.hash, 1, true))
        assert.truthy(problem:find("0123456789abcdef", 1, true))
    end)

    it("carries the same hash on both sides", function()
        assert.equal(machine.cdef.hash, ffi.string(machine.lib.mg_support_abi_hash()))
    end)

    it("hands every constant of the header to Lua, as C has it", function()
        local count = 0
        for name, value in pairs(machine.cdef.constants) do
            assert.equal(tonumber(ffi.C[name]), value, name)
            assert.equal(value, machine.c[name])
            count = count + 1
        end
        local in_header = 0
        for list in machine.cdef.text:gmatch("enum%s*[%w_]*%s*(%b{})") do
            in_header = in_header + select(2, list:gsub("MG_[%w_]+", ""))
        end
        assert.is_true(count > 50)
        assert.equal(in_header, count)
    end)

    it("names a constant or function that the header does not declare", function()
        for _, name in ipairs({ "MG_WAIT_NEVER", "mg_call_naught" }) do
            local ok, problem = pcall(function()
                return machine.c[name]
            end)
            assert.is_false(ok)
            assert.truthy(problem:find("abi_spec.lua:%d+: moongate.h declares no " .. name), problem)
        end
    end)

    it("has its numbers in the header alone", function()
        for path in io.popen("find lua/moongate/ffi lua/moongate/sdk lua/moongate/worker -name '*.lua'"):lines() do
            assert.same({}, repeated_constants(path))
        end
        local copy = os.tmpname()
        local file = assert(io.open(copy, "w"))
        file:write("local DONE, NEXT = 1, 2\nlocal wait = { sleep = 3, HTTP = 4 }\nlocal t = {\n    PAUSE = 8,\n}\n"
            .. "local LOG = 2 -- enum mg_aside\nlocal PART = 49152\n")
        file:close()
        local seen = {}
        for _, one in ipairs(repeated_constants(copy)) do
            seen[one:match(":(%d+: %S+ is MG_[A-Z]+)")] = true
        end
        os.remove(copy)
        assert.same({
            ["1: DONE is MG_WAIT"] = true, ["1: NEXT is MG_WAIT"] = true, ["2: sleep is MG_WAIT"] = true,
            ["2: HTTP is MG_WAIT"] = true, ["4: PAUSE is MG_WAIT"] = true, ["6: LOG is MG_ASIDE"] = true,
        }, seen)
    end)

    it("carries every Lua file of the tree in the binary, byte by byte", function()
        local n = ffi.new("size_t[1]")
        local count = 0
        for path in io.popen("find lua/moongate plugins schemas -name '*.lua' -o -name '*.json'"):lines() do
            local wanted = path:find("^lua/") or path:find("^schemas/") or path:find("^plugins/[^/]+/[^/]+$")
                or path:find("/lib/")
            if wanted and not path:find("_spec.lua$") then
                local text = machine.lib.mg_support_embedded(path, n)
                assert.is_true(text ~= nil, path)
                local file = assert(io.open(path, "rb"))
                assert.is_true(file:read("*a") == ffi.string(text, n[0]), path .. " differs: build again")
                file:close()
                count = count + 1
            end
        end
        assert.is_true(count > 20)
    end)
end)
