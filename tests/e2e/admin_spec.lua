-- The admin listener: what an operator sees of a running gateway and tells it, and the commands that ask it.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local ADMIN = { bind = "unix:run/admin.sock" }

--- A gateway with an admin listener; options as for e2e.gateway.
local function gateway(opts)
    opts = opts or {}
    opts.extra = opts.extra or {}
    opts.extra.admin = ADMIN
    return e2e.gateway(opts)
end

--- The same in front of a server that answers by itself.
local function proxy(opts)
    opts = opts or {}
    opts.up = opts.up or e2e.server "up"
    return gateway(opts), opts.up
end

local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read "*a"
    pipe:close()
    return text
end

--- The first problem of an answer.
local function problem_of(response)
    assert.truthy(response.fields["content-type"]:find("application/problem+json", 1, true))
    assert.equal(response.status, response.json.status)
    return response.json.errors[1]
end

describe("the admin listener", function()
    it("is a socket that only its owner may open", function()
        local gw = proxy()
        assert.equal("600 socket\n", output_of("stat -c '%a %F' " .. gw.dir .. "/run/admin.sock"))
        assert.equal("700\n", output_of("stat -c %a " .. gw.dir .. "/run"))
        assert.equal("runs", gw:admin("GET", "/v1").json.state)
    end)

    it("takes the place of a socket that a killed gateway left behind", function()
        local gw = proxy()
        gw:restart(e2e.SIGKILL)
        assert.equal(1, gw:admin("GET", "/v1").json.revision)
    end)

    it("is not there unless the configuration says so", function()
        local gw = e2e.gateway { up = e2e.server "up" }
        assert.equal("", output_of("ls -d " .. gw.dir .. "/run 2>/dev/null"))
        local top = gw:command { "top", "--once" }
        assert.equal(4, top.code)
        assert.truthy(top.err:find("admin: {", 1, true), top.err)
    end)

    it("is not moved by a reload", function()
        local gw = proxy()
        assert.equal("refused", gw:reload { up = gw.opts.up, extra = { admin = { bind = "unix:run/other.sock" } } })
        assert.truthy(gw:log "needs-restart")
        assert.equal(200, gw:admin("GET", "/v1").status)
    end)

    it("names what there is when asked for what there is not", function()
        local gw = proxy()
        local response = gw:admin("GET", "/v1/services/upp")
        assert.equal(404, response.status)
        local problem = problem_of(response)
        assert.equal("not-found", problem.code)
        assert.equal("/v1/services/upp", problem.pointer)
        assert.equal('did you mean "up"?', problem.hint)
        response = gw:admin("GET", "/v1/nonsense")
        assert.equal(404, response.status)
        assert.truthy(problem_of(response).hint:find("/v1/services", 1, true))
        assert.equal(404, gw:admin("GET", "/").status)
        assert.equal(404, gw:admin("GET", "/v1/limiters/none/keys").status)
    end)

    it("says which methods a resource takes", function()
        local gw = proxy()
        local response = gw:admin("DELETE", "/v1/services/up/breaker")
        assert.equal(405, response.status)
        assert.equal("GET, PUT", response.fields.allow)
        assert.equal("GET", gw:admin("POST", "/v1/routes", "{}").fields.allow)
        assert.equal(200, gw:admin("HEAD", "/v1/routes").status)
    end)

    it("refuses a body that is not what it takes", function()
        local gw = proxy { service = { breaker = { mode = "consecutive" } } }
        local path = "/v1/services/up/breaker"
        for _, body in ipairs { "", "{", "[]", "{}", '{"state":7}', '{"state":"open"}', '{"state":"auto","x":1}' } do
            assert.equal(400, gw:admin("PUT", path, body).status, body)
        end
        assert.equal(413, gw:admin("PUT", path, ("x"):rep(70000)).status)
        local problem = problem_of(gw:admin("PUT", path, '{"state":"open"}'))
        assert.equal('"open" is not a state of a breaker', problem.message)
        assert.equal("write auto, forced_open or forced_closed", problem.hint)
    end)
end)

