--- client: connections to a gateway, and requests on them.
local c = require("moongate.test.c")
local http = require("moongate.test.http")
local units = require("moongate.test.units")
local world = require("moongate.test.world")

local PATIENCE = "60s"

---@class moongate.test.Connection  a client's connection, byte by byte
---@field heard string  all that has come
local Connection = {}
Connection.__index = Connection

local function open(gateway, options)
    local here = world.here()
    local address = gateway:address(options.listener)
    local socket = c.connect(here.spec, address, options.from or "10.9.0.1")
    if socket < 0 then
        units.fail("%s", c.why(here.spec))
    end
    return here:add(setmetatable({
        world = here, spec = here.spec, socket = socket, out = "", heard = "", sent = 0, ended = false,
    }, Connection))
end

local function flush(self)
    while self.socket and self.out ~= "" do
        local n = c.send(self.spec, self.socket, self.out, #self.out)
        if n < 0 then
            self.out = ""
            return true
        elseif n == 0 then
            return false
        end
        self.out, self.sent = self.out:sub(n + 1), self.sent + n
    end
    return false
end

function Connection:pump()
    if not self.socket then
        return false
    end
    local before = self.sent
    flush(self)
    local moved = self.sent ~= before
    while self.socket and not self.ended and not self.deaf do
        local what = c.receive(self.spec, self.socket, c.text)
        if what == c.NOTHING then
            break
        end
        moved = true
        if what == c.BYTES then
            self.heard = self.heard .. c.taken()
        else
            self.ended, self.reset = true, what == c.RESET
        end
    end
    if moved and self.on_heard then
        self.on_heard()
    end
    return moved
end

--- Sends bytes, and lets the world run.
---@param bytes string
function Connection:send(bytes)
    self.out = self.out .. bytes
    self.world:settle()
    return self
end

--- Waits for the next response.
---@param timeout? string  of virtual time
---@return table response
function Connection:response(timeout)
    self.reader = self.reader or http.reader("response")
    local found
    local function look()
        found = found or self.reader:feed(self.heard:sub((self.read or 0) + 1), self.ended)
        self.read = #self.heard
        return found ~= nil or self.ended
    end
    self.world:wait(units.ms(timeout or PATIENCE), look)
    if not found then
        units.fail("no response within %s of virtual time; heard so far: %q", timeout or PATIENCE, self.heard)
    end
    return found
end

--- Stops and begins to read: a slow reader.
function Connection:pause()
    self.deaf = true
    return self
end

function Connection:resume()
    self.deaf = false
    self.world:settle()
    return self
end

--- Sends no more; still hears.
function Connection:finish()
    c.shutdown(self.spec, self.socket)
    self.world:settle()
    return self
end

--- Ends the connection; `how` "reset": as a crash does.
---@param how? "reset"
function Connection:close(how)
    if self.socket then
        c.close(self.spec, self.socket, how == "reset")
        self.socket = nil
        self.world:remove(self)
        if self.mark then
            self.world:closed(self.mark)
        end
        self.world:settle()
    end
end

function Connection:drop()
    if self.socket then
        c.close(self.spec, self.socket, false)
        self.socket = nil
    end
    self.world:remove(self)
end

---@class moongate.test.Handle  a request under way
---@field response? table  once it is there
---@field problem? string  why there will be none
local Handle = {}
Handle.__index = Handle

local function done(self)
    return self.response ~= nil or self.problem ~= nil
end

local function over(self)
    self.took_ms = self.world:now() - self.began_ms
    self.world:closed(self.mark)
    self.world:remove(self.connection)
    local socket = self.connection.socket
    self.connection.socket = nil
    if socket then
        c.close(self.world.spec, socket, self.how == "reset")
    end
end

--- The client leaves.
---@param how? "reset"
function Handle:abort(how)
    if not done(self) then
        self.how = how
        self.problem = ("the client left after %d bytes sent and %d received"):format(self.connection.sent,
            #self.connection.heard)
        over(self)
    end
    return self
end

local function heard(self)
    local connection, abort = self.connection, self.abort_at
    if done(self) then
        return
    end
    if abort and ((abort.received and #connection.heard >= abort.received)
        or (abort.sent and connection.sent >= abort.sent)) then
        return self:abort(abort.how)
    end
    local ok, response = pcall(self.reader.feed, self.reader, connection.heard:sub(self.read + 1), connection.ended)
    self.read = #connection.heard
    if not ok then
        self.problem = ("the response cannot be read: %s; heard: %q"):format(response, connection.heard)
        over(self)
    elseif response then
        response.raw, response.took_ms = connection.heard, self.world:now() - self.began_ms
        self.response = response
        over(self)
    elseif connection.ended then
        self.problem = ("the connection %s before the response was whole; heard: %q")
            :format(connection.reset and "was reset" or "ended", connection.heard)
        over(self)
    end
end

--- Lets time pass until the response is there.
---@param timeout? string  of virtual time, by default 60s
---@return table response
function Handle:wait(timeout)
    local patience = timeout or self.timeout or PATIENCE
    self.world:wait(units.ms(patience), function()
        return done(self)
    end)
    local blamed = self.world:blamed()
    if self.response and not blamed then
        return self.response
    end
    local problem = blamed or self.problem
        or ("no response within %s of virtual time; heard: %q"):format(patience, self.connection.heard)
    self:abort()
    units.fail("%s %s: %s", self.method, self.path, problem)
end

function Handle:is_done()
    self.world:settle()
    return done(self)
end

local OPTIONS = {
    method = true, path = true, headers = true, body = true, json = true, host = true, listener = true, from = true,
    timeout = true, abort = true, version = true, raw = true, chunked = true,
}

local function check(options)
    for name in pairs(options) do
        if not OPTIONS[name] then
            local names = {}
            for known in pairs(OPTIONS) do
                names[#names + 1] = known
            end
            table.sort(names)
            units.fail("a request has no option %q: there are %s", tostring(name), table.concat(names, ", "))
        end
    end
end

local function chunked(body, size)
    local out = {}
    for at = 1, #body, size do
        local piece = body:sub(at, at + size - 1)
        out[#out + 1] = ("%x\r\n%s\r\n"):format(#piece, piece)
    end
    return table.concat(out) .. "0\r\n\r\n"
end

local function text_of(options)
    local lines = http.fields(options.headers)
    local body, content_type = http.body(options.json or options.body)
    if not http.has(lines, "host") then
        table.insert(lines, 1, { "host", options.host or "localhost" })
    end
    if content_type and not http.has(lines, "content-type") then
        lines[#lines + 1] = { "content-type", content_type }
    end
    if options.chunked and body then
        lines[#lines + 1] = { "transfer-encoding", "chunked" }
        body = chunked(body, tonumber(options.chunked) or 4096)
    elseif body and not http.has(lines, "content-length") and not http.has(lines, "transfer-encoding") then
        lines[#lines + 1] = { "content-length", tostring(#body) }
    end
    return http.write(("%s %s HTTP/%s"):format(options.method, options.path, options.version or "1.1"), lines, body)
end

local client = {}

--- Begins a request on a connection of its own, and does not wait.
---@return moongate.test.Handle
function client.start(gateway, options)
    check(options)
    local here = world.here()
    options.method, options.path = options.method or "GET", options.path or "/"
    local connection = open(gateway, options)
    local self = setmetatable({
        world = here, connection = connection, reader = http.reader("response"), read = 0, began_ms = here:now(),
        method = options.method, path = options.path, timeout = options.timeout, abort_at = options.abort,
    }, Handle)
    self.reader.no_body = options.method == "HEAD"
    self.mark = here:opened(("request %s %s without its response"):format(options.method, options.path))
    connection.on_heard = function()
        heard(self)
    end
    local bytes = options.raw or text_of(options)
    if options.abort and options.abort.sent then
        bytes = bytes:sub(1, options.abort.sent)
    end
    connection:send(bytes)
    return self
end

--- A connection to say and hear bytes on.
---@return moongate.test.Connection
function client.connect(gateway, options)
    local connection = open(gateway, options or {})
    connection.mark = world.here():opened("open connection")
    connection.world:settle()
    return connection
end

return client
