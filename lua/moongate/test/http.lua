--- http: reads messages of HTTP/1.1 piece by piece, and writes them. What it reads comes from the gateway or goes to
--- it, so it refuses what it does not understand instead of guessing.
local http = {}

local Message = {}
Message.__index = Message

--- The field's value, several lines as one; nil when it is absent. The name in any case.
function Message:header(name)
    return self.headers[name:lower()]
end

--- Each line of a field.
---@return string[]
function Message:all(name)
    local found = {}
    for _, line in ipairs(self.lines) do
        if line[1]:lower() == name:lower() then
            found[#found + 1] = line[2]
        end
    end
    return found
end

--- The body as JSON.
function Message:json()
    return (require("moongate.sdk.json").decode(self.body))
end

local function fields_of(message, text)
    message.headers, message.lines = {}, {}
    for line in text:gmatch("(.-)\r\n") do
        local name, value = line:match("^([^:%s]+):[ \t]*(.-)[ \t]*$")
        if not name then
            error(("a line of a head is not a field: %q"):format(line), 0)
        end
        message.lines[#message.lines + 1] = { name, value }
        local key = name:lower()
        local before = message.headers[key]
        message.headers[key] = before and before .. ", " .. value or value
    end
end

local Reader = {}
Reader.__index = Reader

--- Reads messages of one side of a connection.
---@param kind "request"|"response"
function http.reader(kind)
    return setmetatable({ kind = kind, held = "", state = "head", parts = {} }, Reader)
end

local function start(self, head)
    local first, fields = head:match("^(.-)\r\n(.*)$")
    local message = setmetatable({ head = head .. "\r\n" }, Message)
    if self.kind == "request" then
        message.method, message.target, message.version = first:match("^(%S+) (%S+) HTTP/(%d%.%d)$")
        if not message.method then
            error(("no request line: %q"):format(first), 0)
        end
        message.path, message.query = message.target:match("^([^?]*)%??(.*)$")
    else
        local status
        message.version, status, message.reason = first:match("^HTTP/(%d%.%d) (%d%d%d) ?(.*)$")
        message.status = tonumber(status)
        if not status then
            error(("no status line: %q"):format(first), 0)
        end
    end
    fields_of(message, fields)
    return message
end

--- What the body's framing is: nothing, a length, chunks, or all to the end.
local function frame(self, message)
    local coding, length = message.headers["transfer-encoding"], message.headers["content-length"]
    local status = message.status
    if status and (self.no_body or status < 200 or status == 204 or status == 304) then
        self.left = 0
    elseif coding and coding:lower():find("chunked", 1, true) then
        return "size"
    elseif length then
        self.left = tonumber(length)
    else
        self.left = status and math.huge or 0
    end
    return "body"
end

--- What is read in each state; false when that needs more bytes.
local steps = {}

function steps.head(self)
    local first, last = self.held:find("\r\n\r\n", 1, true)
    if not first then
        return false
    end
    local message = start(self, self.held:sub(1, first + 1))
    self.held = self.held:sub(last + 1)
    if message.status and message.status < 200 and message.status ~= 101 then
        self.interim[#self.interim + 1] = message
    else
        self.message, self.parts, self.state = message, {}, frame(self, message)
    end
    return true
end

function steps.size(self)
    local line, rest = self.held:match("^(.-)\r\n(.*)$")
    if not line then
        return false
    end
    local digits = line:match("^%x+")
    if not digits then
        error(("a chunk begins with %q in place of its size"):format(line), 0)
    end
    self.left, self.held, self.chunked = tonumber(digits, 16), rest, true
    self.state = self.left == 0 and "trailers" or "body"
    return true
end

function steps.trailers(self)
    local text, rest = self.held:match("^(.-\r\n)\r\n(.*)$")
    if self.held:sub(1, 2) == "\r\n" then
        text, rest = "", self.held:sub(3)
    end
    if not text then
        return false
    end
    local trailers = {}
    fields_of(trailers, text)
    self.message.trailers = trailers.headers
    self.held, self.state = rest, "done"
    return true
end

function steps.body(self)
    local count = math.min(self.left, #self.held)
    self.parts[#self.parts + 1] = self.held:sub(1, count)
    self.held, self.left = self.held:sub(count + 1), self.left - count
    if self.left > 0 then
        return false
    end
    self.state = self.chunked and "after" or "done"
    return true
end

--- The line that ends a chunk.
function steps.after(self)
    if #self.held < 2 then
        return false
    end
    self.held, self.state = self.held:sub(3), "size"
    return true
end

function steps.done()
    return false
end

--- The next whole message, or nil.
---@param bytes string  that have come
---@param ended boolean  nothing comes any more
function Reader:feed(bytes, ended)
    self.held = self.held .. bytes
    self.interim = self.interim or {}
    while steps[self.state](self) do end
    if ended and self.state == "body" and self.left == math.huge then
        self.state = "done"
    end
    if self.state ~= "done" then
        return nil
    end
    local message = self.message
    message.body, message.interim = table.concat(self.parts), self.interim
    self.state, self.chunked, self.interim, self.message = "head", nil, nil, nil
    return message
end

--- Fields in a steady order: a list of { name, value } as it stands, a map by its names.
---@return table[] lines
function http.fields(fields)
    local lines = {}
    for at, line in ipairs(fields or {}) do
        lines[at] = line
    end
    local names = {}
    for name in pairs(fields or {}) do
        if type(name) == "string" then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = fields[name]
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            lines[#lines + 1] = { name, tostring(one) }
        end
    end
    return lines
end

function http.has(lines, name)
    for _, line in ipairs(lines) do
        if line[1]:lower() == name then
            return true
        end
    end
    return false
end

--- A body as text: tables become JSON.
---@return string? text, string? content_type
function http.body(body)
    if type(body) == "table" then
        return require("moongate.sdk.json").encode(body), "application/json"
    end
    return body ~= nil and tostring(body) or nil
end

---@param first string  the request or status line
function http.write(first, lines, body)
    local out = { first, "\r\n" }
    for _, line in ipairs(lines) do
        out[#out + 1] = line[1] .. ": " .. line[2] .. "\r\n"
    end
    out[#out + 1] = "\r\n"
    out[#out + 1] = body or ""
    return table.concat(out)
end

http.reasons = {
    [200] = "OK", [201] = "Created", [204] = "No Content", [301] = "Moved Permanently", [302] = "Found",
    [304] = "Not Modified", [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
    [429] = "Too Many Requests", [500] = "Internal Server Error", [502] = "Bad Gateway",
    [503] = "Service Unavailable", [504] = "Gateway Timeout",
}

return http
