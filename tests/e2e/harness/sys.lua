--- sys: the system calls that the end-to-end specs need, and the one place where they wait. Linux, LuaJIT's FFI.
local ffi = require "ffi"
local bit = require "bit"

-- busted loads this module anew for each spec file, but a C declaration is for the life of the process.
if not pcall(ffi.typeof, "e2e_sockaddr") then
    ffi.cdef [[
        typedef struct { uint16_t family, port; uint8_t addr[4]; char zero[8]; } e2e_sockaddr;
        typedef struct { uint16_t family; char path[108]; } e2e_sockaddr_un;
        typedef struct { int fd; short events, revents; } e2e_pollfd;
        typedef struct { int on, seconds; } e2e_linger;
        typedef struct { long sec, nsec; } e2e_timespec;
        int socket(int, int, int);
        int bind(int, const void *, unsigned);
        int listen(int, int);
        int accept4(int, void *, unsigned *, int);
        int connect(int, const void *, unsigned);
        int getsockname(int, void *, unsigned *);
        int setsockopt(int, int, int, const void *, unsigned);
        int getsockopt(int, int, int, void *, unsigned *);
        ssize_t send(int, const void *, size_t, int);
        ssize_t recv(int, void *, size_t, int);
        ssize_t recvfrom(int, void *, size_t, int, void *, unsigned *);
        ssize_t sendto(int, const void *, size_t, int, const void *, unsigned);
        ssize_t read(int, void *, size_t);
        ssize_t write(int, const void *, size_t);
        int shutdown(int, int);
        int close(int);
        int poll(e2e_pollfd *, unsigned long, int);
        int pipe2(int *, int);
        int fcntl(int, int, ...);
        int open(const char *, int, ...);
        int dup2(int, int);
        int fork(void);
        int execve(const char *, char *const *, char *const *);
        void _exit(int);
        int kill(int, int);
        int waitpid(int, int *, int);
        int personality(unsigned long);
        int setrlimit(int, const unsigned long *);
        int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
        int chdir(const char *);
        int chmod(const char *, unsigned);
        char *mkdtemp(char *);
        char *strerror(int);
        long syscall(long, ...);
        int clock_gettime(int, e2e_timespec *);
        int memcmp(const void *, const void *, size_t);
        extern char **environ;
    ]]
end

local C = ffi.C
local sys = {
    POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16,
    EAGAIN = 11, EINTR = 4, EPIPE = 32, ECONNRESET = 104, EINPROGRESS = 115,
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGKILL = 9, SIGUSR1 = 10, SIGUSR2 = 12, SIGTERM = 15,
    patience_ms = tonumber(os.getenv "E2E_PATIENCE_MS" or 30000), -- after so long a wait has failed
}

local spec = ffi.new "e2e_timespec"
local MAX_FDS = 4096
local pollfds = ffi.new("e2e_pollfd[?]", MAX_FDS)
local CHUNK = 65536
local chunk = ffi.new("char[?]", CHUNK)

-- Pipes whose bytes are collected whenever somebody waits, so that no process ever blocks on writing to us.
local captures = {}
-- Sockets that are served whenever somebody waits: fd to { events, handler }. And what is to be done at a moment.
local watches, alarms, serving = {}, {}, false

function sys.now_ms()
    C.clock_gettime(1, spec)
    return tonumber(spec.sec) * 1000 + tonumber(spec.nsec) / 1e6
end

--- Raises with the line of the spec that was waiting, not of the harness.
function sys.fail(...)
    local place = ""
    for level = 2, 20 do
        local info = debug.getinfo(level, "Sl")
        if not info then break end
        if info.source:find("_spec.lua", 1, true) then
            place = info.short_src .. ":" .. info.currentline .. ": "
            break
        end
    end
    error(place .. string.format(...), 0)
end

function sys.check(result, what)
    if result < 0 then sys.fail("%s: %s", what, ffi.string(C.strerror(ffi.errno()))) end
    return result
end

--- Reads what a pipe holds into its capture. False once the other side has closed it.
local function drain(capture)
    while capture.fd do
        local n = tonumber(C.read(capture.fd, chunk, CHUNK))
        if n > 0 then
            capture.text = capture.text .. ffi.string(chunk, n)
        elseif n == 0 then
            C.close(capture.fd)
            capture.fd = nil
            captures[capture] = nil
        elseif ffi.errno() ~= sys.EINTR then
            return true
        end
    end
    return false
