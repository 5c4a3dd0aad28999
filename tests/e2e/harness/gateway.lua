--- gateway: the real binary with a configuration of a spec's making, in a folder of its own.
local ffi = require "ffi"
local json = require "tests.e2e.harness.json"
local lfs = require "lfs"
local peer = require "tests.e2e.harness.peer"
local Process = require "tests.e2e.harness.process"
local sys = require "tests.e2e.harness.sys"

local Gateway = {}
Gateway.__index = Gateway

local standing = {}

local function exists(path)
    local file = io.open(path)
    return file and file:close() and path
end

local preferred

--- Where nobody sets MOONGATE: for programs that measure, which want the release build.
function Gateway.prefer(path) preferred = path end

--- The program under test: MOONGATE, else the sanitized build, else the developer's.
function Gateway.binary()
    local path = os.getenv "MOONGATE" or preferred or exists "build/asan/moongate" or "build/dev/moongate"
    if path:sub(1, 1) ~= "/" then path = lfs.currentdir() .. "/" .. path end
    if not exists(path) then error("no gateway to test at " .. path .. "; build it, or set MOONGATE", 0) end
    return path
end

--- A new folder; removed with remove_folder.
function Gateway.folder()
    local name = ffi.new("char[64]", "/tmp/moongate-e2e-XXXXXX")
    if ffi.C.mkdtemp(name) == nil then error("mkdtemp failed", 0) end
    return ffi.string(name)
end

function Gateway.remove_folder(dir)
    assert(dir:match "^/tmp/moongate%-e2e%-%w+$")
    os.execute("rm -rf " .. dir)
end

function Gateway.write(path, text)
    os.execute("mkdir -p '" .. path:match "^(.*)/" .. "'")
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

local function merge(base, over)
    for key, value in pairs(over or {}) do base[key] = value end
    return base
end

--- The document for the given parts: one listener, one service behind it, one route for everything; each part may
--- be changed (listener, service, route, status) or replaced (services, routes), and `extra` adds to the top level.
function Gateway.document(opts, port, status_port)
    local doc = {
        version = 1,
        workers = opts.workers or 1,
        listeners = { web = merge({ bind = "127.0.0.1:" .. port }, opts.listener) },
        status = { bind = "127.0.0.1:" .. status_port },
        observability = { access_log = { to = opts.access_log and "stdout" or "off" } },
        plugins = opts.plugins,
        limiters = opts.limiters,
    }
    if opts.up or opts.service then
        local url = opts.up and opts.up:url()
        doc.services = { up = merge({ endpoints = { { url = url } } }, opts.service) }
    end
    doc.services = opts.services or doc.services
    local everything = { name = "all", match = { paths = { { prefix = "/" } } }, backends = { { service = "up" } } }
    doc.routes = opts.routes or { merge(everything, opts.route) }
    return merge(doc, opts.extra)
end

--- Writes configuration and files anew; for before a start or a reload.
function Gateway:configure(opts)
    for name, text in pairs(opts.files or {}) do Gateway.write(self.dir .. "/" .. name, text) end
    local text = opts.text or json.encode(opts.config or Gateway.document(opts, self.port, self.status_port))
    text = text:gsub("@PORT@", self.port):gsub("@STATUS@", self.status_port)
    Gateway.write(self.config, text)
end

local function sanitizer_options(opts)
    local asan = "abort_on_error=0:exitcode=99:detect_leaks=1:detect_stack_use_after_return=0"
    if opts.clock or opts.hang then asan = asan .. ":verify_asan_link_order=0" end
    return merge({
        ASAN_OPTIONS = asan .. (opts.measured and ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
            .. ":allocator_release_to_os_interval_ms=0" or ""),
        UBSAN_OPTIONS = "print_stacktrace=1",
        TSAN_OPTIONS = "exitcode=99",
    }, opts.env)
end

--- One of the libraries beside the gateway that are loaded before everything else.
local function preload(name)
    local shim = Gateway.binary():match "^(.*)/" .. "/libe2e_" .. name .. ".so"
    if not exists(shim) then error("no " .. shim .. " beside the gateway; build the target e2e_" .. name, 0) end
    return shim
end

--- What puts the clock of a gateway into our hands: see clock.c.
local function clock_options(self)
    return { LD_PRELOAD = preload "clock", E2E_CLOCK = self.dir .. "/clock", E2E_BOOT_ID = self.dir .. "/boot_id",
        E2E_CLOCK_SLOW = self.opts.slow and tostring(self.opts.slow) }
end

