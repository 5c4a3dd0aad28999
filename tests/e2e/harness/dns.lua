--- dns: a name server of a spec's own, over UDP and TCP, that is served whenever a spec waits for anything; and what a
--- gateway needs to ask it: a view of /etc of its own.
local bit = require "bit"
local ffi = require "ffi"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local Dns = {}
Dns.__index = Dns

local A, CNAME = 1, 5
local standing = {}

local function u16(n) return string.char(bit.rshift(n, 8), bit.band(n, 255)) end

local function u32(n) return u16(math.floor(n / 65536)) .. u16(n % 65536) end

local function wire(name) return (name:gsub("([^.]+)%.?", function(l) return string.char(#l) .. l end)) .. "\0" end

local function record(owner, kind, ttl, data) return owner .. u16(kind) .. u16(1) .. u32(ttl) .. u16(#data) .. data end

local function address(text)
    return string.char(text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
end

--- The question's name and type.
local function question(bytes)
    local labels, at = {}, 13
    while bytes:byte(at) ~= 0 do
        labels[#labels + 1] = bytes:sub(at + 1, at + bytes:byte(at))
        at = at + bytes:byte(at) + 1
    end
    return table.concat(labels, "."):lower(), bytes:byte(at + 2), bytes:sub(13, at + 4)
end

local function reply(server, bytes, udp)
    local name, kind, asked = question(bytes)
    local answer = server.names[name]
    local records, flags = {}, 0x8180
    server.asked = server.asked + 1
    if not answer or answer.fails then
        flags = flags + (answer and 2 or 3)
    elseif kind == A and udp and answer.cut then
        flags = flags + 0x0200
    elseif kind == A then
        local owner = "\192\12"
        if answer.cname then
            records[1] = record(owner, CNAME, answer.ttl, wire(answer.cname))
            owner = wire(answer.cname)
        end
        for _, ip in ipairs(answer) do records[#records + 1] = record(owner, A, answer.ttl, address(ip)) end
    end
    return bytes:sub(1, 2) .. u16(flags) .. u16(1) .. u16(#records) .. u16(0) .. u16(0) .. asked
        .. table.concat(records)
end

local function hear_udp(server)
    local space, from, n = ffi.new "char[1024]", ffi.new "e2e_sockaddr", ffi.new("unsigned[1]", 16)
    while true do
        n[0] = 16
        local got = tonumber(C.recvfrom(server.udp, space, 1024, 0, from, n))
        if got < 0 then return end
        local answer = reply(server, ffi.string(space, got), true)
        C.sendto(server.udp, answer, #answer, 0, from, 16)
    end
end

local function hear_tcp(server, fd)
    local bytes = sys.recv(fd)
    if bytes and #bytes > 2 then
        server.over_tcp = server.over_tcp + 1
        local answer = reply(server, bytes:sub(3), false)
        sys.send(fd, ffi.cast("const char *", u16(#answer) .. answer), #answer + 2)
    end
    sys.unwatch(fd)
    C.close(fd)
end

--- Says from now on of a name: { "127.0.0.2", .. , ttl = 1, cut = over UDP it says only that there is more, cname = by
--- way of, fails = the server cannot say }; nil: it does not exist.
function Dns:say(name, answer)
    if answer then answer.ttl = answer.ttl or 1 end
    self.names[name] = answer
end

--- Whether a gateway here can be shown another /etc: that takes root.
function Dns.possible()
    if Dns.can == nil then Dns.can = os.execute "unshare -m true 2>/dev/null" == 0 end
    return Dns.can
end

--- The command that runs a program with this server as its only one and with `folder`/hosts as its hosts file.
function Dns:wrap(argv, folder)
    local script = "mount --bind " .. folder .. "/resolv.conf /etc/resolv.conf && mount --bind " .. folder
        .. "/hosts /etc/hosts && exec \"$@\""
    return { "/usr/bin/unshare", "-m", "/bin/sh", "-c", script, "sh", unpack(argv) }
end

local dns = { possible = Dns.possible }

function dns.start()
    local self = setmetatable({ names = {}, asked = 0, over_tcp = 0 }, Dns)
    self.udp = sys.check(C.socket(2, 2 + 2048 + 524288, 0), "socket") -- DGRAM NONBLOCK CLOEXEC
    for i = 1, 250 do -- an address of ours whose port 53 nobody has
        self.address = "127.53." .. i .. ".53"
        if sys.bind(self.udp, self.address, 53) == 0 then break end
    end
    self.tcp = sys.tcp()
    sys.check(sys.bind(self.tcp, self.address, 53), "bind")
    sys.check(C.listen(self.tcp, 16), "listen")
    sys.watch(self.udp, sys.POLLIN, function() hear_udp(self) end)
    sys.watch(self.tcp, sys.POLLIN, function()
        local fd = C.accept4(self.tcp, nil, nil, 2048 + 524288)
        if fd >= 0 then sys.watch(fd, sys.POLLIN, function() hear_tcp(self, fd) end) end
    end)
    standing[self] = true
    return self
end

function dns.stop_all()
    for self in pairs(standing) do
        for _, fd in ipairs { self.udp, self.tcp } do
            sys.unwatch(fd)
            C.close(fd)
        end
    end
    standing = {}
end

return dns
