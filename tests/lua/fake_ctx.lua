--- fake_ctx: a plugin under test without a gateway. It loads plugins/NAME in the real sandbox with its configuration
--- checked for unknown keys, completed from its schema and frozen, and runs its handler on a plain-Lua ctx with the
--- names of the real one. The checks that C makes of names and values are made here in their plainest form.
---
---     local plugin = fake.plugin("cors", { origins = { "https://shop.example" } })
---     local ctx = plugin:run { method = "GET", headers = { origin = "https://shop.example" } }
---     assert.equal("https://shop.example", ctx.response:header "access-control-allow-origin")
package.path = "lua/?.lua;" .. package.path -- specs run from the project's folder

local cjson = require("cjson.safe")
local cookie = require("moongate.sdk.cookie")
local sandbox = require("moongate.worker.sandbox")

local fake = {}

---@return string text
local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- ---- fields and messages ----

local framing = {}
for name in ([[connection content-length expect host http2-settings keep-alive proxy-authenticate proxy-authorization
    proxy-connection te trailer transfer-encoding upgrade]]):gmatch("%S+") do
    framing[name] = true
end

--- The gateway's to write on a request, behind the plugins.
local gateways = {
    via = true, ["grpc-timeout"] = true, ["x-moongate-attempt"] = true, ["x-moongate-deadline-ms"] = true,
}

local function check_field(name, value, of_request)
    assert(type(value) == "string" or type(value) == "number", "fake: a value is a string or a number")
    name, value = name:lower(), tostring(value)
    if of_request and gateways[name] then
        error("fake: the gateway writes " .. name .. " itself", 4)
    end
    if name == "" or name:find("[^%w!#$%%&'*+.^_`|~-]") then
        error("fake: no field name: " .. name, 4)
    end
    if framing[name] then
        error("fake: a plugin may not set " .. name, 4)
    end
    if value:find("[%z\r\n]") then
        error("fake: CR, LF or NUL in the value of " .. name, 4)
    end
    return name, value
end

