-- Fields: those of one connection stay on it, those that tell who asked are made by the gateway and believed only of
-- trusted peers.
local e2e = require "tests.e2e.harness"
local peer = require "tests.e2e.harness.peer"

after_each(e2e.finish)

describe("hop-by-hop fields", function()
    it("of a request stay behind", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "Connection: keep-alive, X-Private, x-other\r\nKeep-Alive: timeout=5\r\n"
            .. "Proxy-Connection: keep-alive\r\nX-Private: 1\r\nX-OTHER: 2\r\nProxy-Authorization: Basic eA==\r\n"
            .. "TE: gzip\r\nTrailer: X-Sum\r\nHTTP2-Settings: AAA\r\nX-Stays: 3\r\n")
        for _, name in ipairs { "keep-alive", "proxy-connection", "x-private", "x-other", "proxy-authorization",
            "trailer", "http2-settings" } do
            assert.is_nil(seen.fields[name], name .. " reached the upstream")
        end
        assert.is_nil((seen.fields.te or ""):find("gzip", 1, true))
        assert.equal("3", seen.fields["x-stays"])
    end)

    it("of a response stay behind", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response = e2e.exchange(client, up, nil, "HTTP/1.1 200 OK\r\nConnection: X-Private\r\n"
            .. "X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Stays: 2\r\n"
            .. "Content-Length: 0\r\n\r\n")
        for _, name in ipairs { "x-private", "keep-alive", "proxy-authenticate", "connection" } do
            assert.is_nil(response.fields[name], name .. " reached the client")
        end
        assert.equal("2", response.fields["x-stays"])
    end)

    it("cannot be used to remove what the gateway adds", function()
        local gw, up = e2e.proxy()
        for _, name in ipairs { "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via" } do
            assert.equal(400, gw:ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, " .. name .. "\r\n\r\n").status)
        end
        up:expect_nobody()
    end)
end)

describe("what the gateway adds", function()
    it("to a request says who asked, how, and through whom", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "")
        assert.equal("127.0.0.1", seen.fields["x-forwarded-for"])
        assert.equal("http", seen.fields["x-forwarded-proto"])
        assert.equal("a", seen.fields["x-forwarded-host"])
        local forwarded = seen.fields.forwarded
        assert.truthy(forwarded:find("for=\"?127%.0%.0%.1\"?"), forwarded)
        assert.truthy(forwarded:find("proto=http", 1, true), forwarded)
        assert.truthy(forwarded:find("host=\"?a\"?"), forwarded)
        assert.truthy(seen.fields.via:find("^1%.1 "))
    end)

    it("to a response is a date, where there is none, and Via", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local _, response = e2e.exchange(client, up)
        assert.truthy(response.fields.date:find("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
        assert.truthy(response.fields.via:find("^1%.1 "))
    end)

    it("to a response leaves the upstream's date alone", function()
        local gw, up = e2e.proxy()
        local client = gw:client()
        local date = "Tue, 15 Nov 1994 08:12:31 GMT"
        local _, response = e2e.exchange(client, up, nil,
            "HTTP/1.1 200 OK\r\nDate: " .. date .. "\r\nVia: 1.0 deep\r\nContent-Length: 0\r\n\r\n")
        assert.equal(date, response.fields.date)
        assert.truthy(response.fields.via:find("^1%.0 deep, 1%.1 "))
    end)
end)

describe("a peer that is not trusted", function()
    it("cannot say for whom it asks", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\n"
            .. "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=9.9.9.9;proto=https\r\n")
        assert.equal("127.0.0.1", seen.fields["x-forwarded-for"])
        assert.equal("http", seen.fields["x-forwarded-proto"])
        assert.equal("a", seen.fields["x-forwarded-host"])
        assert.is_nil(seen.fields.forwarded:find("9.9.9.9", 1, true))
    end)

    it("keeps its Via, which names no client", function()
        local gw, up = e2e.proxy()
        local seen = e2e.seen(gw, up, "Via: 1.1 edge\r\n")
        assert.truthy(seen.fields.via:find("^1%.1 edge, 1%.1 "))
    end)
end)

describe("a trusted peer", function()
    local TRUSTING = { listener = { trusted_proxies = { "127.0.0.0/8" } }, access_log = true }

    it("says for whom it asks, and is added itself", function()
        local gw, up = e2e.proxy(TRUSTING)
        local seen = e2e.seen(gw, up, "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"
            .. "X-Forwarded-Host: shop.example\r\nForwarded: for=9.9.9.9;proto=https;host=shop.example\r\n",
            { from = "127.0.0.7" })
        assert.equal("9.9.9.9, 127.0.0.7", seen.fields["x-forwarded-for"])
        assert.equal("https", seen.fields["x-forwarded-proto"])
        assert.equal("shop.example", seen.fields["x-forwarded-host"])
        assert.truthy(seen.fields.forwarded:find("^for=9%.9%.9%.9;proto=https;host=shop%.example, "))
        assert.equal("9.9.9.9", gw:access().client_ip)
    end)

    it("is not believed about those before an untrusted one", function()
        local gw, up = e2e.proxy(TRUSTING)
        e2e.seen(gw, up, "X-Forwarded-For: 1.1.1.1, 9.9.9.9, 127.0.0.3\r\n", { from = "127.0.0.7" })
        assert.equal("9.9.9.9", gw:access().client_ip)
    end)

    it("is the client when all are trusted or there is nobody else", function()
        local gw, up = e2e.proxy(TRUSTING)
        e2e.seen(gw, up, "", { from = "127.0.0.7" })
        assert.equal("127.0.0.7", gw:access().client_ip)
    end)

    it("that names nonsense is the client itself", function()
        local gw, up = e2e.proxy(TRUSTING)
        e2e.seen(gw, up, "X-Forwarded-For: nonsense\r\n", { from = "127.0.0.7" })
        assert.equal("127.0.0.7", gw:access().client_ip)
    end)

    it("is one by its address alone", function()
        local gw, up = e2e.proxy { listener = { trusted_proxies = { "127.0.0.7/32" } }, access_log = true }
        e2e.seen(gw, up, "X-Forwarded-For: 9.9.9.9\r\n", { from = "127.0.0.8" })
        assert.equal("127.0.0.8", gw:access().client_ip)
    end)
end)

describe("a proxy on a unix socket", function()
    local function asked(trusted, lines)
        local gw, up = e2e.proxy { access_log = true, extra = { listeners = {
            web = { bind = "unix:run/web.sock", trusted_proxies = trusted } } } }
        local client = assert(peer.connect_unix(gw.dir .. "/run/web.sock", "proxy"))
        local seen = e2e.exchange(client, up, "GET / HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n")
        return seen.fields, gw:access()
    end

    it("is believed where the listener trusts those", function()
        local seen, line = asked({ "unix:" }, "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n")
        assert.equal("203.0.113.9", line.client_ip)
        assert.equal("203.0.113.9", seen["x-forwarded-for"]) -- it has no address of its own to add
        assert.equal("https", seen["x-forwarded-proto"])
        assert.equal('for=203.0.113.9;proto=https;host=a', seen.forwarded)
    end)

    it("is not where it is not named, whatever addresses are", function()
        local seen, line = asked({ "0.0.0.0/0", "::/0" }, "X-Forwarded-For: 203.0.113.9\r\n")
        assert.equal("unix:", line.client_ip)
        assert.equal("unix:", seen["x-forwarded-for"])
    end)
end)
