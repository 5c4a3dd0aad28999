--- moongate: what a plugin gets from require "moongate": things to make when it is loaded, in new(conf).
---@class moongate
---@field limiter fun(options: moongate.LimiterOptions|string): moongate.Limiter
---@field breaker fun(options: moongate.BreakerOptions): moongate.Breaker
---@field key fun(text: string, on_missing?: "ip"|"skip"|"deny"): moongate.Key
---@field counter fun(name: string): moongate.Counter
---@field router fun(routes: table[]): moongate.Router
---@field every fun(seconds: number, fn: fun(ctx: moongate.TaskCtx), options?: moongate.TaskOptions)
---@field pool fun(service: string): table?, string?
---@field json moongate.Json
---@field time moongate.Time
---@field base64 moongate.Base64
---@field base64url moongate.Base64url
---@field hex moongate.Hex
---@field url moongate.Url
---@field cookie moongate.Cookie
local codec = require("moongate.sdk.codec")
local object = require("moongate.sdk.object")

local members = {
    limiter = require("moongate.sdk.limit").new,
    breaker = require("moongate.sdk.breaker").new,
    key = require("moongate.sdk.key").new,
    counter = require("moongate.sdk.counter").new,
    router = require("moongate.sdk.router").new,
    pool = require("moongate.sdk.pool"),
    every = require("moongate.sdk.task").every,
    json = setmetatable({}, object.meta("moongate.json", require("moongate.sdk.json"))),
    time = setmetatable({}, object.meta("moongate.time", require("moongate.sdk.time"))),
}

for name, functions in pairs({
    base64 = codec.base64,
    base64url = codec.base64url,
    hex = codec.hex,
    url = require("moongate.sdk.url"),
    cookie = require("moongate.sdk.cookie").members,
}) do
    local shown = "moongate." .. name
    members[name] = setmetatable({}, object.meta(shown, object.strict(shown, functions)))
end

return setmetatable({}, object.meta("moongate", object.strict("moongate", members)))
