--- files: the folder that gateways of a test write into, new for each world.
local lfs = require("lfs")

local files = { count = 0 }

function files.here()
    return lfs.currentdir()
end

function files.read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a") or ""
    if file then
        file:close()
    end
    return text
end

local function write(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end

local function remove(path)
    if lfs.symlinkattributes(path, "mode") == "directory" then
        for name in lfs.dir(path) do
            if name ~= "." and name ~= ".." then
                remove(path .. "/" .. name)
            end
        end
    end
    os.remove(path)
end

--- A text in which paths below the current folder are short.
function files.shown(text)
    local here = lfs.currentdir() .. "/"
    local out, at = {}, 1
    while true do
        local first, last = text:find(here, at, true)
        if not first then
            return table.concat(out) .. text:sub(at)
        end
        out[#out + 1] = text:sub(at, first - 1)
        at = text:sub(last + 1, last + 2) == "./" and last + 3 or last + 1
    end
end

function files.is_there(path)
    return lfs.attributes(path, "mode") ~= nil
end

--- A folder of its own in this test's.
---@param kind string  what its name begins with
---@return string
function files.folder(kind)
    if not files.root then
        local name = os.tmpname()
        os.remove(name)
        local memory = "/dev/shm/" .. name:match("[^/]+$") -- where nothing waits for a disk
        files.root = lfs.mkdir(memory) and memory or assert(lfs.mkdir(name)) and name
    end
    files.count = files.count + 1
    local path = ("%s/%s-%d"):format(files.root, kind, files.count)
    assert(lfs.mkdir(path))
    return path
end

--- The folder of a plugin with this source.
---@param source string  of plugin.lua
---@param schema? string  of schema.json
---@return string folder
function files.plugin(source, schema)
    local folder = files.folder("plugin")
    write(folder .. "/plugin.lua", source)
    write(folder .. "/schema.json", schema or '{ "type": "object" }')
    return folder
end

--- The world is over.
function files.clear()
    if files.root then
        remove(files.root)
        files.root = nil
    end
end

--- All files below a folder as they are now.
---@return table<string, string>
function files.keep(folder, below, kept)
    kept, below = kept or {}, below or ""
    if lfs.attributes(folder .. below, "mode") == "directory" then
        for name in lfs.dir(folder .. below) do
            if name ~= "." and name ~= ".." then
                files.keep(folder, below .. "/" .. name, kept)
            end
        end
    elseif below ~= "" and not below:find("lock%.mdb$") then
        kept[below] = files.read(folder .. below)
    end
    return kept
end

--- They are so again.
function files.put_back(folder, kept)
    for path, text in pairs(kept) do
        write(folder .. path, text)
    end
end

return files
