--- process: starts programs with their output in our hands, and learns how they end.
local bit = require "bit"
local ffi = require "ffi"
local sys = require "tests.e2e.harness.sys"

local C = ffi.C
local Process = {}
Process.__index = Process

local PIDFD_OPEN = 434
local running = {}

--- A char *const [] of these texts; `keep` holds what it points to.
local function cstrings(list, keep)
    local array = ffi.new("const char *[?]", #list + 1)
    for i, text in ipairs(list) do array[i - 1] = text end
    array[#list] = nil
    keep[#keep + 1] = { array, list }
    return ffi.cast("char *const *", array)
end

local function environment(extra)
    local seen, list = {}, {}
    for name, value in pairs(extra) do
        list[#list + 1] = name .. "=" .. value
        seen[name] = true
    end
    local i = 0
    while C.environ[i] ~= nil do
        local entry = ffi.string(C.environ[i])
        if not seen[entry:match("^[^=]*")] then list[#list + 1] = entry end
        i = i + 1
    end
    return list
end

local function pipe()
    local ends = ffi.new "int[2]"
    sys.check(C.pipe2(ends, 524288), "pipe2")
    C.fcntl(ends[1], 1031, ffi.cast("int", 1048576)) -- F_SETPIPE_SZ
    return ends[0], ends[1]
end

--- Options: argv, cwd, env (added to ours), stdin (text), descriptors (how many it may have), out (a file that its
--- stdout is, in place of a capture), err_full (its stderr takes nothing before it is read), closed (descriptors that
--- it has not), bound_by_modes (also for root, a file's mode says whether it may be read). It dies with us.
function Process.start(opts)
    local out_read, out_write = pipe()
    local err_read, err_write = pipe()
    local in_read, in_write = pipe()
    if opts.err_full then
        C.fcntl(err_write, 1031, ffi.cast("int", 4096)) -- F_SETPIPE_SZ
        C.write(err_write, ("-"):rep(4095) .. "\n", 4096)
    end
    local keep = {}
    local argv, env = cstrings(opts.argv, keep), cstrings(environment(opts.env or {}), keep)
    local cwd = opts.cwd or "."
    local limit = opts.descriptors and ffi.new("unsigned long[2]", opts.descriptors, opts.descriptors)
    local pid = sys.check(C.fork(), "fork")
    if pid == 0 then
        C.prctl(1, sys.SIGKILL, 0, 0, 0) -- PR_SET_PDEATHSIG
        C.personality(0x0040000) -- ADDR_NO_RANDOMIZE: older sanitizers do not know how far newer kernels shuffle
        if limit then C.setrlimit(7, limit) end -- RLIMIT_NOFILE
        if opts.bound_by_modes then
            C.prctl(24, 1, 0, 0, 0) -- PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
            C.prctl(24, 2, 0, 0, 0) -- CAP_DAC_READ_SEARCH
        end
        C.dup2(in_read, 0)
        C.dup2(opts.out and C.open(opts.out, 1) or out_write, 1) -- O_WRONLY
        C.dup2(err_write, 2)
        for _, fd in ipairs(opts.closed or {}) do C.close(fd) end
        if C.chdir(cwd) == 0 then C.execve(opts.argv[1], argv, env) end
        C._exit(127)
    end
    C.close(out_write)
    C.close(err_write)
    C.close(in_read)
    local self = setmetatable({ pid = pid, argv = opts.argv, keep = keep }, Process)
    self.out, self.err = sys.capture(out_read), sys.capture(err_read)
    self.pidfd = sys.check(tonumber(C.syscall(PIDFD_OPEN, ffi.cast("int", pid), ffi.cast("int", 0))), "pidfd_open")
    running[self] = true
    self:feed(in_write, opts.stdin or "")
    return self
end

function Process:feed(fd, text)
    if #text > 0 then sys.check(tonumber(C.write(fd, text, #text)), self.argv[1] .. ": stdin") end
    C.close(fd)
end

--- True once it has ended. Does not wait.
function Process:ended()
    if self.status then return true end
    return next(sys.wait({ [self.pidfd] = sys.POLLIN }, 0)) ~= nil
end

--- Waits for its end: exit code, or nil and the signal.
function Process:wait()
    if not self.status then
        local ready = sys.wait({ [self.pidfd] = sys.POLLIN }, sys.now_ms() + sys.patience_ms)
        if not next(ready) then
            self:kill()
            sys.fail("%s: still running after %d ms\n%s", self.argv[1], sys.patience_ms, self.err.text)
        end
        self:reap()
    end
    if bit.band(self.status, 127) ~= 0 then return nil, bit.band(self.status, 127) end
    return bit.band(bit.rshift(self.status, 8), 255)
end

function Process:reap()
    local status = ffi.new "int[1]"
    sys.check(C.waitpid(self.pid, status, 0), "waitpid")
    self.status = status[0]
    C.close(self.pidfd)
    sys.release(self.out)
    sys.release(self.err)
    running[self] = nil
end

function Process:signal(number)
    sys.check(C.kill(self.pid, number), "kill")
end

function Process:kill()
    if self.status then return end
    C.kill(self.pid, sys.SIGKILL)
    self:reap()
end

--- A line of /proc/PID/status in KiB: "VmRSS", "VmHWM".
function Process:memory_kib(name)
    local file = assert(io.open("/proc/" .. self.pid .. "/status"))
    local text = file:read "*a"
    file:close()
    return tonumber(text:match(name .. ":%s*(%d+) kB"))
end

function Process:threads()
    local file = assert(io.open("/proc/" .. self.pid .. "/status"))
    local text = file:read "*a"
    file:close()
    return tonumber(text:match "Threads:%s*(%d+)")
end

--- Waits for a line of `capture` ("out" or "err") that `test` likes; each line is offered once per cursor.
function Process:line(which, what, test)
    local cursor = which .. "_at"
    local until_ms = sys.now_ms() + sys.patience_ms
    local capture = self[which]
    self[cursor] = self[cursor] or 1
    while true do
        local first, last = capture.text:find("\n", self[cursor], true)
        if first then
            local line = capture.text:sub(self[cursor], first - 1)
            self[cursor] = last + 1
            local value = test(line)
            if value then return value end
        elseif sys.now_ms() >= until_ms or not capture.fd then
            sys.fail("%s: wanted %s on std%s, got:\n%s", self.argv[1], what, which, capture.text)
        else
            sys.wait({}, until_ms, true)
        end
    end
end

--- Runs to the end: { code, signal, out, err }.
function Process.run(opts)
    local self = Process.start(opts)
    local code, signal = self:wait()
    return { code = code, signal = signal, out = self.out.text, err = self.err.text }
end

function Process.kill_all()
    for self in pairs(running) do self:kill() end
end

return Process
