local machine = require("tests.lua.machine")
local ffi = require("ffi")

describe("the ABI", function()
    it("resolves every function that the header declares", function()
        local pointers = ffi.cast("const mg_api *", machine.lib.mg_support_api())
        assert.is_true(#machine.cdef.names > 50)
        for _, name in ipairs(machine.cdef.names) do
            assert.is_true(pointers[name] ~= nil, name)
            assert.is_not_nil(machine.c[name], name)
        end
    end)

    it("finds each declared function among the exported symbols as well", function()
        for _, name in ipairs(machine.cdef.names) do
            ffi.cdef("void " .. name .. "_spec(void) __asm__(\"" .. name .. "\");")
            assert.is_not_nil(machine.lib[name .. "_spec"], name)
        end
    end)

    it("refuses a binary of another header, naming both", function()
        local ok, problem = pcall(machine.c.bind, nil, "0123456789abcdef")
        assert.is_false(ok)
        assert.truthy(problem:find(machine.cdef.hash, 1, true))
        assert.truthy(problem:find("0123456789abcdef", 1, true))
    end)

    it("carries the same hash on both sides", function()
        assert.equal(machine.cdef.hash, ffi.string(machine.lib.mg_abi_hash()))
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
