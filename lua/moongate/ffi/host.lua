--- host: what a VM's worker lends: limiters, breakers, counters and the view of the pools. Found by name when a VM is
--- built, then only used.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local string_of, new = ffi.string, ffi.new
local limiter_take, limit_fields = c.mg_host_limiter_take, c.mg_host_limit_fields
local breaker_ask, breaker_finish = c.mg_host_breaker_ask, c.mg_host_breaker_finish
local breaker_state, breaker_retry_s = c.mg_host_breaker_state, c.mg_host_breaker_retry_s
local counter_add, counter_sum = c.mg_host_counter_add, c.mg_host_counter_sum
local pool_view = c.mg_host_pool_view

local why = new("char[256]")
local view, pools = new("mg_limit_view"), new("mg_pool_view")
local slice, slice2 = new("mg_slice"), new("mg_slice")

local host = {
    counter_sum = counter_sum,
    breaker_retry_s = breaker_retry_s,
    outcome = {
        ok = c.MG_BREAKER_OK, fail = c.MG_BREAKER_FAIL, timeout = c.MG_BREAKER_TIMEOUT, ignore = c.MG_BREAKER_IGNORE,
    },
}

---@return ffi.cdata*
function host.of(pointer)
    return ffi.cast("mg_host *", pointer)
end

---@return ffi.cdata*? limiter, string? problem
function host.limiter(self, name, limit, period_s, burst, max_keys)
    local limiter = c.mg_host_limiter(self, name, #name, limit, period_s, burst, max_keys, why)
    if limiter == nil then
        return nil, string_of(why)
    end
    return limiter
end

---@return ffi.cdata* view  mg_limit_view, good until the next call
function host.limiter_take(self, limiter, key, cost)
    limiter_take(self, limiter, key, #key, cost, view)
    return view
end

---@return string policy, string state
function host.limit_fields(self, name, quota, window_s, remaining, reset_s, retry_s)
    view.quota, view.window_s, view.remaining, view.reset_s, view.retry_s = quota, window_s, remaining, reset_s, retry_s
    limit_fields(self, name, #name, view, slice, slice2)
    return string_of(slice.p, slice.n), string_of(slice2.p, slice2.n)
end

---@param spec table<string, number>  members of mg_breaker_spec; what is missing is the default
---@return ffi.cdata*? breaker, string? problem
function host.breaker(self, name, spec)
    local given = new("mg_breaker_spec", -1, -1, -1, -1, -1, -1, -1, -1)
    for key, value in pairs(spec) do
        given[key] = value
    end
    local breaker = c.mg_host_breaker(self, name, #name, given, why)
    if breaker == nil then
        return nil, string_of(why)
    end
    return breaker
end

---@return integer? ticket  a 64-bit integer; nil when refused
function host.breaker_ask(self, breaker)
    local ticket = breaker_ask(self, breaker)
    if ticket ~= 0 then
        return ticket
    end
end

function host.breaker_finish(self, breaker, ticket, outcome, duration_s)
    return (breaker_finish(self, breaker, ticket, outcome, duration_s))
end

function host.breaker_state(self, breaker)
    return string_of(breaker_state(self, breaker))
end

---@return ffi.cdata*? counter, string? problem
function host.counter(self, name)
    local counter = c.mg_host_counter(self, name, #name, why)
    if counter == nil then
        return nil, string_of(why)
    end
    return counter
end

function host.counter_add(self, counter, by)
    counter_add(self, counter, by)
end

---@return ffi.cdata*? view  mg_pool_view, good until the next call; nil when no service has that name
function host.pool_view(self, service)
    if pool_view(self, service, #service, pools) then
        return pools
    end
end

return host
