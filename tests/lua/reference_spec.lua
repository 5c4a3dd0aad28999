--- What plugins may call is documented where it is written: a text, and a type for each parameter.
require("tests.lua.machine")

local function lines_of(path)
    local lines = {}
    for line in io.lines(path) do
        lines[#lines + 1] = line
    end
    return lines
end

--- The comment right above a function.
local function comment(fn)
    local info = debug.getinfo(fn, "S")
    local lines = lines_of(info.source:sub(2))
    local above = {}
    local at = info.linedefined - 1
    while lines[at] and lines[at]:find("^%s*%-%-%-") do
        table.insert(above, 1, lines[at])
        at = at - 1
    end
    return table.concat(above, "\n")
end

local function parameters(fn)
    local names = {}
    local i = 1
    local name = debug.getlocal(fn, i)
    while name do
        if name ~= "self" then
            names[#names + 1] = name
        end
        i = i + 1
        name = debug.getlocal(fn, i)
    end
    return names
end

local limit, breaker = require("moongate.sdk.limit"), require("moongate.sdk.breaker")
local ctx = require("moongate.sdk.ctx")
require("moongate.sdk.init")
local classes = require("moongate.sdk.scope").classes
local request, response = require("moongate.sdk.request"), require("moongate.sdk.response")
local codec = require("moongate.sdk.codec")
local public = {
    ["ctx"] = ctx.members,
    ["ctx.request"] = request.members,
    ["ctx.response"] = response.members,
    ["ctx.log"] = require("moongate.sdk.log"),
    ["ctx.time"] = require("moongate.sdk.time"),
    ["ctx.http"] = require("moongate.sdk.http").members,
    ["the answer of ctx.http"] = require("moongate.sdk.http").answers,
    ["ctx.kv"] = require("moongate.sdk.kv"),
    ["ctx.limit"] = limit,
    ["ctx.breaker"] = breaker,
    ["ctx.json"] = require("moongate.sdk.json"),
    ["moongate.base64"] = codec.base64,
    ["moongate.base64url"] = codec.base64url,
    ["moongate.hex"] = codec.hex,
    ["moongate.url"] = require("moongate.sdk.url"),
    ["moongate.cookie"] = require("moongate.sdk.cookie").members,
    ["moongate.Limiter"] = classes.limiter,
    ["moongate.Reservation"] = classes.reservation,
    ["moongate.Breaker"] = classes.breaker,
    ["moongate.Counter"] = classes.counter,
    ["moongate.Task"] = classes.task,
    ["moongate.Router"] = classes.router,
    ["moongate"] = {
        limiter = limit.new, breaker = breaker.new, counter = require("moongate.sdk.counter").new,
        router = require("moongate.sdk.router").new, pool = require("moongate.sdk.pool"),
        every = require("moongate.sdk.task").every,
    },
}

describe("the reference", function()
    for name, members in pairs(public) do
        it("of " .. name .. " tells of every function and parameter", function()
            for key, fn in pairs(members) do
                if type(fn) == "function" then
                    local text = comment(fn)
                    assert.truthy(text:find("%-%-%-"), name .. "." .. key .. " has no comment")
                    for _, parameter in ipairs(parameters(fn)) do
                        assert.truthy(text:find("@param " .. parameter, 1, true),
                            name .. "." .. key .. ": no ---@param for " .. parameter)
                    end
                end
            end
        end)
    end

    it("names every property in a @field", function()
        for path, properties in pairs({
            ["lua/moongate/sdk/ctx.lua"] = ctx.properties,
            ["lua/moongate/sdk/request.lua"] = request.properties,
            ["lua/moongate/sdk/service.lua"] = require("moongate.sdk.service").properties,
            ["lua/moongate/sdk/response.lua"] = response.properties,
        }) do
            local text = table.concat(lines_of(path), "\n")
            for property in pairs(properties) do
                assert.truthy(text:find("@field " .. property .. "[? ]"), path .. ": no @field for " .. property)
            end
        end
    end)
end)
