--- harness: the real gateway between a scripted client and a scripted upstream, raw bytes on both sides. Nothing
--- sleeps: whatever a spec waits for is a socket, a pipe or the end of a process, and has a deadline.
---
---     local e2e = require "tests.e2e.harness"
---     after_each(e2e.finish)
---
---     it("passes a request on", function()
---         local gw, up = e2e.proxy()
---         local client = gw:send "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
---         local conn = up:accept()
---         assert.equal("/x", conn:request().target)
---         conn:send "HTTP/1.1 204 No Content\r\n\r\n"
---         assert.equal(204, client:response().status)
---     end)
local dns = require "tests.e2e.harness.dns"
local Gateway = require "tests.e2e.harness.gateway"
local json = require "tests.e2e.harness.json"
local lfs = require "lfs"
local load = require "tests.e2e.harness.load"
local peer = require "tests.e2e.harness.peer"
local Process = require "tests.e2e.harness.process"
local server = require "tests.e2e.harness.server"
local stream = require "tests.e2e.harness.stream"
local sys = require "tests.e2e.harness.sys"

local e2e = {
    json = json,
    stream = stream,
    connect = peer.connect,
    upstream = peer.listener,
    server = server.start,
    dns = dns.start,
    can_have_names = dns.possible,
    habits = server.habits,
    message = server.message,
    gateway = Gateway.start,
    load = load.start,
    document = Gateway.document,
    prefer = Gateway.prefer,
    eventually = sys.eventually,
    free_port = sys.free_port,
    now_ms = sys.now_ms,
    pause = sys.pause,
    resume = sys.resume,
    hang_up = sys.hang_up,
    SIGHUP = sys.SIGHUP,
    SIGINT = sys.SIGINT,
    SIGKILL = sys.SIGKILL,
    SIGQUIT = sys.SIGQUIT,
    SIGUSR1 = sys.SIGUSR1,
    SIGUSR2 = sys.SIGUSR2,
    SIGTERM = sys.SIGTERM,
    OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    LAST = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}

--- A gateway in front of one scripted upstream; options as for gateway, which they may change.
---@return table gateway
---@return table upstream
function e2e.proxy(opts)
    local own = {}
    for key, value in pairs(opts or {}) do own[key] = value end
    own.up = own.up or peer.listener(own.listen)
    return Gateway.start(own), own.up
end

--- Sends a request on a client's connection, answers it at the upstream on `conn` (else on the next one), and reads
--- the answer. Returns the request as the upstream saw it, the response as the client did, and the connection.
function e2e.exchange(client, up, request, answer, conn)
    client:send(request or e2e.GET)
    conn = conn or up:accept()
    local seen = conn:request()
    conn:send(answer or e2e.OK)
    return seen, client:response(seen.method == "HEAD"), conn
end

--- What the upstream sees of a request with these field lines.
function e2e.seen(gw, up, lines, opts)
    local client = gw:client(opts)
    local seen, _, conn = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n",
        e2e.LAST)
    conn:close()
    client:close()
    return seen
end

--- If a request came to the upstream by now, its chunked body was not brought to an end and its connection is given
--- up; and no second request came.
function e2e.unfinished(up)
    if not up:has_caller() then return end
    local bytes = up:accept():recv_rest()
    local heads = select(2, bytes:gsub("HTTP/1%.1\r\n", ""))
    if heads > 1 then sys.fail("the upstream saw %d requests: %s", heads, peer.shown(bytes)) end
    local body = bytes:match "\r\n\r\n(.*)$"
    if body and ("\r\n" .. body):find("\r\n0\r\n", 1, true) then
        sys.fail("the upstream saw a whole body: %s", peer.shown(bytes))
    end
end

--- A gateway in front of servers that answer by themselves (server.lua), each an endpoint of the one service, which
--- has these policies. Options: as for gateway; names (of the servers; a, b, c).
---@return table gateway
---@return table server the first; the others follow
function e2e.behind(policies, opts)
    local own, servers, endpoints = {}, {}, {}
    for key, value in pairs(opts or {}) do own[key] = value end
    for i, name in ipairs(own.names or { "a", "b", "c" }) do
        servers[i] = server.start(name)
        endpoints[i] = { url = servers[i]:url() }
    end
    own.service = { endpoints = endpoints }
    for key, value in pairs(policies) do own.service[key] = value end
    if own.clock == nil then own.clock = true end
    return Gateway.start(own), unpack(servers)
end

--- An entry of `plugins`: the plugin in a folder of the project, with this configuration.
function e2e.plugin(folder, config)
    return { use = lfs.currentdir() .. "/" .. folder, config = config }
end

--- Sends so many requests, one after the other or `at_once`; returns how many had which status.
function e2e.ask(gw, count, opts)
    local own = { count = count }
    for key, value in pairs(opts or {}) do own[key] = value end
    return load.start(gw, own):await()
end

--- Runs a command of the program to its end: { code, out, err }. Options: stdin, env, files (written first; the
--- command runs in their folder), prepare (called with the folder), bound_by_modes (of files, even when we are root).
function e2e.run(args, opts)
    opts = opts or {}
    local dir = Gateway.folder()
    for name, text in pairs(opts.files or {}) do Gateway.write(dir .. "/" .. name, text) end
    if opts.prepare then opts.prepare(dir) end
    local argv = { Gateway.binary(), unpack(args) }
    local result = Process.run { argv = argv, cwd = dir, stdin = opts.stdin, env = opts.env,
        bound_by_modes = opts.bound_by_modes }
    Gateway.remove_folder(dir)
    return result
end

--- For after_each: closes what the spec opened, stops its gateways, fails where one did not end well.
function e2e.finish()
    peer.close_all()
    server.stop_all()
    Gateway.stop_all()
    dns.stop_all()
end

--- For specs of one gateway in several examples: call in setup; `finish` leaves it alone. Stop it in teardown.
function e2e.shared(opts)
    opts.shared = true
    return Gateway.start(opts)
end

return e2e
