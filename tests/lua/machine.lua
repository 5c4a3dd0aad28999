--- machine: the Lua side of a worker inside busted. Functions and exchange come from liblua_support.so, made
--- of the layers and support.c; what C does to a slot between two resumes is done here.
package.path = "lua/?.lua;" .. package.path -- specs run from the project's folder

local ffi = require("ffi")

local generated = os.getenv("MG_GENERATED") or "build/dev/generated"
package.preload["moongate.ffi.cdef"] = function()
    return dofile(generated .. "/cdef.lua")
end

local cdef = require("moongate.ffi.cdef")
local c = require("moongate.ffi.c")

ffi.cdef([[
typedef struct fixture fixture;
fixture *mg_support_new(void);
void mg_support_free(fixture *f);
struct mg_host *mg_support_host(fixture *f);
struct mg_call *mg_support_call(fixture *f);
void mg_support_begin(fixture *f);
void mg_support_answer(fixture *f, int status);
void mg_support_cancel(fixture *f, const char *why);
void mg_support_phase(fixture *f, int phase);
int mg_support_wait(const fixture *f);
void mg_support_advance(fixture *f, double seconds);
const char *mg_support_log(fixture *f);
const void *mg_support_api(void);
const char *mg_support_embedded(const char *name, size_t *n);
const char *mg_support_abi_hash(void);
]])
local lib = ffi.load(os.getenv("MG_LUA_SUPPORT") or "build/dev/liblua_support.so")
if not rawget(c, "mg_call_chain") then -- once a state, however many spec files there are
    c.bind(lib.mg_support_api(), ffi.string(lib.mg_support_abi_hash()))
end

local running = require("moongate.sdk.running")
local chain = require("moongate.worker.chain")
local fault = require("moongate.worker.fault")
local aside = require("moongate.worker.aside")
local new_slot = require("moongate.worker.slot")

local await = require("moongate.worker.await")
running.await, running.pause, running.can_wait = await.await, await.pause, await.check

local machine = { lib = lib, cdef = cdef, c = c }
machine.__index = machine

local waits = {}
for name, value in pairs(require("moongate.ffi.call").wait_for) do
    waits[value] = name
end

--- Loads a module anew, as boot does.
local function fresh(name)
    return assert(loadfile("lua/" .. name:gsub("%.", "/") .. ".lua"))(name)
end

--- A worker with one chain.
---@param layers moongate.Layer[]
---@param logs? { log: function, index: integer }[]
function machine.new(layers, logs)
    local self = setmetatable({}, machine)
    for name, space in pairs(running.spaces) do -- of the machine before
        c.mg_kv_space_free(ffi.gc(space, nil))
        running.spaces[name] = nil
    end
    running.counters = {}
    self.fixture = ffi.gc(lib.mg_support_new(), lib.mg_support_free)
    running.host = ffi.cast("mg_host *", lib.mg_support_host(self.fixture))
    running.fixture = self.fixture -- outlives what was opened in it
    running.names = {}
    for i = 1, #layers do
        running.names[i] = "p" .. (i - 1)
    end
    self.body = new_slot({ chain.compose(layers, fresh) }, { logs or false })
    self.describe = fault({})
    self.aside = aside({}, { logs or false }, self.describe)
    return self
end

--- A worker whose chain is these handlers.
function machine.of(...)
    local layers = {}
    for i, handler in ipairs({ ... }) do
        layers[i] = { handler = handler, index = i - 1, on_error = "closed" }
    end
    return machine.new(layers)
end

--- Resumes the slot. What it waits for, or nil and a table { plugin, line, message, traceback }.
function machine:resume(...)
    local ok, err = coroutine.resume(self.slot, ...)
    if ok then
        self.made = err or self.made -- at its first wait a slot hands itself out
        return waits[lib.mg_support_wait(self.fixture)]
    end
    local plugin, line, message, trace = self.describe(self.slot, err)
    self.slot = nil
    return nil, { plugin = plugin, line = line, message = message, traceback = trace }
end

--- Begins a request and resumes the slot.
function machine:begin()
    if not self.slot then
        self.slot = coroutine.create(self.body)
        assert(self:resume(lib.mg_support_call(self.fixture)) == "DONE")
    end
    lib.mg_support_begin(self.fixture)
    return self:resume()
end

--- Runs the log handlers, as C does when the request is over.
function machine:log()
    lib.mg_support_phase(self.fixture, c.MG_PHASE_LOG)
    assert(self.aside(self.made, c.MG_ASIDE_LOG))
end

--- A whole request: what the chain waited for, as "NEXT DONE"; or nil and the error. The upstream answers 200.
function machine:run()
    local seen = {}
    local wait, err = self:begin()
    while wait do
        seen[#seen + 1] = wait
        if wait == "DONE" then
            return table.concat(seen, " ")
        elseif wait == "NEXT" then
            lib.mg_support_answer(self.fixture, 200)
        end
        wait, err = self:resume()
    end
    return nil, err
end

return machine
