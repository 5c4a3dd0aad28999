--- units: "300ms" and "64KiB" as numbers.
local units = {}

local MS = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }

--- A duration in milliseconds.
---@param value string|number  "300ms", "5s"; a number is milliseconds
---@return number ms
function units.ms(value)
    if type(value) == "number" then
        return value
    end
    local number, unit = tostring(value):match("^(%d+%.?%d*)(%a+)$")
    if not number or not MS[unit] then
        units.fail("%q is not a duration: write \"300ms\", \"5s\", \"1m\", \"1h\" or \"1d\"", tostring(value))
    end
    return tonumber(number) * MS[unit]
end

local BYTES = { B = 1, KiB = 1024, MiB = 1048576 }

--- A rate in bytes for each second: "1B/s", "64KiB/s"; a number is bytes.
function units.bytes_per_second(value)
    if type(value) == "number" then
        return value
    end
    local number, unit = tostring(value):match("^(%d+)(%a+)/s$")
    if not number or not BYTES[unit] then
        units.fail("%q is not a rate: write \"1B/s\" or \"64KiB/s\"", tostring(value))
    end
    return tonumber(number) * BYTES[unit]
end

--- Where the spec called, for messages: "tests/cart_spec.lua:12".
---@return string
function units.caller()
    for level = 2, 60 do
        local info = debug.getinfo(level, "Sl")
        if not info then
            return "?"
        end
        if info.currentline > 0 and not info.source:find("^@lua/moongate/test/") then
            return (info.short_src:gsub("^%./", "")) .. ":" .. info.currentline
        end
    end
    return "?"
end

--- Raises at the line of the spec that called.
function units.fail(format, ...)
    error(units.caller() .. ": " .. format:format(...), 0)
end

return units
