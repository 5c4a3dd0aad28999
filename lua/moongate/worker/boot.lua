--- boot: the first chunk of a VM. C calls it once with what it lends and the plan; what it returns is all C knows.
local api, hash, host, plan, seed, source = ...

--- Modules come from the binary, never from a disk.
local function embedded(name)
    local path = "lua/" .. name:gsub("%.", "/") .. ".lua"
    local text = source(path)
    if not text then
        return "\n\tno embedded file '" .. path .. "'"
    end
    return assert(load(text, "@" .. path, "t"))
end

--- A module of one's own, with functions that no other has.
local function fresh(name)
    return embedded(name)(name)
end

package.loaders = { package.loaders[1], embedded }
package.path, package.cpath = "", ""
math.randomseed(tonumber(seed))
require("jit.opt").start("maxtrace=8000", "maxrecord=8000", "maxmcode=16384", "sizemcode=64", "maxsnap=1000",
    "maxirconst=4000")

require("moongate.ffi.c").bind(api, hash)
local running = require("moongate.sdk.running")
running.host = require("moongate.ffi.host").of(host)
running.await = require("moongate.worker.await").await

local chain = require("moongate.worker.chain")
local json = require("moongate.sdk.json")
local loader = require("moongate.worker.loader")

require("moongate.worker.sandbox").lock()

local wanted, problem = json.decode_plain(plan)
if not wanted then
    error("the plan is no JSON: " .. problem, 0)
end

--- The layers of a chain, and those that have a log handler.
local function layers_of(items, instances)
    local layers, logs = {}, {}
    for at, item in ipairs(items) do
        if type(item) == "table" then
            layers[at] = { limit = item.limit }
        else
            local instance = instances[item + 1]
            layers[at] = { handler = instance.handler, index = item, on_error = wanted.plugins[item + 1].on_error }
            if instance.log then
                logs[#logs + 1] = { log = instance.log, index = item }
            end
        end
    end
    return layers, #logs > 0 and logs
end

local instances = loader.all(wanted.plugins or {}, wanted.chains or {})
local chains, logs, chunks = {}, {}, {}
for i, items in ipairs(wanted.chains or {}) do
    local layers
    layers, logs[i] = layers_of(items, instances)
    chains[i] = chain.compose(layers, fresh)
end
for i, plugin in ipairs(wanted.plugins or {}) do
    chunks[i] = { plugin.chunkname }
    for _, part in pairs(plugin.lib or {}) do
        table.insert(chunks[i], part.chunkname)
    end
end

return {
    plugins = instances,
    logs = logs,
    slot = require("moongate.worker.slot")(chains, logs),
    fault = require("moongate.worker.fault")(chunks),
}
