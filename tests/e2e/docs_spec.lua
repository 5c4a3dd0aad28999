-- The pages in docs/ say what the gateway does: each is held against it, both ways.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function read(path)
    local file = assert(io.open(path))
    local text = file:read "*a"
    file:close()
    return text
end

local function sorted(set)
    local all = {}
    for name in pairs(set) do all[#all + 1] = name end
    table.sort(all)
    return all
end

--- The words in code marks of a cell, in order of the alphabet.
local function codes(cell)
    local set = {}
    for word in cell:gmatch "`([^`]+)`" do set[word] = true end
    return sorted(set)
end

--- The rows under a heading: { { cell, .. }, .. }.
local function rows(page, heading)
    local section = assert((page .. "\n## "):match("\n## " .. heading .. "\n(.-)\n## "), "no heading " .. heading)
    local all = {}
    for line in section:gmatch "\n(| `[^\n]+ |)" do
        local row = {}
        for cell in line:sub(2):gmatch "([^|]*)|" do row[#row + 1] = cell:match "^%s*(.-)%s*$" end
        all[#all + 1] = row
    end
    return all
end

describe("docs/configuration.md", function()
    it("is made of the schema", function()
        local pipe = assert(io.popen "luajit docs/reference.lua")
        local made = pipe:read "*a"
        pipe:close()
        assert.is_true(made == read "docs/configuration.md",
            "docs/configuration.md is stale; run: luajit docs/reference.lua > docs/configuration.md")
    end)

    it("has every key of the schema", function()
        local count, page = 0, read "docs/configuration.md"
        local function walk(node)
            for _, value in pairs(node) do
                if type(value) == "table" then walk(value) end
            end
            for key in pairs(type(node.properties) == "table" and node.properties or {}) do
                count = count + 1
                assert.truthy(page:find("\n| [%[]?`" .. key .. "`"), key .. " is missing")
            end
        end
        walk(e2e.json.decode(read "schemas/gateway.json"))
        local shown = select(2, page:gsub("\n| [%[]?`", ""))
        assert.is_true(count > 100 and count == shown, count .. " keys, " .. shown .. " rows")
    end)
end)

local COUNTS = [[
return {
    name = "count", version = "1.0.0",
    new = function()
        return function(ctx, next)
            ctx:counter("seen")
            if ctx.request:header("x-raise") then error("raised") end
            ctx:task(function() end):wait()
            ctx:set_consumer("anna")
            ctx.request:set_header("x-request-id", "r-1")
            next(ctx)
        end
    end,
}]]

--- A gateway with all policies, of which something can be said: a service that answers and one that cannot.
local function gateway(up)
    local nowhere = e2e.upstream()
    nowhere:close()
    local policies = { endpoints = { { url = "http://localhost:" .. up.port } } }
    for _, name in ipairs { "breaker", "retry", "health", "eject", "adaptive", "throttle" } do
        policies[name] = e2e.json.map {}
    end
    local everything = { paths = { { prefix = "/" } } }
    return e2e.gateway {
        access_log = true,
        listener = { trusted_proxies = e2e.json.list { "127.0.0.0/8" } },
        services = { up = policies, new = { endpoints = { { url = up:url() } } },
            dead = { endpoints = { { url = nowhere:url() } } } },
        limiters = { few = { rate = "1000/s" }, none = { mode = "deny", rate = "1/s" } },
        plugins = { count = { use = "./plugins/count" } },
        files = { ["plugins/count/plugin.lua"] = COUNTS },
        routes = {
            { name = "all", match = everything, plugins = { { limit = "few" }, "count" },
                backends = { { service = "up" }, { service = "new", weight = 0 } }, rollout = { to = "new" } },
            { name = "dead", match = { paths = { { prefix = "/dead" } } }, service = "dead" },
            { name = "none", match = { paths = { { prefix = "/none" } } }, plugins = { { limit = "none" } },
                service = "up" },
        },
        extra = { state = { path = "state" } },
    }
end

local function ask(gw, path, lines)
    return gw:ask("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nUser-Agent: spec\r\n" .. (lines or "") .. "\r\n").status
end

describe("docs/metrics.md", function()
    local PAGE = read "docs/metrics.md"

    --- Of each metric its type and labels, as /metrics has them.
    local function metrics(gw)
        local found = {}
        local body = gw:status("/metrics").body
        for name, kind in body:gmatch "# TYPE (%S+) (%S+)" do found[name] = { type = kind, labels = {} } end
        for name, labels in body:gmatch "\n([%w_]+){([^\n]*)} " do
            local metric = found[name] or found[name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")]
            assert(metric, name .. " has no type")
            for label in labels:gmatch '([%w_]+)="' do metric.labels[label] = true end
        end
        return found
    end

    it("has every metric there is with its type and labels, and no other", function()
        local up = e2e.server "up"
        local gw = gateway(up)
        assert.equal(200, ask(gw, "/"))
        assert.equal(502, ask(gw, "/dead"))
        assert.equal(504, ask(gw, "/", "X-Moongate-Deadline-Ms: 1\r\n"))
        gw:await_metric("moongate_deadline_exceeded_total", {}, 1) -- counted behind the answer
        local seen, told = {}, {}
        for name, metric in pairs(metrics(gw)) do
            metric.labels.le = nil
            seen[name] = metric.type .. " " .. table.concat(sorted(metric.labels), " ")
        end
        for _, row in ipairs(rows(PAGE, "Metrics")) do
            told[codes(row[1])[1]] = row[2] .. " " .. table.concat(codes(row[3]), " ")
        end
        assert.same(seen, told)
    end)

    it("has every field of the access log, and no other", function()
        local up = e2e.server "up"
        local gw = gateway(up)
        local seen, told = {}, {}
        local function look(status, path, lines)
            assert.equal(status, ask(gw, path, lines))
            for field in pairs(gw:access()) do seen[field] = true end
        end
        look(200, "/")
        look(500, "/", "X-Raise: yes\r\n")
        look(502, "/dead")
        look(429, "/none")
        for _, row in ipairs(rows(PAGE, "The access log")) do
            for _, field in ipairs(codes(row[1])) do told[field] = true end
        end
        assert.same(sorted(seen), sorted(told))
    end)
end)