end

--- Collects from the reading end of a pipe from now on.
function sys.capture(fd)
    local capture = { fd = fd, text = "" }
    C.fcntl(fd, 4, ffi.cast("int", 2048)) -- F_SETFL O_NONBLOCK
    captures[capture] = true
    return capture
end

--- Leaves what a pipe holds in it from now on, as a reader that has stopped; resume reads on.
function sys.pause(capture) captures[capture] = nil end
function sys.resume(capture) captures[capture] = capture.fd and true end

--- Closes the reading end, whatever comes still.
function sys.hang_up(capture)
    captures[capture] = nil
    C.close(capture.fd)
    capture.fd = nil
end

--- Collects what is left and closes.
function sys.release(capture)
    drain(capture)
    if capture.fd then C.close(capture.fd) end
    capture.fd = nil
    captures[capture] = nil
end

--- From now on calls handler(revents) whenever somebody waits and the descriptor is ready. Again: changes it.
function sys.watch(fd, events, handler)
    watches[fd] = { events = events, handler = handler }
end

function sys.unwatch(fd) watches[fd] = nil end

--- Calls `act` in so many ms, as soon as somebody waits.
function sys.after(ms, act)
    alarms[#alarms + 1] = { at_ms = sys.now_ms() + ms, act = act }
end

--- Forgets all alarms.
function sys.silence() alarms = {} end

--- Does what is due. Returns when the next is, at most until_ms.
local function ring(until_ms)
    if serving then return until_ms end
    local now_ms, due = sys.now_ms(), {}
    for i = #alarms, 1, -1 do
        if alarms[i].at_ms <= now_ms then due[#due + 1] = table.remove(alarms, i) end
    end
    table.sort(due, function(a, b) return a.at_ms < b.at_ms end)
    for _, alarm in ipairs(due) do alarm.act() end
    for _, alarm in ipairs(alarms) do until_ms = math.min(until_ms, alarm.at_ms) end
    return until_ms
end

--- Fills pollfds with `fds`, the captured pipes and what is watched. Returns how many; whose they are by place.
local function gather(fds)
    local n, owners = 0, {}
    local function add(fd, events, owner)
        if n == MAX_FDS then error("more than " .. MAX_FDS .. " descriptors to wait for", 0) end
        pollfds[n].fd, pollfds[n].events, pollfds[n].revents = fd, events, 0
        owners[n] = owner
        n = n + 1
    end
    for fd, events in pairs(fds) do add(fd, events, fds) end
    for capture in pairs(captures) do add(capture.fd, sys.POLLIN, capture) end
    for fd, watch in pairs(serving and {} or watches) do
        if not fds[fd] then add(fd, watch.events, watch) end
    end
    return n, owners
end

--- Calls the handlers of { fd, revents, watch }; what they wait for meanwhile is theirs alone.
local function serve(ready)
    serving = true
    local ok, err = pcall(function()
        for _, item in ipairs(ready) do -- one may have ended what a later one watched
            if watches[item[1]] == item[3] then item[3].handler(item[2]) end
        end
    end)
    serving = false
    if not ok then error(err, 0) end
end

--- Waits until one of `fds` (fd to events) is ready or the moment has come. Returns fd to revents; empty: too late.
--- Where `any` is true it also returns when a captured pipe had something to say or a watched socket was served.
function sys.wait(fds, until_ms, any)
    while true do
        local wake_ms = ring(until_ms)
        local n, owners = gather(fds)
        local left_ms = math.max(0, math.ceil(wake_ms - sys.now_ms()))
        local ready = C.poll(pollfds, n, left_ms)
        local found, spoke, served = {}, false, {}
        for i = 0, ready > 0 and n - 1 or -1 do
            local owner, revents = owners[i], pollfds[i].revents
            if owner == fds and revents ~= 0 then
                found[pollfds[i].fd] = revents
            elseif captures[owner] and revents ~= 0 then
                drain(owner)
                spoke = true
            elseif revents ~= 0 then
                served[#served + 1] = { pollfds[i].fd, revents, owner }
            end
        end
        serve(served)
        spoke = spoke or #served > 0
        if next(found) or (any and spoke) or sys.now_ms() >= until_ms then return found end
    end
end

--- Asks `test` again whenever something may have changed, until it gives a true value: for what can only be asked for.
function sys.eventually(what, test)
    local until_ms = sys.now_ms() + sys.patience_ms
    while true do
        local value = test()
        if value then return value end
        if sys.now_ms() >= until_ms then sys.fail("waited %d ms for %s", sys.patience_ms, what) end
        sys.wait({}, math.min(until_ms, sys.now_ms() + 5), true)
    end
end

local function sockaddr(address, port)
    local a = ffi.new "e2e_sockaddr"
    local b1, b2, b3, b4 = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    a.family, a.port = 2, bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
    a.addr[0], a.addr[1], a.addr[2], a.addr[3] = tonumber(b1), tonumber(b2), tonumber(b3), tonumber(b4)
    return a
end

function sys.set_option(fd, level, option, value)
    local v = ffi.new("int[1]", value)
    sys.check(C.setsockopt(fd, level, option, v, 4), "setsockopt")
end

--- A TCP socket that never blocks; rcvbuf and sndbuf in bytes.
function sys.tcp(opts)
    local fd = sys.check(C.socket(2, 1 + 2048 + 524288, 0), "socket") -- STREAM NONBLOCK CLOEXEC
    sys.set_option(fd, 1, 2, 1) -- SO_REUSEADDR
    if opts and opts.rcvbuf then sys.set_option(fd, 1, 8, opts.rcvbuf) end
    if opts and opts.sndbuf then sys.set_option(fd, 1, 7, opts.sndbuf) end
    return fd
end

function sys.bind(fd, address, port)
    return C.bind(fd, sockaddr(address, port), 16)
end

function sys.connect(fd, address, port)
    if C.connect(fd, sockaddr(address, port), 16) == 0 then return true end
    return false, ffi.errno()
end

--- A connection to a socket of this machine: its descriptor, or nil and why.
function sys.unix(path)
    local a = ffi.new "e2e_sockaddr_un"
    a.family = 1
    ffi.copy(a.path, path)
    local fd = sys.check(C.socket(1, 1 + 2048 + 524288, 0), "socket") -- STREAM NONBLOCK CLOEXEC
    if C.connect(fd, a, ffi.sizeof(a)) == 0 then return fd end
    local why = ffi.string(C.strerror(ffi.errno()))
    C.close(fd)
    return nil, why
end

--- Leaves the file of a socket behind that nobody listens on.
function sys.stale_socket(path)
    local a = ffi.new "e2e_sockaddr_un"
    a.family = 1
    ffi.copy(a.path, path)
    local fd = sys.check(C.socket(1, 1 + 524288, 0), "socket")
    sys.check(C.bind(fd, a, ffi.sizeof(a)), "bind " .. path)
    C.close(fd)
end

function sys.port_of(fd)
    local a, n = ffi.new "e2e_sockaddr", ffi.new("unsigned[1]", 16)
    sys.check(C.getsockname(fd, a, n), "getsockname")
    return bit.bor(bit.lshift(bit.band(a.port, 255), 8), bit.rshift(a.port, 8))
end

--- The pending error of a socket, 0 when there is none.
function sys.socket_error(fd)
    local v, n = ffi.new("int[1]"), ffi.new("unsigned[1]", 4)
    sys.check(C.getsockopt(fd, 1, 4, v, n), "getsockopt")
    return v[0]
end

--- Bytes, "" at the end, or nil and an errno.
function sys.recv(fd, max)
    local n = tonumber(C.recv(fd, chunk, math.min(max or CHUNK, CHUNK), 0))
    if n < 0 then return nil, ffi.errno() end
    return ffi.string(chunk, n)
end

--- Bytes taken, or nil and an errno.
function sys.send(fd, pointer, n)
    local sent = tonumber(C.send(fd, pointer, n, 0x4000)) -- MSG_NOSIGNAL
    if sent < 0 then return nil, ffi.errno() end
    return sent
end

--- A port that nobody uses, nor gets by chance while we run: it stays bound here, without listening, which lets only
--- those in who name it and set SO_REUSEADDR.
function sys.free_port()
    local fd = sys.tcp()
    sys.check(sys.bind(fd, "127.0.0.1", 0), "bind")
    return sys.port_of(fd)
end

return sys
