--- limit: token buckets, a plugin's own and those of the configuration. All workers share them.
local bind = require("moongate.ffi.host")
local call = require("moongate.ffi.call")
local names_of = require("moongate.ffi.service").names
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")
local scope = require("moongate.sdk.scope")

local take, limit_reserve = bind.limiter_take, call.limit_reserve
local limit_cancel, limit_commit = call.limit_cancel, call.limit_commit
local type, error, rawget, setmetatable = type, error, rawget, setmetatable
local PERIOD_S = { s = 1, m = 60, h = 3600, d = 86400 }

local option_kinds = { name = "string", rate = "any", per = "any", burst = "number", max_keys = "number" }

local handles = setmetatable({}, { __mode = "k" })
local LARGE, KEY_MAX = 256, 65536 -- bytes of a key that are charged, and that it may have

---@class moongate.Limiter
local limiter = {}

local function check_key(what, key, cost, level)
    if type(key) ~= "string" then
        error(what .. ": a key is a string, not " .. type(key), level)
    end
    if #key > LARGE then
        if #key > KEY_MAX then
            error(what .. ": a key has at most " .. KEY_MAX .. " bytes, not " .. #key, level)
        end
        running.charge(#key / 8)
    end
    if type(cost) ~= "number" or not (cost >= 0 and cost <= 1000000) then
        error(what .. ": a cost is a number from 0 to 1000000", level)
    end
end

local CONFIGURED = -1 -- how long a reservation may wait: as the limiter's configuration says

---@class moongate.Reservation
---@field wait number  seconds until it is due; 0: now
---@field remaining integer  what is left after it
local reservation = {}
local NUMBER = {} -- the key of what stands for it in C

--- Whatever a plugin makes of a reservation, C looks for it among those of the request that runs.
local function number_of(self)
    local number = type(self) == "table" and rawget(self, NUMBER)
    if not number then
        error("this is not a reservation: its methods are called with a colon, on what reserve returned", 3)
    end
    return running.call and number or 0
end

--- Gives it back at once, and not only when the request ends.
---@return boolean returned  false when it was returned or committed before, or when nothing can be returned: others
---have been charged since
function reservation:cancel()
    local number = number_of(self)
    return number > 0 and limit_cancel(running.call, number)
end

--- Keeps it: what was reserved stays charged when the request ends. A permit of a concurrency limiter goes back then
--- all the same.
---@return boolean kept  false when it was returned before, or its request is over
function reservation:commit()
    local number = number_of(self)
    return number > 0 and limit_commit(running.call, number)
end

local reservation_meta = scope.meta("reservation", reservation)

--- What C said, or that the configuration has no limiter of that name.
local function problem_with(name, problem)
    local all = type(name) == "string" and name ~= "" and names_of(running.call, true) or {}
    for i = 1, #all do
        if all[i] == name then
            return problem
        end
    end
    if name == "" then
        return problem
    end
    return ("no limiter of the configuration is named %s%s"):format(object.quoted(name), #all > 0
        and ": " .. object.choices(name, all) or ": it has none, write one under limiters")
end

--- Three levels up is the plugin's line.
local function reserve(handle, name, key, cost, max_wait)
    cost = cost or 1
    check_key("reserve", key, cost, 4)
    if max_wait ~= nil and (type(max_wait) ~= "number" or max_wait < 0) then
        error("reserve: the longest wait is 0 or more seconds", 3)
    end
    if not running.call then
        error("reserve works only while a request is served", 3)
    end
    local view, problem = limit_reserve(running.call, handle, name, key, cost, max_wait or CONFIGURED)
    if not view then
        error("reserve: " .. problem_with(name, problem), 3)
    end
    if not view.allowed then
        local retry_s = view.retry_s
        return nil, retry_s < 0 and -1 or retry_s * 1000
    end
    return setmetatable({ wait = view.wait_s, remaining = view.remaining, [NUMBER] = view.number }, reservation_meta)
end

--- Charges a key for something that may come later, or not at all: what is reserved goes back when the request ends,
--- whatever ends it, unless it was committed.
---@param key string
---@param cost? integer  1 when left out
---@param max_wait? number  seconds for which it may be due later; when left out 0, or the max_wait of a limiter of the
---configuration. Never beyond the request's deadline
---@return moongate.Reservation? reserved  nil: refused
---@return number? retry_ms  when refused: when the same would pass, -1 when never
function limiter:reserve(key, cost, max_wait)
    local my = scope.handle(handles, self, "limiter")
    local reserved, retry_ms = reserve(my.limiter, my.rule, key, cost, max_wait)
    return reserved, retry_ms
end

--- Charges a key of a limiter of the configuration. Three levels up is the plugin's line.
local function take_rule(name, key, cost)
    if not running.call then
        error("take: a limiter of the configuration works only while a request is served", 3)
    end
    local view, problem = call.limit_take(running.call, name, key, cost)
    if not view then
        error("take: " .. problem_with(name, problem), 3)
    end
    return view
end

--- Charges a key.
---@param key string
---@param cost? integer  1 when left out; 0 reads
---@return boolean allowed
---@return integer remaining  what is left of the burst
---@return number retry_ms  when the same would pass; 0 when allowed, -1 when never
---@return number reset_ms  until the bucket is full again
function limiter:take(key, cost)
    local my = scope.handle(handles, self, "limiter")
    cost = cost or 1
    check_key("take", key, cost, 3)
    local view
    if my.limiter then
        view = take(running.host, my.limiter, key, cost)
    else
        view = take_rule(my.rule, key, cost)
        my.quota, my.window_s = view.quota, view.window_s
    end
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
    if type(remaining) ~= "number" or type(retry_ms) ~= "number" or type(reset_ms) ~= "number" then
        error("fields: remaining, retry_ms and reset_ms are numbers, as take returned them", 2)
    end
    if not my.quota then
        error("fields: the limiter has not been taken from: call take first", 2)
    end
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

--- Makes a token bucket, or finds the one that an earlier snapshot made by that name; or stands for the limiter of the
--- configuration with that name, whose methods are for the time of a request. In new(conf).
---@param options moongate.LimiterOptions|string  a string: the name of one of `limiters`
---@return moongate.Limiter
function limit.new(options)
    if type(options) == "string" then
        scope.name("limiter")
        local self = setmetatable({}, meta)
        handles[self] = { rule = options, name = options }
        return self
    end
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
        rule = "",
        name = options.name or running.names[running.here.plugin + 1],
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
function limit:take(which, key, cost)
    if type(key) ~= "string" then
        object.colon(self, "ctx.limit", "take", 2)
    end
    if type(which) ~= "string" then
        return limiter.take(which, key, cost)
    end
    cost = cost or 1
    check_key("take", key, cost, 3)
    local view = take_rule(which, key, cost)
    local retry_s = view.retry_s
    return view.allowed, view.remaining, retry_s < 0 and -1 or retry_s * 1000, view.reset_s * 1000
end

--- Charges a key for something that may come later, or not at all: what is reserved goes back when the request ends,
--- whatever ends it, unless it was committed.
---
---     local turn, retry_ms = ctx.limit:reserve("orders", ctx.consumer, 1, 0.5)
---     if not turn then
---         return ctx:respond(429, { title = "Too many orders" })
---     end
---     if turn.wait > 0 then
---         ctx:sleep(turn.wait)
---     end
---     next(ctx)
---     if ctx.response.status < 500 then
---         turn:commit() -- who got nothing for it is not charged
---     end
---
---@param which moongate.Limiter|string  one that the plugin made, or one of the configuration by its name
---@param key string
---@param cost? integer  1 when left out
---@param max_wait? number  seconds for which it may be due later; the limiter's max_wait when left out. Never beyond
---the request's deadline
---@return moongate.Reservation? reserved  nil: refused
---@return number? retry_ms  when refused: when the same would pass, -1 when never
function limit:reserve(which, key, cost, max_wait)
    object.colon(self, "ctx.limit", "reserve", 2)
    local handle, name = nil, which
    if type(which) ~= "string" then
        local my = scope.handle(handles, which, "limiter")
        handle, name = my.limiter, my.rule
    end
    local reserved, retry_ms = reserve(handle, name, key, cost, max_wait)
    return reserved, retry_ms
end

--- The same as reserved:cancel().
---@param reserved moongate.Reservation
---@return boolean returned
function limit:cancel(reserved)
    object.colon(self, "ctx.limit", "cancel", 2)
    return (reservation.cancel(reserved))
end

--- The same as reserved:commit().
---@param reserved moongate.Reservation
---@return boolean kept
function limit:commit(reserved)
    object.colon(self, "ctx.limit", "commit", 2)
    return (reservation.commit(reserved))
end

return limit
