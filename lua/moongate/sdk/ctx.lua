--- ctx: what a handler gets. A slot serves one request after another; each has handles of its own, so that what was
--- kept of an earlier one raises. What is a request's is C's, or in ctx.state.
local bind_http = require("moongate.ffi.http")
local call = require("moongate.ffi.call")
local frozen = require("moongate.sdk.frozen")
local counter = require("moongate.sdk.counter")
local http = require("moongate.sdk.http")
local json = require("moongate.sdk.json")
local json_fault = require("moongate.sdk.json_fault")
local message = require("moongate.sdk.message")
local object = require("moongate.sdk.object")
local request = require("moongate.sdk.request")
local response = require("moongate.sdk.response")
local running = require("moongate.sdk.running")
local services = require("moongate.ffi.service")
local tasks = require("moongate.sdk.task")

local clear = require("table.clear")

local new_id, get_text, set_text, remaining_s = call.new_id, call.text, call.set_text, call.remaining_s
local ROUTE, CONSUMER = call.text_of.route, call.text_of.consumer

local force_metatable = debug.setmetatable
local SLEEP = call.wait_for.SLEEP
local ANSWERED = running.ANSWERED
local stale = object.stale
local type, error, setmetatable = type, error, setmetatable
local PROBLEM_MAX = 65536 -- bytes of a problem document's texts
local quoted = object.quoted

---@alias moongate.Handler fun(ctx: moongate.Ctx, next: fun(ctx: moongate.Ctx))

--- A piece of a streamed body: the bytes to pass on; nil leaves the piece as it is, "" keeps it back. The last call has
--- `last`, and of the upstream's or client's own bytes none. What it holds over pieces stands in ctx.state, under a key
--- of the instance's own: ctx.state[conf].
---@alias moongate.BodyFilter fun(ctx: moongate.Ctx, bytes: string, last: boolean): string?

--- What new(conf) returns where a handler alone does not do. All belong to this instance and close over its conf.
---@class moongate.Functions
---@field handler moongate.Handler
---@field request_body? moongate.BodyFilter  where body = { request = "stream" }; in the order of the chain
---@field response_body? moongate.BodyFilter  where body = { response = "stream" }; the innermost plugin's first
---@field log? fun(ctx: moongate.Ctx)  once the request is over

--- What plugin.lua returns.
---@class moongate.Plugin
---@field name? string
---@field version? string
---@field description? string
---@field capabilities? string[]
---@field body? { request?: string, response?: string }  "none", "stream" or "buffer(64KiB)"
---@field new fun(conf: table): moongate.Handler|moongate.Functions  once for each instance

---@class moongate.Ctx
---@field request moongate.Request
---@field response moongate.Response
---@field params table<string, string?>  parameters of the route's template, percent-decoded
---@field state table  yours until the request ends; shared by the plugins of a chain
---@field route string  the route's name
---@field service moongate.Service  what is known of the request's service; ctx.service("cart"): of another one
---@field consumer? string  who asks, once a plugin has found out
---@field remaining number  seconds until the request's deadline
---@field log moongate.Log
---@field json moongate.Json
---@field time moongate.Time
---@field http moongate.Http
---@field kv moongate.Kv
---@field limit moongate.Limit
---@field breaker moongate.Breakers
---@field counter fun(self: moongate.Ctx, name: string, by?: integer)
local ctx = {}

-- Namespaces: what one plugin assigned to them, all would see.
for name, members in pairs({
    json = json,
    log = require("moongate.sdk.log"),
    time = require("moongate.sdk.time"),
    http = http.members,
    kv = require("moongate.sdk.kv"),
    limit = require("moongate.sdk.limit"),
    breaker = require("moongate.sdk.breaker"),
}) do
    ctx[name] = setmetatable({}, object.meta("ctx." .. name, object.strict("ctx." .. name, members)))
end
ctx.service = require("moongate.sdk.service").own

local problem_members = { title = "string", detail = "string", json = false }

