-- Logs that nobody reads, or that cannot be written: traffic goes on, what is lost is counted and told.
local e2e = require "tests.e2e.harness"
local lfs = require "lfs"

after_each(e2e.finish)

local LONG = "/" .. ("x"):rep(7000) -- in every line of the access log
local ASK = "GET " .. LONG .. " HTTP/1.1\r\nHost: a\r\n\r\n"
local TALKS = [[
return { name = "talks", version = "1", new = function()
    return function(ctx, next)
        ctx.log:warn(("y"):rep(7000))
        return ctx:respond(200, "yes")
    end
end }]]

--- A gateway that answers by itself; one that `talks` writes an event for each request.
local function gateway(opts)
    opts = opts or {}
    return e2e.gateway {
        access_log = true,
        extra = opts.to and { observability = { access_log = { to = opts.to } } },
        files = opts.files or opts.talks and { ["plugins/talks/plugin.lua"] = TALKS },
        plugins = {
            fix = opts.talks and { use = "./plugins/talks" } or { use = "respond", config = { body = "yes" } },
        },
        routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fix" } } },
        measured = true,
    }
end

local function dropped(gw, log) return gw:metric("moongate_log_lines_dropped_total", { log = log }) end

--- Sends requests until lines of the log were dropped; each is answered.
local function ask_until_dropped(gw, log)
    for _ = 1, 100 do
        local counts = e2e.ask(gw, 50, { at_once = 4, request = function() return ASK end })
        assert.same({ [200] = 50 }, counts)
        if dropped(gw, log) > 0 then return end
    end
    error("no line of the " .. log .. " log was dropped")
end

local function count(text, word) return select(2, text:gsub(word, "")) end

describe("a log that nobody reads", function()
    it("on stdout drops lines, holds up nobody, and is told of at once, and once more when it is read again", function()
        local gw = gateway()
        e2e.pause(gw.process.out)
        ask_until_dropped(gw, "access")
        local failed = e2e.json.decode(gw:log "log_failed")
        assert.equal("the access log cannot be written: its reader has stopped, or is too slow; "
            .. "its lines are dropped until it can", failed.message)
        local before_kib = gw:rss_kib()
        ask_until_dropped(gw, "access")
        ask_until_dropped(gw, "access")
        assert.is_true(gw:rss_kib() - before_kib < 4096, "memory grew")
        assert.equal(200, gw:status("/livez").status)
        local lost = dropped(gw, "access")
        e2e.resume(gw.process.out)
        local told = e2e.json.decode(gw:log "log_lines_dropped")
        assert.truthy(told.message:find(lost .. " lines of the access log", 1, true), told.message)
        assert.equal(200, gw:ask "GET /last HTTP/1.1\r\nHost: a\r\n\r\n".status)
        local line
        repeat line = gw:access() until line.path == "/last" -- all of them whole
        assert.equal(lost, dropped(gw, "access"))
        gw:stop()
        assert.equal(1, count(gw.process.err.text, "log_lines_dropped"))
        assert.equal(1, count(gw.process.err.text, "log_failed"))
    end)

    it("on stderr drops events, and tells so in itself", function()
        local gw = gateway { talks = true }
        e2e.pause(gw.process.err)
        ask_until_dropped(gw, "events")
        assert.equal(200, gw:status("/livez").status)
        assert.equal(0, dropped(gw, "access"))
        local lost = dropped(gw, "events")
        e2e.resume(gw.process.err)
        local told = e2e.json.decode(gw:log "log_lines_dropped")
        assert.truthy(told.message:find(lost .. " lines of the events log", 1, true), told.message)
    end)

    for _, signal in ipairs { "SIGTERM", "SIGINT", "SIGQUIT" } do
        it("does not keep " .. signal .. " from ending the gateway", function()
            local gw = gateway { talks = true }
            e2e.pause(gw.process.out)
            e2e.pause(gw.process.err)
            ask_until_dropped(gw, "access")
            ask_until_dropped(gw, "events")
            gw.process:signal(e2e[signal])
            gw:finish()
        end)
    end

    it("is written to the end when the reader comes back as the gateway ends", function()
        local gw = gateway()
        e2e.pause(gw.process.out)
        assert.same({ [200] = 300 }, e2e.ask(gw, 300, { request = function() return ASK end }))
        gw.process:signal(e2e.SIGTERM)
        e2e.resume(gw.process.out)
        gw:finish()
        assert.equal(300, count(gw.process.out.text, "\n"))
    end)
end)

