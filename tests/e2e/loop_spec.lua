-- A request that comes back to the gateway that sent it on is answered 508; two gateways in a row are none.
local e2e = require "tests.e2e.harness"

after_each(e2e.finish)

local function get(lines) return "GET /round HTTP/1.1\r\nHost: a\r\n" .. (lines or "") .. "\r\n" end

--- The member of Via by which the gateway knows itself.
local function member_of(gw, up)
    return e2e.seen(gw, up, "").fields.via
end

--- Makes `behind` the one endpoint of the gateway's service.
local function lead(gw, behind)
    gw.opts.service = { endpoints = { { url = "http://127.0.0.1:" .. behind.port } } }
    gw.opts.up = nil
    assert.equal("ok", gw:reload(gw.opts))
end

it("a gateway names itself with a pseudonym of its own, the same after a reload", function()
    local gw, up = e2e.proxy()
    local other, other_up = e2e.proxy()
    local member = member_of(gw, up)
    assert.truthy(member:find("^1%.1 moongate%-%x+$"), member)
    assert.not_equal(member, member_of(other, other_up))
    assert.equal("ok", gw:reload(gw.opts))
    assert.equal(member, member_of(gw, up))
end)

describe("a request that has passed the gateway before", function()
    local forms = {
        ["alone"] = "Via: %s\r\n",
        ["among others"] = "Via: 1.0 fred, %s (back again), 1.1 edge\r\n",
        ["on another line"] = "Via: 1.1 edge\r\nVia: 1.0 fred,%s\r\n",
        ["behind a comment that does not end"] = "Via: 1.1 edge (a, b\r\nVia: 1.1 x (, %s\r\n",
    }
    for what, form in pairs(forms) do
        it("is answered 508, named " .. what, function()
            local gw, up = e2e.proxy { access_log = true }
            local answer = gw:ask(get(form:format(member_of(gw, up))))
            assert.equal(508, answer.status)
            assert.equal("application/problem+json", answer.fields["content-type"])
            assert.is_nil(answer.fields["retry-after"])
            local line
            repeat line = gw:access() until line.path == "/round"
            assert.equal("loop", line.error)
            assert.equal("all", line.route)
            assert.equal(1, gw:metric("moongate_http_requests_total", { code = "508" }))
            up:expect_nobody()
        end)
    end

    it("is found whatever letters a proxy makes of the name", function()
        local gw, up = e2e.proxy()
        assert.equal(508, gw:ask(get("Via: " .. member_of(gw, up):upper() .. "\r\n")).status)
    end)
end)

it("other members of Via go on, comments and all", function()
    local gw, up = e2e.proxy()
    local before = '1.0 fred, 1.1 moongate (a, "b"), 1.1 moongate-0123456789abcdef'
    local via = e2e.seen(gw, up, "Via: " .. before .. "\r\nVia: 1.1 edge\r\n").fields.via
    assert.equal(before .. ", 1.1 edge, 1.1 moongate-", via:sub(1, #before + 25))
end)

it("two gateways in a row serve", function()
    local inner, up = e2e.proxy()
    local outer = e2e.gateway { up = up }
    lead(outer, inner)
    local seen, response = e2e.exchange(outer:client(), up, get())
    assert.equal(200, response.status)
    assert.truthy(seen.fields.via:find("^1%.1 moongate%-%x+, 1%.1 moongate%-%x+$"), seen.fields.via)
end)

it("two gateways that lead to each other ask each other once", function()
    local one, up = e2e.proxy { access_log = true }
    local two = e2e.gateway { up = up, access_log = true }
    lead(one, two)
    lead(two, one)
    assert.equal(508, one:ask(get()).status)
    local first, second = one:access(), one:access()
    assert.equal("loop", first.error or second.error)
    assert.is_nil(two:access().error)
    assert.equal(2, one:metric("moongate_http_requests_total", { code = "508" }))
    assert.equal(1, two:metric("moongate_http_requests_total", { code = "508" }))
end)
