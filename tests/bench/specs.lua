--- specs: how long `moongate test` takes for a thousand tests of the size of the handbook's: a gateway, an upstream,
--- twenty-one requests, five seconds of virtual time, the admin listener and /metrics asked.
--- MOONGATE=build/bench/moongate luajit tests/bench/specs.lua [COUNT]
local count = tonumber(arg[1]) or 1000
local program = os.getenv("MOONGATE") or "build/release/moongate"

local TEST = [[
  it("opens the breaker, then probes after five seconds, %d", function()
    local up = mg.upstream():reply(503):times(20):reply(200, { ok = true })
    local gw = mg.gateway { services = { cart = { endpoints = { up },
        breaker = { min_requests = 20, error_rate = "50%%", open_for = "5s", open_jitter = "0%%" } } } }
    for _ = 1, 20 do gw:get("/v1/carts/42") end
    assert.equal("open", gw.breaker.cart.state)
    mg.clock:advance "5s"
    assert.equal(200, gw:get("/v1/carts/42").status)
    assert.has_metric(gw, 'moongate_breaker_transitions_total{service="cart",to="half_open"}', 1)
  end)
]]

local path = os.tmpname() .. "_spec.lua"
local file = assert(io.open(path, "w"))
file:write('local mg = require "moongate.test"\ndescribe("cart", function()\n')
for i = 1, count do
    file:write(TEST:format(i))
end
file:write("end)\n")
file:close()

local pipe = assert(io.popen(("bash -c 'TIMEFORMAT=%%U+%%S; time %s test %s' 2>&1"):format(program, path)))
local out = pipe:read("*a")
pipe:close()
os.remove(path)
local passed = tonumber(out:match("(%d+) passed, 0 failed"))
local user, system = out:match("([%d.]+)%+([%d.]+)%s*$")
if not user or passed ~= count then
    io.stderr:write(out)
    os.exit(1)
end
print(("%d tests: %.2f s of CPU, %.2f ms a test"):format(count, user + system, (user + system) * 1000 / count))
