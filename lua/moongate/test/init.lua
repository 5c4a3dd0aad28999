--- moongate.test: gateways, upstreams and a clock for specs.
local c = require("moongate.test.c")
local gateway = require("moongate.test.gateway")
local plugin = require("moongate.test.plugin")
local units = require("moongate.test.units")
local upstream = require("moongate.test.upstream")
local world = require("moongate.test.world")
local json = require("moongate.sdk.json")

---@class moongate.test
local mg = { json = json }

--- A server that answers as its script says.
---@param options? { address?: string, name?: string }
---@return moongate.test.Upstream
function mg.upstream(options)
    return upstream.new(options)
end

--- A gateway that serves.
---@param conf table  the document, or { file = "moongate.yaml", replace = { ["services.cart"] = up } }
---@return moongate.test.Gateway
function mg.gateway(conf)
    return gateway.new(conf)
end

--- One plugin under test: mg.plugin("greet", { header = "x" }):run { headers = { .. } }.
---@param use string|table  its name, its folder, or what mg.handler returned
---@param config? table
---@return moongate.test.Plugin
function mg.plugin(use, config)
    return plugin.new(use, config)
end

--- A plugin whose handler is this text: plugins = { p = mg.handler "ctx:respond(204)" }.
---@param text string
---@param options? { config?: table, request?: string, response?: string }
function mg.handler(text, options)
    return plugin.handler(text, options)
end

mg.clock = {}

--- Lets virtual time pass.
---@param duration string|number  "5s"; a number is milliseconds
function mg.clock:advance(duration)
    world.here():wait(units.ms(duration))
end

--- Milliseconds of virtual time since the test began.
function mg.clock:now()
    return world.here():now()
end

--- The wall clock steps, the monotonic one does not; without a duration: what the wall clock says, in ms since 1970.
---@param duration? string  "-1h"
---@return number ms
function mg.clock:wall(duration)
    local here = world.here()
    if duration then
        local sign, rest = tostring(duration):match("^([+-]?)(.*)$")
        c.step_wall(here.spec, units.ms(rest) * (sign == "-" and -1 or 1))
        here:settle()
    end
    return c.wall_ms(here.spec)
end

mg.dns = {}

--- What a name leads to: addresses, or "none" for a name that does not exist.
---@param name string
---@param addresses string|string[]
---@param ttl? string  "60s"
function mg.dns:set(name, addresses, ttl)
    local here = world.here()
    local text = type(addresses) == "table" and table.concat(addresses, ",") or addresses
    if not c.set_name(here.spec, name:lower(), text == "none" and "" or text, units.ms(ttl or "60s") / 1000) then
        units.fail("%s", c.why(here.spec))
    end
end

mg.net = {}

--- Sockets move at most so many bytes at once, at random; 0: as many as fit.
function mg.net:chunk(bytes)
    c.set_chunk(world.here().spec, bytes)
end

return mg
