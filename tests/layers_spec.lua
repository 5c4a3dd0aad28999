--- The layers hold: every #include under runtime/ and every require in lua/ and plugins/ is read, and one that
--- points up or sideways is named. So do the heads of headers: each says on which thread its functions may be called.
--- So do sizes: no file in C is past 600 lines, no function past 60. So do citations: each page, section and heading of
--- docs/ that a comment, a page or a message names is there. `busted --lua=luajit tests/layers_spec.lua`, from anywhere
--- in the tree.
local lfs = require("lfs")

local function set(names)
    local result = {}
    for name in names:gmatch("%S+") do
        result[name] = true
    end
    return result
end

--- What a folder of runtime/ may include besides its own files. moongate.h is open to all, and includes none.
local C_MAY = {
    base = set "",
    policy = set "base",
    http = set "base",
    text = set "base",
    store = set "base",
    script = set "base",
    net = set "http policy base",
    sim = set "net http base",
    config = set "net text http policy base",
    state = set "store policy base",
    gateway = set "config state sim net script store text http policy base",
    spec = set "gateway config state sim net text base",
    cli = set "spec gateway config state script text base",
    ["main.c"] = set "cli base",
    ["moongate.h"] = set "",
}

--- What a room of runtime/gateway/ may include of it besides its own files: other rooms, and headers of the floor, that
--- is of what stands in gateway/ itself. The floor may include every room.
local ROOM_MAY = {
    observe = set "",
    service = set "observe shared.h snapshot.h",
    request = set "observe service flusher.h host.h snapshot.h vm_renew.h worker.h",
    sdk = set "request service host.h",
    admin = set "observe service control.h flusher.h",
}

--- What the build makes, and who may include it.
local GENERATED = {
    ["mg_embed.h"] = set "config gateway cli",
    ["mg_abi.h"] = set "base script gateway cli",
    ["mg_spec_abi.h"] = set "spec cli",
}

