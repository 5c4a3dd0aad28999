--- boot: the first chunk of a VM. C calls it once with what it lends and the plan; what it returns is all C knows.
local api, hash, host, plan, seed, source, memory, fault = ...

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
require("moongate.sdk.random").seed(seed)
require("jit.opt").start("maxtrace=8000", "maxrecord=8000", "maxmcode=16384", "sizemcode=64", "maxsnap=1000",
    "maxirconst=4000")

require("moongate.ffi.c").bind(api, hash)
local running = require("moongate.sdk.running")
running.host = require("moongate.ffi.host").of(host)
local await = require("moongate.worker.await")
running.await, running.pause, running.can_wait = await.await, await.pause, await.check

local chain = require("moongate.worker.chain")
local json = require("moongate.sdk.json")
local loader = require("moongate.worker.loader")

local budget = require("moongate.worker.budget")
local sandbox = require("moongate.worker.sandbox")
sandbox.bound(budget, require("moongate.worker.strings"))
sandbox.lock()

local wanted, problem = require("moongate.ffi.json").decode(plan, json.list, nil, false, function() end)
if not wanted then
    error("the plan is not JSON: " .. problem, 0)
end

budget.watch(require("moongate.ffi.bounds").watch(memory, #(wanted.plugins or {})))

--- The layers of a chain, and those that have a log handler. Where bodies stream there is a list, be it empty: the slot
--- is kept until the last byte has passed, and then told.
local function layers_of(items, instances, streams)
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
    return layers, (#logs > 0 or streams > 0) and logs
end

--- What sees the bodies of a chain pass by: of the request in the chain's order, of the response in the opposite one.
local function filters_of(items, instances)
    local request, response = {}, {}
    for _, item in ipairs(items) do
        local instance = type(item) == "number" and instances[item + 1] or {}
        if instance.request_body then
            table.insert(request, { filter = instance.request_body, index = item })
        end
        if instance.response_body then
            table.insert(response, 1, { filter = instance.response_body, index = item })
        end
    end
    return { request, response }, (#request > 0 and 1 or 0) + (#response > 0 and 2 or 0)
end

local instances = loader.all(wanted.plugins or {}, wanted.chains or {}, require("moongate.ffi.fault").of(fault))
local chains, logs, chunks, filters, streams = {}, {}, {}, {}, {}
for i, items in ipairs(wanted.chains or {}) do
    local layers
    filters[i], streams[i] = filters_of(items, instances)
    layers, logs[i] = layers_of(items, instances, streams[i])
    chains[i] = chain.compose(layers, fresh)
end
for i, plugin in ipairs(wanted.plugins or {}) do
    budget.limit(i - 1, plugin.cpu_ms)
    chunks[i] = { plugin.chunkname }
    for _, part in pairs(plugin.lib or {}) do
        table.insert(chunks[i], part.chunkname)
    end
end

local describe = require("moongate.worker.fault")(chunks)
return {
    plugins = instances,
    everies = require("moongate.sdk.task").everies,
    streams = streams,
    aside = require("moongate.worker.aside")(filters, logs, describe),
    logs = logs,
    slot = require("moongate.worker.slot")(chains, logs),
    fault = describe,
}
