-- What the README and the pages in docs show works as it is shown: configurations, handlers, commands.
local e2e = require "tests.e2e.harness"
local Gateway = require "tests.e2e.harness.gateway"

after_each(e2e.finish)

local PAGES = { "README.md", "docs/routing.md", "docs/limits.md", "docs/upstreams.md", "docs/operating.md" }

--- All of them, as one text.
local function readme()
    local texts = {}
    for i, path in ipairs(PAGES) do
        local file = assert(io.open(path))
        texts[i] = file:read "*a"
        file:close()
    end
    return table.concat(texts)
end

--- All blocks of a language, in order.
local function blocks(language)
    local all = {}
    for text in readme():gmatch("\n```" .. language .. "\n(.-\n)```") do all[#all + 1] = text end
    assert(all[1], "README.md has no block of " .. language)
    return all
end

local function block(language) return blocks(language)[1] end

local function plugin_files()
    return { ["plugins/greet/plugin.lua"] = block "lua", ["plugins/greet/schema.json"] = block "json" }
end

-- What the parts of a document that a block leaves out may be.
local REST = {
    { "version", "version: 1" },
    { "listeners", 'listeners: { web: { bind: "127.0.0.1:8080" } }' },
    { "services", [[
services:
  cart: { endpoints: [{ url: "http://127.0.0.1:9000" }] }
  cart-next: { endpoints: [{ url: "http://127.0.0.1:9001" }] }]] },
    { "plugins", "plugins: { auth: { use: key_auth, config: { keys: { s3cr3t: anna } } } }" },
    { "routes", "routes: [{ name: cart, match: { paths: [{ prefix: / }] }, service: cart }]" },
}

--- A block with what it leaves out.
local function whole(text)
    local parts = {}
    for _, part in ipairs(REST) do
        if not ("\n" .. text):find("\n" .. part[1] .. ":", 1, true) then parts[#parts + 1] = part[2] end
    end
    return table.concat(parts, "\n") .. "\n" .. text
end

--- The commands of the README, as they are printed but for their comments, that begin so.
local function commands(pattern)
    local all = {}
    for line in readme():gmatch "\n    ([^\n]+)" do
        local command = line:gsub("%s+#.*$", "")
        if command:find("^" .. pattern) then all[#all + 1] = command end
    end
    return all
end

--- Runs one in a folder, by a shell: its output and its exit status.
local function shell(dir, line)
    local path = Gateway.binary():match "^(.*)/"
    local pipe = assert(io.popen(("cd %s && PATH=%s:$PATH && %s 2>&1; echo $?"):format(dir, path, line)))
    local text = pipe:read "*a"
    pipe:close()
    local out, status = text:match "^(.-)(%d+)\n$"
    return out, tonumber(status)
end

--- The README's document with ports of our own; one of its two endpoints is as good as both.
local function document(up)
    return (block("yaml"):gsub('":8080"', '"127.0.0.1:@PORT@"'):gsub("127%.0%.0%.1:9902", "127.0.0.1:@STATUS@")
        :gsub("127%.0%.0%.1:9000", "127.0.0.1:" .. up.port)
        :gsub("127%.0%.0%.1:9001", "localhost:" .. up.port)) -- an address stands in a service once
end

describe("the README", function()
    it("shows a configuration and a plugin that check clean", function()
        local files = plugin_files()
        files["moongate.yaml"] = block "yaml"
        local result = e2e.run({ "check", "--strict" }, { files = files })
        assert.equal("", result.err)
        assert.equal(0, result.code)
        result = e2e.run({ "routes", "--explain", "PUT http://localhost/v1/carts/42" }, { files = files })
        assert.truthy(result.out:find("cart +YES"), result.out)
    end)

    it("shows what its request then does", function()
        local up = e2e.upstream()
        local gw = e2e.gateway { text = document(up), files = plugin_files() }
        local key = assert(readme():match "curl %-H '(x%-api%-key: [^']+)'")
        local seen, response = e2e.exchange(gw:client(), up,
            "GET /v1/carts/42 HTTP/1.1\r\nHost: a\r\n" .. key .. "\r\n\r\n")
        assert.equal("42", seen.fields["x-cart"])
        assert.equal("hi, anna", response.fields["x-greeting"])
        assert.equal(401, gw:ask("GET /v1/carts/42 HTTP/1.1\r\nHost: a\r\n\r\n").status)
    end)

    it("shows no other configuration that does not check", function()
        local all = blocks "yaml"
        assert.is_true(#all >= 4)
        for i = 2, #all do
            local result = e2e.run({ "check" }, { files = { ["moongate.yaml"] = whole(all[i]) } })
            assert.equal(0, result.code, result.err .. all[i])
        end
    end)

    it("shows a handler that reserves, and takes back what came to nothing", function()
        local up = e2e.server "up"
        local limiters = { per_key = { key = "consumer", rate = "1/d", burst = 1 } }
        local gw = e2e.gateway { up = up, limiters = limiters, route = { plugins = { "auth", "orders" } },
            plugins = {
                auth = { use = "key_auth", config = { keys = { s3cr3t = "anna" } } },
                orders = { use = "./plugins/orders" },
            },
            files = { ["plugins/orders/plugin.lua"] = 'return { name = "orders", version = "1.0.0", new = function()\n'
                .. blocks("lua")[2] .. "\nend }" } }
        local order = "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: s3cr3t\r\n\r\n"
        up:does "fail"
        assert.equal(503, gw:ask(order).status)
        up:does "ok"
        assert.equal(200, gw:ask(order).status)
        local refused = gw:ask(order)
        assert.equal(429, refused.status)
        assert.is_true(tonumber(refused.fields["retry-after"]) > 3600)
    end)

    it("names pages that are there, and each of them", function()
        local file = assert(io.open "README.md")
        local text = file:read "*a"
        file:close()
        for path in text:gmatch "%]%((%S-)%)" do
            assert.truthy(io.open(path), path)
        end
        local pipe = assert(io.popen "ls docs/*.md")
        for path in pipe:lines() do
            assert.truthy(text:find("](" .. path .. ")", 1, true), path .. " is not in the README's table")
        end
        pipe:close()
    end)

    it("shows commands that do what they say", function()
        local gw = e2e.gateway { text = document(e2e.server "up"), files = plugin_files() }
        assert.equal(200, gw:ask("GET /v1/carts/42 HTTP/1.1\r\nHost: a\r\nX-Api-Key: s3cr3t\r\n\r\n").status)
        local shown, restore = {}, nil
        local function run(line)
            local out, status = shell(gw.dir, (line:gsub("/var/backups", gw.dir .. "/backups")))
            assert.equal(0, status, line .. ": " .. out)
            shown[line] = out
        end
        for _, line in ipairs(commands "moongate [crst][^u]") do
            if line:find(" restore ", 1, true) then
                restore = line
            else
                run(line)
            end
        end
        assert.truthy(shown["moongate top --once"]:find "\ncart ")
        assert.truthy(shown["moongate state get greet colour"]:find "^blue")
        assert.truthy(shown["moongate state scan greet"]:find "^colour\tblue")
        local forced = shell(gw.dir, commands("curl %-%-unix%-socket")[1]:gsub("^curl", "curl -s"))
        assert.truthy(forced:find('"state":"forced_open"', 1, true), forced)
        gw.process:signal(e2e.SIGTERM)
        gw.process:wait()
        run(assert(restore))
        assert.truthy(shown[restore]:find "^restored ")
        gw:launch()
    end)

    it("is refused what it says is not in this version", function()
        for from, to in pairs {
            ["web: {"] = 'web: { tls: {},',
            ["http:"] = "https:",
            ["cart: {"] = "cart: { discover: {},",
            ["cart%-next: {"] = "cart-next: { retry: { hedge: 1 },",
            ["match: {"] = "contract: x.yaml, match: {",
            ["paths:"] = "query: {}, paths:",
            ["version: 1"] = "version: 1\ntenants: {}",
            ["version: 1\n"] = "version: 1\ncluster: {}\n",
            ["version"] = "source: {}\nversion",
            ["1\nlisteners"] = '1\nadmin: { bind: "127.0.0.1:9901" }\nlisteners',
            ["\nlisteners"] = '\nadmin: { bind: "unix:run/admin.sock", writes: overlay }\nlisteners',
            ["\nplugins"] = "\nobservability: { tracing: {} }\nplugins",
            ["\nroutes"] = "\nobservability: { access_log: { sample: 1% } }\nroutes",
        } do
            local text, changed = whole(""):gsub(from, to, 1)
            assert.equal(1, changed, from)
            local result = e2e.run({ "check" }, { files = { ["moongate.yaml"] = text } })
            assert.equal(3, result.code, to)
            assert.truthy(result.err:find("in this build", 1, true), result.err)
        end
    end)
end)
