--- gateway: a gateway in the world of a test: the C that serves, whole, with its Lua. What it is asked about itself
--- goes through its admin listener and /metrics, as any operator asks.
local c = require("moongate.test.c")
local client = require("moongate.test.client")
local files = require("moongate.test.files")
local units = require("moongate.test.units")
local upstream = require("moongate.test.upstream")
local world = require("moongate.test.world")
local json = require("moongate.sdk.json")

local RELOAD_MS, STOP_MS = 30000, 600000

---@class moongate.test.Gateway
---@field breaker table<string, table>  by service: { state = "open", .. }
---@field service table<string, table>  what GET /v1/services/NAME says
---@field limiter table<string, table>  what GET /v1/limiters says of it; .keys: those that owe something
---@field route table<string, table>
---@field rollout table<string, table>
---@field kv table<string, table>  by namespace: :get(key), :set(key, value), :del(key)
local Gateway = {}

-- ---- the document ----

local function is_upstream(value)
    return type(value) == "table" and getmetatable(value) == upstream.meta
end

--- The document as plain values: an upstream becomes its URL, or an endpoint with it.
local function plain(value, in_list)
    if is_upstream(value) then
        return in_list and { url = value.url } or value.url
    elseif type(value) ~= "table" then
        return value
    end
    local copy = {}
    for key, item in pairs(value) do
        copy[key] = plain(item, type(key) == "number")
    end
    return #value > 0 and json.list(copy) or copy
end

--- One service and no routes: everything goes there.
local function add_route(document)
    local name = next(document.services or {})
    if not document.routes and name and next(document.services, name) == nil then
        document.routes = json.list({
            { name = name, match = { paths = json.list({ { prefix = "/" } }) }, service = name },
        })
    end
end

local OWN = { file = true, replace = true, set = true, workers = true }

local function document_of(conf, number)
    if conf.file then
        return nil
    end
    local document = {}
    for key, value in pairs(conf) do
        if not OWN[key] then
            document[key] = plain(value)
        end
    end
    document.listeners = document.listeners or { web = { bind = ("10.0.0.%d:80"):format(number) } }
    add_route(document)
    return json.encode(document)
end

