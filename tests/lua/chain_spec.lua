local machine = require("tests.lua.machine")
local ffi = require("ffi")

local function log_of(m)
    return ffi.string(machine.lib.mg_support_log(m.fixture))
end

describe("a chain", function()
    it("runs its layers in order, and unwinds them backwards", function()
        local order = {}
        local function layer(name)
            return function(ctx, next)
                order[#order + 1] = name .. " in"
                next(ctx)
                order[#order + 1] = name .. " out"
            end
        end
        assert.equal("NEXT DONE", machine.of(layer("a"), layer("b"), layer("c")):run())
        assert.same({ "a in", "b in", "c in", "c out", "b out", "a out" }, order)
    end)

    it("ends without proxying when a handler answers", function()
        local m = machine.of(function(ctx)
            ctx:respond(403, "no")
        end, function()
            error("never reached")
        end)
        assert.equal("DONE", m:run())
    end)

    it("may hold the same handler twice", function()
        local count = 0
        local function twice(ctx, next)
            count = count + 1
            return next(ctx)
        end
        assert.equal("NEXT DONE", machine.of(twice, twice):run())
        assert.equal(2, count)
    end)

    it("serves one request after another from one slot", function()
        local m = machine.of(function(ctx, next)
            return next(ctx)
        end)
        for _ = 1, 3 do
            assert.equal("NEXT DONE", m:run())
        end
    end)

    it("refuses next behind an answer, whoever gave it, and says so", function()
        local reached = false
        local function ask(_, next)
            return next
        end
        for _, handler in ipairs({
            function(ctx, next)
                ctx:respond(403, "no")
                next(ctx)
            end,
            function(ctx, next)
                pcall(ctx.respond, ctx, 403, "no", { ["not a name"] = "1" })
                ask(ctx, next)(ctx)
            end,
            function(ctx, next)
                ctx:respond(403, { title = "No" })
                ctx:sleep(0)
                next(ctx)
            end,
        }) do
            local m = machine.of(handler, function()
                reached = true
            end)
            local ok, err = m:run()
            assert.is_nil(ok)
            assert.truthy(err.message:find("chain_spec.lua:%d+: this request is answered: return after ctx:respond"))
            assert.equal(0, err.plugin)
        end
        assert.is_false(reached)
    end)

    it("keeps an answer whose plugin raises and is passed over", function()
        for _, mode in ipairs({ "open", "skip" }) do
            local m = machine.new({
                { handler = function(ctx)
                    ctx:respond(403, "no")
                    error("as told")
                end, index = 0, on_error = mode },
                { handler = function()
                    error("never reached")
                end, index = 1, on_error = "closed" },
            })
            assert.equal("DONE", m:run())
            assert.truthy(log_of(m):find("as told", 1, true))
        end
    end)

    it("refuses a second next, and says so", function()
        local m = machine.of(function(ctx, next)
            next(ctx)
            next(ctx)
        end)
        local ok, err = m:run()
        assert.is_nil(ok)
        assert.truthy(err.message:find("chain_spec.lua:%d+: next%(ctx%) was called twice"))
        assert.equal(0, err.plugin)
    end)

    it("refuses a second next in an inner layer as well", function()
        local m = machine.of(function(ctx, next)
            next(ctx)
        end, function(ctx, next)
            next(ctx)
            next(ctx)
        end)
        local _, err = m:run()
        assert.equal(1, err.plugin)
        assert.truthy(err.message:find("called twice"))
    end)

    it("refuses next without its ctx", function()
        local m = machine.of(function(_, next)
            next()
        end)
        local _, err = m:run()
        assert.truthy(err.message:find("chain_spec.lua:%d+: next wants the ctx"))
    end)

    it("names the layer that raised, with a traceback", function()
        local m = machine.of(function(ctx, next)
            return next(ctx)
        end, function(ctx)
            return ctx.request.path.nothing.here
        end)
        local _, err = m:run()
        assert.equal(1, err.plugin)
        assert.truthy(err.message:find("attempt to index"))
        assert.truthy(err.traceback:find("stack traceback"))
        assert.truthy(err.traceback:find("chain_spec.lua"))
    end)

    it("names the right layer after an outer one caught an inner one's error", function()
        local m = machine.new({
            {
                handler = function(ctx, next)
                    pcall(next, ctx) -- of busted: the sandbox's own puts the plugin right, see sandbox_spec
                    require("moongate.sdk.running").here.plugin = 0
                    error("mine")
                end,
                index = 0,
            },
            { handler = function() error("theirs") end, index = 1 },
        })
        local _, err = m:run()
        assert.equal(0, err.plugin)
        assert.truthy(err.message:find("mine"))
    end)

    it("works again with a new slot after one died", function()
        local fail = true
        local m = machine.of(function(ctx, next)
            if fail then
                error("once")
            end
            return next(ctx)
        end)
        assert.is_nil(m:run())
        fail = false
        assert.equal("NEXT DONE", m:run())
    end)

    it("may yield before and after next, and under pcall", function()
        local m = machine.of(function(ctx, next)
            ctx:sleep(0.1)
            assert(pcall(function()
                ctx:sleep(0.2)
                next(ctx)
                ctx:sleep(0.3)
            end))
            assert.equal(200, ctx.response.status)
        end)
        assert.equal("SLEEP SLEEP NEXT SLEEP DONE", m:run())
    end)
end)

describe("on_error", function()
    local function layers(on_error, handler)
        local after = { count = 0 }
        return {
            { handler = handler, index = 0, on_error = on_error },
            {
                handler = function(ctx, next)
                    after.count = after.count + 1
                    return next(ctx)
                end,
                index = 1,
                on_error = "closed",
            },
        }, after
    end

    it("closed ends the whole chain", function()
        local wanted, after = layers("closed", function()
            error("broken")
        end)
        local ok, err = machine.new(wanted):run()
        assert.is_nil(ok)
        assert.equal(0, err.plugin)
        assert.equal(0, after.count)
    end)

    it("open goes on as if the plugin had called next, and logs the traceback", function()
        local wanted, after = layers("open", function()
            error("broken")
        end)
        local m = machine.new(wanted)
        for i = 1, 3 do
            assert.equal("NEXT DONE", m:run())
            assert.equal(i, after.count)
        end
        assert.truthy(log_of(m):find("broken"))
        assert.truthy(log_of(m):find("stack traceback"))
        assert.truthy(log_of(m):find("chain_spec.lua"))
    end)

    it("open passes whatever was raised, even what has no text", function()
        local wanted, after = layers("open", function()
            error(setmetatable({}, { __tostring = function() error("no") end }))
        end)
        local m = machine.new(wanted)
        assert.equal("NEXT DONE", m:run())
        assert.equal(1, after.count)
        assert.truthy(log_of(m):find("a table: {}", 1, true))
    end)

    it("open tells the fields of a table that was raised", function()
        local wanted = layers("open", function()
            error({ code = 5, reason = "no seat" })
        end)
        local m = machine.new(wanted)
        assert.equal("NEXT DONE", m:run())
        assert.truthy(log_of(m):find('a table: {code = 5, reason = \\"no seat\\"}', 1, true), log_of(m))
    end)

    it("open does not proxy twice when the plugin raised on its way out", function()
        local wanted, after = layers("open", function(ctx, next)
            next(ctx)
            error("broken")
        end)
        assert.equal("NEXT DONE", machine.new(wanted):run())
        assert.equal(1, after.count)
    end)

    it("skip rests the plugin for 30 s", function()
        local calls = 0
        local wanted, after = layers("skip", function()
            calls = calls + 1
            error("broken")
        end)
        local m = machine.new(wanted)
        assert.equal("NEXT DONE", m:run())
        machine.lib.mg_support_advance(m.fixture, 29)
        assert.equal("NEXT DONE", m:run())
        assert.equal(1, calls)
        machine.lib.mg_support_advance(m.fixture, 1.1)
        assert.equal("NEXT DONE", m:run())
        assert.equal(2, calls)
        assert.equal(3, after.count)
    end)

    it("of an outer layer does not swallow an inner, closed one", function()
        local m = machine.new({
            { handler = function(ctx, next) return next(ctx) end, index = 0, on_error = "open" },
            { handler = function() error("inner") end, index = 1, on_error = "closed" },
        })
        local ok, err = m:run()
        assert.is_nil(ok)
        assert.equal(1, err.plugin)
        assert.truthy(err.message:find("inner"))
        assert.truthy(err.traceback:find("chain_spec.lua"))
    end)

    it("does not catch the end of a request", function()
        local m = machine.new({
            { handler = function(ctx, next) return next(ctx) end, index = 0, on_error = "open" },
        })
        assert.equal("NEXT", m:begin())
        machine.lib.mg_support_cancel(m.fixture, "client_gone")
        local wait, err = m:resume()
        assert.is_nil(wait)
        assert.truthy(err.message:find("request is over"))
    end)
end)

describe("log handlers", function()
    it("run when the request is over", function()
        local seen = {}
        local handler = function(ctx, next)
            ctx.state.mark = "kept"
            return next(ctx)
        end
        local m = machine.new({ { handler = handler, index = 0 } }, {
            { log = function(ctx) seen[#seen + 1] = ctx.state.mark end, index = 0 },
        })
        assert.equal("NEXT DONE", m:run())
        assert.same({}, seen)
        m:log()
        assert.same({ "kept" }, seen)
    end)

    it("go on when one of them raises", function()
        local seen = {}
        local m = machine.new({ { handler = function(ctx, next) return next(ctx) end, index = 0 } }, {
            { log = function() error("broken log") end, index = 0 },
            { log = function() seen[#seen + 1] = true end, index = 0 },
        })
        assert.equal("NEXT DONE", m:run())
        m:log()
        assert.same({ true }, seen)
        assert.truthy(log_of(m):find("broken log"))
    end)

    it("run where the handler has raised, with what it left in ctx.state", function()
        local seen = {}
        local m = machine.new({ { handler = function(ctx) ctx.state.mark = "kept" error("mine") end, index = 0 } }, {
            { log = function(ctx) seen[#seen + 1] = ctx.state.mark end, index = 0 },
        })
        local wait = m:begin()
        assert.is_nil(wait)
        m:log()
        assert.same({ "kept" }, seen)
    end)

    it("cannot wait", function()
        local m = machine.new({ { handler = function(ctx, next) return next(ctx) end, index = 0 } }, {
            { log = function(ctx) ctx:sleep(1) end, index = 0 },
        })
        assert.equal("NEXT DONE", m:run())
        m:log()
        assert.truthy(log_of(m):find("only a handler may"))
    end)
end)
