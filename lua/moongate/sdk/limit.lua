--- limit: token buckets, a plugin's own and those of the configuration. All workers share them.
local bind = require("moongate.ffi.host")
local call = require("moongate.ffi.call")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local take, type, error = bind.limiter_take, type, error
local PERIOD_S = { s = 1, m = 60, h = 3600, d = 86400 }

local option_kinds = { name = "string", rate = "any", per = "any", burst = "number", max_keys = "number" }

local handles = setmetatable({}, { __mode = "k" })

---@class moongate.Limiter
local limiter = {}

local function check_key(what, key, cost)
    if type(key) ~= "string" then
        error(what .. ": a key is a string, not " .. type(key), 3)
    end
    if type(cost) ~= "number" or not (cost >= 0 and cost <= 1000000) then
        error(what .. ": a cost is a number from 0 to 1000000", 3)
    end
end

--- Charges a key.
---@param key string
---@param cost? integer  1 when left out; 0 reads
---@return boolean allowed
---@return integer remaining  what is left of the burst
---@return number retry_ms  when the same would pass; 0 when allowed, -1 when never
---@return number reset_ms  until the bucket is full again
function limiter:take(key, cost)
    cost = cost or 1
    check_key("take", key, cost)
    local view = take(running.host, scope.handle(handles, self, "limiter").limiter, key, cost)
    local retry_s = view.retry_s
    return view.allowed, view.remaining, retry_s < 0 and -1 or retry_s * 1000, view.reset_s * 1000
end

--- The values of RateLimit-Policy and RateLimit for what take returned.
---@param remaining integer
---@param retry_ms number
---@param reset_ms number
---@return string policy, string state
function limiter:fields(remaining, retry_ms, reset_ms)
    local my = scope.handle(handles, self, "limiter")
    return bind.limit_fields(running.host, my.name, my.quota, my.window_s, remaining, reset_ms / 1000, retry_ms / 1000)
end

local meta = scope.meta("limiter", limiter)

local function rate_of(options)
    if type(options.rate) == "number" then
        local per = options.per or 1
        return options.rate, type(per) == "number" and per or PERIOD_S[per]
    end
    local count, unit = tostring(options.rate):match("^(%d+)/([smhd])$")
    return tonumber(count), PERIOD_S[unit]
end

---@class moongate.Limit
local limit = {}

---@class moongate.LimiterOptions
---@field name? string
---@field rate string|number  "100/s" (s, m, h, d), or a number each `per`
---@field per? number|string  seconds, or a unit; a second when left out
---@field burst? integer  the rate's count when left out
---@field max_keys? integer

--- Makes a token bucket, or finds the one that an earlier snapshot made by that name. In new(conf).
---@param options moongate.LimiterOptions
---@return moongate.Limiter
function limit.new(options)
    scope.check("limiter", options, option_kinds)
    local rate, period_s = rate_of(options)
    if not rate or not period_s then
        error("limiter: rate is a text as \"100/s\" (s, m, h, d), or a number with per in seconds", 2)
    end
    local name = scope.name("limiter", options.name)
    local handle, problem = bind.limiter(running.host, name, rate, period_s, options.burst or 0, options.max_keys or 0)
    if not handle then
        error("limiter: " .. problem, 2)
    end
    local self = setmetatable({}, meta)
    local quota = options.burst or rate
    handles[self] = {
        limiter = handle,
        name = options.name or running.names[running.plugin + 1],
        quota = quota,
        window_s = quota * period_s / rate,
    }
    return self
end

--- Charges a key of a limiter: one that the plugin made, or one of the configuration by its name.
---@param which moongate.Limiter|string
---@param key string
---@param cost? integer  1 when left out
---@return boolean allowed, integer remaining, number retry_ms, number reset_ms
function limit:take(which, key, cost) -- luacheck: ignore self
    if type(which) ~= "string" then
        return limiter.take(which, key, cost)
    end
    cost = cost or 1
    check_key("take", key, cost)
    local view, problem = call.limit_take(running.call, which, key, cost)
    if not view then
        error("take: " .. problem, 2)
    end
    local retry_s = view.retry_s
    return view.allowed, view.remaining, retry_s < 0 and -1 or retry_s * 1000, view.reset_s * 1000
end

return limit
