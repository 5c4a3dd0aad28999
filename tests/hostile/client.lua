--- client: connections that send random requests, several at once on one, and judge every byte that comes back: each
--- answer is whole and belongs to its request, or the connection ends.
local ffi = require "ffi"
local peer = require "tests.e2e.harness.peer"
local sys = require "tests.e2e.harness.sys"

local Client = {}
Client.__index = Client

local TOO_LATE_MS = 60000 -- an answer that takes so long is none

local next_token = 0

local function chunked(rng, bytes)
    local parts, at = {}, 1
    while at <= #bytes do
        local size = #parts > 20 and #bytes or rng:size(#bytes)
        local part = bytes:sub(at, at + size - 1)
        parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#part, part)
        at = at + size
    end
    return table.concat(parts) .. "0\r\n\r\n"
end

local BODIES = { '{"a":[1,2,3],"b":null}', "a=b&c=d", ("x"):rep(64), "" }

local function body_of(rng)
    if rng:chance(40) then return rng:pick(BODIES) end
    if rng:chance(10) then return "[" .. ("1,"):rep(rng:size(1e6)) .. "1]" end
    return ("b"):rep(rng:size(2e5))
end

--- A random request for a path.
local function request(rng, path)
    next_token = next_token + 1
    local token = "tok" .. next_token
    local method = rng:chance(50) and "GET" or rng:pick { "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH" }
    local head = { ("%s %s/%s?q=%s&a=b&a=c HTTP/1.1\r\nHost: a\r\n"):format(method, path, token, token),
        ("X-Token: %s\r\nCookie: a=b; c=d\r\n"):format(token) }
    local body = ""
    if method == "POST" or method == "PUT" or method == "PATCH" or rng:chance(5) then
        body = body_of(rng)
        if rng:chance(40) then
            head[#head + 1] = "Transfer-Encoding: chunked\r\n"
            body = chunked(rng, body)
        else
            head[#head + 1] = ("Content-Length: %d\r\n"):format(#body)
        end
        if rng:chance(5) then head[#head + 1] = "Expect: 100-continue\r\n" end
    end
    if rng:chance(3) then head[#head + 1] = "Range: bytes=0-10\r\n" end
    head[#head + 1] = "\r\n"
    return { token = token, path = path, method = method, bytes = table.concat(head) .. body }
end

--- The path of a request by number.
local function paths(rng, count) return "/p" .. rng:int(1, count) end

local function close(self)
    if not self.peer then return end
    sys.unwatch(self.peer.fd)
    self.peer:close()
    self.peer = nil
end

local function complain(self, kind, wanted, text)
    self.owner:complain(kind, wanted, text)
end

--- What is still waited for will not come.
local function lose(self, why)
    for _, wanted in ipairs(self.pending) do self.owner:count(why, wanted) end
    self.pending = {}
    close(self)
end

--- Where a chunked body that begins at `from` ends, and its bytes; nil while it is not there; false: it is none.
local function chunked_body(buffer, from)
    local parts = {}
    while true do
        local stop = buffer:find("\r\n", from, true)
        if not stop then return nil end
        local size = tonumber(buffer:sub(from, stop - 1):match "^%x+$" or "", 16)
        if not size then return false end
        from = stop + 2
        if size == 0 then break end
        if #buffer < from + size + 1 then return nil end
        parts[#parts + 1] = buffer:sub(from, from + size - 1)
        if buffer:sub(from + size, from + size + 1) ~= "\r\n" then return false end
        from = from + size + 2
    end
    if buffer:sub(from, from + 1) == "\r\n" then return from + 1, table.concat(parts) end
    local _, stop = buffer:find("\r\n\r\n", from, true)
    return stop, table.concat(parts)
end

--- Judges a whole answer.
local function judge(self, wanted, status, head, body)
    local token = head:match "\r\n[xX]%-[tT]oken: (tok%d+)" or body:match "^(tok%d+)|"
    if token and token ~= wanted.token then
        complain(self, "mixed", wanted, ("the answer is that of %s:\n%s%s"):format(token, head, body:sub(1, 200)))
    elseif status < 200 or status > 599 then
        complain(self, "garbage", wanted, head)
    end
    self.owner:count(status, wanted)
end

--- Takes one answer off the buffer. False while none is whole.
local function take(self)
    local wanted, buffer = self.pending[1], self.buffer
    if #buffer == 0 then return false end
    if not ("HTTP/1.1 "):find(buffer:sub(1, 9), 1, true) or not wanted then
        complain(self, "garbage", wanted, "where an answer was to begin there is " .. peer.shown(buffer))
        lose(self, "after garbage")
        return false
    end
    local _, stop = buffer:find("\r\n\r\n", 1, true)
    if not stop then return false end
    local head = buffer:sub(1, stop)
    local status, lower = tonumber(head:match "^HTTP/1%.1 (%d%d%d) "), head:lower()
    local last, body = stop, ""
    if not status then
        complain(self, "garbage", wanted, head)
        lose(self, "after garbage")
        return false
    elseif status < 200 then
        self.buffer = buffer:sub(stop + 1)
        return status ~= 101
    elseif wanted.method ~= "HEAD" and status ~= 204 and status ~= 304 then
        local length = tonumber(lower:match "\r\ncontent%-length:%s*(%d+)\r\n")
        if lower:find("\r\ntransfer-encoding: chunked\r\n", 1, true) then
            last, body = chunked_body(buffer, stop + 1)
            if last == false then
                complain(self, "garbage", wanted, "broken chunks behind " .. head)
                lose(self, "after garbage")
            end
            if not last then return false end
        elseif length then
            last = stop + length
            if #buffer < last then return false end
            body = buffer:sub(stop + 1, last)
        elseif not self.ended then
            return false -- until the end
        else
            last, body = #buffer, buffer:sub(stop + 1)
        end
    end
    self.buffer = buffer:sub(last + 1)
    table.remove(self.pending, 1)
    judge(self, wanted, status, head, body)
    if lower:find("\r\nconnection: close\r\n", 1, true) then
        if #self.buffer > 0 then complain(self, "garbage", wanted, "bytes behind the last answer") end
        lose(self, "closed behind the one before")
        return false
    end
    return true
end

local function hear(self)
    local bytes, errno = sys.recv(self.peer.fd)
    if bytes and bytes ~= "" then
        self.parts[#self.parts + 1] = bytes
        self.waiting = self.waiting + #bytes
        if #bytes == 65536 and self.waiting < 1e6 then return end -- more is there
    elseif bytes or (errno ~= sys.EAGAIN and errno ~= sys.EINTR) then
        self.ended = true
    end
    self.buffer = self.buffer .. table.concat(self.parts)
    self.parts, self.waiting = {}, 0
    while self.peer and take(self) do end
    if self.ended and self.peer then
        local wanted = table.remove(self.pending, 1)
        if wanted then self.owner:count(#self.buffer > 0 and "cut off" or "ended without an answer", wanted) end
        lose(self, "closed behind the one before")
    end
end

local function flush(self)
    local function serve(events)
        if bit.band(events, sys.POLLOUT) ~= 0 then flush(self) end
        if self.peer and bit.band(events, bit.bnot(sys.POLLOUT)) ~= 0 then hear(self) end
    end
    while #self.out > 0 do
        local sent = sys.send(self.peer.fd, ffi.cast("const char *", self.out), #self.out)
        if not sent then
            if ffi.errno() ~= sys.EAGAIN then
                self.out = "" -- what was answered is read still
                break
            end
            return sys.watch(self.peer.fd, sys.POLLIN + sys.POLLOUT, serve)
        end
        self.out = self.out:sub(sent + 1)
    end
    sys.watch(self.peer.fd, sys.POLLIN, serve)
end

local function send(self, wanted)
    self.pending[#self.pending + 1] = wanted
    wanted.sent_ms = sys.now_ms()
    self.out = self.out .. wanted.bytes
    flush(self)
end

local function connect(self)
    self.buffer, self.out, self.parts, self.waiting, self.ended = "", "", {}, 0, false
    self.peer = peer.connect(self.owner.port, { name = "hostile client" })
    return self.peer
end

--- Sends more where there is room for it, and gives up what took too long.
function Client:step()
    local rng = self.rng
    local first = self.pending[1]
    if first and sys.now_ms() - first.sent_ms > TOO_LATE_MS then
        complain(self, "hang", first, "no answer after a minute; so far: " .. peer.shown(self.buffer))
        lose(self, "hung")
    end
    if self.stopped or #self.pending >= self.depth then return end
    if self.peer and #self.pending > 0 and rng:chance(1) then return lose(self, "left") end
    if not self.peer and not connect(self) then return self.owner:complain("refused", nil, "no connection") end
    send(self, request(rng, self.route(rng)))
end

--- Whether all that was sent has its end.
function Client:idle() return #self.pending == 0 end

function Client:stop() self.stopped = true end
function Client:close() lose(self, "left") end

--- A client of `owner`, who has a port, complain(kind, request, text) and count(what, request). `route` chooses where
--- the next request goes, `depth` says how many are under way at once.
local function start(owner, rng, depth, route)
    return setmetatable({ owner = owner, rng = rng, depth = depth, route = route, pending = {} }, Client)
end

return { start = start, paths = paths, request = request }
