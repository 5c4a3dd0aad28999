-- A plugin that is there several times: each instance has functions of its own, over its own configuration, and what
-- they keep for a request is that request's.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

-- Puts `to` in the place of each `from`, over the borders of pieces; at the end, its name.
local SWAP = [[
local plugin = { name = "swap", version = "1", body = { request = "stream", response = "stream" } }
function plugin.new(conf)
    local from, to = conf.from, conf.to
    local function filter(key)
        return function(ctx, bytes, last)
            local all = ctx.state[conf] or {}
            ctx.state[conf] = all
            local text, out = (all[key] or "") .. bytes, {}
            local at, found = 1, text:find(from, 1, true)
            while found do
                out[#out + 1] = text:sub(at, found - 1) .. to
                at = found + #from
                found = text:find(from, at, true)
            end
            local keep = last and 0 or math.min(#from - 1, #text - at + 1)
            all[key] = text:sub(#text - keep + 1)
            return table.concat(out) .. text:sub(at, #text - keep) .. (last and conf.mark or "")
        end
    end
    return {
        handler = function(ctx, next) return next(ctx) end,
        request_body = filter "request",
        response_body = filter "response",
        log = function(ctx) ctx.log:warn("logged by " .. from) end,
    }
end
return plugin
]]
local SCHEMA = [[{ "type": "object", "additionalProperties": false, "properties": { "from": { "type": "string" },
    "to": { "type": "string" }, "mark": { "type": "string", "default": "" } } }]]

local function swap(confs, routes)
    local plugins = {}
    for name, conf in pairs(confs) do
        plugins[name] = { use = "./plugins/swap", config = conf }
    end
    for i, route in ipairs(routes) do
        route.name = "r" .. i
        route.match = { paths = { { prefix = "/" .. i } } }
        route.backends = { { service = "up" } }
    end
    return e2e.proxy {
        files = { ["plugins/swap/plugin.lua"] = SWAP, ["plugins/swap/schema.json"] = SCHEMA },
        plugins = plugins, routes = routes,
    }
end

local HEAD = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

local function post(path, body)
    return "POST " .. path .. " HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

describe("a plugin's instances", function()
    it("filter with their own configuration on two routes", function()
        local gw, up = swap({ one = { from = "cat", to = "dog" }, two = { from = "cat", to = "elephant" } },
            { { plugins = { "one" } }, { plugins = { "two" } } })
        local client, conn = gw:client(), nil
        for _ = 1, 2 do
            for i, word in ipairs { "dog", "elephant" } do
                local seen, response
                seen, response, conn = e2e.exchange(client, up, post("/" .. i, "a cat, ca"),
                    HEAD:format(9) .. "catalogue", conn)
                assert.equal("a " .. word .. ", ca", seen.body)
                assert.equal(word .. "alogue", response.body)
            end
        end
    end)

    it("pass a request's body in the chain's order, a response's in the opposite one, also what they held", function()
        local gw, up = swap({ one = { from = "ab", to = "X", mark = "1" },
            two = { from = "X", to = "yy", mark = "2" } }, { { plugins = { "one", "two" } } })
        local seen, response = e2e.exchange(gw:client(), up, post("/1", "abXa"), HEAD:format(4) .. "abXa")
        assert.equal("yyyya12", seen.body)
        assert.equal("Xyya21", response.body)
    end)

    it("keep what they hold over borders of pieces apart, in one chain and in requests at the same time", function()
        local gw, up = swap({ one = { from = "cat", to = "dog" }, two = { from = "tac", to = "god" } },
            { { plugins = { "one", "two" } } })
        local clients, conns = {}, {}
        for i = 1, 3 do
            clients[i] = gw:client()
            clients[i]:send("GET /1/" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n")
            conns[i] = up:accept()
            assert.equal("/1/" .. i, conns[i]:request().target)
            conns[i]:send(HEAD:format(12))
        end
        for at = 1, 12, 2 do
            for i, text in ipairs { "cat-tac-cat.", "tactacatcat.", "c-cat.tac..." } do
                conns[i]:send(text:sub(at, at + 1))
            end
        end
        for i, body in ipairs { "dog-god-dog.", "godgodatdog.", "c-dog.god..." } do
            assert.equal(body, clients[i]:response().body)
        end
    end)

    it("log with their own configuration", function()
        local gw, up = swap({ one = { from = "cat", to = "dog" }, two = { from = "cow", to = "owl" } },
            { { plugins = { "one", "two" } }, { plugins = { "two" } } })
        local _, _, conn = e2e.exchange(gw:client(), up, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        gw:log "logged by cat"
        gw:log "logged by cow"
        e2e.exchange(gw:client(), up, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", nil, conn)
        gw:log "logged by cow"
    end)

    it("call a filter at the end also when no byte came, and leave a reader nothing of the request before", function()
        local gw, up = swap({ one = { from = "cat", to = "dog", mark = "!" } }, { { plugins = { "one" } } })
        local client = gw:client()
        local _, first, conn = e2e.exchange(client, up, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nca\r\n0\r\n\r\n")
        assert.equal("ca!", first.body)
        local _, second = e2e.exchange(client, up, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", conn)
        assert.equal("!", second.body)
    end)
end)

describe("random numbers of plugins", function()
    local SOURCE = [[return { name = "own", new = function(conf)
        if conf.seed then math.randomseed(conf.seed) end
        return function(ctx) ctx:respond(200, ("%.17g"):format(math.random())) end
    end }]]
    local function parts(seed)
        local routes = {}
        for i = 1, 2 do
            routes[i] = { name = "r" .. i, match = { paths = { { prefix = "/" .. i } } }, plugins = { "p" .. i } }
        end
        return { files = {
            ["plugins/a/plugin.lua"] = SOURCE, ["plugins/b/plugin.lua"] = SOURCE,
            ["plugins/a/schema.json"] = [[{ "type": "object", "properties": { "seed": { "type": "integer" } } }]],
        }, plugins = { p1 = { use = "./plugins/a", config = { seed = seed } }, p2 = { use = "./plugins/b" } },
            routes = routes, workers = 1 }
    end
    local function drawn(gw, at)
        return gw:ask("GET /" .. at .. " HTTP/1.1\r\nHost: a\r\n\r\n").body
    end

    it("are others behind each start and each reload, whatever another plugin seeds", function()
        local seen = {}
        for _ = 1, 2 do
            local gw = e2e.gateway(parts(7))
            for seed = 8, 9 do
                local one = drawn(gw, 2)
                assert.truthy(tonumber(one) and not seen[one], one)
                seen[one] = true
                assert.equal("ok", gw:reload(parts(seed)))
            end
        end
    end)

    it("repeat for who seeds them, behind a start and a reload", function()
        local first = drawn(e2e.gateway(parts(7)), 1)
        local gw = e2e.gateway(parts(8))
        assert.are_not.equal(first, drawn(gw, 1))
        assert.equal("ok", gw:reload(parts(7)))
        drawn(gw, 2)
        assert.equal(first, drawn(gw, 1))
    end)
end)

describe("a plugin that makes counters of what requests carry", function()
    it("has those within its share, and no request fails for the others, nor another plugin's", function()
        local gw = e2e.gateway {
            files = {
                ["plugins/many/plugin.lua"] = [[return { name = "many", new = function() return function(ctx)
                    for i = 1, 300 do ctx:counter("n" .. i .. ctx.request.path:gsub("/", "_")) end
                    ctx:respond(200, "ok")
                end end }]],
                ["plugins/few/plugin.lua"] = [[local mg = require "moongate"
                    return { name = "few", new = function()
                        local made = {}
                        for i = 1, 300 do made[i] = mg.counter("m" .. i) end
                        return function(ctx)
                            ctx:counter("seen")
                            for i = 1, 300 do made[i]:add(2) end
                            ctx:respond(200, made[1]:sum() .. " " .. made[300]:sum())
                        end
                    end }]],
            },
            plugins = { many = { use = "./plugins/many", cpu = "5s" }, few = { use = "./plugins/few" } },
            routes = {
                { name = "many", match = { paths = { { prefix = "/many" } } }, plugins = { "many" } },
                { name = "few", match = { paths = { { prefix = "/few" } } }, plugins = { "few" } },
            },
        }
        for i = 1, 3 do
            assert.equal("ok", gw:ask("GET /many/" .. i .. " HTTP/1.1\r\nHost: a\r\n\r\n").body)
        end
        assert.equal("2 0", gw:ask("GET /few HTTP/1.1\r\nHost: a\r\n\r\n").body)
        local text = gw:status("/metrics").body
        assert.equal(256, select(2, text:gsub('\nmoongate_plugin_counter_total{name="many/', "")))
        assert.equal(256, select(2, text:gsub('\nmoongate_plugin_counter_total{name="few/', "")))
        assert.is_true(gw:metric "moongate_plugin_counters_dropped_total" >= 3 * 300 - 256)
        gw:log "counter many/n257_many_1 and all further ones of this plugin are dropped"
    end)
end)
