-- A minute of hostile plugins, written at random (tests/hostile/run.lua, which says more and runs longer by hand). The
-- seed is the same each time; HOSTILE_SEED sets another.
local Process = require "tests.e2e.harness.process"
local sys = require "tests.e2e.harness.sys"
local Gateway = require "tests.e2e.harness.gateway"

local SECONDS = 60
local PATIENCE_MS = 120000 -- of the program, for whatever it waits for

describe("hostile plugins", function()
    it("harm nothing but their own requests", function()
        local before_ms = sys.patience_ms
        sys.patience_ms = 20 * 60 * 1000 -- what fails is tried again there, and shortened
        local ran = Process.run {
            argv = { "/usr/bin/env", "luajit", "tests/hostile/run.lua", "--seed", os.getenv "HOSTILE_SEED" or "1",
                "--seconds", tostring(SECONDS) },
            env = { MOONGATE = Gateway.binary(), E2E_PATIENCE_MS = tostring(PATIENCE_MS) },
        }
        sys.patience_ms = before_ms
        assert.equal(0, ran.code, ran.out .. ran.err)
    end)
end)
