--- abi.lua: cuts the part between the ffi marks out of a header and makes both sides of an ABI of it.
--- luajit abi.lua HEADER OUT_DIR writes OUT_DIR/mg_abi.h (struct mg_api and the hash), OUT_DIR/abi_table.c (the
--- pointers) and OUT_DIR/cdef.lua (what a VM reads: declarations, names of functions, constants). With a third argument
--- NAME, the files are mg_NAME_abi.h, NAME_table.c and NAME_cdef.lua, and the struct is mg_NAME_api. Nothing is written
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

local function struct(list, api)
    local lines = { "typedef struct " .. api .. " {" }
    for _, f in ipairs(list) do
        lines[#lines + 1] = ("    %s(*%s)%s;"):format(f.result, f.name, f.arguments)
    end
    lines[#lines + 1] = "} " .. api .. ";"
    return table.concat(lines, "\n")
end

local header, out, part = arg[1], arg[2], arg[3]
local from = header:match("[^/]+$")
local include = part and header:match("runtime/(.+)$") or from
local word = part and "mg_" .. part or "mg"
local cdef = marked(read(header), header)
local list = functions(cdef)
local hex = hash(cdef)
local api = struct(list, word .. "_api")
local pointers, names, values = {}, {}, {}
for i, f in ipairs(list) do
    pointers[i] = ("    .%s = %s,"):format(f.name, f.name)
    names[i] = ("    %q,"):format(f.name)
end
for i, constant in ipairs(constants(cdef)) do
    values[i] = ("    %s = %d,"):format(constant.name, constant.value)
end

write(("%s/%s_abi.h"):format(out, word), ([[
/* Generated from FROM by runtime/base/abi.lua. */
#ifndef WORD_ABI_H
#define WORD_ABI_H

#include "INCLUDE"

#define WORD_ABI_HASH "%s"

%s

extern const LOWER_api LOWER_api_table;

#endif
]]):gsub("FROM", from):gsub("WORD", word:upper()):gsub("LOWER", word):gsub("INCLUDE", include):format(hex, api))
write(("%s/%stable.c"):format(out, part and part .. "_" or "abi_"), ([[
/* Generated from FROM by runtime/base/abi.lua. */
#include "LOWER_abi.h"

const LOWER_api LOWER_api_table = {
%s
};
]]):gsub("FROM", from):gsub("LOWER", word):format(table.concat(pointers, "\n")))
write(("%s/%scdef.lua"):format(out, part and part .. "_" or ""), ([[
-- Generated from FROM by runtime/base/abi.lua.
return { hash = %q, names = {
%s
}, constants = {
%s
}, text = [==[
%s

%s
]==] }
]]):gsub("FROM", from):format(hex, table.concat(names, "\n"), table.concat(values, "\n"),
    cdef:gsub("/%*.-%*/", ""):gsub("[ \t]+\n", "\n"):gsub("\n\n+", "\n"), api))
