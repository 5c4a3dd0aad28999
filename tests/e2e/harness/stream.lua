--- stream: many bytes through a connection without holding them: a pattern whose every byte tells where it stands.
local ffi = require "ffi"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local stream = {}

-- A period that is no multiple of any buffer's size, so that a lost or doubled buffer shows.
local PERIOD = 65521
local pattern = ffi.new("uint8_t[?]", 2 * PERIOD)
for i = 0, 2 * PERIOD - 1 do pattern[i] = (i % PERIOD) * 167 % 251 end
local inbox = ffi.new("uint8_t[?]", PERIOD)

stream.MiB = 1048576

local function send_some(peer, at, total)
    local n = math.min(PERIOD, total - at)
    local sent, errno = sys.send(peer.fd, pattern + at % PERIOD, n)
    if sent then return sent end
    if errno == sys.EAGAIN then return 0 end
    sys.fail("%s: send after %d of %d bytes: %s", peer.name, at, total, ffi.string(C.strerror(errno)))
end

--- Compares what came with what stands at `at` of the pattern.
local function recv_some(peer, at, total)
    local n
    if #peer.buffer > 0 then
        local bytes = peer:take(math.min(#peer.buffer, total - at, PERIOD))
        n = #bytes
        ffi.copy(inbox, bytes, n)
    else
        n = tonumber(C.recv(peer.fd, inbox, math.min(PERIOD, total - at), 0))
        if n < 0 and ffi.errno() == sys.EAGAIN then return 0 end
        if n <= 0 then sys.fail("%s: ended after %d of %d bytes", peer.name, at, total) end
    end
    if C.memcmp(inbox, pattern + at % PERIOD, n) ~= 0 then
        sys.fail("%s: the bytes from %d on are not those that were sent", peer.name, at)
    end
    return n
end

--- Sends until the way is blocked for `still_ms`; returns how far it came of `total`.
function stream.send_until_blocked(peer, total, at, still_ms)
    at = at or 0
    while at < total do
        local n = send_some(peer, at, total)
        at = at + n
        if n == 0 and not next(sys.wait({ [peer.fd] = sys.POLLOUT }, sys.now_ms() + (still_ms or 300))) then break end
    end
    return at
end

--- Moves pattern bytes sent_from..total into `from` while taking 0..total out of `to`.
function stream.pump(from, to, total, sent, got)
    sent, got = sent or 0, got or 0
    local until_ms = sys.now_ms() + 6 * sys.patience_ms
    while got < total do
        local n_sent = sent < total and send_some(from, sent, total) or 0
        local n_got = recv_some(to, got, total)
        sent, got = sent + n_sent, got + n_got
        if n_sent + n_got == 0 then
            local fds = { [to.fd] = sys.POLLIN }
            if sent < total then fds[from.fd] = sys.POLLOUT end
            if not next(sys.wait(fds, until_ms)) then
                sys.fail("%s: stood still at %d of %d bytes, %d sent", to.name, got, total, sent)
            end
        end
    end
end

--- n bytes of the pattern as text.
function stream.text(n)
    local parts = {}
    for at = 0, n - 1, PERIOD do parts[#parts + 1] = ffi.string(pattern, math.min(PERIOD, n - at)) end
    return table.concat(parts)
end

return stream
