--- json_fault: where in a value it is that JSON cannot say. Walked only once an encoder has refused the value.
local bind = require("moongate.ffi.json")
local frozen = require("moongate.sdk.frozen")
local running = require("moongate.sdk.running")

local type, tostring, pairs, format, match = type, tostring, pairs, string.format, string.match
local gsub, sort, sub = string.gsub, table.sort, string.sub
local MAX_DEPTH, MAX_VISITED = bind.DEPTH, 10000

local function member(path, key)
    if type(key) == "number" then
        return path .. "[" .. tostring(key) .. "]"
    elseif type(key) ~= "string" then
        return path .. "[" .. type(key) .. "]"
    elseif match(key, "^[%a_][%w_]*$") and #key <= 40 then
        return path .. "." .. key
    end
    return path .. format("[%q]", sub(key, 1, 40))
end

--- The keys of a list with gaps, or of a list and a map at once: what is wrong with them.
local function wrong_keys(value)
    local numbers, words, highest = 0, nil, 0
    for key in pairs(value) do
        running.charge(2)
        if type(key) == "number" and key >= 1 and key % 1 == 0 then
            numbers = numbers + 1
            highest = key > highest and key or highest
        elseif type(key) == "string" then
            words = words and words < key and words or key
        elseif type(key) == "number" then
            return "has the key " .. tostring(key) .. ": a list's are 1, 2, .., a map's are texts"
        else
            return "has a key that is a " .. type(key)
        end
    end
    if numbers > 0 and words then
        return "has both a list's and a map's keys: [1], .. and " .. format("%q", words)
    elseif numbers > 0 and numbers < highest then
        for i = 1, highest do
            if value[i] == nil then
                return "is a list with a gap: [" .. i .. "] is nil; write json.null for a null"
            end
        end
    end
end

local function find(value, path, depth, budget)
    budget.left = budget.left - 1
    local of = type(value)
    if of == "function" or of == "thread" or of == "userdata" then
        return path, "a " .. of .. " has no JSON"
    elseif of == "cdata" and not bind.digits(value) then
        return path, "a cdata that is not a 64-bit integer has no JSON"
    elseif of == "number" and (value ~= value or value == math.huge or value == -math.huge) then
        return path, "JSON has no " .. tostring(value)
    elseif of ~= "table" then
        return nil
    end
    value = frozen.of(value)
    local wrong = wrong_keys(value)
    if wrong then
        return path, "it " .. wrong
    elseif depth >= MAX_DEPTH or budget.left <= 0 then
        return nil
    end
    local keys = {}
    for key in pairs(value) do
        running.charge(2)
        keys[#keys + 1] = key
        if #keys == MAX_VISITED then
            break
        end
    end
    sort(keys, function(a, b)
        running.charge(20)
        return tostring(a) < tostring(b)
    end)
    for i = 1, #keys do
        local found, why = find(value[keys[i]], member(path, keys[i]), depth + 1, budget)
        if found then
            return found, why
        end
    end
end

--- The message of an encoder with the path of what it refused.
---@param value any
---@param path string  how the plugin wrote the value itself
---@param problem string  what the encoder said
---@return string
return function(value, path, problem)
    local found, why = find(value, path, 1, { left = MAX_VISITED })
    if found then
        return found .. ": " .. why
    end
    return (gsub(gsub(problem, "^[^%s:]+:%d+: ", ""), "^encode: ", ""))
end
