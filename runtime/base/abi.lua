--- abi.lua: cuts the part between the ffi marks out of moongate.h and makes both sides of the ABI of it.
--- luajit abi.lua MOONGATE_H OUT_DIR writes OUT_DIR/mg_abi.h (struct mg_api and the hash), OUT_DIR/abi_table.c (the
--- pointers) and OUT_DIR/cdef.lua (what a VM reads: declarations, names of functions, constants). Nothing is written
--- twice, so nothing drifts.
local ffi = require("ffi")
local bit = require("bit")

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

--- Leaves a file alone that says so already: what depends on it is not built again.
local function write(path, text)
    local old = io.open(path, "rb")
    if old then
        local same = old:read("*a") == text
        old:close()
        if same then
            return
        end
    end
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end

--- FNV-1a, 64 bits, as hex.
local function hash(text)
    local h = 0xcbf29ce484222325ULL
    for i = 1, #text do
        h = bit.bxor(h, ffi.cast("uint64_t", text:byte(i))) * 0x100000001b3ULL
    end
    return bit.tohex(tonumber(bit.rshift(h, 32))) .. bit.tohex(tonumber(bit.band(h, 0xffffffffULL)))
end

--- Line by line, so that a mark is a whole line.
local function marked(text, path)
    local part = text:match("\n/%* ffi: begin %*/\n(.-)\n/%* ffi: end %*/\n")
    assert(part, path .. ": no part between the ffi marks")
    assert(not part:find("\n%s*#"), path .. ": a macro between the ffi marks; write an enum")
    return part
end

--- The functions of a cdef, in order: { name, result, arguments }.
local function functions(cdef)
    local code = cdef:gsub("/%*.-%*/", " "):gsub("%b{}", " ")
    local found = {}
    for statement in code:gmatch("[^;]+") do
        local flat = statement:gsub("%s+", " "):gsub("^ ", "")
        if not flat:find("^typedef") then
            local result, name, arguments = flat:match("^(.-)(mg_[%w_]+)(%b())")
            if name then
                found[#found + 1] = { name = name, result = result, arguments = arguments }
            end
        end
    end
    return found
end

--- The constants of a cdef, in order: { name, value }. LuaJIT reads the enums, as it will in a VM.
local function constants(cdef)
    ffi.cdef(cdef)
    local code = cdef:gsub("/%*.-%*/", " ")
    local found = {}
    for list in code:gmatch("enum%s*[%w_]*%s*(%b{})") do
        for name in list:gsub("=[^,}]*", ""):gmatch("[%w_]+") do
            found[#found + 1] = { name = name, value = tonumber(ffi.C[name]) }
        end
    end
    return found
end

local function struct(list)
    local lines = { "typedef struct mg_api {" }
    for _, f in ipairs(list) do
        lines[#lines + 1] = ("    %s(*%s)%s;"):format(f.result, f.name, f.arguments)
    end
    lines[#lines + 1] = "} mg_api;"
    return table.concat(lines, "\n")
end

local header, out = arg[1], arg[2]
local cdef = marked(read(header), header)
local list = functions(cdef)
local hex = hash(cdef)
local api = struct(list)
local pointers, names, values = {}, {}, {}
for i, f in ipairs(list) do
    pointers[i] = ("    .%s = %s,"):format(f.name, f.name)
    names[i] = ("    %q,"):format(f.name)
end
for i, constant in ipairs(constants(cdef)) do
    values[i] = ("    %s = %d,"):format(constant.name, constant.value)
end

write(out .. "/mg_abi.h", ([[
/* Generated from moongate.h by runtime/base/abi.lua. */
#ifndef MG_ABI_H
#define MG_ABI_H

#include "moongate.h"

#define MG_ABI_HASH "%s"

%s

extern const mg_api mg_api_table;

#endif
]]):format(hex, api))
write(out .. "/abi_table.c", ([[
/* Generated from moongate.h by runtime/base/abi.lua. */
#include "mg_abi.h"

const mg_api mg_api_table = {
%s
};
]]):format(table.concat(pointers, "\n")))
write(out .. "/cdef.lua", ([[
-- Generated from moongate.h by runtime/base/abi.lua.
return { hash = %q, names = {
%s
}, constants = {
%s
}, text = [==[
%s

%s
]==] }
]]):format(hex, table.concat(names, "\n"), table.concat(values, "\n"),
    cdef:gsub("/%*.-%*/", ""):gsub("[ \t]+\n", "\n"):gsub("\n\n+", "\n"), api))