--- The one home of each library: patterns of its headers, patterns of the files that may include them.
local LIBRARY_HOMES = {
    { headers = { "^http_parser%.h$" }, homes = { "^http/h1[%w_]*%.c$" } },
    { headers = { "^nghttp2/" }, homes = { "^http/h2[%w_]*%.c$" } },
    { headers = { "^lmdb%.h$" }, homes = { "^store/store%.c$", "^store/store_[%w_]*%.[ch]$" } },
    { headers = { "^yaml%.h$" }, homes = { "^text/yaml%.c$" } },
    { headers = { "^jansson%.h$" }, homes = { "^text/json%.c$" } },
    { headers = { "^pcre2%.h$" }, homes = { "^text/" } },
    { headers = { "^zlib%.h$" }, homes = { "^text/" } },
    { headers = { "^event2?/", "^event%.h$", "^evdns%.h$", "^evutil%.h$" },
      homes = { "^net/loop[%w_]*%.c$", "^net/resolver%.c$" } },
    { headers = { "^openssl/" }, homes = { "^net/tls[%w_]*%.c$" } },
    { headers = { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luajit%.h$", "^luaconf%.h$" }, homes = { "^script/" } },
}

--- What a folder of lua/moongate/ may require. "ffi" stands for the folder; LuaJIT's library is only for that folder.
local LUA_MAY = {
    worker = set "worker sdk ffi",
    sdk = set "sdk ffi",
    ffi = set "ffi",
    test = set "test sdk ffi",
}
--- What the runner of specs has from outside: it runs in a Lua state of its own, which no plugin sees.
local OF_SPECS = { "^busted$", "^busted%.", "^luassert$", "^say$", "^lfs$", "^pl%." }
local LUAJIT_MODULES = set "bit jit jit.opt jit.util table.new table.clear string.buffer"

---@param path string
---@return string[] lines, none when the file cannot be read
local function lines_of(path)
    local lines = {}
    local file = io.open(path, "rb")
    if file then
        for line in file:lines() do
            lines[#lines + 1] = line
        end
        file:close()
    end
    return lines
end

--- Calls visit(path from `root`, whole path) for every file below it, in order of name; none where there is no folder.
local function walk(root, visit, below)
    local folder = below and root .. "/" .. below or root
    if lfs.attributes(folder, "mode") ~= "directory" then
        return
    end
    local names = {}
    for name in lfs.dir(folder) do
        if name ~= "." and name ~= ".." then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local path = below and below .. "/" .. name or name
        local mode = lfs.attributes(root .. "/" .. path, "mode")
        if mode == "directory" then
            walk(root, visit, path)
        elseif mode == "file" then
            visit(path, root .. "/" .. path)
        end
    end
end

local function matches_any(text, patterns)
    for _, pattern in ipairs(patterns) do
        if text:find(pattern) then
            return true
        end
    end
    return false
end

--- Why a file of gateway/ may not include another of gateway/, or nil when it may.
local function wrong_room(path, header)
    local room = path:match("^gateway/([^/]+)/")
    if not room then
        return nil
    end
    if not ROOM_MAY[room] then
        return "'gateway/" .. room .. "' is no room"
    end
    local target = header:match("^gateway/([^/]+)")
    if target ~= room and not ROOM_MAY[room][target] then
        return "gateway/" .. room .. " does not stand on " .. target
    end
end

--- Why `path` (from runtime/) may not include `header`, or nil when it may.
local function wrong_include(path, header, quoted)
    for _, library in ipairs(LIBRARY_HOMES) do
        if matches_any(header, library.headers) and not matches_any(path, library.homes) then
            return "this library's home is " .. table.concat(library.homes, " or ")
        end
    end
    if not quoted then
        return nil
    end
    local layer = path:match("^([^/]+)/") or path
    local may = C_MAY[layer]
    if not may then
        return "'" .. layer .. "' is no layer"
    end
    if header == "moongate.h" then
        return nil
    end
    if GENERATED[header] then
        return not GENERATED[header][layer] and "generated for others" or nil
    end
    local target = header:match("^([^/]+)/")
    if not target then
        return "name it from runtime/, as in \"" .. layer .. "/" .. header .. "\""
    end
    if target ~= layer then
        return not may[target] and layer .. " is not above " .. target or nil
    end
    return layer == "gateway" and wrong_room(path, header) or nil
end

--- Why a module of lua/moongate/`layer`, at `path` from there, may not require `name`, or nil when it may.
local function wrong_require(layer, path, name)
    if not LUA_MAY[layer] then
        return "'" .. layer .. "' is no layer"
    end
    if name == "ffi" then
        return layer ~= "ffi" and path ~= "test/c.lua" and "cdata is touched in moongate/ffi and test/c.lua only" or nil
    end
    if layer == "test" and matches_any(name, OF_SPECS) then
        return nil
    end
    if LUAJIT_MODULES[name] then
        return nil
    end
    local target = name:match("^moongate%.([%w_]+)%.")
    if not target then
        return "neither of ours nor of LuaJIT"
    end
    return not LUA_MAY[layer][target] and layer .. " is not above " .. target or nil
end

--- Why a plugin may not require `name`, or nil when it may.
local function wrong_plugin_require(plugin, name)
    if name:find("^moongate%.ffi%.") or name:find("^moongate%.worker%.") or name:find("^moongate%.ffi$")
        or name:find("^moongate%.worker$") then
        return "plugins stand on the SDK only"
    end
    if name == "moongate" or name:find("^moongate%.") or name:sub(1, #plugin + 1) == plugin .. "." then
        return nil
    end
    return "a plugin requires moongate and its own lib, as \"" .. plugin .. ".x\""
end

--- The names that a line requires, and whether it also requires what only running it would tell.
local function requires_of(line)
    local names, unknown = {}, false
    local code = line:gsub("^%s*%-%-.*$", "")
    for before, rest in code:gmatch("()%f[%w_]require%f[^%w_]()") do
        local text = code:sub(rest)
        local name = text:match("^%s*%(?%s*[\"']([^\"']+)[\"']") or text:match("^%s*,%s*[\"']([^\"']+)[\"']")
        if name then
            names[#names + 1] = name
        elseif text:find("^%s*%(") and not code:sub(1, before - 1):find("function%s+[%w_.:]*$") then
            unknown = true
        end
    end
    return names, unknown
end

--- The parts of a flight (gateway/request/flight.h), and the file that alone writes each: PART.x, or PART itself.
local FLIGHT_PARTS = {
    split = "split", limits = "limits", chain = "chain", filters = "filter", proxy = "proxy", back = "body_back",
    pause = "pause", replay = "replay", outgoings = "outgoing", barrier = "call_barrier", beside = "job",
    x = "flight", view = "flight", worker = "flight", route = "pipeline", match = "pipeline", client = "pipeline",
    caller = "pipeline", error = "flight", deadline_where = "flight", way = "flight",
}

--- Why a file named `stem` may not write that part of a flight, or nil when it may.
local function wrong_part(stem, part)
    local owner = FLIGHT_PARTS[part]
    if not owner or stem == owner or stem:sub(1, #owner + 1) == owner .. "_" then
        return nil
    end
    if owner == "pipeline" and stem == "flight" then
        return nil
    end
    return "a flight's " .. part .. " is written by " .. owner .. "*.c: call a function of it"
end

--- The parts of a flight that a line of C writes: by name, or by its timer.
local function parts_written(line)
    local parts = {}
    for part, rest in line:gmatch("flight%->([%w_]+)([^;,]*)") do
        local path, operator = rest:match("^([%w_.%[%]]*)%s*([-+|&^]?=)")
        local is_write = path and rest:sub(#path + 1):match("^%s*[-+|&^]?=[^=]")
            or operator and rest:match("=$")
            or rest:match("^[%w_.%[%]]*%+%+") or rest:match("^[%w_.%[%]]*%-%-[^>]")
        local is_timer = rest:match("^%.timer$") and line:find("mg_timer_%w+%(")
        if is_write or is_timer then
            parts[#parts + 1] = part
        end
    end
    return parts
end

---@param root string  a tree with runtime/, lua/ and plugins/, any of which may be missing
---@return string[] violations  each "place: what: why"
local function violations_in(root)
    local found = {}
    local function add(place, number, what, why)
        if why then
            found[#found + 1] = ("%s:%d: %s: %s"):format(place, number, what, why)
        end
    end

    walk(root .. "/runtime", function(path, whole)
        if not path:find("%.[ch]$") then
            return
        end
        for number, line in ipairs(lines_of(whole)) do
            local open, header = line:match("^%s*#%s*include%s*([<\"])([^>\"]+)")
            if header then
                add("runtime/" .. path, number, header, wrong_include(path, header, open == "\""))
            end
            if path:find("^gateway/.*%.c$") then
                for _, part in ipairs(parts_written(line)) do
                    add("runtime/" .. path, number, part, wrong_part(path:match("([%w_]+)%.c$"), part))
                end
            end
        end
    end)

    local function read_lua(place, whole, why)
        for number, line in ipairs(lines_of(whole)) do
            local names, unknown = requires_of(line)
            for _, name in ipairs(names) do
                add(place, number, name, why(name))
            end
            if unknown then
                add(place, number, "require", why(nil))
            end
        end
    end

    walk(root .. "/lua/moongate", function(path, whole)
        local layer = path:match("^([^/]+)/") or path
        if path:find("%.lua$") then
            read_lua("lua/moongate/" .. path, whole, function(name)
                if not name then
                    return layer ~= "worker" and "only worker may compute what it requires" or nil
                end
                return wrong_require(layer, path, name)
            end)
        end
    end)

    walk(root .. "/plugins", function(path, whole)
        local plugin = path:match("^([^/]+)/")
        if plugin and path:find("%.lua$") and not path:find("^[^/]+/spec/") then
            read_lua("plugins/" .. path, whole, function(name)
                if not name then
                    return "a plugin names what it requires"
                end
                return wrong_plugin_require(plugin, name)
            end)
        end
    end)
    return found
end

---@param path string
---@return string? text  nil when the file cannot be read
local function text_of(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

--- The words of which the head of a header has one: on which thread its functions may be called, or on which loop, or
--- that they are pure: they touch what they are given and nothing else.
local OF_THREADS = set "thread threads loop loops pure constants"

---@param root string  a tree with runtime/
---@return string[] violations  the headers whose first comment does not say on which thread they may be called
local function heads_in(root)
    local found = {}
    walk(root .. "/runtime", function(path, whole)
        if not path:find("%.h$") then
            return
        end
        local head = (text_of(whole) or ""):match("^%s*/%*(.-)%*/") or ""
        local text, is_said = head:gsub("^%s*[%w_]+%.h ", ""), false
        for word in text:gmatch("[%w_]+") do
            is_said = is_said or OF_THREADS[word:lower()] or false
        end
        if not is_said then
            found[#found + 1] = ("runtime/%s: its first comment does not say on which thread"):format(path)
        end
    end)
    return found
end

--- How long files in C and their functions may be, in lines; a function's are those between its braces.
local FILE_LINES, FUNCTION_LINES = 600, 60

--- Tests that may be longer: tables of cases.
local LONG_TESTS = {
    ["tests/unit/config/config_guard.c"] = "empty_blocks_are_on_with_the_policies_own_defaults",
    ["tests/unit/gateway/sim_retry_body.c"] = "every_byte_once_and_in_order",
    ["tests/unit/http/h1_body.c"] = "a_chunk_to_the_letter_or_not_at_all",
    ["tests/unit/http/h1_write.c"] = "a_response_is_framed_for_its_reader",
    ["tests/unit/http/uri.c"] = "a_path_has_one_form",
}

--- Calls visit(name, first line, lines between the braces) for every function of a file in C. As they are formatted, a
--- function's braces are alone in the first column, and so are those of no statement; a type's end in a semicolon.
local function each_function(lines, visit)
    local opened, name
    for number, line in ipairs(lines) do
        if line == "{" then
            opened = number
        elseif opened and line:find("^}") then
            if line == "}" then
                visit(name or "?", opened, number - opened - 1)
            end
            opened, name = nil, nil
        elseif not opened then
            name = line:match("^[%a_].-([%w_]+)%(") or name
        end
    end
end

---@param root string  a tree with runtime/ and tests/
---@return string[] violations  files and functions that are too long
---@return integer count  of the functions that were seen
local function sizes_in(root)
    local found, count = {}, 0
    for _, folder in ipairs({ "runtime", "tests" }) do
        walk(root .. "/" .. folder, function(path, whole)
            if not path:find("%.[ch]$") then
                return
            end
            local place, lines = folder .. "/" .. path, lines_of(whole)
            if #lines > FILE_LINES then
                found[#found + 1] = ("%s: %d lines"):format(place, #lines)
            end
            each_function(lines, function(name, first, length)
                count = count + 1
                if length > FUNCTION_LINES and LONG_TESTS[place] ~= name then
                    found[#found + 1] = ("%s:%d: %s: %d lines"):format(place, first, name, length)
                end
            end)
        end)
    end
    return found, count
end

--- What stands in a page: its text, and the numbers of its sections ("## 4. Limiter").
local function page_of(path)
    local text = text_of(path)
    if not text then
        return nil
    end
    local sections = {}
    for number in ("\n" .. text):gmatch("\n##+ (%d+)%. ") do
        sections[tonumber(number)] = true
    end
    return { text = text, sections = sections }
end

--- The sections that follow the name of a page: "4", "5 and 8", "1, 5-8"; and where they end.
local function sections_at(text, at)
    local all = {}
    local first, past = text:match("^ (%d+)()", at)
    while first do
        local last, behind = text:match("^%-(%d+)()", past)
        for number = tonumber(first), tonumber(last or first) do
            all[#all + 1] = number
        end
        at = behind or past
        first, past = text:match("^, (%d+)()", at)
        if not first then
            first, past = text:match("^ and (%d+)()", at)
        end
    end
    return all, at
end

--- Where citations stand: the folders, and files beside them.
local CITING = { "runtime", "lua", "plugins", "schemas", "tests", "examples", "bin", "docs", "README.md",
    "CONTRIBUTING.md", "CMakeLists.txt" }
local BINARY = set "gz png"
local NO_PAGES = { POLICIES = "docs/policies.md", ARCHITECTURE = "docs/architecture.md" }

---@param root string  a tree with docs/ and what cites it
---@return string[] violations  each "place: page: why"
---@return integer count  of the citations of sections and headings
local function citations_in(root)
    local found, count, pages = {}, 0, {}

    local function page(name)
        if pages[name] == nil then
            pages[name] = page_of(root .. "/" .. name) or false
        end
        return pages[name]
    end

    --- A page is cited, at `at` of the text behind its name.
    local function cited(place, name, text, at)
        local this = page(name)
        if not this then
            found[#found + 1] = ("%s: %s: there is no such page"):format(place, name)
            return
        end
        local numbers, past = sections_at(text, at)
        for _, number in ipairs(numbers) do
            count = count + 1
            if not this.sections[number] then
                found[#found + 1] = ("%s: %s %d: it has no such section"):format(place, name, number)
            end
        end
        local heading = text:match('^,? "([^"]+)"', past)
        if heading then
            count = count + 1
            local pattern = "\n#+ [%d. ]*" .. heading:gsub("%p", "%%%0") .. "\n"
            if not this.text:find(pattern) and not this.text:find("**" .. heading, 1, true) then
                found[#found + 1] = ("%s: %s: it has no heading %q"):format(place, name, heading)
            end
        end
    end

    local function read(place, whole)
        local text = text_of(whole) or ""
        local joined = text:gsub("%s*\n%s*[*#%-]*[ \t]*", " ") -- a citation may go on in the next line of a comment
        for name, at in joined:gmatch("%f[%w./](docs/[%w_]+%.md)()") do
            cited(place, name, joined, at)
        end
        for word, page_name in pairs(NO_PAGES) do
            for number in joined:gmatch("%f[%w]" .. word .. " (%d+)") do
                found[#found + 1] = ("%s: %s %s: write %s and its section"):format(place, word, number, page_name)
            end
        end
        if place:find("%.md$") then
            local folder = place:match("^(.*/)") or ""
            for target, at in joined:gmatch("%]%(([%w_./]+)%)()") do
                local path = folder .. target
                while path:find("[^/]+/%.%./") do
                    path = path:gsub("[^/]+/%.%./", "", 1)
                end
                if not lfs.attributes(root .. "/" .. path) then
                    found[#found + 1] = ("%s: %s: the link leads nowhere"):format(place, target)
                elseif path:find("^docs/[%w_]+%.md$") then
                    cited(place, path, joined, at)
                end
            end
        end
    end

    for _, name in ipairs(CITING) do
        local mode = lfs.attributes(root .. "/" .. name, "mode")
        if mode == "file" then
            read(name, root .. "/" .. name)
        elseif mode == "directory" then
            walk(root .. "/" .. name, function(path, whole)
                local place = name .. "/" .. path
                if place ~= "tests/layers_spec.lua" and not place:find("^tests/fuzz/corpus/")
                    and not BINARY[path:match("%.(%w+)$") or ""] then
                    read(place, whole)
                end
            end)
        end
    end
    return found, count
end

--- The project's folder, from where this file lies.
local function project_root()
    local here = debug.getinfo(1, "S").source:match("^@(.*)/tests/[^/]*$")
    return here or "."
end

describe("the layers", function()
    it("include and require downwards only", function()
        assert.same({}, violations_in(project_root()))
    end)

    it("are all there to be read", function()
        local count = 0
        walk(project_root() .. "/runtime", function(path)
            count = count + (path:find("%.[ch]$") and 1 or 0)
        end)
        assert.is_true(count > 20)
    end)
end)

describe("the headers", function()
    it("say in their first comment on which thread they may be called", function()
        assert.same({}, heads_in(project_root()))
    end)
end)

describe("files and functions in C", function()
    it("are as short as they are to be", function()
        local found, count = sizes_in(project_root())
        assert.same({}, found)
        assert.is_true(count > 3000, count .. " functions")
    end)
end)

describe("citations", function()
    it("name pages, sections and headings that are there", function()
        local found, count = citations_in(project_root())
        assert.same({}, found)
        assert.is_true(count > 60, count .. " citations")
    end)

    it("of vectors stand in docs/policies.md, each policy and each file", function()
        local missing, count = {}, 0
        local page = assert(text_of(project_root() .. "/docs/policies.md"))
        local function named(name)
            if not page:find("`" .. name .. "`", 1, true) and not missing[name] then
                missing[name] = true
                missing[#missing + 1] = name
            end
        end
        walk(project_root() .. "/tests/vectors", function(path, whole)
            if path:find("%.jsonl$") then
                named(path)
                for policy in text_of(whole):gmatch('"policy":"([%w_]+)"') do
                    count = count + 1
                    named(policy)
                end
            end
        end)
        assert.same("", table.concat(missing, " "))
        assert.is_true(count > 100)
    end)
end)

describe("the checker", function()
    local root

    local function write(path, text)
        local folder = root
        for part in path:gmatch("([^/]+)/") do
            folder = folder .. "/" .. part
            lfs.mkdir(folder)
        end
        local file = assert(io.open(root .. "/" .. path, "wb"))
        file:write(text)
        file:close()
    end

    before_each(function()
        root = os.tmpname()
        os.remove(root)
        assert(lfs.mkdir(root))
    end)

    after_each(function()
        os.execute("rm -rf '" .. root .. "'")
    end)

    --- The tree has exactly one violation, at the place given.
    local function finds_only(place)
        local found = violations_in(root)
        assert.equal(1, #found, table.concat(found, "\n"))
        assert.equal(place, found[1]:sub(1, #place))
    end

    it("accepts a tree in which all point down", function()
        write("runtime/base/str.h", '#include <stddef.h>\n#include "base/mem.h"\n')
        write("runtime/net/conn.c", '#include "net/conn.h"\n#include "http/h1.h"\n#include "moongate.h"\n')
        write("runtime/net/loop_event.c", "#include <event2/event.h>\n")
        write("runtime/script/vm.c", '#include <lua.h>\n#include "moongate.h"\n')
        write("lua/moongate/worker/boot.lua", 'local c = require("moongate.ffi.c")\nreturn require(name)\n')
        write("lua/moongate/ffi/c.lua", 'local ffi = require "ffi"\n')
        write("plugins/a/plugin.lua", 'local mg, x = require "moongate", require("a.x")\n')
        write("plugins/a/spec/a_spec.lua", 'require("anything")\n')
        assert.same({}, violations_in(root))
    end)

    it("finds an include that points up", function()
        write("runtime/policy/limiter.c", '#include "base/str.h"\n  # include "net/loop.h"\n')
        finds_only("runtime/policy/limiter.c:2: net/loop.h")
    end)

    it("finds an include that points sideways", function()
        write("runtime/http/h1.c", '#include "text/json.h"\n')
        finds_only("runtime/http/h1.c:1: text/json.h")
    end)

    it("finds the gateway included from below", function()
        write("runtime/script/vm.h", '#include "gateway/request/call.h"\n')
        finds_only("runtime/script/vm.h:1: gateway/request/call.h")
    end)

    it("finds a room that includes one above it", function()
        write("runtime/gateway/service/probe.c",
            '#include "gateway/observe/metrics.h"\n#include "gateway/request/call.h"\n#include "gateway/shared.h"\n')
        finds_only("runtime/gateway/service/probe.c:2: gateway/request/call.h")
    end)

    it("finds a room that includes more of the floor than it may", function()
        write("runtime/gateway/request/call.c", '#include "gateway/worker.h"\n#include "gateway/control.h"\n')
        finds_only("runtime/gateway/request/call.c:2: gateway/control.h")
    end)

    it("finds a folder of the gateway that is no room", function()
        write("runtime/gateway/misc/all.c", '#include "gateway/shared.h"\n')
        finds_only("runtime/gateway/misc/all.c:1: gateway/shared.h")
    end)

    for line, part in pairs({
        ["flight->chain.takes = MG_CHAIN_TAKES_NOTHING;"] = "chain",
        ["    flight->filters.state[which] |= 1;"] = "filters",
        ["filter->flight->limits.holds.count++;"] = "limits",
        ["mg_timer_set(loop, &flight->chain.timer, now);"] = "chain",
        ["flight->way ="] = "way",
        ["flight->replay = NULL;"] = "replay",
    }) do
        it("finds that " .. line .. " stands in a file of another name", function()
            write("runtime/gateway/request/tap.c", "/* .. */\n" .. line .. "\n")
            finds_only("runtime/gateway/request/tap.c:2: " .. part)
        end)
    end

    it("lets each file write its own part of a flight, and all read", function()
        write("runtime/gateway/request/chain_body.c", "flight->chain.takes = flight->limits.refused;\n")
        write("runtime/gateway/request/tap.c", "if (flight->chain.takes == 1 && flight->proxy.errand.count <= 2)\n")
        write("runtime/gateway/request/job.c", "const bool is = flight->beside && flight->chain.call != NULL;\n")
        assert.same({}, violations_in(root))
    end)

    it("finds a layer included by moongate.h", function()
        write("runtime/moongate.h", '#include "base/str.h"\n')
        finds_only("runtime/moongate.h:1: base/str.h")
    end)

    it("finds an include without its folder", function()
        write("runtime/http/h1.c", '#include "h1.h"\n')
        finds_only("runtime/http/h1.c:1: h1.h")
    end)

    it("finds a folder that is no layer", function()
        write("runtime/misc/all.c", '#include "base/str.h"\n')
        finds_only("runtime/misc/all.c:1: base/str.h")
    end)

    for header, path in pairs({
        ["http_parser.h"] = "net/conn.c",
        ["lmdb.h"] = "store/record.c",
        ["yaml.h"] = "text/json.c",
        ["jansson.h"] = "gateway/admin/admin.c",
        ["event2/event.h"] = "net/conn.c",
        ["lua.h"] = "gateway/worker.c",
        ["pcre2.h"] = "policy/router.c",
        ["openssl/ssl.h"] = "net/stream.c",
    }) do
        it("finds " .. header .. " outside its home", function()
            write("runtime/" .. path, "#include <" .. header .. ">\n")
            finds_only("runtime/" .. path .. ":1: " .. header)
        end)
    end

    it("finds a require that points up", function()
        write("lua/moongate/sdk/ctx.lua", '-- require("moongate.worker.a")\nlocal b = require("moongate.worker.b")\n')
        finds_only("lua/moongate/sdk/ctx.lua:2: moongate.worker.b")
    end)

    it("finds cdata outside moongate/ffi", function()
        write("lua/moongate/sdk/kv.lua", 'local ffi = require "ffi"\n')
        finds_only("lua/moongate/sdk/kv.lua:1: ffi")
    end)

    it("finds a require that hides its name", function()
        write("lua/moongate/sdk/kv.lua", 'local kv = require(prefix .. "kv")\n')
        finds_only("lua/moongate/sdk/kv.lua:1: require")
    end)

    it("finds a require under pcall", function()
        write("lua/moongate/ffi/c.lua", 'local ok = pcall(require, "moongate.sdk.ctx")\n')
        finds_only("lua/moongate/ffi/c.lua:1: moongate.sdk.ctx")
    end)

    it("finds a plugin that reaches past the SDK", function()
        write("plugins/a/plugin.lua", 'local c = require("moongate.ffi.c")\n')
        finds_only("plugins/a/plugin.lua:1: moongate.ffi.c")
    end)

    it("finds a plugin that requires another's lib", function()
        write("plugins/a/lib/x.lua", "local b = require 'b.x'\n")
        finds_only("plugins/a/lib/x.lua:1: b.x")
    end)

    it("accepts headers that say on which thread they may be called", function()
        write("runtime/base/list.h", "/* list.h - a list. Pure: one at a time. */\n")
        write("runtime/base/log.h", "/* log.h - lines, as many\n * threads as there are. */\n#define MG_LOG\n")
        write("runtime/net/stream.h", "/* stream.h - bytes. On its loop's thread. */\n")
        write("runtime/net/stream.c", "int a;\n")
        assert.same({}, heads_in(root))
    end)

    for name, text in pairs({
        ["thread.h"] = "/* thread.h - starts what runs. */\n/* Any thread. */\n",
        ["loop_parts.h"] = "/* loop_parts.h - what loop_a.c shares; threadbare. */\n",
        ["bare.h"] = "#define MG_BARE\n/* Any thread. */\n",
        ["empty.h"] = "",
    }) do
        it("finds that " .. name .. " does not say on which thread", function()
            write("runtime/base/" .. name, text)
            local found = heads_in(root)
            assert.equal(1, #found, table.concat(found, "\n"))
            assert.equal("runtime/base/" .. name .. ": ", found[1]:match("^[^ ]+ "))
        end)
    end

    local function lines(count, text)
        return (text .. "\n"):rep(count)
    end

    it("accepts files and functions that are short", function()
        local function_60 = "int f(int a,\n      int b)\n{\n" .. lines(60, "    a();") .. "}\n"
        write("runtime/base/a.c", function_60 .. function_60 .. lines(600 - 2 * 64, "/* .. */"))
        write("runtime/base/a.h", "typedef struct a\n{\n" .. lines(70, "    int a;") .. "} a;\nint f(void)\n{\n}\n")
        write("tests/unit/http/uri.c",
            "static void a_path_has_one_form(void **state)\n{\n" .. lines(66, "    a();") .. "}\n")
        write("tests/e2e/a_spec.lua", lines(700, "a()"))
        assert.same({ {}, 4 }, { sizes_in(root) })
    end)

    for path, text in pairs({
        ["runtime/base/long.c"] = lines(601, "/* .. */"),
        ["runtime/base/long.h"] = lines(601, "/* .. */"),
        ["tests/unit/base/long.c"] = lines(601, "/* .. */"),
    }) do
        it("finds that " .. path .. " is too long", function()
            write(path, text)
            assert.same({ path .. ": 601 lines" }, (sizes_in(root)))
        end)
    end

    for _, path in ipairs({ "runtime/base/a.c", "runtime/base/a.h", "tests/unit/http/uri.c" }) do
        it("finds that a function in " .. path .. " is too long", function()
            write(path, "static void a(int b)\n{\n}\n\nstatic int long_one(int a,\n    int b)\n{\n"
                .. lines(61, "    a(b);") .. "}\n")
            assert.same({ path .. ":7: long_one: 61 lines" }, (sizes_in(root)))
        end)
    end

    local function cites_only(text)
        local found = citations_in(root)
        assert.equal(1, #found, table.concat(found, "\n"))
        assert.equal(text, found[1])
    end

    local PAGE = "# Policies\n\n## 1. Rules\n\n## 2. Router\n\n**Key table.** Words.\n\n## 3. Limiter\n\n## Answers\n"

    it("accepts citations of what is there", function()
        write("docs/policies.md", PAGE .. "[here](policies.md) 1, [up](../README.md), docs/policies.md\n")
        write("README.md", "[rules](docs/policies.md) and [a folder](docs)\n")
        write("runtime/a.c", "/* One (docs/policies.md 1, 2-3): docs/policies.md\n * 2 and 3. */\n")
        write("runtime/b.c", '/* docs/policies.md "Answers" */\n')
        write("lua/a.lua", '--- docs/policies.md 2, "Key table": as there.\n')
        assert.same({}, (citations_in(root)))
        assert.equal(9, (select(2, citations_in(root))))
    end)

    for text, why in pairs({
        ["/* (docs/policies.md 4). */"] = "docs/policies.md 4: it has no such section",
        ["/* (docs/policies.md\n * 4). */"] = "docs/policies.md 4: it has no such section",
        ["/* docs/policies.md 1, 3-4 */"] = "docs/policies.md 4: it has no such section",
        ["/* docs/policies.md 2 and 7 */"] = "docs/policies.md 7: it has no such section",
        ['/* docs/policies.md 2, "Key tables" */'] = 'docs/policies.md: it has no heading "Key tables"',
        ['/* docs/policies.md "Answer" */'] = 'docs/policies.md: it has no heading "Answer"',
        ["/* docs/limits.md 1 */"] = "docs/limits.md: there is no such page",
        ["/* (POLICIES\n * 2) */"] = "POLICIES 2: write docs/policies.md and its section",
    }) do
        it("finds " .. text:gsub("\n", " "), function()
            write("docs/policies.md", PAGE)
            write("runtime/a.c", text .. "\n")
            cites_only("runtime/a.c: " .. why)
        end)
    end

    it("finds a link that leads nowhere", function()
        write("docs/policies.md", PAGE .. "[here](metrics.md)\n")
        cites_only("docs/policies.md: metrics.md: the link leads nowhere")
    end)

    it("finds a section behind a link that is not there", function()
        write("docs/policies.md", PAGE)
        write("docs/other.md", "([policies](policies.md) 9)\n")
        cites_only("docs/other.md: docs/policies.md 9: it has no such section")
    end)
end)
