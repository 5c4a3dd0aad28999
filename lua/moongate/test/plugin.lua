--- plugin: one plugin under test, in a chain of its own: in the real sandbox, with its configuration checked against
--- its schema, on real exchanges.
local files = require("moongate.test.files")
local gateway = require("moongate.test.gateway")
local units = require("moongate.test.units")
local upstream = require("moongate.test.upstream")
local json = require("moongate.sdk.json")

local plugin = {}

local FRAME = [[
return {
    name = %q, version = "0.0.0", body = { request = %q, response = %q },
    new = function(conf) return function(ctx, next) %s end end,
}
]]

--- A plugin whose handler is this text, for `plugins` of a document: plugins = { p = mg.handler "ctx:respond(204)" }.
---@param text string  the handler's body: ctx, next and conf are there
---@param options? { config?: table, request?: string, response?: string }  what bodies it takes: "buffer(64KiB)"
---@return table
function plugin.handler(text, options)
    options = options or {}
    local folder = files.plugin(FRAME:format("inline", options.request or "none", options.response or "none", text))
    return { use = folder, config = options.config }
end

local KNOWN, WHO = "x-moongate-test", "x-moongate-test-consumer" -- fields that a request of a consumer begins with
local SET_CONSUMER = ([[
    ctx:set_consumer(ctx.request:header(%q))
    ctx.request:remove_header(%q)
    ctx.request:remove_header(%q)
    return next(ctx)
]]):format(WHO, WHO, KNOWN)

---@class moongate.test.Plugin
local Plugin = {}
Plugin.__index = Plugin

local RUN = {
    method = true, path = true, query = true, headers = true, body = true, host = true, from = true, consumer = true,
    upstream = true, json = true,
}

local function values_of(message, name)
    return message and message:all(name) or {}
end

--- What takes time to learn: the consumer stands in the access log, which is written a second later at most.
local late = {
    __index = function(result, name)
        return name == "consumer" and result.plugin.gateway:access()[result.number].consumer or nil
    end,
}

--- Sends a request through the plugin. `upstream` is what next answers: { status, headers, body }.
---@param wanted? table
---@return table result  status, response, log (what the plugin logged), consumer, proxied (whether next was called),
--- and then request: as it arrived behind the plugin
function Plugin:run(wanted)
    wanted = wanted or {}
    for name in pairs(wanted) do
        if not RUN[name] then
            units.fail("run has no option %q", tostring(name))
        end
    end
    local answer = wanted.upstream or {}
    self.upstream.script = {}
    self.upstream.at, self.upstream.given = 1, 0
    self.upstream:reply(answer.status or 200, answer.body, answer.headers)
    local before, logged = #self.upstream.requests, #self.gateway:log("plugin")
    local headers = wanted.consumer and { { KNOWN, "consumer" }, { WHO, wanted.consumer } } or {}
    for name, value in pairs(wanted.headers or {}) do
        headers[name] = value
    end
    local response = self.gateway:request({
        method = wanted.method, path = (wanted.path or "/") .. (wanted.query and "?" .. wanted.query or ""),
        headers = headers, body = wanted.body, json = wanted.json, host = wanted.host or "gateway.test",
        from = wanted.from or "192.0.2.1",
    })
    local request = self.upstream.requests[before + 1]
    local log = {}
    for at, entry in ipairs(self.gateway:log("plugin")) do
        if at > logged then
            log[#log + 1] = entry
        end
    end
    response.header_values = values_of
    if request then
        request.header_values = values_of
        request.query = request.target:match("%?(.*)$")
    end
    self.runs = (self.runs or 0) + 1
    return setmetatable({
        status = response.status, response = response, request = request, proxied = request ~= nil, log = log,
        plugin = self, number = self.runs,
    }, late)
end

--- A plugin by its name (./plugins/NAME when that is there, else a built-in) or by its folder, or mg.handler's, with
--- its configuration.
---@param use string|table
---@param config? table
---@return moongate.test.Plugin
function plugin.new(use, config)
    local what = type(use) == "table" and use or { use = use }
    local name = what.use:match("^[%w_-]+$")
    local folder = name and files.is_there("plugins/" .. name .. "/plugin.lua")
    local up = upstream.new()
    local path = json.list({ { prefix = "/" } })
    local gw = gateway.new({
        services = { service = { endpoints = { up } } },
        plugins = {
            [name or "under_test"] = { use = folder and "./plugins/" .. name or what.use,
                config = config or what.config },
            who = plugin.handler(SET_CONSUMER),
        },
        routes = {
            { name = "known", match = { paths = path, headers = { [KNOWN] = "consumer" } },
                plugins = { "who", name or "under_test" }, service = "service" },
            { name = "route", match = { paths = path }, plugins = { name or "under_test" }, service = "service" },
        },
    })
    return setmetatable({ gateway = gw, upstream = up }, Plugin)
end

return plugin
