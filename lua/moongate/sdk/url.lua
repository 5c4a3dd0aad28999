--- url: percent-encoding, the parts of a URL (RFC 3986), and queries.
local bind = require("moongate.ffi.codec")
local codec = require("moongate.sdk.codec")
local frozen = require("moongate.sdk.frozen")
local json = require("moongate.sdk.json")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, error, tostring, tonumber, ipairs = type, error, tostring, tonumber, ipairs
local find, match, sub, gsub, lower = string.find, string.match, string.sub, string.gsub, string.lower
local format, byte, sort, concat = string.format, string.byte, table.sort, table.concat
local encode, decode, digits = bind.encode, bind.decode, require("moongate.ffi.json").digits
local huge = math.huge
local PERCENT = bind.PERCENT
local COST, PARSE_COST = 0.5, 3 -- checks for each byte; a check is 10 ns
local PAIR_COST = 16 -- of a name and its value
local PARSED_MAX = 1048576 -- bytes of a URL
local PAIRS = 512 -- names and values that are read between two pauses
local PLUS_PART = 8192 -- bytes whose "+" are replaced between two looks

--- encode escapes all bytes (%2F) but letters, digits and "-._~": for a segment of a path, or a name or value of a
--- query. decode reads escapes; "+" stays what it is: it is a blank only in queries, which parse_query reads.
---@class moongate.Url : moongate.Codec
local url, check, pause = codec.new("url", PERCENT, "text", COST)

---@class moongate.UrlParts
---@field scheme? string  lower-case
---@field userinfo? string  before the "@", as it stands
---@field host? string  lower-case; an IPv6 address without brackets
---@field port? integer  0..65535; nil when none is written
---@field path string  as it stands; "" when there is none
---@field query? string  behind the "?", as it stands: parse_query reads it
---@field fragment? string  behind the "#", as it stands

