-- The places of a listener: as many as it says, whichever worker a connection comes to.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local REFUSED = "moongate_listener_connections_refused_total"
local HI = { { respond = { body = "hi" } } }

--- A client that has been answered, or nil when it was turned away.
local function serve(gw)
    local client = gw:client()
    client:try_send(e2e.GET)
    local response = client:response()
    if response.status == 200 then return client end
    assert.equal(503, response.status)
    client:expect_eof()
end

describe("a listener with 8 workers and 100 places", function()
    it("serves exactly 100, and the next one when a place is free", function()
        local gw = e2e.proxy { workers = 8, listener = { max_connections = 100 }, route = { plugins = HI } }
        local clients = {}
        for i = 1, 100 do clients[i] = assert(serve(gw), "no place for number " .. i) end
        for _ = 1, 10 do assert.is_nil(serve(gw)) end
        assert.equal(100, gw:metric "moongate_listener_connections")
        assert.equal(10, gw:metric(REFUSED, { listener = "web" }))
        gw:log "connections_refused"
        for i = 1, 100 do
            clients[i]:send(e2e.GET)
            assert.equal(200, clients[i]:response().status)
        end
        clients[1]:close()
        e2e.eventually("a place", function() return gw:metric "moongate_listener_connections" == 99 end)
        assert.truthy(serve(gw))
        assert.is_nil(serve(gw))
    end)
end)

describe("a listener that a reload renames", function()
    it("goes by its new name in the log of both kinds and in metrics, and keeps its connections", function()
        local gw = e2e.proxy {
            workers = 2, access_log = true, listener = { max_connections = 1 }, route = { plugins = HI } }
        local client = assert(serve(gw))
        assert.equal("web", gw:access().listener)
        local document = e2e.document(gw.opts, gw.port, gw.status_port)
        document.listeners = { front = document.listeners.web }
        gw:reload { config = document }
        client:send(e2e.GET)
        assert.equal(200, client:response().status)
        assert.equal("front", gw:access().listener)
        assert.is_nil(serve(gw))
        assert.truthy(gw:log("connections_refused"):find("listener front: 1 refused", 1, true))
        assert.equal(1, gw:metric(REFUSED, { listener = "front" }))
    end)
end)
