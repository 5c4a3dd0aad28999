--- shown: what a plugin raised or logs, as text of a bounded length. A table shows its scalars, sorted by key: whoever
--- raises { code = 5 } wants to read 5 in the log, not an address.
local running = require("moongate.sdk.running")

-- Not the methods of texts: those are charged to the plugin, whose budget may be what is spent.
local sub, gsub, format, match, byte = string.sub, string.gsub, string.format, string.match, string.byte
local sort, concat = table.sort, table.concat
local pcall, tostring, type, next, rawget = pcall, tostring, type, next, rawget
local getmetatable = debug.getmetatable

local MAX_VISITED, MAX_FIELDS, MAX_KEY_BYTES, MAX_VALUE_BYTES = 256, 16, 40, 200
local MAX_BYTES = 1024

local function escape(char)
    return format("\\%d", byte(char))
end

local function cut(text, bytes)
    return #text > bytes and sub(text, 1, bytes) .. ".." or text
end

local function quoted(text, bytes)
    return '"' .. gsub(cut(text, bytes), '[%c"\\]', escape) .. '"'
end

--- Numbers before names, both in order; NaN, which no key is, does not come here.
local function before(a, b)
    if a.rank ~= b.rank then
        return a.rank < b.rank
    end
    return a.key < b.key
end

local function field(key, value)
    local of = type(value)
    local name
    if type(key) == "number" then
        name = "[" .. tostring(key) .. "]"
    else
        name = match(key, "^[%a_][%w_]*$") and cut(key, MAX_KEY_BYTES) or "[" .. quoted(key, MAX_KEY_BYTES) .. "]"
    end
    if of == "string" then
        return name .. " = " .. quoted(value, MAX_VALUE_BYTES)
    elseif of == "number" or of == "boolean" or of == "cdata" then -- a 64-bit integer
        return name .. " = " .. tostring(value)
    end
    return name .. " = " .. of
end

--- Its fields whose keys are names or numbers; what stands in tables within is left out. No metamethod runs.
---@param value table
local function fields_of(value)
    local found, parts, visited = {}, {}, 0
    local key, item = next(value)
    while key ~= nil and visited < MAX_VISITED do
        local of = type(key)
        if of == "number" or of == "string" then
            found[#found + 1] = { rank = of == "number" and 1 or 2, key = key, value = item }
        end
        visited = visited + 1
        key, item = next(value, key)
    end
    sort(found, before)
    for i = 1, #found < MAX_FIELDS and #found or MAX_FIELDS do
        parts[i] = field(found[i].key, found[i].value)
    end
    if #found > MAX_FIELDS or key ~= nil then
        parts[#parts + 1] = ".."
    end
    return "{" .. concat(parts, ", ") .. "}"
end

--- What a table's own __tostring says; nil where it has none, or that raises or gives no text. It may not wait.
local function own_text(value)
    local meta = getmetatable(value)
    if not meta or not rawget(meta, "__tostring") then
        return nil
    end
    local may_wait = running.may_wait
    running.may_wait = false
    local ok, text = pcall(tostring, value)
    running.may_wait = may_wait
    return ok and type(text) == "string" and text or nil
end

local function whole(value)
    local of = type(value)
    if of == "table" then
        return own_text(value) or "a table: " .. fields_of(value)
    elseif of == "function" or of == "thread" or of == "userdata" then
        return "a " .. of
    end
    return tostring(value)
end

--- Never raises.
---@param value any
---@param most? integer  bytes; 1024 when left out
---@return string
return function(value, most)
    return sub(whole(value), 1, most or MAX_BYTES)
end
