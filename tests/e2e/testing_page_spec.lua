-- What docs/testing.md shows works as it is shown: each of its specs passes.
local e2e = require "tests.e2e.harness"

local files, count = {}, 0
local page = assert(io.open "docs/testing.md")
for text in page:read("*a"):gmatch "\n```lua\n(.-\n)```" do
    local name = assert(text:match "^%-%- (tests/[%w_]+%.lua)\n", text)
    files[name] = text
    count = count + 1
end
page:close()

describe("the page about testing", function()
    it("shows specs that pass", function()
        local result = e2e.run({ "test" }, { files = files })
        assert.equal(0, result.code, result.out .. result.err)
        assert.equal(4, count)
        for name in pairs(files) do
            assert.truthy(result.out:find(name, 1, true), name)
        end
        assert.truthy(result.out:find("5 passed, 0 failed, 0 leaked", 1, true), result.out)
    end)
end)