describe("a log that cannot be written", function()
    it("for a full disk is an event, once, and counted", function()
        local gw = gateway { to = "/dev/full" }
        assert.equal(200, gw:ask(e2e.GET).status)
        local told = e2e.json.decode(gw:log "log_failed")
        assert.truthy(told.message:find("No space left on device", 1, true), told.message)
        for _ = 1, 3 do
            local before = dropped(gw, "access")
            assert.equal(200, gw:ask(e2e.GET).status)
            gw:await_metric("moongate_log_lines_dropped_total", { log = "access" }, before + 1)
        end
        gw:stop()
        assert.equal(1, count(gw.process.err.text, "log_failed"))
    end)

    it("for want of a reader is harmless", function()
        local gw = gateway { talks = true }
        e2e.hang_up(gw.process.out)
        assert.same({ [200] = 20 }, e2e.ask(gw, 20))
        gw:log "Broken pipe"
        e2e.hang_up(gw.process.err)
        assert.same({ [200] = 20 }, e2e.ask(gw, 20))
        gw:await_metric("moongate_log_lines_dropped_total", { log = "events" }, 1)
    end)
end)

describe("a stderr that nobody reads", function()
    --- A gateway whose configuration has something to be found in, at such a stderr.
    local function unheard(opts)
        opts.unready, opts.err_full = true, true
        opts.limiters = { unused = { rate = "1/s" } }
        local gw = e2e.gateway(opts)
        e2e.pause(gw.process.err)
        return gw
    end

    it("does not hold up the start with what was found in the configuration", function()
        local up = e2e.upstream()
        local gw = unheard { up = up }
        gw:await_ready()
        e2e.exchange(gw:client(), up)
        e2e.resume(gw.process.err)
        gw:log "did not go to stderr whole: moongate check tells it"
    end)

    it("does not keep one that is refused from ending", function()
        local gw = unheard { services = { up = { endpoints = { { url = "nonsense" } } } } }
        assert.equal(3, (gw.process:wait()))
        gw:abandon()
    end)
end)

describe("a FIFO as access log", function()
    it("needs no reader, neither to start nor to serve", function()
        local dir = os.tmpname()
        os.remove(dir)
        assert(os.execute("mkfifo '" .. dir .. "'"))
        local gw = gateway { to = dir }
        assert.same({ [200] = 20 }, e2e.ask(gw, 20))
        ask_until_dropped(gw, "access")
        assert.equal(200, gw:status("/livez").status)
        gw:stop()
        os.remove(dir)
    end)
end)

local function text_of(path)
    local file = io.open(path)
    local text = file and file:read "*a" or ""
    if file then file:close() end
    return text
end

--- Asks for a path and waits until that is in the file.
local function ask_into(gw, path, file)
    assert.equal(200, gw:ask("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n").status)
    e2e.eventually(path .. " to be in " .. file, function() return text_of(file):find(path, 1, true) end)
end

describe("a log file that was renamed", function()
    local function renamed()
        local gw = gateway { to = "access.log" }
        local file = gw.dir .. "/access.log"
        ask_into(gw, "/one", file)
        assert(os.rename(file, file .. ".1"))
        ask_into(gw, "/two", file .. ".1")
        return gw, file
    end

    --- From now on lines are in the new file, and no more in the old one.
    local function assert_reopened(gw, file)
        e2e.eventually("the new file", function() return io.open(file) end):close()
        ask_into(gw, "/three", file)
        assert.is_nil(text_of(file .. ".1"):find("/three", 1, true))
        assert.equal(2, count(text_of(file .. ".1"), "\n"))
    end

    it("is opened again at USR1", function()
        local gw, file = renamed()
        gw.process:signal(e2e.SIGUSR1)
        gw:log "logs_reopened"
        assert_reopened(gw, file)
    end)

    it("is opened again by a reload", function()
        local gw, file = renamed()
        assert.equal("ok", gw:reload())
        assert_reopened(gw, file)
    end)

    it("is opened again by a reload that is refused", function()
        local gw, file = renamed()
        assert.equal("refused", gw:reload { text = "version: 1\nlisteners: [\n" })
        assert_reopened(gw, file)
    end)

    it("is opened again by a reload of a file that is gone", function()
        local gw, file = renamed()
        os.remove(gw.config)
        assert.equal("refused", gw:reload())
        assert_reopened(gw, file)
    end)

    it("gives way to another file, and to none, by a reload", function()
        local gw = gateway { to = "access.log" }
        local function reload(to)
            local doc = e2e.json.decode(text_of(gw.config))
            doc.observability.access_log.to = to
            assert.equal("ok", gw:reload { config = doc })
        end
        ask_into(gw, "/one", gw.dir .. "/access.log")
        reload "other.log"
        ask_into(gw, "/two", gw.dir .. "/other.log")
        reload "off"
        assert.equal(200, gw:ask "GET /three HTTP/1.1\r\nHost: a\r\n\r\n".status)
        reload "access.log"
        ask_into(gw, "/four", gw.dir .. "/access.log")
        assert.equal(2, count(text_of(gw.dir .. "/access.log"), "\n"))
        assert.equal(1, count(text_of(gw.dir .. "/other.log"), "\n"))
    end)

    it("is written on where the new one cannot be opened", function()
        local gw = gateway { to = "logs/access.log", files = { ["logs/old"] = "" } }
        ask_into(gw, "/one", gw.dir .. "/logs/access.log")
        assert(os.rename(gw.dir .. "/logs", gw.dir .. "/old"))
        gw.process:signal(e2e.SIGUSR1)
        gw:log "cannot write"
        ask_into(gw, "/two", gw.dir .. "/old/access.log")
    end)
end)

