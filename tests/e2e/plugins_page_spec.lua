-- What docs/plugins.md shows works as it is shown: every Lua block is run.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

--- The Lua blocks of the page, by the name in their first line: "-- greet: ..".
local function blocks()
    local file = assert(io.open "docs/plugins.md")
    local all = {}
    for text in file:read("*a"):gmatch "\n```lua\n(.-\n)```" do
        local name = assert(text:match "^%-%- ([%w_/.]+)", text)
        all[name] = text
    end
    file:close()
    return all
end

local page = blocks()
local shown = {}

--- A gateway with the plugin of that name in front of `up`, and what else there is to it.
local function with(name, up, opts)
    opts = opts or {}
    opts.files = opts.files or {}
    opts.files["plugins/" .. name .. "/plugin.lua"] = assert(page[name], "the page has no block " .. name)
    if opts.config then
        opts.files["plugins/" .. name .. "/schema.json"] = '{ "type": "object" }'
    end
    opts.up = up
    opts.plugins = { [name] = { use = "./plugins/" .. name, config = opts.config } }
    opts.route = { plugins = { name } }
    opts.config = nil
    return e2e.gateway(opts)
end

local function get(path, fields)
    return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "") .. "\r\n"
end

--- An example of the page, which becomes one of these specs.
local function shows(name, what, test)
    shown[name] = true
    it("shows " .. name .. ", which " .. what, test)
end

