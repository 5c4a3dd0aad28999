--- c: the functions of runtime/spec/spec.h, as the table of pointers that C hands over.
local ffi = require("ffi")
local cdef = require("moongate.test.cdef")

local c = { BYTES = 0, NOTHING = 1, END = 2, RESET = 3 } -- enum mg_spec_heard

--- Once, before anything else of moongate.test is loaded.
---@param api userdata  address of the table
---@param hash string  of the header that the binary was built from
function c.bind(api, hash)
    if hash ~= cdef.hash then
        error(("the Lua side was cut from spec.h %s, the binary from %s: build both from one tree")
            :format(cdef.hash, hash), 0)
    end
    ffi.cdef(cdef.text)
    local pointers = ffi.cast("const mg_spec_api *", api)
    for _, name in ipairs(cdef.names) do
        c[name:gsub("^mg_spec_", "")] = pointers[name]
    end
    c.text = ffi.new("mg_spec_text")
end

--- What c.text holds.
---@return string
function c.taken()
    return ffi.string(c.text.p, c.text.n)
end

---@param spec ffi.cdata*
---@return string
function c.why(spec)
    return ffi.string(c.problem(spec))
end

--- A gateway of the document, or nil with what is wrong.
---@param spec ffi.cdata*
---@param wanted table  the members of mg_spec_conf; set: string[]
---@return ffi.cdata*? node, string? problem
function c.open(spec, wanted)
    local set = ffi.new("const char *[?]", #wanted.set + 1)
    for at, text in ipairs(wanted.set) do
        set[at - 1] = text
    end
    local conf = ffi.new("mg_spec_conf", {
        file = wanted.file, text = wanted.text, set = set, set_count = #wanted.set, workers = wanted.workers,
        seed = wanted.seed, access_log = wanted.access_log, boot_id = wanted.boot_id,
    })
    local node = c.node_open(spec, conf)
    if node == nil then
        return nil, c.why(spec)
    end
    return node
end

return c