describe("a service", function()
    it("is shown with its hosts, its breaker, its pool and how its calls went", function()
        local gw, up = proxy { service = { breaker = { mode = "consecutive" }, adaptive = { initial = 20 } } }
        for _ = 1, 3 do assert.equal(200, gw:ask(e2e.GET).status) end
        local service = e2e.eventually("three calls", function()
            local seen = gw:admin("GET", "/v1/services/up").json
            return seen.figures.calls == 3 and seen
        end)
        local host = service.endpoints[1]
        assert.equal("127.0.0.1:" .. up.port, host.endpoint)
        assert.equal("up", host.state)
        assert.is_true(host.usable)
        assert.is_false(host.ejected)
        assert.equal("closed", service.breaker.state)
        assert.is_true(service.pool.idle + service.pool.active >= 1)
        assert.is_true(service.adaptive.limit >= 1)
        assert.equal(0, service.figures.errors)
        local all = gw:admin("GET", "/v1/services").json.services
        assert.equal("up", all[1].name)
    end)

    it("is cut off by an operator's word, and comes back by another", function()
        local gw = proxy { access_log = true, service = { breaker = { mode = "consecutive" } } }
        local path = "/v1/services/up/breaker"
        assert.equal("forced_open", gw:admin("PUT", path, '{"state":"forced_open"}').json.breaker.state)
        local refused = gw:ask(e2e.GET)
        assert.equal(503, refused.status)
        assert.equal("1", refused.fields["retry-after"])
        assert.equal("breaker_open", gw:access().error)
        assert.equal("forced_open", gw:admin("GET", path).json.breaker.state)
        assert.equal("closed", gw:admin("PUT", path, '{"state":"auto"}').json.breaker.state)
        assert.equal(200, gw:ask(e2e.GET).status)
        assert.truthy(gw:log "forced_open")
    end)

    it("has no breaker to force where none is configured", function()
        local gw = proxy()
        local response = gw:admin("PUT", "/v1/services/up/breaker", '{"state":"forced_open"}')
        assert.equal(409, response.status)
        assert.truthy(problem_of(response).hint:find("breaker: {}", 1, true))
    end)

    it("sends nothing to a host that an operator took out", function()
        local first, second = e2e.server "first", e2e.server "second"
        local gw = gateway { service = { balance = "round_robin",
            endpoints = { { url = first:url() }, { url = second:url() } } } }
        local path = "/v1/services/up/endpoints/127.0.0.1:" .. second.port .. "/state"
        local answer = gw:admin("PUT", path, '{"state":"down"}').json
        assert.equal("down", answer.endpoints[2].state)
        assert.is_false(answer.endpoints[2].usable)
        for _ = 1, 4 do assert.equal("first", gw:ask(e2e.GET).body) end
        assert.equal("up", gw:admin("PUT", path, '{"state":"up"}').json.endpoints[2].state)
        e2e.eventually("a request at the host that is back", function() return gw:ask(e2e.GET).body == "second" end)
        assert.equal(404, gw:admin("PUT", (path:gsub("endpoints/127", "endpoints/128")), '{"state":"up"}').status)
        local problem = problem_of(gw:admin("PUT", path, '{"state":"sideways"}'))
        assert.equal('"sideways" is not a state of an endpoint', problem.message)
        assert.equal("write up or down", problem.hint)
    end)
end)

