--- upstream: a server of a test. It answers as its script says, and keeps all that it has received.
local c = require("moongate.test.c")
local http = require("moongate.test.http")
local units = require("moongate.test.units")
local world = require("moongate.test.world")

---@class moongate.test.Upstream
---@field url string  "http://10.1.0.1:80"
---@field requests table[]  in the order in which they were whole
---@field connections table[]  { raw = all bytes, open = bool, requests = .. }
local Upstream = {}
Upstream.__index = Upstream

local function add(self, entry)
    self.script[#self.script + 1] = entry
    return self
end

local function last(self, word)
    local entry = self.script[#self.script]
    if not entry then
        units.fail("%s: there is nothing yet that it could belong to: write :reply(..) before it", word)
    end
    return entry
end

--- Answers with a status, a body (text; a table becomes JSON) and fields; or with what a function of the request
--- returns: status, body, fields.
---@param status integer|fun(request: table): integer, any, table?
---@param body? string|table
---@param fields? table
function Upstream:reply(status, body, fields)
    return add(self, { kind = "reply", status = status, body = body, fields = fields })
end

--- The answer, byte for byte.
function Upstream:raw(bytes)
    return add(self, { kind = "raw", bytes = bytes })
end

--- The connection is reset in place of an answer.
function Upstream:reset()
    return add(self, { kind = "reset" })
end

--- The connection ends without an answer.
function Upstream:close()
    return add(self, { kind = "close" })
end

--- No answer ever comes.
function Upstream:stall()
    return add(self, { kind = "stall" })
end

--- The answer before it comes so much later.
function Upstream:delay(duration)
    last(self, "delay").delay_ms = units.ms(duration)
    return self
end

--- The body of the answer before it comes at this rate: "1B/s".
function Upstream:trickle(rate)
    last(self, "trickle").rate = units.bytes_per_second(rate)
    return self
end

--- How often the answer before it is given; without it, for ever.
function Upstream:times(count)
    last(self, "times").times = count
    return self
end

--- What the next request gets; nil when the script is over.
local function next_entry(self)
    local entry = self.script[self.at]
    if not entry then
        return nil
    end
    self.given = self.given + 1
    if entry.times and self.given >= entry.times and self.at <= #self.script then
        self.at, self.given = self.at + 1, 0
    end
    return entry
end

local Peer = {}
Peer.__index = Peer

local function flush(self)
    while self.out ~= "" do
        local n = c.send(self.spec, self.socket, self.out, #self.out)
        if n < 0 then
            self.out = ""
            return
        elseif n == 0 then
            return
        end
        self.out, self.moved = self.out:sub(n + 1), true
    end
end

function Peer:say(bytes)
    if self.socket then
        self.out = self.out .. bytes
        flush(self)
    end
end

function Peer:hang_up(reset)
    if self.socket then
        c.close(self.spec, self.socket, reset or false)
        self.socket, self.open = nil, false
    end
end

local function trickle(self, here, body, rate)
    local at = 1
    local pause = rate < 1000 and 1000 / rate or 10
    local piece = math.max(1, math.floor(rate * pause / 1000))
    local function more()
        if not self.socket or at > #body then
            self.busy = false
            return
        end
        self:say(body:sub(at, at + piece - 1))
        at = at + piece
        here:after(pause, more)
    end
    more()
end

local function answer(self, here, entry, request)
    local status, body, fields = entry.status, entry.body, entry.fields
    if type(status) == "function" then
        status, body, fields = status(request)
    end
    local text, content_type = http.body(body)
    local lines = http.fields(fields)
    if content_type and not http.has(lines, "content-type") then
        lines[#lines + 1] = { "content-type", content_type }
    end
    if not http.has(lines, "content-length") and not http.has(lines, "transfer-encoding") and status ~= 204
        and status ~= 304 and status >= 200 then
        lines[#lines + 1] = { "content-length", tostring(#(text or "")) }
    end
    if request.method == "HEAD" then
        text = nil
    end
    local first = ("HTTP/1.1 %d %s"):format(status, http.reasons[status] or "")
    if entry.rate and text then
        self.busy = true
        self:say(http.write(first, lines))
        trickle(self, here, text, entry.rate)
    else
        self:say(http.write(first, lines, text))
    end
    if request.headers.connection == "close" then
        self.last = true
    end
end

local function act(self, here, entry, request)
    if not self.socket then
        return
    end
    if entry.kind == "reply" then
        answer(self, here, entry, request)
    elseif entry.kind == "raw" then
        self:say(entry.bytes)
    elseif entry.kind == "reset" or entry.kind == "close" then
        self:hang_up(entry.kind == "reset")
    end
end

local function received(self, here, request)
    local upstream = self.upstream
    request.connection, request.at_ms, request.raw = self.number, here:now(), self.raw:sub(self.taken + 1)
    self.taken = #self.raw
    self.requests[#self.requests + 1] = request
    upstream.requests[#upstream.requests + 1] = request
    local entry = next_entry(upstream)
    if not entry then
        here:blame(("the upstream made by %s has got request %d, %s %s, and its script is over: write one more "
            .. ":reply(..), or leave the last :times(..) out"):format(upstream.where, #upstream.requests,
            request.method, request.target))
        self:hang_up()
        return
    end
    if entry.delay_ms then
        self.busy = true
        here:after(entry.delay_ms, function()
            self.busy = false
            act(self, here, entry, request)
        end)
    else
        act(self, here, entry, request)
    end
end

--- Takes requests out of what has come, as long as none is being answered.
local function take(self, here)
    local moved = false
    while self.socket and not self.busy and (self.unread ~= "" or self.reader.held ~= "") do
        local bytes = self.unread
        self.unread = ""
        local ok, request = pcall(self.reader.feed, self.reader, bytes)
        if not ok then
            here:blame(("the upstream made by %s cannot read what it got: %s"):format(self.upstream.where, request))
            self:hang_up()
            return true
        elseif not request then
            break
        end
        moved = true
        received(self, here, request)
    end
    return moved
end

local function hear(self, here)
    local moved = false
    while self.socket do
        local what = c.receive(self.spec, self.socket, c.text)
        if what == c.NOTHING then
            break
        end
        moved = true
        if what == c.BYTES then
            local bytes = c.taken()
            self.raw, self.unread = self.raw .. bytes, self.unread .. bytes
        else
            self:hang_up()
        end
    end
    return take(self, here) or moved
end

function Upstream:pump()
    local here, moved = self.world, false
    local socket = self.listener and c.accept(here.spec, self.listener) or -1
    while socket >= 0 do
        local peer = setmetatable({
            spec = here.spec, socket = socket, upstream = self, number = #self.connections + 1, raw = "", taken = 0,
            out = "", unread = "", reader = http.reader("request"), requests = {}, open = true,
        }, Peer)
        self.connections[peer.number], self.live[#self.live + 1] = peer, peer
        moved = true
        socket = c.accept(here.spec, self.listener)
    end
    local live = {}
    for _, peer in ipairs(self.live) do
        if peer.socket then
            peer.moved = false
            flush(peer)
            moved = hear(peer, here) or peer.moved or moved
            if peer.last and peer.out == "" then
                peer:hang_up()
            end
            live[#live + 1] = peer
        end
    end
    self.live = live
    return moved
end

--- Nobody is at its address any more: connections are refused.
function Upstream:stop()
    if self.listener then
        c.close(self.world.spec, self.listener, false)
        self.listener = nil
    end
    for _, peer in ipairs(self.live) do
        peer:hang_up()
    end
    return self
end

--- It is there again.
function Upstream:start()
    if not self.listener then
        local listener = c.listen(self.world.spec, self.address)
        if listener < 0 then
            units.fail("%s", c.why(self.world.spec))
        end
        self.listener = listener
    end
    return self
end

--- Connections to it are not answered, neither well nor badly, until start().
function Upstream:vanish()
    self:stop()
    c.set_connect(self.world.spec, self.address, "ignore")
    return self
end

function Upstream:drop()
    self:stop()
    self.world:remove(self)
end

local upstream = { meta = Upstream }

--- A server at an address of its own.
---@param options? { address?: string, name?: string }  "10.1.0.9:9000"; a name that leads to it
---@return moongate.test.Upstream
function upstream.new(options)
    options = options or {}
    local here = world.here()
    here.hosts = here.hosts + 1
    local address = options.address or ("10.1.%d.%d:80"):format(math.floor(here.hosts / 250), here.hosts % 250 + 1)
    local host, port = address:match("^(.*):(%d+)$")
    local self = setmetatable({
        world = here, address = address, script = {}, at = 1, given = 0, requests = {}, connections = {}, live = {},
        where = units.caller(), url = "http://" .. (options.name or host) .. (port == "80" and "" or ":" .. port),
    }, Upstream)
    self:start()
    if options.name then
        c.set_name(here.spec, options.name, host, 60)
    end
    return here:add(self)
end

return upstream
