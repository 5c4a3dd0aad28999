--- helper: what busted runs before the files of specs. Each test gets a world of its own; what is alive behind the test
--- is its failure.
local busted = require("busted")
local files = require("moongate.test.files")
local world = require("moongate.test.world")

require("moongate.test.matchers")

local function full_name(element)
    local names = {}
    local at = element
    while at and at.name and at.descriptor ~= "file" do
        table.insert(names, 1, at.name)
        at = busted.parent(at)
    end
    return table.concat(names, " ")
end

--- What is still alive, as the failure of the test that left it. A test that failed anyway is told once.
local function take_apart()
    local left, problem = world.finish()
    files.clear()
    if problem and not world.failed then
        error(problem, 0)
    elseif #left > 0 and not world.failed then
        world.leaked = (world.leaked or 0) + #left
        error("still alive behind the test:\n  " .. table.concat(left, "\n  "), 0)
    end
end

--- Whether hooks of the spec run behind the test: they may end what it left.
local function has_hooks(parent)
    local at = parent
    while at and busted.parent(at) do
        if at.after_each and #at.after_each > 0 then
            return true
        end
        at = busted.parent(at)
    end
    return false
end

busted.subscribe({ "test", "start" }, function(element, parent)
    world.name, world.failed = full_name(element), false
    if not has_hooks(parent) then
        local run = element.run
        element.run = function(...)
            element.run = run
            run(...)
            if not element.env.moongate_finally then
                take_apart()
            end
        end
        local finally = element.env.finally
        element.env.finally = function(fn)
            element.env.moongate_finally = true
            return finally(fn)
        end
    end
    return nil, true
end)

for _, kind in ipairs({ "failure", "error" }) do
    busted.subscribe({ kind }, function(element)
        world.failed = true
        local name = full_name(element)
        world.logged[name] = world.logged[name] or world.errors()
        return nil, true
    end)
end

busted.after_each(take_apart)
