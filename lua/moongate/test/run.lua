--- run: the first chunk of `moongate test`. C calls it once with the tables of functions, the way to embedded files and
--- the arguments; it returns the exit status.
local apis, source, arguments = ...

local function embedded(name)
    local path = "lua/" .. name:gsub("%.", "/")
    for _, whole in ipairs({ path .. ".lua", path .. "/init.lua" }) do
        local text = source(whole)
        if text then
            return assert(load(text, "@" .. whole, "t"))
        end
    end
    return "\n\tno embedded file '" .. path .. ".lua'"
end

table.insert(package.loaders, 2, embedded)
require("moongate.ffi.c").bind(apis.gateway[1], apis.gateway[2])
require("moongate.test.c").bind(apis.spec[1], apis.spec[2])
require("moongate.sdk.running").pause = function() end -- nothing waits here

local INVALID = 3 -- of the exit statuses

local function missing(why)
    if why:find("module 'busted", 1, true) then
        io.stderr:write("moongate test: busted is not installed: apt-get install lua-busted (Debian), ",
            "or luarocks --lua-version 5.1 install busted\n")
    else
        io.stderr:write("moongate test: ", why, "\n")
    end
    return 1
end

--- The files of specs that are there when none are named: tests/, and the specs of plugins.
local function usual_paths(lfs)
    local paths = {}
    if lfs.attributes("tests", "mode") == "directory" then
        paths[1] = "tests"
    end
    if lfs.attributes("plugins", "mode") == "directory" then
        local names = {}
        for name in lfs.dir("plugins") do
            if lfs.attributes("plugins/" .. name .. "/spec", "mode") == "directory" then
                names[#names + 1] = "plugins/" .. name .. "/spec"
            end
        end
        table.sort(names)
        for _, name in ipairs(names) do
            paths[#paths + 1] = name
        end
    end
    return paths
end

--- Options of busted that take a value, so that the value is not a path.
local VALUED = {}
for name in ([[-p --pattern --exclude-pattern -e -o --output -C --directory -f --config-file --coverage-config-file -t
    --tags --exclude-tags --filter --filter-out -m --lpath --cpath -r --run --repeat --seed --lang --loaders --helper
    --lua -Xoutput -Xhelper]]):gmatch("%S+") do
    VALUED[name] = true
end

--- busted's arguments from ours: its output and our helper, unless others are asked for; our paths for none.
local function rewrite(lfs, world)
    local out, paths, output = {}, 0, false
    local at = 1
    world.base_seed = os.time() % 100000 + 1
    while arguments[at] do
        local item = arguments[at]
        local name, value = item:match("^(%-%-[%w-]+)=(.*)$")
        name = name or item
        if VALUED[name] and not value then
            at = at + 1
            value = arguments[at]
            if not value then
                return nil, name .. " needs a value"
            end
        end
        if name == "--seed" then
            world.base_seed = tonumber(value)
            if not world.base_seed then
                return nil, "--seed needs a number"
            end
        elseif name == "--output" or name == "-o" then
            output = true
        elseif name:sub(1, 1) ~= "-" then
            paths = paths + 1
        end
        if name ~= "--seed" then
            out[#out + 1] = name
            out[#out + 1] = VALUED[name] and value or nil
        end
        at = at + 1
    end
    out[#out + 1] = "--seed=" .. world.base_seed
    out[#out + 1] = "--helper=moongate.test.helper"
    if not output then
        out[#out + 1] = "--output=moongate.test.output"
    end
    if paths == 0 then
        local usual = usual_paths(lfs)
        if #usual == 0 then
            return nil, "there is neither tests/ nor plugins/*/spec here: name a file or a folder"
        end
        for _, path in ipairs(usual) do
            out[#out + 1] = path
        end
    end
    return out
end

local ok, runner = pcall(require, "busted.runner")
if not ok then
    return missing(runner)
end
local rewritten, problem = rewrite(require("lfs"), require("moongate.test.world"))
if not rewritten then
    io.stderr:write("moongate test: ", problem, "\n")
    return 2
end
rewritten[0] = "moongate test"
rawset(_G, "arg", rewritten)

local ENDED = {} -- raised where a program would end
local status = 0
os.exit = function(code) -- luacheck: ignore
    status = code == true and 0 or code == false and 1 or tonumber(code) or 0
    error(ENDED, 0)
end
local finished, why = pcall(runner, { standalone = false })
require("moongate.test.files").clear()
if finished then
    return 0
elseif why == ENDED then
    return status
elseif why == nil then
    return 1 -- how busted says that a test has failed
end
io.stderr:write("moongate test: ", tostring(why), "\n")
return INVALID
