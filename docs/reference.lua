--- reference: schemas/gateway.json as a page for people.
---
---     luajit docs/reference.lua > docs/configuration.md
---
--- A spec holds the page against the schema, so run this after every change of the schema.

-- ---- JSON with the order of its members ----

--- The members of an object stand in its array part too: { "a", "b", a = .., b = .. }. The schema is ours and well
--- formed; what is not, raises.
local function parse(text)
    local at = 1
    local value

    local function take(pattern)
        local from, to, found = text:find("^%s*(" .. pattern .. ")", at)
        if not from then
            return nil
        end
        at = to + 1
        return found
    end

    local function need(pattern)
        return take(pattern) or error(("schemas/gateway.json, byte %d: expected %s"):format(at, pattern), 0)
    end

    local escapes = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" }
    local function text_of(raw)
        return (raw:sub(2, -2):gsub("\\(.)", function(char)
            return escapes[char] or char
        end))
    end

    --- To the quote that no backslash stands before.
    local function string_()
        if not take '"' then
            return nil
        end
        local from = at - 1
        repeat
            need '[^"]-"'
        until #text:sub(from, at - 2):match "\\*$" % 2 == 0
        return text_of(text:sub(from, at - 1))
    end

    local function list(close, one)
        local all = {}
        if take(close) then
            return all
        end
        repeat
            one(all)
        until not take ","
        need(close)
        return all
    end

    local words = { ["true"] = true, ["false"] = false }

    function value()
        if take "{" then
            return list("}", function(all)
                local key = string_()
                need ":"
                all[#all + 1], all[key] = key, value()
            end)
        elseif take "%[" then
            return list("%]", function(all)
                all[#all + 1] = value()
            end)
        end
        local found = string_()
        if found then
            return found
        end
        local word = need "[%w.+-]+"
        if words[word] ~= nil then
            return words[word]
        end
        return tonumber(word) or error("schemas/gateway.json: what is " .. word .. "?", 0)
    end

    return value()
end

-- ---- what may stand there ----

local UNBOUNDED = 2147483647
local units = { duration = "a time", size = "a size", rate = "a rate", share = "a share", bind = "an address",
    url = "a URL", host = "a host" }

local schema

local function resolve(node)
    local name = node["$ref"] and node["$ref"]:match "^#/%$defs/(.+)$"
    return name and schema["$defs"][name] or node
end

local function is_tree(node)
    return node.properties or (type(node.additionalProperties) == "table" and node.type == "object")
end

local function number(n)
    return ("%.10g"):format(n)
end

local function code(text)
    return "`" .. text .. "`"
end

local function codes(list)
    local all = {}
    for i, one in ipairs(list) do
        all[i] = code(tostring(one))
    end
    return table.concat(all, ", ")
end

local function bounded(word, node)
    if node.maximum == nil and node.minimum == nil then
        return word
    elseif node.maximum == UNBOUNDED or node.maximum == nil then
        return ("%s from %s"):format(word, number(node.minimum))
    end
    return ("%s, %s to %s"):format(word, number(node.minimum), number(node.maximum))
end

local kinds

local function kind_of_text(node)
    local range = node["x-range"]
    if node.enum then
        return codes(node.enum)
    elseif range then
        return ("%s, %s to %s"):format(units[node.format], range[1], range[2])
    end
    return units[node.format] or "text"
end

local function kind(node)
    node = resolve(node)
    if node.const then
        return code(tostring(node.const))
    elseif type(node.type) == "table" then
        local all = {}
        for i, one in ipairs(node.type) do
            local only = { type = one, minimum = node.minimum, maximum = node.maximum }
            all[i] = kinds[one](only)
        end
        return table.concat(all, " or ")
    end
    return kinds[node.type](node)
end

kinds = {
    string = kind_of_text,
    integer = function(node)
        return bounded("whole number", node)
    end,
    number = function(node)
        return bounded("number", node)
    end,
    boolean = function()
        return "`true`, `false`"
    end,
    array = function(node)
        return "list of: " .. kind(node.items)
    end,
    object = function(node)
        if type(node.additionalProperties) == "table" and not is_tree(resolve(node.additionalProperties)) then
            return "map to " .. kind(node.additionalProperties)
        end
        return "map"
    end,
}

local function flow(value)
    if type(value) ~= "table" then
        return type(value) == "number" and number(value) or tostring(value)
    end
    local all = {}
    for i, one in ipairs(value) do
        all[i] = flow(one)
    end
    return "[" .. table.concat(all, ", ") .. "]"
end

--- A map's default says only that its own defaults hold where it is left out.
local function default_of(node)
    if node.default == nil or node.type == "object" then
        return ""
    end
    return code(flow(node.default))
end

-- ---- the page ----

local out = {}

local function put(format, ...)
    out[#out + 1] = select("#", ...) > 0 and format:format(...) or format
end

local function contains(list, wanted)
    for _, one in ipairs(list or {}) do
        if one == wanted then
            return true
        end
    end
    return false
end

--- What a section of its own tells, and where it stands: the entries of a map, the items of a list, or the value
--- itself.
local function below(node, path)
    node = resolve(node)
    if node.type == "array" then
        return resolve(node.items), path .. "[]"
    elseif node.type == "object" and type(node.additionalProperties) == "table" then
        return resolve(node.additionalProperties), path .. ".NAME"
    end
    return node, path
end

local function anchor(path)
    return "#" .. path:lower():gsub("[^%w_-]", "")
end

local function put_row(node, path, key)
    local given, value = node.properties[key], resolve(node.properties[key])
    local inner, inner_path = below(given, path and path .. "." .. key or key)
    local name = code(key)
    if inner.properties and next(inner.properties) then
        name = ("[%s](%s)"):format(name, anchor(inner_path))
    end
    local default = contains(node.required, key) and "required" or default_of(value)
    local about = given.description or value.description
    if value.items and not resolve(value.items).properties and value.items.description then
        about = ("%s; each is %s"):format(about, value.items.description)
    end
    put("| %s | %s | %s | %s |", name, kind(value), default, (about:gsub("|", "\\|")))
end

local function put_later(later)
    local all = {}
    for i, key in ipairs(later or {}) do
        all[i] = ("%s (%s)"):format(code(key), later[key])
    end
    if #all > 0 then
        put("")
        put("Refused with a message: %s.", table.concat(all, "; "))
    end
end

local put_sections

local function put_section(node, path)
    put("")
    put("## %s", path or "The whole file")
    put("")
    if path then
        put("%s.", (node.description:gsub("^%l", string.upper)))
        put("")
    end
    put("| key | value | default | |")
    put("|---|---|---|---|")
    for _, key in ipairs(node.properties) do
        put_row(node, path, key)
    end
    put_later(node["x-later"])
    put_sections(node, path)
end

function put_sections(node, path)
    for _, key in ipairs(node.properties) do
        local inner, inner_path = below(node.properties[key], path and path .. "." .. key or key)
        if inner.properties and #inner.properties > 0 then
            put_section(inner, inner_path)
        end
    end
end

local HEAD = [[
# Configuration

Every key of `moongate.yaml`, made from `schemas/gateway.json` by `luajit docs/reference.lua`; a test sees to it
that the two agree. The same tree may be written as JSON. `moongate check` says of each mistake where it is and what
to write instead; a key that is not here is one.

- Times, sizes, rates and shares carry units: `250ms`, `10s`, `3m`, `1h`, `1d`; `512B`, `64KiB`, `1MiB`, `1GiB`;
  `100/s`, `10/m`, `5000/h`, `1000000/d`; `0.5%`, `50%`.
- `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` may stand in values and are put in after parsing, so that
  they cannot change the structure; paths are relative to the file that names them. White space at the end of what they
  stand for is cut. A file that is empty, a value that begins with white space or a byte order mark, and what is not
  UTF-8 or longer than 64 KiB are mistakes.
- `moongate run --set services.cart.balance=maglev` changes one key of the file for one run.
- NAME in a heading is a name that you give: letters, digits, `.`, `_` and `-`, at most 64. `[]` is each item of a
  list.
- A block such as `breaker: {}` turns a policy on with its defaults; without it there is none.]]

local file = assert(io.open(arg and arg[1] or "schemas/gateway.json"))
schema = parse(file:read "*a")
file:close()
put(HEAD)
put_section(schema, nil)
print(table.concat(out, "\n"))
