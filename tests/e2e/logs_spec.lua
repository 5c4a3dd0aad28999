-- Logs that nobody reads, or that cannot be written: traffic goes on, what is lost is counted and told.
local e2e = require "tests.e2e.harness"

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
        files = opts.talks and { ["plugins/talks/plugin.lua"] = TALKS },
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
    it("on stdout drops lines, holds up nobody, and tells once how many when it is read again", function()
        local gw = gateway()
        e2e.pause(gw.process.out)
        ask_until_dropped(gw, "access")
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

    for _, signal in ipairs { "SIGTERM", "SIGINT" } do
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

    it("is written to the end when the reader comes back while the gateway ends", function()
        local gw = gateway()
        e2e.pause(gw.process.out)
        assert.same({ [200] = 300 }, e2e.ask(gw, 300, { request = function() return ASK end }))
        gw.process:signal(e2e.SIGTERM)
        e2e.eventually("the listener to be closed", function() return e2e.connect(gw.port) == nil end)
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