--- What ctx.request and ctx.response have in common.
local function new_message(headers, of_request)
    local message = { fields = {} }

    --- Several fields of a name are one value.
    function message:header(name)
        local values = self:header_values(name)
        if name:lower() == "set-cookie" or #values < 2 then
            return values[1]
        end
        return table.concat(values, name:lower() == "cookie" and "; " or ", ")
    end

    function message:header_values(name)
        local values = {}
        for _, field in ipairs(self.fields) do
            if field[1] == name:lower() then
                values[#values + 1] = field[2]
            end
        end
        return values
    end

    function message:headers()
        local at = 0
        return function()
            at = at + 1
            if self.fields[at] then
                return self.fields[at][1], self.fields[at][2]
            end
        end
    end

    function message:add_header(name, value)
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            self.fields[#self.fields + 1] = { check_field(name, one, of_request) }
        end
    end

    function message:remove_header(name)
        assert(not (of_request and gateways[name:lower()]), "fake: the gateway writes it itself")
        local count = 0
        for i = #self.fields, 1, -1 do
            if self.fields[i][1] == name:lower() then
                table.remove(self.fields, i)
                count = count + 1
            end
        end
        return count
    end

    function message:set_header(name, value)
        self:remove_header(name)
        self:add_header(name, value)
    end

    function message:set_body(bytes)
        self.bytes = bytes
    end

    function message:body()
        return self.bytes or ""
    end

    for name, value in pairs(headers or {}) do
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            message.fields[#message.fields + 1] = { name:lower(), one }
        end
    end
    return message
end

local function new_request(wanted)
    local request = new_message(wanted.headers, true)

    request.method = wanted.method or "GET"
    request.scheme = wanted.scheme or "http"
    request.host = wanted.host or "gateway.test"
    request.path = wanted.path or "/"
    request.query = wanted.query
    request.client_address = wanted.client_address or "192.0.2.1"
    function request:set_method(method)
        self.method = method
    end
    function request:set_path(path)
        self.path = path
    end
    function request:set_query(query)
        self.query = query ~= "" and query or nil
    end
    function request:query_params(name)
        local values = {}
        for pair in (self.query or ""):gmatch("[^&]+") do
            local key, value = pair:match("^([^=]*)=?(.*)$")
            local function plain(text)
                return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex)
                    return string.char(tonumber(hex, 16))
                end))
            end
            if plain(key) == name then
                values[#values + 1] = plain(value)
            end
        end
        return values
    end
    function request:query_param(name)
        return self:query_params(name)[1]
    end
    function request:cookies()
        local cookies = cookie.members.parse(self:header("cookie") or "")
        for name, values in pairs(cookies) do
            cookies[name] = values[1]
        end
        return cookies
    end
    function request:cookie(name)
        return self:cookies()[name]
    end
    return request
end

local function new_response(wanted, edits)
    local response = new_message(wanted.headers)

    response.status = wanted.status or 200
    for _, edit in ipairs(edits or {}) do
        response[edit[1]](response, edit[2], edit[3])
    end
    response.bytes = wanted.body or ""
    function response:set_cookie(name, value, options)
        self:add_header("set-cookie", cookie.text_of("set_cookie", name, value, options, 2))
    end
    function response:set_status(status)
        self.status = status
    end
    return response
end

--- A response that is not there yet: notes what is done to its fields, for the answer that comes.
local function new_early(edits)
    local response = new_response({})
    local inside = false

    response.status = nil
    for _, name in ipairs({ "add_header", "set_header", "remove_header" }) do
        local change = response[name]
        response[name] = function(self, ...)
            local outermost = not inside
            if outermost then
                edits[#edits + 1] = { name, ... }
            end
            inside = true
            local count = change(self, ...)
            inside = not outermost
            return count
        end
    end
    for _, name in ipairs({ "set_status", "set_body", "body" }) do
        response[name] = function()
            error("fake: there is no response yet", 2)
        end
    end
    return response
end

-- ---- ctx ----

--- A store of ctx.kv that two plugins of a test, or two runs, may share. Times to live are not kept.
function fake.kv()
    local values = {}
    local kv = { values = values }

    local function check(key, value)
        assert(type(key) == "string" and #key >= 1 and #key <= 255, "fake: a key of kv has 1 to 255 bytes")
        assert(value == nil or type(value) == "string", "fake: a value of kv is a string: encode it")
    end
    function kv:get(key) -- luacheck: ignore self
        check(key)
        return values[key]
    end
    function kv:set(key, value) -- luacheck: ignore self
        check(key, value)
        values[key] = value
        return true
    end
    function kv:delete(key) -- luacheck: ignore self
        check(key)
        values[key] = nil
        return true
    end
    function kv:incr(key, by) -- luacheck: ignore self
        check(key)
        local sum = tonumber(values[key] or "0")
        if not sum then
            return nil, "the value is no whole number"
        end
        values[key] = ("%d"):format(sum + (by or 1))
        return sum + (by or 1)
    end
    function kv:cas(key, expected, value) -- luacheck: ignore self
        check(key, value)
        if values[key] ~= expected then
            return false
        end
        values[key] = value
        return true
    end
    function kv:barrier() -- luacheck: ignore self
        return true
    end
    return kv
end

local function new_log()
    local log = { lines = {} }
    for _, level in ipairs({ "debug", "info", "warn", "error" }) do
        log[level] = function(self, text, ...)
            text = select("#", ...) > 0 and text:format(...) or text
            self.lines[#self.lines + 1] = level .. ": " .. text
        end
    end
    return log
end

--- Answers as the real one: text, a problem document, or JSON.
local function respond(ctx, status, body, headers)
    assert(type(status) == "number" and status >= 200 and status <= 599, "fake: respond wants a status of 200 to 599")
    local kind, bytes = nil, ""
    if type(body) == "string" then
        kind, bytes = "text/plain; charset=utf-8", body
    elseif type(body) == "table" and body.json ~= nil then
        kind, bytes = "application/json", cjson.encode(body.json)
    elseif type(body) == "table" then
        for key in pairs(body) do
            assert(key == "title" or key == "detail", "fake: respond has no member " .. tostring(key))
        end
        kind = "application/problem+json"
        bytes = cjson.encode({ type = "about:blank", title = body.title, status = status, detail = body.detail })
    end
    ctx.answered = true
    ctx.response = new_response({ status = status, body = bytes, headers = { ["content-type"] = kind } }, ctx.edits)
    for name, value in pairs(headers or {}) do
        ctx.response:set_header(name, value)
    end
end

--- What a test can say of a request: method, host, path, query, headers, client_address, consumer, route, and what the
--- upstream answers: upstream = { status, headers, body }.
---@param wanted? table
function fake.ctx(wanted)
    wanted = wanted or {}
    local ids = 0
    local ctx = {
        request = new_request(wanted),
        state = {},
        params = wanted.params or {},
        route = wanted.route or "route",
        service = {
            name = wanted.service or "service", size = 1, healthy = 1, panic = false, inflight = 0, retry_after = 0,
        },
        consumer = wanted.consumer,
        log = new_log(),
        kv = wanted.kv or fake.kv(),
        json = { encode = cjson.encode, decode = cjson.decode },
        time = { now = function() return wanted.now or 0 end, mono = function() return wanted.now or 0 end },
        counters = {},
        respond = respond,
        edits = {}, -- of the fields of a response that is not there yet
        answered = false, -- by a plugin, not by the upstream
        proxied = false, -- next reached the upstream
    }

    function ctx:new_id() -- luacheck: ignore self
        ids = ids + 1
        return ("%032x"):format(ids)
    end
    function ctx:set_consumer(id)
        self.consumer = id
    end
    function ctx:set_service(name)
        self.chosen = { service = name }
        self.service.name = name
    end
    function ctx:set_backend(group)
        self.chosen = { group = group }
    end
    function ctx:counter(name, by)
        self.counters[name] = (self.counters[name] or 0) + (by or 1)
    end
    --- The upstream: keeps the head it was sent, answers what the test wants.
    function ctx.upstream(self)
        assert(not self.answered, "fake: this request is answered: return after ctx:respond")
        assert(not self.proxied, "fake: next was called twice")
        self.proxied = true
        self.response = new_response(wanted.upstream or {}, self.edits)
    end
    ctx.response = new_early(ctx.edits)
    return ctx
end

-- ---- what require "moongate" gives ----

--- A token bucket in the words of the real one, on a clock that the test moves: moongate.clock_s.
local function new_limiter(moongate, options)
    local rate, unit = tostring(options.rate):match("^(%d+)/([smhd])$")
    assert(rate, "fake: a rate is like 100/s")
    local each_s = ({ s = 1, m = 60, h = 3600, d = 86400 })[unit] / rate
    local burst = options.burst or tonumber(rate)
    local limiter = { options = options, busy_until_s = {}, keys = {} }

    function limiter:take(key, cost)
        cost = cost or 1
        self.keys[#self.keys + 1] = key
        local now_s = moongate.clock_s
        local busy_s = math.max(self.busy_until_s[key] or 0, now_s) + cost * each_s
        local over_s = busy_s - now_s - burst * each_s
        if over_s > 1e-9 then
            busy_s = busy_s - cost * each_s
            local left = math.floor((burst * each_s - (busy_s - now_s)) / each_s + 1e-9)
            return false, left, math.ceil(over_s * 1000), (busy_s - now_s) * 1000
        end
        self.busy_until_s[key] = busy_s
        return true, math.floor((burst * each_s - (busy_s - now_s)) / each_s + 1e-9), 0, (busy_s - now_s) * 1000
    end

    --- Granted at once or not at all. What nobody commits is in `reserved` when the request is over.
    limiter.reserved = {}
    function limiter:reserve(key, cost)
        local before_s = self.busy_until_s[key]
        local allowed, remaining, retry_ms = self:take(key, cost)
        if not allowed then
            return nil, retry_ms
        end
        local reservation = { wait = 0, remaining = remaining }
        self.reserved[reservation] = true
        function reservation.cancel(one)
            local held = self.reserved[one] ~= nil
            self.reserved[one] = nil
            self.busy_until_s[key] = held and before_s or self.busy_until_s[key]
            return held
        end
        function reservation.commit(one)
            local held = self.reserved[one] ~= nil
            self.reserved[one] = nil
            return held
        end
        return reservation
    end

    --- docs/policies.md 4, "Answers": t is the time to a full bucket, or the wait after a refusal.
    function limiter:fields(remaining, retry_ms, reset_ms) -- luacheck: ignore self
        local window_s = burst * each_s
        local name = options.name or "plugin"
        local t = math.ceil((retry_ms > 0 and retry_ms or reset_ms) / 1000)
        return ('"%s";q=%d'):format(name, burst) .. (window_s % 1 == 0 and (";w=%d"):format(window_s) or ""),
            ('"%s";r=%d;t=%d'):format(name, remaining, t)
    end
    return limiter
end

function fake.moongate()
    local moongate = { clock_s = 1000, limiters = {}, json = { encode = cjson.encode, decode = cjson.decode } }
    function moongate.limiter(options)
        local limiter = new_limiter(moongate, options)
        moongate.limiters[#moongate.limiters + 1] = limiter
        return limiter
    end
    function moongate.counter()
        return { value = 0, add = function(self, by) self.value = self.value + (by or 1) end }
    end
    return moongate
end

-- ---- plugins ----

--- Fills defaults in and refuses what the schema does not name, as far as maps go. The whole schema is held against the
--- examples in it by a test in C.
local function complete(schema, value, where)
    if type(value) ~= "table" or not schema.properties then
        return value
    end
    for key in pairs(value) do
        if not schema.properties[key] and schema.additionalProperties == false then
            error("fake: the schema has no key " .. where .. tostring(key), 0)
        end
    end
    for _, key in ipairs(schema.required or {}) do
        if value[key] == nil then
            error("fake: the schema requires " .. where .. key, 0)
        end
    end
    for key, part in pairs(schema.properties) do
        if value[key] == nil and part.default ~= nil then
            value[key] = cjson.decode(cjson.encode(part.default))
        end
        value[key] = complete(part, value[key], where .. key .. ".")
    end
    return value
end

local function libraries(folder, name)
    local found = {}
    local list = io.popen("ls '" .. folder .. "/lib' 2>/dev/null")
    for file in list:lines() do
        local module = file:match("^([%w_]+)%.lua$")
        if module then
            local path = folder .. "/lib/" .. file
            found[name .. "." .. module] = { chunkname = path, source = read(path) }
        end
    end
    list:close()
    return found
end

---@class fake.Plugin
local plugin_methods = {}
plugin_methods.__index = plugin_methods

--- Runs the handler in front of the fake upstream.
---@param wanted? table  as for fake.ctx; or a ctx that was made before
function plugin_methods:run(wanted)
    local ctx = wanted and wanted.upstream and wanted.respond and wanted or fake.ctx(wanted)
    self.handler(ctx, ctx.upstream)
    return ctx
end

--- A module of the plugin's lib folder.
function plugin_methods:lib(module)
    return self.env.require(self.name .. "." .. module)
end

--- Loads a plugin by its name under plugins/, or by the path of its folder. Raises what `new` raises.
---@param name string
---@param conf? table
---@return fake.Plugin
function fake.plugin(name, conf)
    local folder = name:find("/") and name or "plugins/" .. name
    local short = folder:match("([^/]+)$")
    local schema = assert(cjson.decode(read(folder .. "/schema.json")))
    local moongate = fake.moongate()
    local env = sandbox.env(short, libraries(folder, short), moongate)
    local path = folder .. "/plugin.lua"
    local module = assert(sandbox.load(read(path), path, env))()
    local made

    assert(module.name == short, path .. " has another name than its folder")
    made = module.new(sandbox.freeze(complete(schema, conf or {}, "")))
    return setmetatable({
        name = short,
        env = env,
        module = module,
        moongate = moongate,
        handler = type(made) == "table" and made.handler or made,
    }, plugin_methods)
end

--- What a problem document says, and that it is one.
function fake.problem(ctx)
    assert(ctx.response:header("content-type") == "application/problem+json", "fake: no problem document")
    return assert(cjson.decode(ctx.response:body()))
end

return fake
