--- moongate: what a plugin gets from require "moongate": things to make when it is loaded, in new(conf).
---@class moongate
---@field limiter fun(options: table): moongate.Limiter
---@field breaker fun(options: moongate.BreakerOptions): moongate.Breaker
---@field counter fun(name: string): moongate.Counter
---@field router fun(routes: table[]): moongate.Router
---@field pool fun(service: string): table?, string?
---@field json moongate.Json
---@field time moongate.Time
local message = require("moongate.sdk.message")

local members = {
    limiter = require("moongate.sdk.limit").new,
    breaker = require("moongate.sdk.breaker").new,
    counter = require("moongate.sdk.counter").new,
    router = require("moongate.sdk.router").new,
    pool = require("moongate.sdk.pool"),
    json = setmetatable({}, message.meta("json", require("moongate.sdk.json"))),
    time = setmetatable({}, message.meta("time", require("moongate.sdk.time"))),
}

return setmetatable({}, message.meta("moongate", members))