--- Starts one and waits until it is ready. Options: those of `document`, or config (a whole document) or text
--- (@PORT@ and @STATUS@ are filled in); files (path to text); env; args (in place of run -c); measured (memory
--- figures count); shared (stays until it is stopped by hand); unready (do not wait);
--- descriptors (how many it may have); out (a file that its stdout is); err_full (its stderr takes nothing before it
--- is read); closed (descriptors that it has not); clock (its clocks can be moved); slow (of those clocks: the
--- kernel's time counts for an n-th); hang (calls of it can be kept from returning, see hang.c); dns and hosts (the
--- name server that it asks, and the text of its hosts file).
function Gateway.start(opts)
    local self = setmetatable({ opts = opts }, Gateway)
    self.dir = Gateway.folder()
    self.config = self.dir .. "/moongate.yaml"
    self.port, self.status_port = sys.free_port(), sys.free_port()
    self:configure(opts)
    if opts.dns then
        Gateway.write(self.dir .. "/resolv.conf", "nameserver " .. opts.dns.address .. "\n")
        self:set_hosts(opts.hosts or "127.0.0.1 localhost\n")
    end
    if opts.clock then
        self.moved = { mono_ms = 0, wall_ms = 0 }
        self:write_clock()
        self:reboot(1)
    end
    self:launch()
    return self
end

--- What its hosts file says from now on, where it has one of its own.
function Gateway:set_hosts(text) Gateway.write(self.dir .. "/hosts", text) end

function Gateway:write_clock()
    local numbers = ffi.new("int64_t[2]", self.moved.mono_ms * 1000000LL, self.moved.wall_ms * 1000000LL)
    local path = self.dir .. "/clock"
    local file = io.open(path, "r+b") or assert(io.open(path, "wb")) -- in place: the gateway has it mapped
    file:write(ffi.string(numbers, 16))
    file:close()
end

--- Lets so much time pass on its clocks. It learns of it when it wakes for something.
function Gateway:advance(ms)
    self.moved.mono_ms = self.moved.mono_ms + ms
    self:step_wall(ms)
end

--- Sets its wall clock forward, or back: no time passes.
function Gateway:step_wall(ms)
    self.moved.wall_ms = self.moved.wall_ms + ms
    self:write_clock()
end

--- From now on its calls do not return: of os.date("hang"); with a digit, writes to that descriptor; with "c", those
--- for the wall clock, of a thread that has asked for it 3000 times.
function Gateway:hang(what) Gateway.write(self.dir .. "/hang", what or "") end

--- They do again.
function Gateway:unhang() os.remove(self.dir .. "/hang") end

--- Between stop and launch: its machine starts anew, for the n-th time.
function Gateway:reboot(n)
    Gateway.write(self.dir .. "/boot_id", string.format("00000000-0000-4000-8000-%012d\n", n))
end

function Gateway:launch()
    local opts = self.opts
    local argv = { Gateway.binary(), unpack(opts.args or { "run", "-c", self.config }) }
    for i, arg in ipairs(argv) do argv[i] = arg:gsub("@PORT@", self.port):gsub("@STATUS@", self.status_port) end
    local env = sanitizer_options(opts)
    if opts.dns then argv = opts.dns:wrap(argv, self.dir) end
    if opts.clock then merge(env, clock_options(self)) end
    if opts.hang then merge(env, { LD_PRELOAD = preload "hang", E2E_HANG = self.dir .. "/hang" }) end
    self.process = Process.start { argv = argv, cwd = self.dir, env = env,
        descriptors = opts.descriptors, out = opts.out, err_full = opts.err_full, closed = opts.closed }
    standing[self] = true
    if not opts.unready then self:await_ready() end
end

--- Ends it by a signal and starts it again in the same folder.
function Gateway:restart(signal)
    self.process:signal(signal)
    self.process:wait()
    self:launch()
end

