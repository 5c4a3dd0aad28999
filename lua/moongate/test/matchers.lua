--- matchers: assert.has_metric(gw, 'name{label="x"}', 1).
local say = require("say")
local luassert = require("luassert")

local function has_metric(state, arguments)
    local gw, selector, wanted = arguments[1], arguments[2], arguments[3]
    local value = gw:metric(selector)
    arguments[1], arguments[2], arguments[3] = selector, wanted, value
    arguments.n = 3
    state.failure_message = ("expected %s to be %s, it is %s"):format(selector, tostring(wanted), tostring(value))
    if wanted == nil then
        return value ~= nil
    end
    return value == wanted
end

say:set("assertion.has_metric.positive", "expected %s to be %s, it is %s")
say:set("assertion.has_metric.negative", "expected %s not to be %s, it is %s")
luassert:register("assertion", "has_metric", has_metric, "assertion.has_metric.positive",
    "assertion.has_metric.negative")