--- What stands over the document, as --set does.
local function overrides(self, conf)
    local set = {
        ("admin.bind=unix:%s/admin.sock"):format(self.folder),
        ("status.bind=%s"):format(self.status),
        ("observability.access_log.to=%s"):format(self.access_log),
    }
    for path, value in pairs(conf.replace or {}) do
        local service = path:match("^services%.[^.]+$")
        if service and (is_upstream(value) or is_upstream(value[1])) then -- its policies stay
            path, value = service .. ".endpoints", is_upstream(value) and { value } or value
        end
        set[#set + 1] = path .. "=" .. json.encode(plain(value))
    end
    for path, value in pairs(conf.set or {}) do
        set[#set + 1] = type(path) == "number" and value or path .. "=" .. json.encode(value)
    end
    local state = conf.state or conf.file
    if state then
        set[#set + 1] = ("state.path=%s/state"):format(self.folder)
    end
    table.sort(set)
    return set
end

local function open(self)
    local node, problem = c.open(self.world.spec, {
        file = self.conf.file or files.here() .. "/moongate.test.json",
        text = document_of(self.conf, self.number), set = overrides(self, self.conf),
        workers = self.conf.workers or 1, seed = self.world:draw(2 ^ 31 - 1) + 1, access_log = self.access_log,
        boot_id = ("boot-%d-%d"):format(self.world.seed, self.number),
    })
    if not node then
        units.fail("the gateway does not start:\n%s", (problem:gsub("\n+$", "")))
    end
    self.node = node
    self.world:settle()
end

local function must_run(self)
    if not self.node then
        units.fail("this gateway was stopped")
    end
    return self.node
end

-- ---- requests ----

--- Where a listener is: its name; without one, the first.
function Gateway:address(listener)
    local node = must_run(self)
    if listener == "admin" then
        return "unix:" .. self.folder .. "/admin.sock"
    elseif listener == "status" then
        return self.status
    elseif not c.node_address(node, listener or "", c.text) then
        units.fail("%s", c.why(self.world.spec))
    end
    return (c.taken():gsub("^%[::%]", "[::1]"):gsub("^0%.0%.0%.0", "127.0.0.1"))
end

--- Begins a request and does not wait: handle:wait(), handle:abort().
---@param options { method?: string, path?: string, headers?: table, body?: any, from?: string, listener?: string }
---@return moongate.test.Handle
function Gateway:start(options)
    local copy = {}
    for key, value in pairs(options or {}) do
        copy[key] = value
    end
    return client.start(self, copy)
end

--- Sends a request, and lets time pass until its response is there.
---@return table response  status, headers, body, :header(name), :json(), took_ms, raw
function Gateway:request(options)
    return self:start(options):wait()
end

for _, method in ipairs({ "get", "head", "post", "put", "patch", "delete", "options" }) do
    local name = method:upper()
    --- @param path string
    --- @param options? table  as of start; for post, put and patch a text or a list of its own may stand here: the body
    Gateway[method] = function(self, path, options)
        if type(options) == "string" then
            options = { body = options }
        end
        local copy = { method = name, path = path }
        for key, value in pairs(options or {}) do
            copy[key] = value
        end
        return client.start(self, copy):wait()
    end
end

--- Sends these bytes on a connection of their own, and waits for one response.
---@param bytes string
function Gateway:raw(bytes, options)
    local copy = { raw = bytes }
    for key, value in pairs(options or {}) do
        copy[key] = value
    end
    return client.start(self, copy):wait()
end

--- A connection to say and hear bytes on.
---@return moongate.test.Connection
function Gateway:connect(options)
    return client.connect(self, options)
end

-- ---- what it knows ----

--- Asks the admin listener. Raises unless the answer is 2xx.
---@return any document
function Gateway:admin(method, path, body)
    local response = client.start(self, {
        method = method, path = path, listener = "admin", host = "moongate", body = body,
    }):wait()
    if response.status >= 300 then
        units.fail("%s %s: %d %s", method, path, response.status, response.body)
    end
    return response.body ~= "" and response:json() or nil
end

local function named(list, name, what)
    for _, one in ipairs(list) do
        if one.name == name then
            return one
        end
    end
    units.fail("the gateway has no %s %q", what, name)
end

local function looked_up(get)
    return function(self)
        return setmetatable({}, {
            __index = function(_, name)
                return get(self, name)
            end,
        })
    end
end

local function escaped(name)
    return (name:gsub("[^%w%-._~]", function(byte)
        return ("%%%02X"):format(byte:byte())
    end))
end

local views = {
    service = looked_up(function(self, name)
        return self:admin("GET", "/v1/services/" .. escaped(name))
    end),
    breaker = looked_up(function(self, name)
        local breaker = self:admin("GET", "/v1/services/" .. escaped(name)).breaker
        if not breaker or breaker == json.null then
            units.fail("the service %q has no breaker", name)
        end
        return breaker
    end),
    limiter = looked_up(function(self, name)
        local limiter = named(self:admin("GET", "/v1/limiters").limiters, name, "limiter")
        limiter.keys = self:admin("GET", "/v1/limiters/" .. escaped(name) .. "/keys").keys
        return limiter
    end),
    route = looked_up(function(self, name)
        return named(self:admin("GET", "/v1/routes").routes, name, "route")
    end),
    rollout = looked_up(function(self, name)
        for _, one in ipairs(self:admin("GET", "/v1/rollouts").rollouts) do
            if one.route == name then
                return one
            end
        end
        units.fail("no route %q has a rollout", name)
    end),
    kv = looked_up(function(self, space)
        local root = "/v1/state/" .. escaped(space) .. "/"
        return {
            get = function(_, key)
                local response = client.start(self, { path = root .. escaped(key), listener = "admin" }):wait()
                return response.status == 200 and response.body or nil
            end,
            set = function(_, key, value)
                self:admin("PUT", root .. escaped(key), value)
            end,
            del = function(_, key)
                self:admin("DELETE", root .. escaped(key))
            end,
        }
    end),
}

--- The text of /metrics.
---@return string
function Gateway:metrics()
    return client.start(self, { path = "/metrics", listener = "status" }):wait().body
end

local function labels_of(text)
    local labels = {}
    for name, value in text:gmatch('([%a_][%w_]*)="(.-)"') do
        labels[name] = value
    end
    return labels
end

--- The sum of the series of a metric that carry these labels: gw:metric 'moongate_x_total{route="a"}'.
---@param selector string
---@return number? sum  nil: there is no such series
function Gateway:metric(selector)
    local name, wanted = selector:match("^([%w_:]+)(.*)$")
    local labels, sum = labels_of(wanted), nil
    for line in self:metrics():gmatch("[^\n]+") do
        local this, own, value = line:match("^([%w_:]+)(%b{}) (%S+)$")
        if not this then
            this, value = line:match("^([%w_:]+) (%S+)$")
            own = ""
        end
        if this == name then
            local has, fits = labels_of(own), true
            for label, text in pairs(labels) do
                fits = fits and has[label] == text
            end
            if fits then
                sum = (sum or 0) + tonumber(value)
            end
        end
    end
    return sum
end

--- The lines of its log, as tables; those of one event alone.
---@param event? string
---@return table[]
function Gateway:log(event)
    local found = {}
    c.node_log(must_run(self), c.text)
    for line in c.taken():gmatch("[^\n]+") do
        local entry = json.decode(line)
        if not event or entry.event == event then
            found[#found + 1] = entry
        end
    end
    return found
end

--- The lines of its access log, as tables.
---@return table[]
function Gateway:access()
    local found = {}
    self.world:wait(1000)
    for line in files.read(self.access_log):gmatch("[^\n]+") do
        found[#found + 1] = json.decode(line)
    end
    return found
end

-- ---- its life ----

local UNDER_WAY, TAKEN = 0, 1 -- enum mg_spec_outcome

--- Reads the document again; a table or { file = .. } is another one. Whether it is in force, and what was found.
---@return boolean ok, string report
function Gateway:reload(conf)
    local node = must_run(self)
    if conf then
        self.conf = conf
    end
    c.node_reload(node, conf and document_of(conf, self.number) or nil)
    if not self.world:wait(RELOAD_MS, function()
        return c.node_outcome(node, c.text) ~= UNDER_WAY
    end) then
        units.fail("the reload has no outcome within 30 s of virtual time")
    end
    return c.node_outcome(node, c.text) == TAKEN, c.taken()
end

--- Drains it, and waits until it has stopped.
function Gateway:stop()
    local node = must_run(self)
    c.node_drain(node)
    if not self.world:wait(STOP_MS, function()
        return c.node_stopped(node)
    end) then
        units.fail("the gateway does not stop within 10 minutes of virtual time")
    end
    self:close()
end

--- Ends it and starts it again, with the state it has stored. `kill`: as kill -9 does, nothing is written any more.
---@param options? { kill?: boolean }
function Gateway:restart(options)
    must_run(self)
    local kept = options and options.kill and files.keep(self.folder .. "/state")
    if options and options.kill then
        self:close()
        files.put_back(self.folder .. "/state", kept)
    else
        self:stop()
    end
    open(self)
    return self
end

--- Ends it at once.
function Gateway:close()
    local node = must_run(self)
    self.node = nil
    c.node_close(node)
    c.settle(self.world.spec)
end

function Gateway:runs()
    return self.node ~= nil
end

--- What has not ended in it.
---@return string[]
function Gateway:left()
    local lines = {}
    c.node_left(self.node, c.text)
    for line in c.taken():gmatch("[^\n]+") do
        lines[#lines + 1] = files.shown(line)
    end
    return lines
end

local gateway = {}

local meta = {
    __index = function(self, name)
        local view = views[name]
        return view and view(self) or Gateway[name]
    end,
}

--- A gateway that serves. `conf` is the document as a table; or { file = "moongate.yaml", replace = { .. } }, where an
--- upstream, or a list of them, takes the place of a service's endpoints, and anything else that of a key. Besides:
--- workers (1), and set, as --set of `moongate run`. Access log, state, admin and status are the test's own.
---@return moongate.test.Gateway
function gateway.new(conf)
    local here = world.here()
    here.gateways = (here.gateways or 0) + 1
    local number = here.gateways
    local self = setmetatable({
        world = here, conf = conf or {}, number = number, where = units.caller(),
        folder = files.folder("gateway"), status = ("10.0.1.%d:9902"):format(number),
    }, meta)
    self.access_log = self.folder .. "/access.log"
    here.nodes[number] = self
    open(self)
    return self
end

return gateway
