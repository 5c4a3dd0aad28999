--- load: many requests of many clients at once, answered or lost, counted by what became of them.
local ffi = require "ffi"
local peer = require "tests.e2e.harness.peer"
local sys = require "tests.e2e.harness.sys"

local Load = {}
Load.__index = Load

local function count(load, what)
    load.counts[what] = (load.counts[what] or 0) + 1
end

local function finish(load, slot, what)
    local request = slot.request
    slot.request = nil
    load.pending = load.pending - 1
    count(load, what)
    if load.opts.each then load.opts.each(request, what, slot.head, slot.body) end
end

local function hang_up(slot)
    if not slot.peer then return end
    sys.unwatch(slot.peer.fd)
    slot.peer:close()
    slot.peer = nil
end

--- The status of a whole answer at the front of the buffer, or nil. Answers have a Content-Length here.
local function take_answer(slot)
    local _, stop = slot.peer.buffer:find("\r\n\r\n", 1, true)
    if not stop then return nil end
    slot.head = slot.peer.buffer:sub(1, stop)
    local length = tonumber(slot.head:lower():match "\r\ncontent%-length:%s*(%d+)") or 0
    if #slot.peer.buffer < stop + length then return nil end
    slot.body = slot.peer.buffer:sub(stop + 1, stop + length)
    slot.peer.buffer = slot.peer.buffer:sub(stop + length + 1)
    return tonumber(slot.head:match "^HTTP/1%.1 (%d+)")
end

local begin

local function hear(load, slot)
    local bytes, errno = sys.recv(slot.peer.fd)
    local ended = bytes == "" or (not bytes and errno ~= sys.EAGAIN and errno ~= sys.EINTR)
    slot.peer.buffer = slot.peer.buffer .. (bytes or "")
    local request = slot.request
    local status = request and take_answer(slot)
    ended = ended or (status and slot.head:lower():find("\r\nconnection: close", 1, true))
    if ended then hang_up(slot) end
    if status then
        finish(load, slot, status)
    elseif ended and request then
        finish(load, slot, "lost")
    end
    if slot.request or not request then return end
    if slot.open then
        load.idle[#load.idle + 1] = slot
    else
        begin(load, slot)
    end
end

--- Sends it on the slot's connection or a new one. False where that could not be.
local function send(load, slot, request)
    load.sent = load.sent + 1
    load.pending = load.pending + 1
    slot.request = request
    if not slot.peer then
        slot.peer = peer.connect(load.gateway.port, { name = "load" })
        if slot.peer then
            local own = slot.peer
            sys.watch(own.fd, sys.POLLIN, function() if slot.peer == own then hear(load, slot) end end)
        end
    end
    local bytes = type(request) == "table" and request.bytes or request
    if slot.peer and sys.send(slot.peer.fd, ffi.cast("const char *", bytes), #bytes) then return true end
    hang_up(slot)
    finish(load, slot, "lost")
    return false
end

--- Sends the slot's next request, if there is one.
begin = function(load, slot)
    while not load.stopped and load.sent < load.opts.count do
        if send(load, slot, load.opts.request and load.opts.request(load.sent + 1) or load.GET) then return end
    end
    hang_up(slot)
end

--- Sends one more, whatever is under way: for loads with a count of 0, whose requests come when they are due.
function Load:offer(request)
    local slot = table.remove(self.idle)
    if not slot then
        slot = { open = true }
        self.slots[#self.slots + 1] = slot
    end
    if not send(self, slot, request) then self.idle[#self.idle + 1] = slot end
end

--- Stops sending; what is on its way may be awaited still.
function Load:stop()
    self.stopped = true
    return self
end

--- Waits until every request has its end, and returns how many had which: status to count, and `lost`.
function Load:await()
    sys.eventually("all requests to be answered", function() return self.pending == 0 end)
    for _, slot in ipairs(self.slots) do hang_up(slot) end
    return self.counts
end

--- Begins to send `count` requests (without it: until stopped), `at_once` at a time (1). Options: request (of its
--- number: bytes, or a table with bytes), each (called with the request, its status or "lost", head and body).
local function start(gateway, opts)
    opts.count = opts.count or math.huge
    local load = setmetatable({ gateway = gateway, opts = opts, counts = {}, sent = 0, pending = 0, slots = {},
        idle = {}, GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n" }, Load)
    for i = 1, math.min(opts.at_once or 1, opts.count) do
        load.slots[i] = {}
        begin(load, load.slots[i])
    end
    return load
end

return { start = start }