describe("routes and limiters", function()
    it("are counted", function()
        local gw = proxy { limiters = { few = { key = "header:x-key", rate = "2/d" } },
            route = { plugins = { { limit = "few" } } } }
        for _ = 1, 3 do gw:ask "GET / HTTP/1.1\r\nHost: a\r\nX-Key: k1\r\n\r\n" end
        local route = e2e.eventually("three requests", function()
            local one = gw:admin("GET", "/v1/routes").json.routes[1]
            return one.requests == 3 and one
        end)
        assert.equal("all", route.name)
        assert.equal(0, route.errors)
        local limiter = gw:admin("GET", "/v1/limiters").json.limiters[1]
        assert.equal("few", limiter.name)
        assert.equal("token_bucket", limiter.algorithm)
        assert.equal(2, limiter.decisions.allow)
        assert.equal(1, limiter.decisions.deny)
    end)

    it("show the hottest keys first", function()
        local gw = proxy { limiters = { few = { key = "header:x-key", rate = "100000/s" } },
            route = { plugins = { { limit = "few" } } } }
        local client = gw:client()
        local function send(key, count)
            for _ = 1, count do
                client:send("GET / HTTP/1.1\r\nHost: a\r\nX-Key: " .. key .. "\r\n\r\n")
                client:response()
            end
        end
        for _ = 1, 20 do
            send("hot", 17)
            send("mild", 5)
        end
        local keys = gw:admin("GET", "/v1/limiters/few/keys?top=1").json.keys
        assert.equal(1, #keys)
        assert.equal("hot", keys[1].key)
        assert.is_true(keys[1].seen > 0)
        assert.equal(400, gw:admin("GET", "/v1/limiters/few/keys?top=0").status)
        assert.equal(400, gw:admin("GET", "/v1/limiters/few/keys?top=many").status)
    end)
end)

describe("a rollout", function()
    it("is shown, and held where it is", function()
        local old, new = e2e.server "old", e2e.server "new"
        local gw = gateway {
            services = { old = { endpoints = { { url = old:url() } } }, new = { endpoints = { { url = new:url() } } } },
            route = { backends = { { service = "old" }, { service = "new" } }, rollout = { to = "new" } },
        }
        local rollout = gw:admin("GET", "/v1/rollouts").json.rollouts[1]
        assert.equal("all", rollout.route)
        assert.equal("new", rollout.canary)
        assert.equal("running", rollout.state)
        local path = "/v1/rollouts/all/state"
        assert.equal("held", gw:admin("PUT", path, '{"state":"held"}').json.rollouts[1].state)
        assert.equal(404, gw:admin("PUT", "/v1/rollouts/al/state", '{"state":"held"}').status)
        local problem = problem_of(gw:admin("PUT", path, '{"state":"halted"}'))
        assert.equal('"halted" is not a state of a rollout', problem.message)
        assert.equal("write running, held, promoted or failed", problem.hint)
    end)
end)

describe("top", function()
    it("prints one picture and one document", function()
        local gw = proxy { service = { breaker = { mode = "consecutive" } } }
        gw:ask(e2e.GET)
        local picture = gw:command { "top", "--once", "--interval", "100ms" }
        assert.equal(0, picture.code, picture.err)
        for _, text in ipairs { "ROUTES", "SERVICES", "\nall ", "\nup ", "1/1", "closed" } do
            assert.truthy(picture.out:find(text, 1, true), text .. " is missing in:\n" .. picture.out)
        end
        assert.is_nil(picture.out:find("\27", 1, true))
        local document = e2e.json.decode(gw:command({ "top", "--json" }).out)
        assert.equal("up", document.services.services[1].name)
        assert.equal("runs", document.about.state)
    end)

    it("draws on a screen of its own, and leaves the terminal as it was", function()
        local gw = proxy()
        local seen = gw:on_terminal({ "top", "--no-color" }, "q")
        assert.equal(0, seen.code, seen.out)
        local enter, leave = seen.out:find("\27[?1049h", 1, true), seen.out:find("\27[?1049l", 1, true)
        assert.truthy(enter and leave and enter < leave)
        local picture = seen.out:sub(enter, leave)
        assert.truthy(picture:find("ROUTES", 1, true) and picture:find("\n\27[Kup ", 1, true), picture)
        assert.truthy(seen.out:find("\27[?25h", 1, true), "the cursor stays hidden")
    end)

    it("needs a terminal, or to be asked for one picture", function()
        local gw = proxy()
        assert.equal(2, gw:command({ "top" }).code)
        assert.equal(2, gw:command({ "top", "--once", "--interval", "1" }).code)
    end)

    it("tells where it looked when no gateway answers", function()
        local result = e2e.run({ "top", "--once", "--admin", "unix:nowhere.sock" }, {})
        assert.equal(4, result.code)
        assert.truthy(result.err:find("unix:nowhere.sock", 1, true), result.err)
    end)
end)
