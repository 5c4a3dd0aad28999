--- http: ctx.http, requests of a plugin's own. They wait without blocking anybody, and never longer than the request
--- that they serve has left; X-Moongate-Deadline-Ms tells the other side, and with too little left nobody is asked.
local bind = require("moongate.ffi.http")
local call = require("moongate.ffi.call")
local frozen = require("moongate.sdk.frozen")
local message = require("moongate.sdk.message")
local object = require("moongate.sdk.object")
local list = require("moongate.sdk.json").list
local running = require("moongate.sdk.running")
local services = require("moongate.ffi.service")

local HTTP = call.wait_for.HTTP
local MAX_BODY_BYTES, MAX_BODY_LIMIT = bind.BODY_BYTES, bind.BODY_BYTES_MAX
local URL_MAX = 65536 -- bytes

---@class moongate.Http
local http = {}

---@class moongate.HttpRequest
---@field method? string  "GET" when left out
---@field url? string  http://host[:port]/path; or service and path
---@field service? string  of the configuration: its balancer, connections, breaker, retries, time-outs
---@field path? string  "/path?query", at the service
---@field headers? table<string, moongate.FieldValue>  the gateway adds grpc-timeout or x-moongate-..
---@field body? string|moongate.Request  ctx.request: the client's body, as it comes; next has none then
---@field timeout? number  seconds; what is left of the request's deadline when left out. Of a streamed answer: until
--- its head, and for each piece
---@field max_body? integer  bytes of the answer's body at most, up to 16 MiB; 1 MiB when left out
---@field stream? boolean  the answer's body is not read ahead: chunks() and read() have it, ctx:respond passes it on

---@class moongate.HttpResponse
---@field status integer
---@field headers table<string, string|string[]>  lower-case names; several of one name are joined with ", ", but
--- set-cookie is a list, even of one
---@field body? string  nil where it is streamed
local answers = {}

local numbers = setmetatable({}, { __mode = "k" }) -- of answers that are streamed
local values_of = setmetatable({}, { __mode = "k" }) -- by answer and name: the value of each field

local answer_meta = {
    __index = function(self, key)
        local method = answers[key]
        if method then
            return method
        end
        if key == "body" and numbers[self] then
            error("the answer is streamed: its body is in :chunks() or :read()", 2)
        end
        object.unknown("the answer of ctx.http", key,
            object.members({ status = 1, headers = 1, body = 1 }, answers), 2)
    end,
    __metatable = "locked",
}

local kinds = {
    method = "string", service = "string", path = "string", headers = "table", body = "string", timeout = "number",
    max_body = "number", stream = "boolean",
}

