--- What runs for every request has to be compiled: no trace through it may be given up.
local machine = require("tests.lua.machine")
local budget = require("moongate.worker.budget")
local loader = require("moongate.worker.loader")
local running = require("moongate.sdk.running")
local sandbox = require("moongate.worker.sandbox")
local strings = require("moongate.worker.strings")
local util = require("jit.util")
local vmdef = require("jit.vmdef")

--- Runs fn with an empty compiler. Traces that were given up in the SDK or a plugin, as text; and how many were made.
local function traced(fn)
    local aborts, made = {}, 0
    local function on_trace(what, _, func, pc, code, reason)
        if what == "stop" then
            made = made + 1
        elseif what == "abort" then
            local info = util.funcinfo(func, pc)
            if info.loc and (info.loc:find("moongate", 1, true) or info.loc:find("plugin", 1, true)
                    or info.loc:find("layer", 1, true)) then
                local why = vmdef.traceerr[code]:format(type(reason) == "function" and "function" or reason)
                aborts[#aborts + 1] = info.loc .. ": " .. why
            end
        end
    end
    jit.flush()
    jit.attach(on_trace, "trace")
    fn()
    jit.attach(on_trace)
    return table.concat(aborts, "\n"), made
end

--- A worker over plugins of these sources.
local function worker(sources)
    local plugins, items, layers = {}, {}, {}
    for i, source in ipairs(sources) do
        local chunkname = "plugins/p" .. i .. "/plugin.lua"
        plugins[i] = { name = "p" .. i, use = "./p" .. i, chunkname = chunkname, source = source }
        items[i] = i - 1
    end
    local lent = machine.new({}) -- lends its host to new
    for i, instance in ipairs(loader.all(plugins, { items })) do
        layers[i] = { handler = instance.handler, index = i - 1, on_error = "closed" }
    end
    local m = machine.new(layers)
    m.lent = lent
    return m
end

local function requests(m, count)
    for _ = 1, count do
        assert(m:run() == "NEXT DONE")
        machine.lib.mg_support_advance(m.fixture, 0.001)
    end
end

local function handler(body, before)
    return ([[
        local mg = require "moongate"
        local plugin = {}
        function plugin.new()
            %s
            return function(ctx, next)
                %s
            end
        end
        return plugin]]):format(before or "", body)
end

local reference = {
    handler([[
        local id = ctx.request:header("x-request-id") or ctx:new_id()
        if #id > 64 then
            return ctx:respond(400, "malformed x-request-id")
        end
        ctx.request:set_header("x-request-id", id)
        next(ctx)
        ctx.response:set_header("x-request-id", id)]]),
    handler([[
        local who = keys[ctx.request:header("x-api-key") or ""]
        if not who then
            return ctx:respond(401, { title = "Unknown key" })
        end
        ctx:set_consumer(who)
        ctx.request:set_header("x-consumer", who)
        return next(ctx)]], "local keys = { k1 = 'alice' }"),
    handler([[
        local allowed, remaining, retry_ms = bucket:take(ctx.consumer or ctx.request.client_address)
        if not allowed then
            return ctx:respond(429, { title = "Too many requests" })
        end
        next(ctx)
        ctx.response:set_header("x-left", remaining)]], "local bucket = mg.limiter { rate = '100000/s' }"),
    handler([[
        ctx.request:set_header("x-gateway", "moongate")
        ctx.request:add_header("x-gateway", "again")
        ctx.request:remove_header("x-api-key")
        return next(ctx)]]),
    handler([[
        next(ctx)
        seen:add()
        ctx.response:set_header("x-served-by", "moongate")]], "local seen = mg.counter('seen')"),
}

describe("the compiler", function()
    setup(function() -- as boot does: plugins are woven, and traces may be as long
        require("jit.opt").start("maxrecord=8000", "maxsnap=1000", "maxirconst=4000")
        sandbox.bound(budget, strings)
        getmetatable("").__index = strings.string
    end)

    teardown(function()
        require("jit.opt").start("maxrecord=4000", "maxsnap=500", "maxirconst=500")
        sandbox.bound(false)
        getmetatable("").__index = string
    end)

    it("takes the reference chain of five plugins without giving a trace up", function()
        local m = worker(reference)
        local aborts, made = traced(function()
            requests(m, 3000)
        end)
        assert.equal("", aborts)
        assert.is_true(made > 0)
    end)

    it("makes no further traces once the chain is warm", function()
        local m = worker(reference)
        requests(m, 3000)
        jit.flush()
        requests(m, 6000)
        local late = 0
        local function count(what)
            late = late + (what == "start" and 1 or 0)
        end
        jit.attach(count, "trace")
        requests(m, 1000)
        jit.attach(count)
        assert.is_true(late <= 5, late .. " traces were begun after 6000 requests")
    end)

    for name, body in pairs({
        ["a chain of empty layers"] = "return next(ctx)",
        ["reading texts"] = [[
            local r = ctx.request
            if r.method ~= "GET" or r.path == "" or r.host == "" or r.query == "" or r.client_address == "" then
                error("request")
            end
            next(ctx)]],
        ["reading parameters"] = [[
            if ctx.request:query_param("a") ~= "1" or ctx.params.id or ctx.request:param("id") then
                error("parameter")
            end
            next(ctx)]],
        ["state"] = "ctx.state.n = (ctx.state.n or 0) + 1; next(ctx)",
        ["the status"] = "next(ctx); if ctx.response.status == 500 then ctx.response:set_status(503) end",
        ["patterns"] = [[
            local path = ctx.request.path
            if not path:find("^/v%d+/") or path:match("^/(v%d+)/") ~= "v1" or path:find("x", 1, true) then
                error("pattern")
            end
            next(ctx)]],
        ["reservations round next"] = [[
            local turn = ctx.limit:reserve("orders", "k", 1, 1)
            if not turn then
                error("refused")
            end
            next(ctx)
            if ctx.response.status >= 500 then
                turn:commit()
            else
                turn:cancel()
            end]],
        ["charges of the configuration's limiters"] = [[
            local allowed, remaining = ctx.limit:take("orders", ctx.request.client_address, 0)
            if not allowed or remaining > 2 then
                error("limit")
            end
            next(ctx)]],
        ["the breaker of a service"] = [[
            local ticket = ctx.breaker:ask("cart")
            if not ticket then
                error("refused")
            end
            next(ctx)
            ctx.breaker:finish("cart", ticket, ctx.response.status < 500 and "ok" or "fail", 0.01)]],
        ["views of services"] = [[
            local service = ctx.service
            if service.healthy < 1 or service.panic or service.breaker ~= "closed" or service.inflight > 0 then
                error("service")
            end
            next(ctx)]],
        ["hosts of services"] = [[
            local hosts = ctx.service.hosts
            if hosts[1].weight ~= 1 or hosts[2].weight ~= 3 or not hosts[2].usable or hosts[3] then
                error("hosts")
            end
            next(ctx)]],
        ["the time"] = "local t = ctx.time.mono(); next(ctx); if ctx.time.now() < t then error('time') end",
    }) do
        it("takes " .. name, function()
            local m = worker({ handler(body), handler(body .. " "), handler(body) })
            local aborts, made = traced(function()
                requests(m, 2000)
            end)
            assert.equal("", aborts)
            assert.is_true(made > 0)
        end)
    end

    it("would be seen to give up: a closure a request", function()
        local m = worker({ handler("local f = function() return ctx end; if f() then next(ctx) end") })
        local aborts = traced(function()
            requests(m, 2000)
        end)
        assert.truthy(aborts:find("NYI"), aborts)
    end)

    it("leaves no garbage of the runtime's own but the ctx", function()
        local m = worker({ handler("return next(ctx)") })
        requests(m, 3000)
        collectgarbage()
        collectgarbage("stop")
        local before = collectgarbage("count")
        for _ = 1, 1000 do
            machine.lib.mg_support_begin(m.fixture)
            coroutine.resume(m.slot)
            coroutine.resume(m.slot)
        end
        local grown = (collectgarbage("count") - before) * 1024 / 1000
        collectgarbage("restart")
        assert.is_true(grown < 64 + 16, grown .. " bytes a request")
    end)

    it("does not forget whose plugin runs when chains are compiled", function()
        local m = worker(reference)
        requests(m, 500)
        assert.equal(-1, (running.here.plugin))
    end)
end)
