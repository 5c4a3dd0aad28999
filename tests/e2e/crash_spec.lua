-- Killed in the middle of its work, again and again: what it knew of keys, breakers, hosts and rollouts is there when
-- it starts again, but for a last moment's. CRASH_ROUNDS says how often (5), SEED which moments.
local e2e = require "tests.e2e.harness"
local sys = require "tests.e2e.harness.sys"

after_each(e2e.finish)

local ROUNDS = tonumber(os.getenv "CRASH_ROUNDS" or 5)
local SEED = tonumber(os.getenv "SEED" or os.time())

local STATE = { state = { path = "state" } }
local BURST = 20
-- A key's changes are stored once a second and more seldom where the disk is slow: the gateway says how old the oldest
-- is that is not stored yet, and what is younger may be lost. Its clock and ours are read a moment apart.
local READING_MS = 30
-- A breaker's, a host's or a rollout's within 50 ms and a commit.
local STORED_MS = tonumber(os.getenv "STORED_MS" or 200)

--- Real time passes: what is waited for is the store, which has nothing to tell us.
local function let_pass(ms)
    local until_ms = sys.now_ms() + ms
    while sys.now_ms() < until_ms do sys.wait({}, until_ms) end
end

--- How long ago at most, and when, a change was made that is not stored yet.
local function unstored(gw)
    local asked_ms = sys.now_ms()
    return gw:metric "moongate_state_lag_seconds" * 1000, asked_ms
end

--- Whatever was charged before is stored when this returns.
local function await_stored(gw)
    local from_ms = sys.now_ms()
    sys.eventually("what was charged to be stored", function()
        local lag_ms, asked_ms = unstored(gw)
        return asked_ms - lag_ms - READING_MS > from_ms
    end)
end

--- What is known of a key from outside: of its tokens, how many it has at least and at most. What they are worth after
--- a crash lies between what it had and that plus what it had spent in the last moment.
local Key = {}
Key.__index = Key

