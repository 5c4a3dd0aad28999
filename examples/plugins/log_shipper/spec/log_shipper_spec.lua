-- The plugin log_shipper: batches, a collector that is away, and the last batch.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function gateway(conf, opts)
    local collector, up = e2e.upstream(), e2e.server "up"
    conf.url = collector:url() .. "/lines"
    opts = opts or {}
    opts.up = up
    opts.plugins = { ship = e2e.plugin("examples/plugins/log_shipper", conf) }
    opts.route = { plugins = { "ship" } }
    return e2e.gateway(opts), collector
end

--- Takes a POST, answers it, and returns what was in it.
local function batch(collector, status)
    local conn = collector:accept()
    local request = conn:request()
    conn:send("HTTP/1.1 " .. (status or 204) .. " So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    conn:close()
    return e2e.json.decode(request.body), request
end

local function get(gw, path)
    assert.equal(200, gw:ask("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n").status)
end

describe("log_shipper", function()
    it("ships lines in order, in batches", function()
        local gw, collector = gateway { every = 0.1, batch = 2 }
        local client = gw:send(("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):rep(5):format(1, 2, 3, 4, 5))
        for _ = 1, 5 do assert.equal(200, client:response().status) end
        local paths = {}
        while #paths < 5 do
            local got, request = batch(collector)
            assert.equal("POST /lines HTTP/1.1", request.start)
            assert.is_true(#got.lines >= 1 and #got.lines <= 2)
            assert.equal(0, got.dropped)
            for _, line in ipairs(got.lines) do
                assert.same({ "GET", 200, "127.0.0.1", "all" }, { line.method, line.status, line.client, line.route })
                paths[#paths + 1] = line.path
            end
        end
        assert.same({ "/1", "/2", "/3", "/4", "/5" }, paths)
    end)

    it("keeps what the collector did not take, up to its bound, and tells what was dropped", function()
        local gw, collector = gateway { every = 0.1, keep = 3 }
        get(gw, "/1")
        batch(collector, 503)
        gw:log "the collector: status 503"
        for i = 2, 6 do get(gw, "/" .. i) end
        local got
        repeat got = batch(collector, 503) until got.dropped == 3
        got = batch(collector)
        assert.same({ "/1", "/2", "/3" }, { got.lines[1].path, got.lines[2].path, got.lines[3].path })
        get(gw, "/7")
        got = batch(collector)
        assert.same({ 0, "/7" }, { got.dropped, got.lines[1].path })
    end)

    it("ships what is left when the gateway stops", function()
        local gw, collector = gateway { every = 3600 }
        get(gw, "/last")
        gw.process:signal(e2e.SIGTERM)
        assert.equal("/last", batch(collector).lines[1].path)
    end)
end)