describe("the page about plugins", function()
    shows("greet", "answers, passes on, and changes what comes back", function()
        local up = e2e.upstream()
        local gw = with("greet", up, { config = { text = "hi" } })
        assert.equal("Who?", e2e.json.decode(gw:ask(get "/").body).title)
        local seen, response = e2e.exchange(gw:client(), up, get "/?name=anna")
        assert.same({ "anna", "hi, anna" }, { seen.fields["x-name"], response.fields["x-greeting"] })
    end)

    shows("stamp", "reads and replaces bodies", function()
        local up = e2e.upstream()
        local gw = with("stamp", up)
        assert.equal(400, gw:ask(get "/").status)
        local seen, response = e2e.exchange(gw:client(), up,
            'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n{"no":1}')
        local order = e2e.json.decode(seen.body)
        assert.equal(1, order.no)
        assert.is_true(math.abs(order.at - os.time()) < 60)
        assert.equal("ok\n" .. #seen.body .. " bytes were sent\n", response.body)
    end)

    shows("mask", "hides a word however it is cut, and tells the log", function()
        local up = e2e.upstream()
        local gw = with("mask", up, { config = { word = "secret" } })
        local client = gw:send(get "/")
        local conn = up:accept()
        conn:request()
        conn:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\na se"
        client:response_head()
        conn:send "cret b"
        local pieces = client:recv_until "\r\n0\r\n\r\n"
        assert.equal("a *** b", (pieces:gsub("%x+\r\n(.-)\r\n", "%1"):gsub("\r\n$", "")))
        gw:log "answered 200"
    end)

    shows("next_cart", "chooses a service", function()
        local a, b = e2e.server "a", e2e.server "b"
        local gw = with("next_cart", nil, { services = {
            up = { endpoints = { { url = a:url() } } },
            ["cart-next"] = { endpoints = { { url = b:url() } } },
        } })
        assert.equal("a", gw:ask(get "/").body)
        assert.equal("b", gw:ask(get("/", "Cookie: cart=next\r\n")).body)
    end)

    shows("prices", "asks a service, and passes its answer on", function()
        local a, b = e2e.server "a", e2e.server "b"
        local gw = with("prices", nil, { services = {
            up = { endpoints = { { url = a:url() } } },
            prices = { endpoints = { { url = b:url() } } },
        } })
        local response = gw:ask(get "/")
        assert.same({ "a", "b" }, { response.body, response.fields["x-price"] })
        b:does(function() return e2e.message(203, "a;b\n", "Content-Type: text/csv\r\n") end)
        response = gw:ask(get "/report")
        assert.same({ 203, "a;b\n", "text/csv" }, { response.status, response.body, response.fields["content-type"] })
        b:die()
        assert.equal("unknown: upstream_connect", gw:ask(get "/").fields["x-price"])
        assert.equal(502, gw:ask(get "/report").status)
    end)

    shows("ship", "mirrors, asks meanwhile, and ships what happened", function()
        local up, others = e2e.upstream(), e2e.upstream()
        local gw = with("ship", up, { config = { url = others:url() .. "/log", mirror = others:url() .. "/mirror",
            prices = others:url() .. "/price" } })
        local client = gw:send(get "/x")
        local main, seen = up:accept(), {}
        main:request()
        for _ = 1, 2 do
            local conn = others:accept()
            local request = conn:request()
            seen[request.target] = conn
        end
        seen["/price"]:send "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"
        main:send(e2e.OK)
        local response = client:response() -- the mirror has not answered
        assert.equal("7", response.fields["x-price"])
        seen["/mirror/x"]:send(e2e.LAST)
        client:close()
        gw.process:signal(e2e.SIGTERM)
        local batch
        repeat
            local conn = others:has_caller() and others:accept() or seen["/price"]
            batch = conn:request()
            conn:send(e2e.OK)
        until batch.target == "/log"
        assert.same({ { path = "/x", status = 200 } }, e2e.json.decode(batch.body))
    end)

    shows("turns", "limits, counts and remembers", function()
        local gw = with("turns", e2e.server "up", { config = { rate = "1/h" } })
        for i, left in ipairs { "1", "0" } do
            local response = gw:ask(get "/")
            assert.same({ 200, tostring(i), left },
                { response.status, response.fields["x-visits"], response.fields["x-left"] })
        end
        local refused = gw:ask(get "/")
        assert.equal(429, refused.status)
        assert.is_true(tonumber(refused.fields["retry-after"]) > 3500)
        assert.equal(2, gw:metric("moongate_plugin_counter_total", { name = "turns/served" }))
    end)

    shows("teapot", "has routes and modules of its own", function()
        shown["teapot/lib/words.lua"] = true
        local gw = with("teapot", e2e.server "up",
            { files = { ["plugins/teapot/lib/words.lua"] = page["teapot/lib/words.lua"] } })
        local response = gw:ask(get "/tea/oolong")
        assert.same({ 418, '{"says":"oolong is ready"}' }, { response.status, response.body })
        assert.equal('{"says":"no"}', gw:ask(get "/coffee").body)
        assert.equal("up", gw:ask(get "/water").body)
    end)

    it("names what ctx has", function()
        local file, names = assert(io.open "docs/plugins.md"), {}
        local section = file:read("*a"):match "\n| `ctx` | |\n.-\n\n"
        file:close()
        for row in section:gmatch "\n| ([^|]+) |" do
            for name in row:gmatch "`([%l_]+)[`(]" do
                if name ~= "ctx" then names[#names + 1] = ("ctx.%s == nil and '%s'"):format(name, name) end
            end
        end
        assert.is_true(#names > 20)
        local gw = e2e.gateway { plugins = { look = { use = "./plugins/look" } },
            route = { plugins = { "look" } }, up = e2e.server "up", files = { ["plugins/look/plugin.lua"] = [[
return { name = "look", version = "1.0.0", new = function()
    return function(ctx)
        ctx:set_consumer("anna")
        ctx:respond(200, "missing: " .. tostring(]] .. table.concat(names, " or ") .. [[))
    end
end }]] } }
        assert.equal("missing: false", gw:ask(e2e.GET).body)
    end)

    it("shows nothing else", function()
        for name in pairs(page) do assert.is_true(shown[name], name .. " has no test") end
    end)

    it("shows plugins that check clean", function()
        local files, plugins, all = {}, {}, {}
        for name, text in pairs(page) do
            files["plugins/" .. name .. (name:find("/", 1, true) and "" or "/plugin.lua")] = text
            if not name:find("/", 1, true) then
                plugins[name] = { use = "./plugins/" .. name, config = { rate = "1/s", word = "x", text = "x" } }
                files["plugins/" .. name .. "/schema.json"] = '{ "type": "object" }'
                all[#all + 1] = name
            end
        end
        files["moongate.yaml"] = e2e.json.encode { version = 1, plugins = plugins,
            listeners = { web = { bind = "127.0.0.1:8080" } },
            services = { up = { endpoints = { { url = "http://127.0.0.1:9000" } } } },
            routes = { { name = "all", match = { paths = { { prefix = "/" } } }, service = "up", plugins = all } } }
        local result = e2e.run({ "check" }, { files = files })
        assert.equal(0, result.code, result.err)
    end)
end)
