--- echo: an upstream whose answers tell which request they are for, in the field x-token and at both ends of the body.
--- How it answers (how large, in chunks, late, cut off) is decided by the token.
local ffi = require "ffi"
local Rng = require "tests.hostile.rng"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local Echo = {}
Echo.__index = Echo

local function drop(self, fd)
    if not self.conns[fd] then return end
    self.conns[fd] = nil
    sys.unwatch(fd)
    C.close(fd)
end

--- The end of a chunked body that begins at `from`, or nil while it is not there. False: it is none.
local function chunked_end(buffer, from)
    while true do
        local _, last, size = buffer:find("^(%x+)[^\r\n]*\r\n", from)
        if not last then return #buffer - from < 100 and nil end
        size = tonumber(size, 16)
        if size == 0 then
            local _, stop = buffer:find("\r\n\r\n", last - 1, true)
            return stop
        end
        from = last + 1 + size + 2
        if from > #buffer then return nil end
    end
end

--- Takes a whole request off the buffer: its method and head, or nil.
local function take(conn)
    local _, stop = conn.buffer:find("\r\n\r\n", 1, true)
    if not stop then return nil end
    local head = conn.buffer:sub(1, stop)
    local lower = head:lower()
    local last
    if lower:find("\r\ntransfer-encoding:", 1, true) then
        last = chunked_end(conn.buffer, stop + 1)
        if not last then return nil end
    else
        last = stop + (tonumber(lower:match "\r\ncontent%-length:%s*(%d+)") or 0)
        if #conn.buffer < last then return nil end
    end
    conn.buffer = conn.buffer:sub(last + 1)
    return head:match "^%S+", head
end

local function in_chunks(bytes)
    local half = math.floor(#bytes / 2)
    local parts = {}
    for _, part in ipairs { bytes:sub(1, half), bytes:sub(half + 1) } do
        if part ~= "" then parts[#parts + 1] = ("%x\r\n%s\r\n"):format(#part, part) end
    end
    return table.concat(parts) .. "0\r\n\r\n"
end

--- The answer to a request with this token: bytes, after how many ms, and whether the connection ends behind it.
local function answer(token, method)
    local rng = Rng.new(tonumber(token:match "%d+") or 0, 77)
    local body = token .. "|" .. ("."):rep(rng:size(rng:chance(4) and 3e6 or 2e4)) .. "|" .. token
    local fields = "X-Token: " .. token .. "\r\nContent-Type: text/plain\r\nEtag: \"e\"\r\n"
    local late_ms, cut = rng:chance(10) and rng:int(1, 60) or 0, rng:chance(3)
    local status = rng:chance(80) and 200 or rng:pick { 204, 304, 404, 500, 503, 206, 201 }
    local head = ("HTTP/1.1 %d Echo\r\n%s"):format(status, fields)
    if rng:chance(3) then head = "HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" .. head end
    if status == 204 or status == 304 then return head .. "\r\n", late_ms, false end
    local chunked, ending = rng:chance(40), rng:chance(5)
    if chunked then
        head = head .. "Transfer-Encoding: chunked\r\n"
        body = in_chunks(body)
    elseif not ending then
        head = head .. ("Content-Length: %d\r\n"):format(#body)
    end
    if method == "HEAD" then return head .. "\r\n", late_ms, ending end
    if cut then return head .. "\r\n" .. body:sub(1, math.floor(#body / 2)), late_ms, true end
    return head .. "\r\n" .. body, late_ms, ending
end

local function flush(self, fd, conn)
    while #conn.out > 0 do
        local sent = sys.send(fd, ffi.cast("const char *", conn.out), #conn.out)
        if not sent then
            if ffi.errno() ~= sys.EAGAIN then return drop(self, fd) end
            sys.watch(fd, sys.POLLOUT + sys.POLLIN, function(events) conn.serve(events) end)
            return
        end
        conn.out = conn.out:sub(sent + 1)
    end
    if conn.ending then return drop(self, fd) end
    sys.watch(fd, sys.POLLIN, function(events) conn.serve(events) end)
end

local function hear(self, fd, conn)
    local bytes, errno = sys.recv(fd)
    if bytes == "" or (not bytes and errno ~= sys.EAGAIN and errno ~= sys.EINTR) then return drop(self, fd) end
    conn.parts[#conn.parts + 1] = bytes
    conn.bytes = conn.bytes + #(bytes or "")
    if conn.bytes < 262144 and #(bytes or "") == 65536 then return end
    conn.buffer = conn.buffer .. table.concat(conn.parts)
    conn.parts, conn.bytes = {}, 0
    for method, head in take, conn do
        self.seen = self.seen + 1
        local token = head:match "\r\n[xX]%-[tT]oken: (tok%d+)\r\n" or "none"
        local out, late_ms, ending = answer(token, method)
        local function send()
            if self.conns[fd] ~= conn then return end
            conn.out, conn.ending = conn.out .. out, conn.ending or ending
            flush(self, fd, conn)
        end
        if late_ms > 0 then sys.after(late_ms, send) else send() end
    end
end

local function welcome(self)
    local fd = C.accept4(self.fd, nil, nil, 2048 + 524288)
    if fd < 0 then return end
    local conn = { buffer = "", parts = {}, bytes = 0, out = "" }
    self.conns[fd] = conn
    function conn.serve(events)
        if bit.band(events, sys.POLLOUT) ~= 0 then flush(self, fd, conn) end
        if self.conns[fd] == conn and bit.band(events, bit.bnot(sys.POLLOUT)) ~= 0 then hear(self, fd, conn) end
    end
    sys.watch(fd, sys.POLLIN, conn.serve)
end

function Echo:url() return "http://127.0.0.1:" .. self.port end

local function start()
    local self = setmetatable({ port = sys.free_port(), conns = {}, seen = 0 }, Echo)
    self.fd = sys.tcp()
    sys.check(sys.bind(self.fd, "127.0.0.1", self.port), "bind")
    sys.check(C.listen(self.fd, 1024), "listen")
    sys.watch(self.fd, sys.POLLIN, function() welcome(self) end)
    return self
end

return { start = start }
