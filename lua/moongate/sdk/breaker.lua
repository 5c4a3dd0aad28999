--- breaker: circuit breakers of a plugin's own, for what it calls. All workers share them.
local bind = require("moongate.ffi.host")
local call = require("moongate.ffi.call")
local find_service = require("moongate.ffi.service").breaker
local names_of = require("moongate.ffi.service").names
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local FREE = 0ULL -- the ticket of a service without a breaker: everything passes

local handles = setmetatable({}, { __mode = "k" })

local function handle_of(self)
    return handles[self] or scope.handle(handles, self, "breaker", 3)
end

local function ask(handle)
    if running.call then
        return (call.breaker_ask(running.call, handle))
    end
    return (bind.breaker_ask(running.host, handle))
end

--- Three levels up is the plugin's line.
local function finish(handle, ticket, outcome, seconds)
    local number = bind.outcome[outcome]
    if not number then
        error("finish: an outcome is ok, fail, timeout or ignore", 3)
    end
    if type(ticket) ~= "cdata" then
        error("finish: a ticket comes from ask", 3)
    end
    if seconds ~= nil and type(seconds) ~= "number" then
        error("finish: seconds are a number, not " .. type(seconds), 3)
    end
    if running.call then
        return (call.breaker_finish(running.call, handle, ticket, number, seconds or 0))
    end
    return (bind.breaker_finish(running.host, handle, ticket, number, seconds or 0))
end

local function settle(handle, ticket, begun_s, ok, first, ...)
    local seconds = running.call and call.mono_s(running.call) - begun_s or 0
    local outcome = (ok and first) and "ok" or "fail"
    if not ok and first == running.CANCELLED then
        outcome = "ignore"
    end
    finish(handle, ticket, outcome, seconds)
    if not ok then
        error(first, 0)
    end
    return first, ...
end

local function run(handle, fn, ...)
    local ticket = ask(handle)
    if not ticket then
        return nil, "open"
    end
    local begun_s = running.call and call.mono_s(running.call) or 0
    return settle(handle, ticket, begun_s, pcall(fn, ...))
end

--- Two levels up is the plugin's line.
local function check_fn(fn)
    if type(fn) ~= "function" then
        error("run: what is called is a function, not " .. type(fn), 3)
    end
end

---@class moongate.Breaker
local breaker = {}

--- May a call go through? What was asked for a request and is not finished when that ends, ends as "ignore".
---@return integer? ticket  to be given to finish once; nil: refused
function breaker:ask()
    return (ask(handle_of(self)))
end

--- What became of the call.
---@param ticket integer  of ask
---@param outcome "ok"|"fail"|"timeout"|"ignore"
---@param seconds? number  how long it took
---@return boolean counted  false when it came too late
function breaker:finish(ticket, outcome, seconds)
    return (finish(handle_of(self), ticket, outcome, seconds))
end

---@return "closed"|"open"|"half_open"|"forced_open"|"forced_closed"
function breaker:state()
    return bind.breaker_state(running.host, handle_of(self))
end

--- Seconds until the next probe may go; 0 unless it is open.
---@return number
function breaker:retry_after()
    return bind.breaker_retry_s(running.host, handle_of(self))
end

--- Calls fn under the breaker. Raising, or returning nil or false first, is a failure.
---@param fn function
---@return any ...  what fn returned; nil, "open" when it was not called
function breaker:run(fn, ...)
    check_fn(fn)
    return run(handle_of(self), fn, ...)
end

local meta = scope.meta("breaker", breaker)
local members = {
    failures = "failures", open_for = "open_for_s", open_max = "open_max_s", backoff = "backoff", jitter = "jitter",
    probes = "probes", half_open_max = "half_open_max_s", slow_call = "slow_call_s",
}

---@class moongate.Breakers
local breakers = {}

---@class moongate.BreakerOptions
---@field name? string
---@field failures? integer  in a row, until it opens; 5 when left out
---@field open_for? number  seconds
---@field open_max? number  seconds
---@field backoff? number  1..10, by which each further open time grows
---@field jitter? number  0..0.5, the part by which an open time may be longer
---@field probes? integer  successes that close it
---@field half_open_max? number  seconds
---@field slow_call? number  seconds from which on a call counts as failed; 0: none

--- Makes a breaker, or finds the one that an earlier snapshot made by that name. In new(conf).
---@param options moongate.BreakerOptions
---@return moongate.Breaker
function breakers.new(options)
    object.dot(options, "moongate", "breaker", 2)
    local allowed = { name = "string" }
    local spec = {}
    for key, member in pairs(members) do
        allowed[key] = "number"
        spec[member] = type(options) == "table" and options[key] or nil
    end
    scope.check("breaker", options, allowed)
    local handle, problem = bind.breaker(running.host, scope.name("breaker", options.name), spec)
    if not handle then
        error("breaker: " .. problem, 2)
    end
    local self = setmetatable({}, meta)
    handles[self] = handle
    return self
end

local OWN = "" -- the name by which the request's own service is asked for

--- What stands in C for the object that plugins made, or for the breaker of a service; nil when that has none. Two
--- levels up is the plugin's line.
local function handle_for(which, what)
    if type(which) ~= "string" then
        return handles[which] or scope.handle(handles, which, "breaker", 3)
    end
    if not running.call then
        error(what .. ": a service's breaker works only while a request is served", 3)
    end
    local found, handle = find_service(running.call, which)
    if not found then
        error(what .. ": " .. (which == OWN and "this route has no service" or "no service is named "
            .. object.quoted(which) .. ": " .. object.choices(which, names_of(running.call, false))), 3)
    end
    return handle
end

--- May a call go through? What is not finished when the request ends, ends as "ignore".
---@param which? moongate.Breaker|string  one that the plugin made, or the name of the service whose breaker it is; the
---request's own service when left out
---@return integer? ticket  to be given to finish once; nil: refused
function breakers:ask(which)
    object.colon(self, "ctx.breaker", "ask", 2)
    local handle = handle_for(which == nil and OWN or which, "ask")
    if not handle then
        return FREE
    end
    return (ask(handle))
end

--- What became of the call.
---@param which moongate.Breaker|string  as in ask; may be left out as there
---@param ticket integer  of ask
---@param outcome "ok"|"fail"|"timeout"|"ignore"
---@param seconds? number  how long it took
---@return boolean counted  false when it came too late, or nobody counts
function breakers:finish(which, ticket, outcome, seconds)
    object.colon(self, "ctx.breaker", "finish", 2)
    if type(which) == "cdata" then
        which, ticket, outcome, seconds = OWN, which, ticket, outcome
    end
    local handle = handle_for(which, "finish")
    return handle ~= nil and finish(handle, ticket, outcome, seconds)
end

--- Calls fn under the breaker. Raising, or returning nil or false first, is a failure.
---
---     local answer, problem = ctx.breaker:run("geo", function()
---         return ctx.http:get("http://geo.internal/v1/place")
---     end)
---
---@param which moongate.Breaker|string  as in ask; may be left out as there
---@param fn function
---@return any ...  what fn returned; nil, "open" when it was not called
function breakers:run(which, fn, ...)
    object.colon(self, "ctx.breaker", "run", 2)
    if type(which) == "function" then
        return breakers.run(self, OWN, which, fn, ...)
    end
    check_fn(fn)
    local handle = handle_for(which, "run")
    if not handle then
        return fn(...)
    end
    return run(handle, fn, ...)
end

return breakers
