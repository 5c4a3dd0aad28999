-- What a start makes by itself, and what it says when it cannot.
local e2e = require "tests.e2e.harness"
local lfs = require "lfs"

after_each(e2e.finish)

local DOC = [[
version: 1
listeners: { web: { bind: "%s" } }
status: { bind: "%s" }
admin: { bind: "%s" }
state: { path: state }
services: { s: { endpoints: [{ url: "http://127.0.0.1:1" }] } }
]]

local function run(web, status, admin, files)
    local all = { ["moongate.yaml"] = DOC:format(web, status, admin) }
    for name, text in pairs(files or {}) do all[name] = text end
    return e2e.run({ "run" }, { files = all })
end

describe("a start", function()
    it("makes the folders of its sockets, those of listeners like admin's", function()
        local gw = e2e.gateway { service = { endpoints = { { url = "http://127.0.0.1:1" } } },
            extra = { listeners = { web = { bind = "127.0.0.1:@PORT@" }, near = { bind = "unix:run/deep/web.sock" } },
                admin = { bind = "unix:own/deep/admin.sock" } } }
        assert.equal("socket", lfs.attributes(gw.dir .. "/run/deep/web.sock", "mode"))
        assert.equal("rwxr-xr-x", lfs.attributes(gw.dir .. "/run/deep", "permissions"))
        assert.equal("socket", lfs.attributes(gw.dir .. "/own/deep/admin.sock", "mode"))
        assert.equal("rwx------", lfs.attributes(gw.dir .. "/own/deep", "permissions"))
    end)

    -- listener, status, admin
    local IN_THE_WAY = {
        { "unix:run/x/a.sock", "unix:b.sock", "unix:c.sock" },
        { "unix:a.sock", "unix:run/x/a.sock", "unix:c.sock" },
        { "unix:a.sock", "unix:b.sock", "unix:run/x/a.sock" },
    }
    for i, names in ipairs(IN_THE_WAY) do
        it(("says which folder cannot be made, and why (%d)"):format(i), function()
            local result = run(names[1], names[2], names[3], { run = "a file in the way" })
            assert.equal(1, result.code)
            assert.truthy(result.err:find("cannot make the folder %S*run/x for %S*run/x/a.sock: Not a directory"),
                result.err)
        end)
    end

    it("ends where the file of the key-value store is empty, and says so", function()
        local result = run("unix:a.sock", "unix:b.sock", "unix:c.sock", { ["state/ledger/data.mdb"] = "" })
        assert.equal(1, result.code)
        assert.truthy(result.err:find("state/ledger' is damaged: its data.mdb is empty", 1, true), result.err)
    end)
end)