local option_names = object.members(kinds)
option_names[#option_names + 1] = "url"

--- False for NaN too.
local function within(value, least, most)
    return value >= least and value <= most
end

local function check(wanted)
    if type(wanted) ~= "table" or (type(wanted.url) ~= "string" and wanted.service == nil) then
        error("http: a request is a table with a url, a string; or with service and path", 4)
    end
    for key in frozen.pairs(wanted) do
        if key ~= "url" and not kinds[key] then
            error("http: no option '" .. tostring(key) .. "': " .. object.choices(key, option_names), 4)
        end
    end
    for key, kind in pairs(kinds) do
        local is_client = key == "body" and wanted.body and wanted.body == running.request
        if wanted[key] ~= nil and type(wanted[key]) ~= kind and not is_client then
            if key == "body" then
                error("http: body is a string, or ctx.request for the client's as it comes, not a "
                    .. type(wanted.body), 4)
            end
            error("http: " .. key .. " is a " .. kind .. ", not a " .. type(wanted[key]), 4)
        end
    end
    if wanted.service ~= nil and (wanted.url ~= nil or wanted.path == nil) then
        error("http: service goes with path, as in { service = \"cart\", path = \"/v1/carts\" }, and without url", 4)
    elseif wanted.service == nil and wanted.path ~= nil then
        error("http: path goes with service; without one it is a part of the url", 4)
    end
    if #(wanted.url or wanted.path) > URL_MAX then
        error("http: a url or path has at most " .. URL_MAX .. " bytes, not " .. #(wanted.url or wanted.path), 4)
    end
    if wanted.timeout ~= nil and not within(wanted.timeout, 1e-9, math.huge) then
        error("http: timeout is a number of seconds above 0", 4)
    end
    if wanted.max_body ~= nil and not within(wanted.max_body, 1, MAX_BODY_LIMIT) then
        error("http: max_body is 1 to " .. MAX_BODY_LIMIT .. " bytes", 4)
    end
end

local function headers_of(pointer)
    local headers, values = {}, {}
    local at = 0
    local name, value = bind.header_at(pointer, at)
    while name do
        local all = values[name] or {}
        all[#all + 1] = value
        values[name] = all
        headers[name] = name == "set-cookie" and all or table.concat(all, ", ")
        at = at + 1
        name, value = bind.header_at(pointer, at)
    end
    return headers, values
end

local function answer(pointer, streams)
    local status = bind.status(pointer)
    if status == 0 then
        return nil, bind.error(pointer) or "failed"
    end
    local headers, values = headers_of(pointer)
    local made = { status = status, headers = headers }
    values_of[made] = values
    if streams then
        numbers[made] = bind.keep(pointer)
    else
        made.body = bind.body(pointer)
    end
    return setmetatable(made, answer_meta)
end

local function put(pointer, _, name, value, replace)
    return bind.header(pointer, name, value, replace)
end

local function choose(pointer, name)
    if not bind.service(pointer, name) then
        local known = services.names(pointer, services.of.SERVICES)
        error("http: no service is named " .. object.quoted(name) .. ": " .. object.choices(name, known), 4)
    end
end

local function send(wanted)
    if not running.ctx then
        error("http needs a request: no request is served here", 3)
    end
    running.can_wait() -- before anything is prepared: the handler may wait for an answer meanwhile
    check(wanted)
    local pointer = running.call
    call.enter(pointer, running.here.plugin)
    local method, url, body = wanted.method or "GET", wanted.url or wanted.path, wanted.body or ""
    local wrong = bind.begin(pointer)
    if wrong then
        error("http: " .. wrong, 3)
    end
    if wanted.service then
        choose(pointer, wanted.service)
    end
    running.bytes(#body)
    for name, value in frozen.pairs(wanted.headers or {}) do
        running.charge(16)
        message.put("http: header", put, pointer, nil, name, value, true, 3)
    end
    local how = wanted.stream and bind.STREAM or 0
    if body == running.request then
        how, body = how + bind.CLIENTS_BODY, ""
    end
    wrong = bind.start(pointer, method, url, body, wanted.timeout or 0, wanted.max_body or MAX_BODY_BYTES, how)
    if wrong then
        error(("http: %s %q: %s"):format(method, url, wrong), 3)
    end
    running.await(HTTP)
    return answer(pointer, wanted.stream)
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
    if more.service ~= nil and more.path == nil then
        more.path, more.url = more.url, nil
    end
    return more
end

--- The next piece of a body that is streamed; at most 64 KiB, as it comes.
---@return string? piece  nil at the end
---@return string? problem  why there is no more, where it is not the end: "upstream_reset", "timeout", "closed", ..
function answers:read()
    local number = numbers[self]
    if not number then
        error("read: the answer was not asked for with stream = true: its body is in .body", 2)
    end
    running.can_wait()
    local what, text = bind.read(running.call, number)
    if what == bind.WAIT then
        running.await(HTTP)
        what, text = bind.read(running.call, number)
    end
    if what == bind.FAILED then
        return nil, text
    end
    running.bytes(text and #text or 0)
    return text
end

local function next_chunk(self)
    local piece, problem = answers.read(self)
    if problem then
        error("chunks: the answer was cut: " .. problem, 2)
    end
    return piece
end

--- Walks the pieces of a body that is streamed: for chunk in answer:chunks() do. Raises where it is cut.
---@return fun(answer: moongate.HttpResponse): string?
---@return moongate.HttpResponse
function answers:chunks()
    if not numbers[self] then
        error("chunks: the answer was not asked for with stream = true: its body is in .body", 2)
    end
    return next_chunk, self
end

--- Nobody wants the rest of a body that is streamed. Done at the end of the request, too.
function answers:close()
    if numbers[self] and running.call then
        bind.close(running.call, numbers[self])
    end
end

--- The values of all fields of a name, each as it stands; empty when it is absent.
---@param name string  in any case
---@return string[] values
function answers:header_values(name)
    local all = values_of[self] and values_of[self][string.lower(name)] or {}
    return list({ unpack(all) })
end

--- Sends a request and waits for its whole answer; with stream = true, for its head.
---@param wanted moongate.HttpRequest
---@return moongate.HttpResponse? response  nil when there was none
---@return string? problem  "upstream_connect", "timeout" (its own), "deadline" (the request's), ..
function http:request(wanted)
    object.colon(self, "ctx.http", "request", 2)
    local response, problem = send(wanted) -- no tail call: errors name the plugin's line
    return response, problem
end

---@param url string  a path, where options have a service
---@param options? moongate.HttpRequest
---@return moongate.HttpResponse? response
---@return string? problem
function http:get(url, options)
    object.colon(self, "ctx.http", "get", 2)
    local response, problem = send(with("get", options, { method = "GET", url = url }))
    return response, problem
end

---@param url string
---@param body string|moongate.Request
---@param options? moongate.HttpRequest
---@return moongate.HttpResponse? response
---@return string? problem
function http:post(url, body, options)
    object.colon(self, "ctx.http", "post", 2)
    if body ~= nil and type(body) ~= "string" and body ~= running.request then
        error("post: a body is a string, not " .. type(body) .. ": encode it, as with ctx.json", 2)
    end
    local response, problem = send(with("post", options, { method = "POST", url = url, body = body }))
    return response, problem
end

--- For ctx:respond: nil when the value is no answer of ctx.http.
---@return boolean? is_answer, number? number  of one that is streamed
local function is_answer(value)
    if values_of[value] then
        return true, numbers[value]
    end
end

return { members = http, is_answer = is_answer, answers = answers }