local function near_member(key)
    local near = type(key) == "string" and object.nearest(key, { "title", "detail", "json" })
    return near and "did you mean '" .. near .. "'? " or ""
end

--- A table is { json = value } or a problem document.
local function respond_table(status, answer)
    for key in frozen.pairs(answer) do
        if problem_members[key] == nil then
            error("respond: no member '" .. tostring(key) .. "': " .. near_member(key)
                .. "write title and detail, or json", 3)
        end
    end
    if answer.json ~= nil then
        if answer.title ~= nil or answer.detail ~= nil then
            error("respond: json is the whole body: title and detail make another one, a problem document", 3)
        end
        local ok, text = pcall(json.encode, answer.json)
        if not ok then
            if text == running.CANCELLED or running.is_over() then
                error(text, 0)
            end
            error("respond: " .. json_fault(answer.json, "json", text), 3)
        end
        return call.respond(running.call, status, "application/json", text)
    end
    for key, kind in pairs(problem_members) do
        if kind and answer[key] ~= nil and type(answer[key]) ~= kind then
            error("respond: " .. key .. " is a string, not " .. type(answer[key]), 3)
        end
    end
    local bytes = #(answer.title or "") + #(answer.detail or "")
    if bytes > PROBLEM_MAX then
        error("respond: title and detail have at most " .. PROBLEM_MAX .. " bytes together, not " .. bytes, 3)
    end
    running.charge(bytes / 8)
    return call.problem(running.call, status, answer.title, answer.detail)
end