local function new_key(name)
    return setmetatable({ name = name, least = BURST, most = BURST, spent_ms = {}, asked = 0,
        bytes = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: " .. name .. "\r\n\r\n" }, Key)
end

--- One of its requests has its end, and `asked` of it are under way still.
function Key:ended(what)
    self.asked = self.asked - 1
    if what == 200 or what == 504 then -- let through, whether or not the clock was moved past its time then
        self.spent_ms[#self.spent_ms + 1] = sys.now_ms()
        self.most = self.most - 1
        if self.most < 0 then error(self.name .. " was admitted beyond what it had", 0) end
    elseif what == 429 then
        if self.least > self.asked then error(self.name .. " was refused with tokens left", 0) end
        self.most = math.min(self.most, self.asked) -- admitted before, and not heard of yet
        return
    elseif what ~= "lost" then
        error(self.name .. " was answered " .. what, 0)
    end
    self.least = math.max(0, self.least - 1) -- of one that is lost, nobody knows whether it took a token
end

--- What it spent since `stored_ms` may be lost.
function Key:crashed(stored_ms)
    local lost = 0
    for _, ms in ipairs(self.spent_ms) do
        if ms > stored_ms then lost = lost + 1 end
    end
    self.spent_ms = {}
    self.most = math.min(BURST, self.most + lost)
end

--- All keys there were, and the first thing about them that cannot be.
local function new_book(random)
    local book = { keys = {}, complaint = nil }

    --- A new key, one of late, or any of all there were.
    function book.any()
        local n = #book.keys
        local key = n > 0 and random(40) > 1 and
            book.keys[random(4) == 1 and random(n) or random(math.max(1, n - 20), n)]
        if not key then
            key = new_key("k" .. n + 1)
            book.keys[n + 1] = key
        end
        key.asked = key.asked + 1
        return key
    end

    function book.each(key, what)
        local ok, err = pcall(key.ended, key, what)
        book.complaint = book.complaint or (not ok and err) or nil
    end

    return book
end

--- A breaker that is tripped and closed again by turns, on a route of its own.
local Fuse = {}
Fuse.__index = Fuse

local FUSE = { mode = "consecutive", consecutive_failures = 3, open_for = "60s", open_max = "60s", open_jitter = "0%",
    probes = 1 }

local function new_fuse(gw, server)
    return setmetatable({ gw = gw, server = server, open = false, changed_ms = -math.huge }, Fuse)
end

--- Asks `n` times; returns how many came to the upstream.
function Fuse:ask(n)
    self.server:since()
    e2e.ask(self.gw, n, { request = function() return "GET /shaky HTTP/1.1\r\nHost: a\r\n\r\n" end })
    return self.server:since()
end

function Fuse:turn(where)
    if self.open then
        self.gw:advance(60500)
        self.server:does "ok"
        assert.equal(3, self:ask(3), "closing " .. where)
    else
        self.server:does "fail"
        assert.equal(3, self:ask(5), "tripping " .. where)
        self.server:does "ok"
    end
    self.open = not self.open
    self.changed_ms = sys.now_ms()
end

--- After a start: it is as it was, unless it was killed before that could be stored.
function Fuse:check(killed_ms, where)
    local seen = self:ask(1)
    if killed_ms - self.changed_ms < STORED_MS then
        self.open = seen == 0
    else
        assert.equal(self.open and 0 or 1, seen, (self.open and "open " or "closed ") .. where)
    end
end

--- A gateway that gives a key BURST tokens and hardly any more; `shaky` is behind /shaky, and a FUSE.
local function limited(shaky, limiter)
    local up = e2e.server "up"
    return e2e.gateway { clock = true, workers = 2, extra = STATE,
        limiters = { per_key = limiter or { key = "header:x-key", rate = "1/d", burst = BURST } },
        services = { up = { endpoints = { { url = up:url() } } },
            shaky = shaky and { endpoints = { { url = shaky:url() } }, breaker = FUSE } },
        routes = {
            { name = "all", match = { paths = { { prefix = "/" } } }, plugins = { { limit = "per_key" } },
                service = "up" },
            shaky and { name = "shaky", match = { paths = { { prefix = "/shaky" } } }, service = "shaky" },
        } }
end

--- How many requests of the key are admitted before one is refused.
local function left_of(gw, name, most)
    local bytes = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: " .. name .. "\r\n\r\n"
    local counts = e2e.ask(gw, most or BURST + 1, { request = function() return bytes end })
    return counts[200] or 0
end

describe("a gateway that is killed", function()
    it("gives no key more than its last moment back, however often (seed " .. SEED .. ")", function()
        math.randomseed(SEED)
        local book, shaky = new_book(math.random), e2e.server "shaky"
        local gw = limited(shaky)
        local fuse = new_fuse(gw, shaky)
        for round = 1, ROUNDS do
            local where = "in round " .. round
            local load = e2e.load(gw, { at_once = 8, request = book.any, each = book.each })
            let_pass(math.random(50, 1700))
            fuse:turn(where)
            let_pass(math.random(0, 1700))
            local lag_ms, asked_ms = unstored(gw)
            local at_ms = sys.now_ms()
            gw.process:signal(e2e.SIGKILL)
            load:stop():await()
            for _, key in ipairs(book.keys) do key:crashed(asked_ms - lag_ms - READING_MS) end
            assert.is_nil(book.complaint, where)
            gw.process:wait()
            gw:launch()
            fuse:check(at_ms, where)
        end
        for i = 1, math.min(#book.keys, 300) do
            local key = book.keys[#book.keys + 1 - i]
            local left = left_of(gw, key.name)
            assert.is_true(left >= key.least and left <= key.most, string.format(
                "%s has %d tokens, should have %d to %d", key.name, left, key.least, key.most))
        end
        assert.is_true(#book.keys > 20)
    end)

    it("knows to the token what was stored", function()
        local gw = limited()
        for i = 1, 10 do assert.equal(i, left_of(gw, "k" .. i, i)) end
        await_stored(gw)
        gw:restart(e2e.SIGKILL)
        for i = 1, 10 do assert.equal(BURST - i, left_of(gw, "k" .. i)) end
    end)

    it("loses nothing when it is asked to stop", function()
        local gw = limited()
        assert.equal(7, left_of(gw, "k", 7))
        gw:restart(e2e.SIGTERM)
        assert.equal(BURST - 7, left_of(gw, "k"))
    end)

    it("keeps a breaker open, for as long as it would have been", function()
        local gw, up = e2e.behind({ breaker = { mode = "consecutive", consecutive_failures = 3, open_for = "30s",
            open_jitter = "0%" } }, { names = { "up" }, extra = STATE })
        for round = 1, 3 do
            up:does "fail"
            assert.same({ [503] = 5 }, e2e.ask(gw, 5))
            assert.equal(3, up:since(), "in round " .. round)
            let_pass(STORED_MS)
            up:does "ok"
            gw:restart(e2e.SIGKILL)
            assert.same({ [503] = 5 }, e2e.ask(gw, 5))
            assert.equal(0, up:since())
            gw:advance(28000)
            assert.same({ [503] = 1 }, e2e.ask(gw, 1))
            gw:advance(2500)
            assert.same({ [200] = 5 }, e2e.ask(gw, 5))
            assert.equal(5, up:since())
            let_pass(STORED_MS)
            gw:restart(e2e.SIGKILL)
            assert.same({ [200] = 3 }, e2e.ask(gw, 3))
            assert.equal(3, up:since())
        end
    end)

    it("keeps a host out, for as long as it would have been", function()
        local gw, _, b = e2e.behind({ balance = "round_robin", slow_start = "0s",
            eject = { consecutive = 5, base = "30s" } }, { extra = STATE })
        b:die()
        assert.same({ [200] = 55, [502] = 5 }, e2e.ask(gw, 60))
        let_pass(STORED_MS)
        b:revive()
        gw:restart(e2e.SIGKILL)
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.equal(0, b:since())
        gw:advance(30500)
        assert.same({ [200] = 30 }, e2e.ask(gw, 30))
        assert.is_true(b:since() >= 9)
    end)

    it("keeps a rollout at its step", function()
        local function get(i)
            return "GET / HTTP/1.1\r\nHost: a\r\nX-User: u" .. i .. "\r\n\r\n"
        end
        local base, canary = e2e.server "base", e2e.server "canary"
        local gw = e2e.gateway { clock = true, services = {
            base = { endpoints = { { url = base:url() } } },
            canary = { endpoints = { { url = canary:url() } } } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } },
                backends = { { service = "base" }, { service = "canary" } }, sticky = { by = "header:x-user" },
                rollout = { to = "canary", steps = { "10%", "50%", "100%" }, interval = "60s",
                    min_requests = 10 } } },
            extra = STATE }
        --- The canary's part of a thousand users.
        local function part()
            canary:since()
            assert.same({ [200] = 1000 }, e2e.ask(gw, 1000, { request = get, at_once = 4 }))
            return canary:since()
        end
        local wanted = 100
        for _, next_wanted in ipairs { 500, 1000, 1000 } do
            assert.is_true(math.abs(part() - wanted) < 100)
            gw:advance(60500)
            wanted = next_wanted
            e2e.eventually("the next step", function() return math.abs(part() - wanted) < 100 end)
            let_pass(STORED_MS)
            gw:restart(e2e.SIGKILL)
        end
        assert.equal(1000, part())
    end)
end)

describe("a store that", function()
    --- What `spoil` (a shell command, in the folder of the store) leaves of one with a key that has spent seven.
    local function after(spoil)
        local gw = limited()
        assert.equal(7, left_of(gw, "k", 7))
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        os.execute("cd " .. gw.dir .. "/state/policy && " .. spoil)
        gw:launch()
        return gw
    end

    it("is no store is set aside, and said so; all begins anew", function()
        for _, spoil in ipairs { "head -c 100000 /dev/urandom > data.mdb", "truncate -s 5000 data.mdb" } do
            local gw = after(spoil)
            assert.is_truthy(gw:log("policy.broken-"):find("limits and breakers begin anew", 1, true))
            assert.equal(7, left_of(gw, "k", 7))
            gw:restart(e2e.SIGTERM)
            assert.equal(BURST - 7, left_of(gw, "k"))
            e2e.finish()
        end
    end)

    it("is empty begins anew", function()
        local gw = after "truncate -s 0 data.mdb"
        assert.equal(BURST, left_of(gw, "k"))
    end)
end)

describe("a wall clock that steps", function()
    local HOUR_MS = 3600000

    --- One key that has spent all it had, at a token a minute.
    local function spent()
        local gw = limited(nil, { key = "header:x-key", rate = "1/m", burst = 5 })
        assert.equal(5, left_of(gw, "k", 5))
        return gw
    end

    --- A request of the key is refused, and told to come back within the minute.
    local function assert_spent(gw)
        local answer = gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Key: k\r\n\r\n"
        assert.equal(429, answer.status)
        local retry_s = tonumber(answer.fields["retry-after"])
        assert.is_true(retry_s >= 1 and retry_s <= 60, "retry after " .. retry_s)
    end

    --- And it gets a token in a minute, and only one.
    local function assert_goes_on(gw)
        gw:advance(60500)
        assert.equal(1, left_of(gw, "k", 3))
    end

    for _, step in ipairs { 1, -1 } do
        local which = step > 0 and "forward" or "back"

        it("an hour " .. which .. " is nothing to a gateway that runs", function()
            local gw = spent()
            gw:step_wall(step * HOUR_MS)
            assert_spent(gw)
            assert_goes_on(gw)
        end)

        it("an hour " .. which .. " while it is down is nothing to one that starts", function()
            for _, signal in ipairs { e2e.SIGTERM, e2e.SIGKILL } do
                local gw = spent()
                if signal == e2e.SIGKILL then await_stored(gw) end
                gw.process:signal(signal)
                gw.process:wait()
                gw:step_wall(step * HOUR_MS)
                gw:launch()
                assert_spent(gw)
                assert_goes_on(gw)
                e2e.finish()
            end
        end)
    end

    it("is what counts when the machine was started anew, and back is no time", function()
        local gw = spent()
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        gw:reboot(2)
        gw:step_wall(-HOUR_MS)
        gw:launch()
        assert_spent(gw)
        assert_goes_on(gw)
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        gw:reboot(3)
        gw:step_wall(2 * HOUR_MS)
        gw:launch()
        assert.equal(5, left_of(gw, "k"))
    end)

    it("leaves a breaker open, and lets it close", function()
        local gw, up = e2e.behind({ breaker = { mode = "consecutive", consecutive_failures = 3, open_for = "30s",
            open_jitter = "0%" } }, { names = { "up" }, extra = STATE })
        up:does "fail"
        assert.same({ [503] = 3 }, e2e.ask(gw, 3))
        up:does "ok"
        up:since()
        for _, step in ipairs { 1, -2 } do
            gw:step_wall(step * HOUR_MS)
            assert.same({ [503] = 2 }, e2e.ask(gw, 2))
        end
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        gw:step_wall(HOUR_MS)
        gw:launch()
        assert.same({ [503] = 2 }, e2e.ask(gw, 2))
        assert.equal(0, up:since())
        gw:advance(30500)
        assert.same({ [200] = 5 }, e2e.ask(gw, 5))
    end)
end)
