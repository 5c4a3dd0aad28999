-- `moongate test`: what it prints, its exit statuses, what it finds alive behind a test, and that a seed repeats a run.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function test(spec, args, opts)
    opts = opts or {}
    opts.files = opts.files or {}
    opts.files["tests/a_spec.lua"] = spec
    return e2e.run({ "test", unpack(args or {}) }, opts)
end

--- A file of one test, whose body this is.
local function one(body)
    return 'local mg = require "moongate.test"\nit("does it", function()\n' .. body .. "\nend)\n"
end

local PLUGIN = [[
return { name = "p", version = "1.0.0", new = function() return function(ctx, next)
%s
end end }
]]

local function plugin(body)
    return { ["plugins/p/plugin.lua"] = PLUGIN:format(body) }
end

local GATEWAY = [[
    local gw = mg.gateway { plugins = { p = { use = "./plugins/p" } },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "p" } } } }
]]

local function has(result, text)
    if not result.out:find(text, 1, true) then
        error("no " .. text .. " in:\n" .. result.out .. result.err, 2)
    end
end

describe("moongate test", function()
    it("runs the spec of the handbook", function()
        local result = test [[
local mg = require "moongate.test"
describe("cart", function()
  it("opens the breaker, then probes after five seconds", function()
    local up = mg.upstream():reply(503):times(20):reply(200, { ok = true })
    local breaker = { min_requests = 20, error_rate = "50%", open_for = "5s", open_jitter = "0%" }
    local gw = mg.gateway { services = { cart = { endpoints = { up }, breaker = breaker } } }
    for _ = 1, 20 do gw:get("/v1/carts/42") end
    assert.equal("open", gw.breaker.cart.state)
    mg.clock:advance "5s"
    assert.equal(200, gw:get("/v1/carts/42").status)
    assert.has_metric(gw, 'moongate_breaker_transitions_total{service="cart",to="half_open"}', 1)
  end)
end)
]]
        has(result, "tests/a_spec.lua")
        has(result, "1 ok")
        has(result, "1 passed, 0 failed, 0 leaked; 5 s of virtual time in ")
        assert.equal(0, result.code)
    end)

    it("tells a failure with its line and the command that repeats it", function()
        local result = test(one "assert.equal(1, 2)", { "--seed", "77" })
        assert.equal(1, result.code)
        has(result, "FAILED does it   tests/a_spec.lua:2")
        has(result, "tests/a_spec.lua:3: Expected objects to be equal.")
        has(result, "again: moongate test tests/a_spec.lua --filter 'does it' --seed 77")
        has(result, "0 passed, 1 failed, 0 leaked")
    end)

    it("tells with a failure what a plugin did wrong", function()
        local result = test(one(GATEWAY .. 'assert.equal(200, gw:get("/").status)'), {}, { files = plugin [[
            local x = ctx.request.nothing.there
            return ctx:respond(200)]] })
        assert.equal(1, result.code)
        has(result, "the gateway logged plugin_error: plugin p@1.0.0, route all: plugins/p/plugin.lua:2: ")
    end)

    it("runs specs that know nothing of it, with busted's options", function()
        local spec = [[
describe("plain", function()
  local count = 0
  before_each(function() count = count + 1 end)
  it("is counted #quick", function() assert.equal(1, count) end)
  it("is left out", function() error("it ran") end)
  pending("is not done")
end)
]]
        local tap = test(spec, { "--tags=quick", "-o", "TAP" })
        assert.equal(0, tap.code)
        has(tap, "ok 1 - plain is counted #quick")
        local junit = test(spec, { "--filter", "counted", "--output=junit" })
        has(junit, "<testcase")
        assert.equal(0, junit.code)
        local json = test(spec, { "--filter=counted", "-o", "json" })
        assert.equal(1, #e2e.json.decode(json.out).successes)
        has(test(spec, { "--filter=counted", "-o", "plainTerminal" }), "1 success / 0 failures")
        assert.equal(1, test(spec, {}).code)
    end)

    it("says what is missing", function()
        local nothing = e2e.run { "test" }
        assert.equal(2, nothing.code)
        assert.truthy(nothing.err:find("there is neither tests/ nor plugins/*/spec here", 1, true))
        local seed = test(one "", { "--seed", "x" })
        assert.equal(2, seed.code)
        local cut = test(one "", { "--filter" })
        assert.equal(2, cut.code)
        assert.equal("moongate test: --filter needs a value\n", cut.err)
        local nowhere = test(one "", { "nowhere" })
        assert.equal(1, nowhere.code)
        has(nowhere, "Cannot find file or directory: nowhere")
        assert.is_nil(nowhere.out:find("nil", 1, true))
        local without = test(one "", {}, { env = { LUA_PATH = "/nowhere/?.lua", LUA_CPATH = "/nowhere/?.so" } })
        assert.equal(1, without.code)
        assert.truthy(without.err:find("busted is not installed: apt-get install lua-busted", 1, true), without.err)
        local broken = test "it('x', function() end"
        assert.equal(1, broken.code)
        has(broken, "tests/a_spec.lua")
    end)

    it("finds specs of plugins by itself", function()
        local result = e2e.run({ "test" }, { files = { ["plugins/p/spec/p_spec.lua"] = one "" } })
        assert.equal(0, result.code)
        has(result, "plugins/p/spec/p_spec.lua")
    end)
end)

describe("moongate test finds alive behind a test", function()
    it("a request without its response", function()
        local result = test(one [[
            local up = mg.upstream():stall()
            mg.gateway { services = { a = { endpoints = { up } } } }:start { path = "/x" }
        ]])
        assert.equal(1, result.code)
        has(result, "request GET /x without its response, made by tests/a_spec.lua:4")
        has(result, "1 exchange, in the gateway made by tests/a_spec.lua:4")
        has(result, "0 passed, 1 failed, 2 leaked")
    end)

    it("an open connection", function()
        local result = test(one "mg.gateway {}:connect()")
        assert.equal(1, result.code)
        has(result, "open connection, made by tests/a_spec.lua:3")
    end)

    it("a task that a plugin began", function()
        local result = test(one(GATEWAY .. 'gw:get("/")'), {}, { files = plugin [[
            ctx:task(function(later) later:sleep(20) end):detach()
            return ctx:respond(200)]] })
        assert.equal(1, result.code)
        has(result, "a task of p, plugins/p/plugin.lua:2, in the gateway made by tests/a_spec.lua:3")
    end)

    it("nothing, when a hook of the spec ends it", function()
        local result = test [[
local mg = require "moongate.test"
describe("x", function()
  local connection
  after_each(function() connection:close() end)
  it("leaves it to the hook", function() connection = mg.gateway {}:connect() end)
end)
it("finally", function()
  local connection = mg.gateway {}:connect()
  finally(function() connection:close() end)
end)
]]
        assert.equal(0, result.code, result.out)
    end)

    it("something once, when the test has failed anyway", function()
        local result = test(one 'mg.gateway {}:connect() error("this")')
        assert.equal(1, result.code)
        has(result, "this")
        has(result, "0 passed, 1 failed, 0 leaked")
    end)
end)

describe("a run of moongate test", function()
    local RANDOM = one [[
        local ups = {}
        for i = 1, 3 do ups[i] = mg.upstream():reply(200, "x"):delay "5ms" end
        mg.net:chunk(7)
        local service = { endpoints = { ups[1], ups[2], ups[3] }, balance = "random" }
        local gw = mg.gateway { workers = 2, services = { a = service } }
        local handles = {}
        for i = 1, 40 do handles[i] = gw:start { path = "/" .. i } end
        for _, handle in ipairs(handles) do handle:wait() end
        for _, line in ipairs(gw:access()) do
            print(line.path, line.endpoint, line.trace_id, line.time, line.duration_s)
        end
        for _, line in ipairs(gw:log()) do print(line.time, line.event, line.message) end
    ]]

    it("is the same with the same seed, and another with another", function()
        local args = { "-o", "plainTerminal", "--seed" }
        local function lines(seed)
            local result = test(RANDOM, { args[1], args[2], args[3], seed })
            assert.equal(0, result.code, result.out .. result.err)
            return (result.out:gsub("%d+%.%d+ seconds", ""):gsub("/tmp/lua_%w+", ""))
        end
        local first = lines "5"
        assert.truthy(first:find("/40", 1, true))
        assert.equal(first, lines "5")
        assert.not_equal(first, lines "6")
    end)
end)
