--- peer: one end of a TCP connection in the hand of a spec, and listeners that give such ends. Every wait has a
--- deadline; whoever runs into it says what it waited for and what had come until then.
local ffi = require "ffi"
local http = require "tests.e2e.harness.http"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local Peer = {}
Peer.__index = Peer

local open = {} -- all sockets of the running spec, for close_all

local function new(fd, name)
    local peer = setmetatable({ fd = fd, name = name, buffer = "", ended = false }, Peer)
    open[peer] = true
    return peer
end

local function shown(bytes)
    if #bytes > 400 then bytes = bytes:sub(1, 400) .. ".." end
    return (string.format("%q", bytes):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("\\13", "\\r"))
end

--- Reads once. False at the deadline. Sets `ended` to "eof" or "reset".
function Peer:fill(until_ms)
    if self.ended then return true end
    local ready = sys.wait({ [self.fd] = sys.POLLIN }, until_ms)
    if not next(ready) then return false end
    local bytes, errno = sys.recv(self.fd)
    if bytes == "" then
        self.ended = "eof"
    elseif bytes then
        self.buffer = self.buffer .. bytes
    elseif errno == sys.ECONNRESET or errno == sys.EPIPE then
        self.ended = "reset"
    elseif errno ~= sys.EAGAIN and errno ~= sys.EINTR then
        sys.fail("%s: recv: %s", self.name, ffi.string(C.strerror(errno)))
    end
    return true
end

--- Fills until `test` gives a value.
function Peer:await(what, test)
    local until_ms = sys.now_ms() + sys.patience_ms
    while true do
        local value = test()
        if value then return value end
        if self.ended then
            sys.fail("%s: wanted %s, but the connection ended (%s) after %s", self.name, what, self.ended,
                shown(self.buffer))
        end
        if not self:fill(until_ms) then
            sys.fail("%s: waited %d ms for %s, got %s", self.name, sys.patience_ms, what, shown(self.buffer))
        end
    end
end

function Peer:take(n)
    local bytes = self.buffer:sub(1, n)
    self.buffer = self.buffer:sub(n + 1)
    return bytes
end