--- "[::1]:80" or "shop.test:80". Nothing here goes over a text more than once or twice, however it was made.
local function parse_host(text, parts)
    local host, past
    if sub(text, 1, 1) == "[" then
        past = find(text, "]", 1, true) or 1
        host = sub(text, 2, past - 1)
        if not find(host, ":", 1, true) or find(host, "[^%x:.]") then
            return "what stands in brackets is not an IPv6 address"
        end
    else
        past = (find(text, ":", 1, true) or #text + 1) - 1
        host = sub(text, 1, past)
    end
    local port = sub(text, past + 1)
    if find(host, "[%[%]]") or (port ~= "" and not find(port, "^:%d+$")) then
        return "the authority is not HOST or HOST:PORT"
    end
    port = tonumber(sub(port, 2))
    if port and port > 65535 then
        return "a port is 0 to 65535"
    end
    parts.host, parts.port = lower(host), port
end

local function parse_authority(text, parts)
    local userinfo, rest = match(text, "^([^@]*)@(.*)$")
    if rest and find(rest, "@", 1, true) then
        return "the authority has more than one @"
    end
    parts.userinfo = userinfo
    return parse_host(rest or text, parts)
end

--- What no URL has: blanks, controls, bytes beyond ASCII, '"<>\^`{|}', and a % without two hex digits.
local function find_wrong(text)
    local at = find(text, "[^%w%-._~:/?#%[%]@!$&'()*+,;=%%]")
    if at then
        return format("byte %d (0x%02x) stands in no URL: percent-encode it", at, byte(text, at))
    end
    local _, problem = decode(PERCENT, text)
    return problem
end

--- The parts of a URL, or of a reference to one ("/path?query"). Nothing is decoded or normalised.
---@param text string
---@return moongate.UrlParts? parts  nil when the text is no URL
---@return string? problem
function url.parse(text)
    check("parse", "text", text)
    if #text > PARSED_MAX then
        return nil, "a URL has at most " .. PARSED_MAX .. " bytes, not " .. #text
    end
    running.charge(PARSE_COST * #text)
    local problem = find_wrong(text)
    if problem then
        return nil, problem
    end
    local parts = {}
    local rest = text
    local at = find(rest, "#", 1, true)
    if at then
        parts.fragment, rest = sub(rest, at + 1), sub(rest, 1, at - 1)
        if find(parts.fragment, "[#%[%]]") then
            return nil, "the fragment has a byte that must be percent-encoded"
        end
    end
    at = find(rest, "?", 1, true)
    if at then
        parts.query, rest = sub(rest, at + 1), sub(rest, 1, at - 1)
    end
    local scheme, behind = match(rest, "^([^/:]*):(.*)$")
    if scheme then
        if not find(scheme, "^%a[%w+.-]*$") then
            return nil, "a scheme begins with a letter and has letters, digits, '+', '-' and '.'"
        end
        parts.scheme, rest = lower(scheme), behind
    end
    local authority, path = match(rest, "^//([^/]*)(.*)$")
    if authority then
        problem = parse_authority(authority, parts)
        rest = path
    end
    if (parts.scheme == "http" or parts.scheme == "https") and (parts.host or "") == "" then
        problem = problem or "it has no host"
    end
    if problem then
        return nil, problem
    end
    if find(rest, "[%[%]]") then
        return nil, "the path has a byte that must be percent-encoded"
    end
    parts.path = rest
    return parts
end

--- The text with a blank for each "+".
local function with_blanks(text)
    if not find(text, "+", 1, true) then
        return text
    elseif #text <= PLUS_PART then
        return (gsub(text, "+", " "))
    end
    local parts = {}
    for from = 1, #text, PLUS_PART do
        running.charge(4 * PLUS_PART)
        parts[#parts + 1] = gsub(sub(text, from, from + PLUS_PART - 1), "+", " ")
    end
    return (concat(parts))
end

--- The names and values of a query, or of a form (application/x-www-form-urlencoded), percent-decoded, with "+" as a
--- blank: a list of all values for each name, in the order in which they stand.
---@param text string  without the "?"
---@return table<string, string[]>? params  nil when an escape is none
---@return string? problem
function url.parse_query(text)
    check("parse_query", "text", text)
    local params, from, read = {}, 1, 0
    while from <= #text do
        local past = find(text, "&", from, true) or #text + 1
        running.charge(PAIR_COST)
        if past > from then
            local pair = with_blanks(sub(text, from, past - 1))
            local equals = find(pair, "=", 1, true) or #pair + 1
            local name, problem = decode(PERCENT, sub(pair, 1, equals - 1), pause)
            local value, worse = decode(PERCENT, sub(pair, equals + 1), pause)
            if not name or not value then
                return nil, problem or worse
            end
            local values = params[name]
            if values then
                values[#values + 1] = value
            else
                params[name] = { value }
            end
        end
        from = past + 1
        read = read + 1
        if read % PAIRS == 0 then
            running.pause(PAIRS * PAIR_COST)
        end
    end
    return params
end

local function value_text(name, value)
    local kind = type(value)
    if kind == "string" then
        return value
    elseif kind == "boolean" then
        return tostring(value)
    elseif kind == "number" and value == value and value ~= huge and value ~= -huge then
        return (json.encode(value))
    elseif kind == "cdata" and digits(value) then
        return (digits(value))
    end
    error("url.build_query: the value of " .. name .. " is a string, a number or a boolean, not "
        .. (kind == "number" and tostring(value) or kind) .. "; or a list of these", 3)
end

--- A query of names and values, sorted by name, percent-encoded. A list of values stands as one "name=value" for each.
---@param params table<string, string|number|boolean|(string|number|boolean)[]>
---@return string query  without the "?"
function url.build_query(params)
    object.dot(params, "url", "build_query", 2)
    if type(params) ~= "table" then
        error("url.build_query: params is a table, not " .. type(params), 2)
    end
    local names, parts = {}, {}
    for name in frozen.pairs(params) do
        if type(name) ~= "string" then
            error("url.build_query: params has the key " .. tostring(name) .. ": a name is a string", 2)
        end
        running.charge(PAIR_COST)
        names[#names + 1] = name
    end
    running.bytes(64 * #names)
    sort(names, function(a, b)
        running.charge(10)
        return a < b
    end)
    for _, name in ipairs(names) do
        local values = params[name]
        if type(values) == "table" and #values == 0 and frozen.next(values) ~= nil then
            error("url.build_query: the value of " .. name .. " is a table with names: a query has lists", 2)
        end
        for _, value in ipairs(type(values) == "table" and values or { values }) do
            local text = value_text(name, value)
            running.charge(PAIR_COST)
            running.bytes(6 * (#name + #text))
            parts[#parts + 1] = encode(PERCENT, name) .. "=" .. encode(PERCENT, text)
        end
    end
    return concat(parts, "&")
end

return url
