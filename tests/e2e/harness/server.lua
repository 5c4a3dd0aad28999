--- server: an upstream that answers by itself, whenever a spec waits for anything, and can be told at any moment to do
--- otherwise: fail, be slow, reset, hang, refuse. Requests with a Content-Length or without a body.
local ffi = require "ffi"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local Server = {}
Server.__index = Server

local standing = {}

local function message(status, body, fields)
    return string.format("HTTP/1.1 %d Scripted\r\nContent-Length: %d\r\n%s\r\n%s", status, #body, fields or "", body)
end

--- What a server can be told to do: functions of the request and the server that return what is to be sent, or
--- "reset", "close" or "hang"; and behind it after how many ms.
local habits = {
    ok = function(_, server) return message(200, server.name) end,
    fail = function(_, server) return message(503, server.name) end,
    reset = function() return "reset" end,
    close = function() return "close" end,
    hang = function() return "hang" end,
}

--- Answers, but so many ms late.
function habits.slow(ms)
    return function(_, server) return message(200, server.name), ms end
end

--- Goes through `n` requests as `first`, `n` as `second`, and so on.
function habits.turns(n, first, second)
    local count = 0
    return function(request, server)
        local habit = habits[math.floor(count / n) % 2 == 0 and first or second]
        count = count + 1
        return habit(request, server)
    end
end

local function drop(server, fd, how)
    if not server.conns[fd] then return end
    server.conns[fd] = nil
    sys.unwatch(fd)
    if how == "reset" then
        local linger = ffi.new("e2e_linger", 1, 0)
        C.setsockopt(fd, 1, 13, linger, 8)
    end
    C.close(fd)
end

local function act(server, fd, conn, answer)
    if server.conns[fd] ~= conn then return end
    if answer == "reset" or answer == "close" then
        drop(server, fd, answer)
    elseif answer ~= "hang" then
        local sent = sys.send(fd, ffi.cast("const char *", answer), #answer)
        if sent ~= #answer then drop(server, fd, "reset") end
    end
end

local function fields_of(head)
    local fields = {}
    for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do fields[name:lower()] = value end
    return fields
end

--- A whole request off the connection's buffer, or nil.
local function next_request(conn)
    local _, stop = conn.buffer:find("\r\n\r\n", 1, true)
    if not stop then return nil end
    local head = conn.buffer:sub(1, stop)
    local fields = fields_of(head)
    local length = tonumber(fields["content-length"] or 0)
    if #conn.buffer < stop + length then return nil end
    local method, target = head:match "^(%S+) (%S+)"
    local request = { method = method, target = target, fields = fields,
        body = conn.buffer:sub(stop + 1, stop + length) }
    conn.buffer = conn.buffer:sub(stop + length + 1)
    return request
end

local function hear(server, fd, conn)
    local bytes, errno = sys.recv(fd)
    if bytes == "" or (not bytes and errno ~= sys.EAGAIN and errno ~= sys.EINTR) then
        return drop(server, fd, "close")
    end
    conn.buffer = conn.buffer .. (bytes or "")
    for request in next_request, conn do
        server.seen = server.seen + 1
        server.last = request
        local answer, delay_ms = server.habit(request, server)
        if delay_ms then
            sys.after(delay_ms, function() act(server, fd, conn, answer) end)
        else
            act(server, fd, conn, answer)
        end
    end
end

local function welcome(server)
    local fd = C.accept4(server.fd, nil, nil, 2048 + 524288)
    if fd < 0 then return end
    local conn = { buffer = "" }
    server.conns[fd] = conn
    server.accepted = server.accepted + 1
    sys.watch(fd, sys.POLLIN, function() hear(server, fd, conn) end)
end

--- By the name of a habit, or a function of that kind.
function Server:does(habit)
    self.habit = type(habit) == "string" and assert(habits[habit], habit) or habit
    return self
end

--- Refuses connections from now on, and resets those that it has. Its port stays its own.
function Server:die()
    if not self.fd then return self end
    sys.unwatch(self.fd)
    C.close(self.fd)
    self.fd = nil
    for fd in pairs(self.conns) do drop(self, fd, "reset") end
    return self
end

function Server:revive()
    if self.fd then return self end
    self.fd = sys.tcp()
    sys.check(sys.bind(self.fd, self.address, self.port), "bind")
    sys.check(C.listen(self.fd, 1024), "listen")
    sys.watch(self.fd, sys.POLLIN, function() welcome(self) end)
    return self
end

--- Requests seen since the last time it was asked.
function Server:since()
    local n = self.seen - self.counted
    self.counted = self.seen
    return n
end

function Server:url() return "http://" .. self.address .. ":" .. self.port end

local server = { habits = habits, message = message }

--- One that answers 200 with its name; of an address (127.0.0.1) and a port (a free one).
function server.start(name, address, port)
    local self = setmetatable({ name = name or "upstream", address = address or "127.0.0.1",
        port = port or sys.free_port(), conns = {}, seen = 0, counted = 0, accepted = 0, habit = habits.ok }, Server)
    standing[self] = true
    return self:revive()
end

function server.stop_all()
    for self in pairs(standing) do self:die() end
    standing = {}
    sys.silence()
end

return server