--- Passes an answer of ctx.http on. Its fields go along unless others are given.
local function respond_answer(status, answer, number, headers)
    if number then
        return bind_http.respond(running.call, status, number, headers == nil)
    end
    running.bytes(#answer.body)
    return call.respond(running.call, status, nil, answer.body)
end

--- Answers: what an earlier answer set is dropped, also what next brought. The handler returns after it: next(ctx)
--- behind it raises, and the upstream is not asked. Only a handler answers, no filter and no log(ctx).
---@param status integer  200..599
---@param body? string|{ title?: string, detail?: string }|{ json: any }|moongate.HttpResponse  text, a problem
--- document (RFC 9457), JSON; or an answer of ctx.http: as it comes where it is streamed, and with its fields where
--- headers are left out
---@param headers? table<string, moongate.FieldValue>  in place of what was set before; "content-type" of the body's own
function ctx:respond(status, body, headers)
    if running.ctx ~= self then
        stale(self, "ctx", "respond", 2)
    end
    if type(status) ~= "number" then
        error("respond: a status is a number, not " .. type(status), 2)
    elseif status % 1 ~= 0 then
        error("respond: a status is a whole number, not " .. tostring(status), 2)
    end
    local wrong
    if body == nil then
        wrong = call.respond(running.call, status, nil, "")
    elseif type(body) == "string" then
        running.bytes(#body)
        wrong = call.respond(running.call, status, "text/plain; charset=utf-8", body)
    elseif http.is_answer(body) then
        local _, number = http.is_answer(body)
        wrong = respond_answer(status, body, number, headers)
        headers = headers or (number and {} or body.headers)
    elseif type(body) == "table" then
        wrong = respond_table(status, body)
    else
        error("respond: a body is a string or a table, not " .. type(body), 2)
    end
    if wrong then
        error("respond: " .. wrong, 2)
    end
    running.here.depth = ANSWERED
    if headers ~= nil and type(headers) ~= "table" then
        error("respond: headers are a table, not " .. type(headers), 2)
    end
    for name, value in frozen.pairs(headers or {}) do
        running.charge(16)
        message.put("respond: header", call.set_header, running.call, call.RESPONSE, name, value, true)
    end
end

--- A new random id: 32 lower-case hex digits.
---@return string
function ctx:new_id()
    if running.ctx ~= self then
        stale(self, "ctx", "new_id", 2)
    end
    return (new_id(running.call))
end

--- Waits. Other requests go on meanwhile.
---@param seconds number  0 or more
function ctx:sleep(seconds)
    if running.ctx ~= self then
        stale(self, "ctx", "sleep", 2)
    end
    if type(seconds) ~= "number" then
        error("sleep: seconds are a number, not " .. type(seconds), 2)
    end
    local wrong = call.sleep(running.call, seconds)
    if wrong then
        error("sleep: " .. wrong, 2)
    end
    running.await(SLEEP)
end

local function choose(self, method, group, name)
    if running.ctx ~= self then
        stale(self, "ctx", method, 3)
    end
    if type(name) ~= "string" then
        error(method .. ": a " .. (group and "group" or "service's name") .. " is a string, not " .. type(name), 3)
    end
    local wrong = services.choose(running.call, group, name)
    if wrong == "" then
        local known = services.names(running.call, group and services.of.GROUPS or services.of.SERVICES)
        if group and #known == 0 then
            wrong = "the route has no backends: name a service, with ctx:set_service"
        else
            wrong = (group and "no backend of the route has the group " or "no service is named ")
                .. quoted(name) .. ": " .. object.choices(name, known)
        end
    end
    if wrong then
        error(method .. ": " .. wrong, 3)
    end
end

--- Sends the request to another service of the configuration than the route's, with all that it has: balancer,
--- retries, breaker, time-outs. Before next(ctx); the last choice counts. Where the route splits its requests, it goes
--- before shares, sticky keys and X-Abtest-Group; no cookie is set.
---@param name string
function ctx:set_service(name)
    choose(self, "set_service", false, name)
end

--- Sends the request to one of the route's backends, by its group, which is the service's name where the configuration
--- has no other. Before next(ctx); otherwise as set_service.
---@param group string
function ctx:set_backend(group)
    choose(self, "set_backend", true, group)
end

--- Says who asks: for limits by consumer, the log, and the plugins after this one.
---@param id string
function ctx:set_consumer(id)
    if running.ctx ~= self then
        stale(self, "ctx", "set_consumer", 2)
    end
    if type(id) ~= "string" then
        error("set_consumer: an id is a string, not " .. type(id), 2)
    end
    local wrong = set_text(running.call, CONSUMER, id)
    if wrong then
        error("set_consumer: " .. wrong, 2)
    end
    running.slot.consumer = id
end

--- Adds to a counter of this plugin's, which all workers share and /metrics shows.
---@param name string
---@param by? integer  0 or more; 1 when left out
function ctx:counter(name, by)
    if running.ctx ~= self then
        stale(self, "ctx", "counter", 2)
    end
    if by ~= nil and not (type(by) == "number" and by >= 0 and by <= 4294967296) then
        error("counter: it grows by a number, 0 or more", 2)
    end
    counter.named(name):add(by)
end

--- Runs a function beside this request. It begins when what runs now waits or returns. It gets a ctx of its own, and
--- what stands behind it here. Wait for it, with task:wait(), or let it go, with task:detach(): else it ends with the
--- handlers.
---
---     local prices = ctx:task(function(ctx, id)
---         return assert(ctx.http:get("http://prices.internal/" .. id))
---     end, ctx.params.id)
---     next(ctx)
---     ctx.response:set_header("x-price", prices:wait().body)
---
---@param fn fun(ctx: moongate.TaskCtx, ...: any): ...|moongate.TaskOptions  options, if any, stand before the function
---@param ... any
---@return moongate.Task
function ctx:task(fn, ...)
    if running.ctx ~= self then
        stale(self, "ctx", "task", 2)
    end
    return (tasks.start(fn, ...))
end

local params_meta = object.meta("ctx.params", function(self, name)
    if running.params ~= self then
        stale(self, "ctx.params", nil, 2)
    end
    if type(name) ~= "string" then
        error("ctx.params: a name is a string, not " .. type(name), 2)
    end
    return (call.param(running.call, name))
end)

--- The first that asks for a handle makes it.
local function make_request()
    local made = request.new()
    running.request, running.slot.request = made, made
    return made
end

local function make_response()
    local made = response.new()
    running.response, running.slot.response = made, made
    return made
end

local function make_params()
    local made = setmetatable({}, params_meta)
    running.params, running.slot.params = made, made
    return made
end

local properties = {
    request = function()
        return running.request or make_request()
    end,
    response = function()
        return running.response or make_response()
    end,
    params = function()
        return running.params or make_params()
    end,
    state = function()
        local slot = running.slot
        local state = slot.state or {}
        slot.state = state
        return state
    end,
    route = function()
        return (get_text(running.call, ROUTE))
    end,
    consumer = function()
        return running.slot.consumer or nil
    end,
    remaining = function()
        return (remaining_s(running.call))
    end,
}

local function index(self, key)
    local get = properties[key]
    if get == nil then
        get = ctx[key]
        if get == nil then
            object.unknown("ctx", key, object.members(ctx, properties), 2)
        end
        if running.ctx ~= self then
            stale(self, "ctx", nil, 2)
        end
        return get
    end
    if running.ctx ~= self then
        stale(self, "ctx", nil, 2)
    end
    return (get())
end

local meta = object.meta("ctx", index)
local function gone(self)
    stale(self, "ctx.state", nil, 2)
end

local gone_meta = object.meta("ctx.state", gone)
gone_meta.__newindex = gone

--- What a task has: all that needs no request.
---@class moongate.TaskCtx
---@field log moongate.Log
---@field json moongate.Json
---@field time moongate.Time
---@field http moongate.Http
---@field kv moongate.Kv
---@field limit moongate.Limit
---@field breaker moongate.Breakers
---@field service fun(name: string): moongate.Service?, string?
---@field remaining number  seconds until the task is ended
---@field sleep fun(self: moongate.TaskCtx, seconds: number)
---@field new_id fun(self: moongate.TaskCtx): string
---@field counter fun(self: moongate.TaskCtx, name: string, by?: integer)
---@field task fun(self: moongate.TaskCtx, fn: function, ...: any): moongate.Task  of this task, at most four deep
local task_members = {}
for _, name in ipairs({
    "log", "json", "time", "http", "kv", "limit", "breaker", "service", "sleep", "new_id", "counter", "task",
}) do
    task_members[name] = ctx[name]
end

local function task_index(self, key)
    local member = task_members[key]
    if member ~= nil or key == "remaining" then
        if running.ctx ~= self then
            stale(self, "ctx", nil, 2)
        end
        return member or properties.remaining()
    end
    if ctx[key] ~= nil or properties[key] then
        error("a task's ctx has no '" .. key .. "', which is a request's: give the function what it needs as "
            .. "arguments. There are " .. table.concat(object.members(task_members, { remaining = true }), ", "), 2)
    end
    object.unknown("ctx", key, object.members(task_members, { remaining = true }), 2)
end

local task_meta = object.meta("ctx", task_index)

return {
    --- What stands for a slot while it runs a task.
    ---@param pointer moongate.Call
    beside = function(pointer)
        return {
            call = pointer,
            ctx = setmetatable({}, task_meta),
            request = false,
            response = false,
            params = false,
            is_task = true,
        }
    end,
    ---@param pointer moongate.Call
    ---@return moongate.Slot
    new = function(pointer)
        return {
            call = pointer,
            ctx = false,
            request = false,
            response = false,
            params = false,
            state = false,
            consumer = false,
            logs = false,
            before = 0,
            reached = 0,
        }
    end,

    --- A request begins.
    ---@param slot moongate.Slot
    begin = function(slot)
        local handle = setmetatable({}, meta)
        slot.ctx, running.ctx = handle, handle
        slot.request, running.request = false, false
        slot.response, running.response = false, false
        slot.params, running.params = false, false
        slot.consumer = false
    end,

    --- Nobody needs what plugins kept for the request any more: whoever holds it still finds nothing there.
    ---@param slot moongate.Slot
    forget = function(slot)
        local state = slot.state
        if state then
            clear(state)
            force_metatable(state, gone_meta)
            slot.state = false
        end
    end,
    members = ctx,
    properties = properties,
}