describe("signals", function()
    it("QUIT and INT let what is in flight finish, as TERM does", function()
        for _, signal in ipairs { e2e.SIGQUIT, e2e.SIGINT } do
            local gw, up = e2e.proxy()
            local client = gw:send(e2e.GET)
            local conn = up:accept()
            conn:request()
            gw.process:signal(signal)
            e2e.eventually("the listener to be closed", function() return e2e.connect(gw.port) == nil end)
            conn:send(e2e.OK)
            assert.equal("ok", client:response().body)
            gw:finish()
        end
    end)

    it("TERM after QUIT ends at once", function()
        local gw, up = e2e.proxy()
        gw:send(e2e.GET)
        up:accept():request()
        gw.process:signal(e2e.SIGQUIT)
        e2e.eventually("the listener to be closed", function() return e2e.connect(gw.port) == nil end)
        gw.process:signal(e2e.SIGTERM)
        gw:finish()
    end)

    it("USR2 is answered in the log, and the gateway goes on", function()
        local gw = gateway()
        gw.process:signal(e2e.SIGUSR2)
        gw:log "not in this version"
        assert.equal(200, gw:ask(e2e.GET).status)
    end)

    it("that mean nothing to it end nothing", function()
        local gw = gateway()
        for _, number in ipairs { 13, 14, 16, 24, 25, 26, 27, 29, 30, 34, 64 } do gw.process:signal(number) end
        gw.process:signal(e2e.SIGUSR1) -- no log is a file: nothing to do
        assert.equal(200, gw:ask(e2e.GET).status)
        assert.equal("ok", gw:reload())
    end)
end)

describe("log_level", function()
    --- What of `levels` is told when a request has a plugin tell something of each.
    local function told(gw, mark, last)
        assert.equal(200, gw:ask("GET /" .. mark .. " HTTP/1.1\r\nHost: a\r\n\r\n").status)
        local seen = {}
        repeat
            local line = e2e.json.decode(gw:log(mark))
            seen[#seen + 1] = line.level
        until line.level == last
        return seen
    end
    local LEVELS = [[
    return { name = "levels", version = "1", new = function()
        return function(ctx)
            for _, level in ipairs { "debug", "info", "warn", "error" } do ctx.log[level](ctx.log, ctx.request.path) end
            return ctx:respond(200, "yes")
        end
    end }]]
    local function opts(level, extra)
        return { files = { ["plugins/levels/plugin.lua"] = LEVELS },
            plugins = { levels = { use = "./plugins/levels" } },
            routes = extra or { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "levels" } } },
            extra = { observability = { access_log = { to = "off" }, log_level = level } } }
    end

    it("follows a reload, down and up, and no reload that is refused", function()
        local gw = e2e.gateway(opts "info")
        assert.same({ "info", "warn", "error" }, told(gw, "one", "error"))
        assert.equal("ok", gw:reload(opts "error"))
        gw:log "\"reloaded\""
        assert.same({ "error" }, told(gw, "two", "error"))
        assert.equal("ok", gw:reload(opts "debug"))
        gw:log "\"reloaded\""
        assert.same({ "debug", "info", "warn", "error" }, told(gw, "three", "error"))
        assert.equal("refused", gw:reload(opts("error", { { name = "all", service = "none" } })))
        assert.same({ "debug", "info", "warn", "error" }, told(gw, "four", "error"))
    end)

    it("stays what -v or -q said", function()
        local own = opts "info"
        own.args = { "run", "-q", "-c", "moongate.yaml" }
        local gw = e2e.gateway(own)
        own.extra.observability.log_level = "debug"
        assert.equal("ok", gw:reload(own))
        assert.same({ "error" }, told(gw, "one", "error"))
    end)
end)

describe("stdin, stdout and stderr", function()
    for _, closed in ipairs { { 0 }, { 1 }, { 2 }, { 0, 1, 2 } } do
        it("are /dev/null where they are closed at start: " .. table.concat(closed, ", "), function()
            local gw = e2e.gateway { access_log = true, closed = closed, extra = { state = { path = "state" } },
                plugins = { fix = { use = "respond", config = { body = "yes" } } },
                routes = { { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { "fix" } } } }
            assert.same({ [200] = 20 }, e2e.ask(gw, 20))
            for _, fd in ipairs(closed) do
                assert.equal("/dev/null", lfs.symlinkattributes("/proc/" .. gw.process.pid .. "/fd/" .. fd, "target"))
            end
        end)
    end
end)