--- All up to and with `mark` (plain text).
function Peer:recv_until(mark)
    local from = 1
    local last = self:await(shown(mark), function()
        local _, stop = self.buffer:find(mark, from, true)
        from = math.max(1, #self.buffer - #mark + 2)
        return stop
    end)
    return self:take(last)
end

--- Exactly n bytes.
function Peer:recv(n)
    self:await(n .. " bytes", function() return #self.buffer >= n end)
    return self:take(n)
end

--- All until the end, which must be an orderly one.
function Peer:recv_all()
    local until_ms = sys.now_ms() + sys.patience_ms
    while not self.ended do
        if not self:fill(until_ms) then
            sys.fail("%s: waited %d ms for the end, got %s", self.name, sys.patience_ms, shown(self.buffer))
        end
    end
    if self.ended ~= "eof" then sys.fail("%s: reset after %s", self.name, shown(self.buffer)) end
    return self:take(#self.buffer)
end

--- The next bytes are exactly these.
function Peer:expect(bytes)
    local got = self:recv(#bytes)
    if got ~= bytes then sys.fail("%s: wanted %s, got %s", self.name, shown(bytes), shown(got)) end
end

--- Nothing more comes, and the connection ends: in order, or by a reset where that will do.
function Peer:expect_end(orderly)
    local until_ms = sys.now_ms() + sys.patience_ms
    while not self.ended and self.buffer == "" do
        if not self:fill(until_ms) then sys.fail("%s: still open after %d ms", self.name, sys.patience_ms) end
    end
    if self.buffer ~= "" then sys.fail("%s: wanted the end, got %s", self.name, shown(self.buffer)) end
    if orderly and self.ended ~= "eof" then sys.fail("%s: wanted FIN, got a reset", self.name) end
end

function Peer:expect_eof() self:expect_end(true) end

--- Reads and drops until the connection ends, in whatever way. Returns what came.
function Peer:recv_rest()
    local until_ms = sys.now_ms() + sys.patience_ms
    while not self.ended do
        if not self:fill(until_ms) then
            sys.fail("%s: still open after %d ms, got %s", self.name, sys.patience_ms, shown(self.buffer))
        end
    end
    return self:take(#self.buffer)
end

--- At this moment nothing has come and the connection stands. Does not wait: something else must have told that
--- whatever was to come would be here.
function Peer:expect_nothing()
    self:fill(0)
    if self.buffer ~= "" then sys.fail("%s: wanted nothing, got %s", self.name, shown(self.buffer)) end
    if self.ended then sys.fail("%s: wanted nothing, but the connection ended (%s)", self.name, self.ended) end
end

--- Sends all of it.
function Peer:send(bytes)
    local at, until_ms = 0, sys.now_ms() + sys.patience_ms
    local pointer = ffi.cast("const char *", bytes)
    while at < #bytes do
        local n, errno = sys.send(self.fd, pointer + at, #bytes - at)
        if n then
            at = at + n
        elseif errno ~= sys.EAGAIN then
            sys.fail("%s: send: %s", self.name, ffi.string(C.strerror(errno)))
        elseif not next(sys.wait({ [self.fd] = sys.POLLOUT }, until_ms)) then
            sys.fail("%s: the other side took %d of %d bytes in %d ms", self.name, at, #bytes, sys.patience_ms)
        end
    end
    return self
end

--- As send, where the other side may close meanwhile. Returns whether all went.
function Peer:try_send(bytes)
    return (pcall(self.send, self, bytes))
end

--- Byte by byte, each a segment of its own.
function Peer:send_bytewise(bytes)
    sys.set_option(self.fd, 6, 1, 1) -- TCP_NODELAY
    for i = 1, #bytes do self:send(bytes:sub(i, i)) end
    return self
end

function Peer:request_head() return http.request_head(self) end
function Peer:request() return http.request(self) end
function Peer:response_head() return http.response_head(self) end
function Peer:response(to_head) return http.response(self, to_head) end

--- FIN, while reading goes on.
function Peer:half_close()
    sys.check(C.shutdown(self.fd, 1), "shutdown")
end

function Peer:close()
    if open[self] then C.close(self.fd) end
    open[self] = nil
end

--- RST.
function Peer:reset()
    local linger = ffi.new("e2e_linger", 1, 0)
    sys.check(C.setsockopt(self.fd, 1, 13, linger, 8), "setsockopt")
    self:close()
end

local Listener = {}
Listener.__index = Listener

--- The next connection.
function Listener:accept()
    local ready = sys.wait({ [self.fd] = sys.POLLIN }, sys.now_ms() + sys.patience_ms)
    if not next(ready) then sys.fail("%s: waited %d ms for a connection", self.name, sys.patience_ms) end
    local fd = sys.check(C.accept4(self.fd, nil, nil, 2048 + 524288), "accept")
    self.accepted = self.accepted + 1
    return new(fd, string.format("%s, connection %d", self.name, self.accepted))
end

--- Whether somebody waits to be accepted at this moment.
function Listener:has_caller()
    return next(sys.wait({ [self.fd] = sys.POLLIN }, 0)) ~= nil
end

--- At this moment nobody has come.
function Listener:expect_nobody()
    if self:has_caller() then
        local peer = self:accept()
        peer:fill(0)
        sys.fail("%s: wanted nobody, but somebody came and sent %s", self.name, shown(peer.buffer))
    end
end

function Listener:url() return "http://127.0.0.1:" .. self.port end

function Listener:close()
    if open[self] then C.close(self.fd) end
    open[self] = nil
end

local peer = { shown = shown }

--- Listens on a free port. Options: name, port, backlog, rcvbuf, sndbuf, shared (close_all leaves it).
function peer.listener(opts)
    opts = opts or {}
    local fd = sys.tcp(opts)
    sys.check(sys.bind(fd, "127.0.0.1", opts.port or 0), "bind")
    sys.check(C.listen(fd, opts.backlog or 128), "listen")
    local listener = { fd = fd, name = opts.name or "upstream", port = sys.port_of(fd), accepted = 0 }
    listener.shared = opts.shared
    open[listener] = true
    return setmetatable(listener, Listener)
end

--- A connection to a socket of this machine: nil and why when nobody answers there.
function peer.connect_unix(path, name)
    local fd, why = sys.unix(path)
    return fd and new(fd, name or "client"), why
end

--- Connects. Options: name, from (an address of ours), rcvbuf, sndbuf, pending (may still be on its way).
function peer.connect(port, opts)
    opts = opts or {}
    local name = opts.name or "client"
    local fd = sys.tcp(opts)
    if opts.from then sys.check(sys.bind(fd, opts.from, 0), "bind " .. opts.from) end
    local done, errno = sys.connect(fd, "127.0.0.1", port)
    if not done and errno ~= sys.EINPROGRESS then
        C.close(fd)
        return nil, ffi.string(C.strerror(errno))
    end
    local self = new(fd, name)
    if done or opts.pending then return self end
    local ready = sys.wait({ [fd] = sys.POLLOUT }, sys.now_ms() + sys.patience_ms)
    errno = sys.socket_error(fd)
    if next(ready) and errno == 0 then return self end
    self:close()
    return nil, next(ready) and ffi.string(C.strerror(errno)) or "no answer"
end

function peer.close_all()
    for item in pairs(open) do
        if not item.shared then item:close() end
    end
end

return peer