function Gateway:await_ready()
    sys.eventually("the gateway to be ready", function()
        if self.process:ended() then
            local code, signal = self.process:wait()
            sys.fail("the gateway ended at its start (exit %s, signal %s)\n%s%s", code, signal,
                self.process.err.text, self.process.out.text)
        end
        local probe = peer.connect(self.status_port, { name = "probe" })
        if not probe then return false end
        probe:send("GET /readyz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
        local ready = probe:response().status == 200
        probe:close()
        return ready
    end)
end

--- A client of its listener.
function Gateway:client(opts)
    local client, why = peer.connect(self.port, opts)
    return client or sys.fail("cannot connect to the gateway: %s\n%s", why, self.process.err.text)
end

--- A client that has sent these bytes.
function Gateway:send(bytes, opts)
    return self:client(opts):send(bytes)
end

--- Sends one request on a connection of its own and returns the response; for what the gateway answers itself.
function Gateway:ask(bytes)
    local client = self:send(bytes)
    local response = client:response()
    client:close()
    return response
end

--- GET on the status listener.
function Gateway:status(path)
    local client, why = peer.connect(self.status_port, { name = "status client" })
    if not client then sys.fail("cannot connect to the status listener: %s", why) end
    client:send("GET " .. path .. " HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n")
    local response = client:response()
    client:close()
    return response
end

--- A client of the admin listener at run/admin.sock that has sent one request.
function Gateway:admin_send(method, path, body)
    local client, why = peer.connect_unix(self.dir .. "/run/admin.sock", "admin client")
    if not client then sys.fail("cannot connect to the admin listener: %s", why) end
    return client:send(method .. " " .. path .. " HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
        .. (body and "Content-Length: " .. #body .. "\r\n" or "") .. "\r\n" .. (body or ""))
end

--- Its response, with its JSON in `json` where it is some.
function Gateway:admin(method, path, body)
    local client = self:admin_send(method, path, body)
    local response = client:response(method == "HEAD")
    client:close()
    if response.body ~= "" and (response.fields["content-type"] or ""):find("json", 1, true) then
        response.json = json.decode(response.body)
    end
    return response
end

--- Runs a command of the program in the gateway's folder to its end: { code, out, err }.
function Gateway:command(args, opts)
    opts = opts or {}
    return Process.run { argv = { Gateway.binary(), unpack(args) }, cwd = self.dir, stdin = opts.stdin,
        env = sanitizer_options(opts) }
end

--- The same on a terminal, where `keys` are typed: { code, out }, with all that was drawn in `out`.
function Gateway:on_terminal(args, keys)
    local line = Gateway.binary() .. " " .. table.concat(args, " ")
    return Process.run { argv = { "/usr/bin/script", "-qec", line, "/dev/null" }, cwd = self.dir, stdin = keys,
        env = sanitizer_options {} }
end

--- The sum of a metric over the series that carry the given labels, nil where there is none.
function Gateway:metric(name, labels)
    local sum
    for line in self:status("/metrics").body:gmatch "[^\n]+" do
        local series, value = line:match("^(%S+) (%S+)")
        if series and (series == name or series:sub(1, #name + 1) == name .. "{") then
            local fits = true
            for label, wanted in pairs(labels or {}) do
                fits = fits and series:find(label .. '="' .. wanted .. '"', 1, true) ~= nil
            end
            if fits then sum = (sum or 0) + tonumber(value) end
        end
    end
    return sum
end

--- Waits until the metric has reached `least`.
function Gateway:await_metric(name, labels, least)
    return sys.eventually(name .. " to reach " .. least, function()
        local value = self:metric(name, labels)
        return value and value >= least and value
    end)
end

--- Asks for a reload and waits until it is through. Returns "ok" or "refused".
function Gateway:reload(opts)
    if opts then self:configure(opts) end
    local function count()
        return self:metric("moongate_config_reloads_total") or 0, self:metric("moongate_config_reloads_total",
            { result = "refused" }) or 0
    end
    local all, refused = count()
    self.process:signal(sys.SIGHUP)
    return sys.eventually("the reload to be counted", function()
        local all_now, refused_now = count()
        if all_now == all then return false end
        return refused_now > refused and "refused" or "ok"
    end)
end

--- The next line of the access log, decoded.
function Gateway:access()
    return self.process:line("out", "a line of the access log", function(line)
        return line:sub(1, 1) == "{" and json.decode(line)
    end)
end

--- The next line of the gateway's own log that holds `text`.
function Gateway:log(text)
    return self.process:line("err", "a line with '" .. text .. "'", function(line)
        return line:find(text, 1, true) and line
    end)
end

function Gateway:rss_kib() return self.process:memory_kib "VmRSS" end

local REPORTS = { "ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", ": runtime error: " }

--- Waits for its end and fails on anything but a clean one.
function Gateway:finish()
    standing[self] = nil
    local code, signal = self.process:wait()
    local err = self.process.err.text
    Gateway.remove_folder(self.dir)
    for _, report in ipairs(REPORTS) do
        if err:find(report, 1, true) then error("a sanitizer reported:\n" .. err:sub(-8000), 0) end
    end
    if code ~= 0 then
        sys.fail("the gateway ended with exit status %s, signal %s\n%s", code, signal, err:sub(-8000))
    end
end

--- For one that has ended in a way that is not to be judged.
function Gateway:abandon()
    standing[self] = nil
    self.process:kill()
    Gateway.remove_folder(self.dir)
end

function Gateway:stop()
    if not standing[self] then return end
    if not self.process:ended() then self.process:signal(sys.SIGTERM) end
    self:finish()
end

--- Stops all but the shared ones. Each is stopped, the first complaint is raised.
function Gateway.stop_all()
    local complaint
    for self in pairs(standing) do
        if not self.opts.shared then
            local ok, err = pcall(self.stop, self)
            complaint = complaint or (not ok and err)
        end
    end
    if complaint then error(complaint, 0) end
end

return Gateway
