--- http: ctx.http, requests of a plugin's own. They wait without blocking anybody, and never longer than the request
--- that they serve has left; X-Moongate-Deadline-Ms tells the other side, and with too little left nobody is asked.
local bind = require("moongate.ffi.http")
local call = require("moongate.ffi.call")
local frozen = require("moongate.sdk.frozen")
local message = require("moongate.sdk.message")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local HTTP = call.wait_for.HTTP
local MAX_BODY_BYTES, MAX_BODY_LIMIT = 1048576, 16777216

---@class moongate.Http
local http = {}

---@class moongate.HttpRequest
---@field method? string  "GET" when left out
---@field url string  http://host[:port]/path
---@field headers? table<string, moongate.FieldValue>  grpc-timeout and x-moongate-deadline-ms are told by the gateway
---@field body? string
---@field timeout? number  seconds; what is left of the request's deadline when left out
---@field max_body? integer  bytes of the answer's body at most, up to 16 MiB; 1 MiB when left out

---@class moongate.HttpResponse
---@field status integer
---@field headers table<string, string|string[]>  lower-case names; several of one name are joined with ", ", but
--- set-cookie is a list, even of one
---@field body string

local kinds = { method = "string", headers = "table", body = "string", timeout = "number", max_body = "number" }

local option_names = object.members(kinds)
option_names[#option_names + 1] = "url"

--- False for NaN too.
local function within(value, least, most)
    return value >= least and value <= most
end

local function check(wanted)
    if type(wanted) ~= "table" or type(wanted.url) ~= "string" then
        error("http: a request is a table with a url, a string", 4)
    end
    for key in frozen.pairs(wanted) do
        if key ~= "url" and not kinds[key] then
            error("http: no option '" .. tostring(key) .. "': " .. object.choices(key, option_names), 4)
        end
    end
    for key, kind in pairs(kinds) do
        if wanted[key] ~= nil and type(wanted[key]) ~= kind then
            error("http: " .. key .. " is a " .. kind .. ", not a " .. type(wanted[key]), 4)
        end
    end
    if wanted.timeout ~= nil and not within(wanted.timeout, 1e-9, math.huge) then
        error("http: timeout is a number of seconds above 0", 4)
    end
    if wanted.max_body ~= nil and not within(wanted.max_body, 1, MAX_BODY_LIMIT) then
        error("http: max_body is 1 to 16777216 bytes", 4)
    end
end

local function answer(pointer)
    local status = bind.status(pointer)
    if status == 0 then
        return nil, bind.error(pointer) or "failed"
    end
    local headers = {}
    local at = 0
    local name, value = bind.header_at(pointer, at)
    while name do
        local before = headers[name]
        if name == "set-cookie" then
            before = before or {}
            before[#before + 1] = value
            headers[name] = before
        else
            headers[name] = before and before .. ", " .. value or value
        end
        at = at + 1
        name, value = bind.header_at(pointer, at)
    end
    return { status = status, headers = headers, body = bind.body(pointer) }
end

local function put(pointer, _, name, value, replace)
    return bind.header(pointer, name, value, replace)
end

local function send(wanted)
    if not running.ctx then
        error("http needs a request: here is none", 3)
    end
    check(wanted)
    local pointer = running.call
    call.enter(pointer, running.plugin)
    for name, value in frozen.pairs(wanted.headers or {}) do
        message.put("http: header", put, pointer, nil, name, value, true, 3)
    end
    local wrong = bind.start(pointer, wanted.method or "GET", wanted.url, wanted.body or "", wanted.timeout or 0,
        wanted.max_body or MAX_BODY_BYTES)
    if wrong then
        error(("http: %s %q: %s"):format(wanted.method or "GET", wanted.url, wrong), 3)
    end
    running.await(HTTP)
    return answer(pointer)
end

local function with(method, options, more)
    if options ~= nil and type(options) ~= "table" then
        error(method .. ": options are a table, not " .. type(options), 3)
    end
    if type(more.url) ~= "string" then
        error(method .. ": a url is a string, not " .. type(more.url), 3)
    end
    for key, value in frozen.pairs(options or {}) do
        if more[key] == nil then
            more[key] = value
        end
    end
    return more
end

--- Sends a request and waits for its whole answer.
---@param wanted moongate.HttpRequest
---@return moongate.HttpResponse? response  nil when there was none
---@return string? problem  "upstream_connect", "timeout" (its own), "deadline" (the request's), ..
function http:request(wanted)
    object.colon(self, "ctx.http", "request", 2)
    local response, problem = send(wanted) -- no tail call: errors name the plugin's line
    return response, problem
end

---@param url string
---@param options? moongate.HttpRequest
---@return moongate.HttpResponse? response
---@return string? problem
function http:get(url, options)
    object.colon(self, "ctx.http", "get", 2)
    local response, problem = send(with("get", options, { method = "GET", url = url }))
    return response, problem
end

---@param url string
---@param body string
---@param options? moongate.HttpRequest
---@return moongate.HttpResponse? response
---@return string? problem
function http:post(url, body, options)
    object.colon(self, "ctx.http", "post", 2)
    if body ~= nil and type(body) ~= "string" then
        error("post: a body is a string, not " .. type(body) .. ": encode it, as with ctx.json", 2)
    end
    local response, problem = send(with("post", options, { method = "POST", url = url, body = body }))
    return response, problem
end

return http
