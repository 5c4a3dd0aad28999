--- json: configuration documents out, log lines and problem documents in.
local dkjson = require "dkjson"

local json = {}

--- Marks a table as a list, for the empty ones.
function json.list(t) return setmetatable(t or {}, { __jsontype = "array" }) end
function json.map(t) return setmetatable(t or {}, { __jsontype = "object" }) end

function json.encode(value)
    return assert(dkjson.encode(value, { indent = true }))
end

--- The value; fails on what is not JSON.
function json.decode(text)
    local value, _, err = dkjson.decode(text, 1, nil)
    if err then error("not JSON: " .. err .. "\n" .. text, 0) end
    return value
end

return json
