--- cookie: reads the cookies of requests and writes those of answers (RFC 6265).
local frozen = require("moongate.sdk.frozen")
local object = require("moongate.sdk.object")
local running = require("moongate.sdk.running")

local type, error, tostring, floor = type, error, tostring, math.floor
local find, match, gmatch, sub = string.find, string.match, string.gmatch, string.sub
local lower, format = string.lower, string.format
local concat = table.concat

local COST, PAIR_COST = 0.8, 16 -- checks for each byte, and for each name and value; a check is 10 ns
local MAX_BYTES = 4096 -- of name and value, and of each attribute 1024: browsers drop what is longer
local MAX_ATTRIBUTE_BYTES = 1024
local PARSED_MAX = 1048576 -- bytes of a cookie field

---@class moongate.CookieOptions
---@field path? string  begins with "/"; the path of the request when left out
---@field domain? string  a host, for it and all below it; the one that answers when left out
---@field max_age? integer  seconds; 0 deletes it; until the browser closes when left out
---@field secure? boolean  for https alone
---@field http_only? boolean  not for scripts
---@field same_site? "strict"|"lax"|"none"  in any case; "none" needs secure

local kinds = {
    path = "string", domain = "string", max_age = "number", secure = "boolean", http_only = "boolean",
    same_site = "string",
}
local same_sites = { strict = "Strict", lax = "Lax", none = "None" }

---@class moongate.Cookie
local cookie = {}


--- The cookies of a cookie field: a list of all values for each name. Values are as they stand, quotes and escapes and
--- all; what is no name=value is passed over.
---@param text string  as ctx.request:header("cookie")
---@return table<string, string[]> cookies
function cookie.parse(text)
    if type(text) ~= "string" then
        object.dot(text, "cookie", "parse", 2)
        error("cookie.parse: text is a string, not " .. type(text), 2)
    end
    if #text > PARSED_MAX then
        error("cookie.parse: a field has at most " .. PARSED_MAX .. " bytes, not " .. #text, 2)
    end
    running.bytes(8 * #text)
    running.charge(COST * #text)
    local cookies = {}
    for part in gmatch(text, "[^;]+") do
        running.charge(PAIR_COST)
        local from, equals = find(part, "[^ \t]"), find(part, "=", 1, true)
        if equals and equals > from then
            local name, value = sub(part, from, equals - 1), match(part, "^.*[^ \t]", equals + 1) or ""
            local values = cookies[name]
            if values then
                values[#values + 1] = value
            else
                cookies[name] = { value }
            end
        end
    end
    return cookies
end

--- What is wrong with a path or a domain; nil when nothing is.
local function wrong_place(options)
    local path, domain = options.path, options.domain
    if path and (not find(path, "^/") or find(path, "[^\32-\126]") or find(path, ";", 1, true)) then
        return "path begins with '/' and has no ';', control or byte beyond ASCII"
    end
    if not domain then
        return
    end
    if #domain > 253 or find(domain, "[^%w.-]") or find(domain, "^[.-]") or find(domain, "[.-]$")
        or find(domain, "%.[.-]") or find(domain, "-.", 1, true) or domain == "" then
        return "domain is a host name: letters, digits and '-' between single dots"
    end
end

--- What is wrong with the options together, and with those that a name with a prefix must have.
local function wrong_together(name, options)
    local same_site = options.same_site and same_sites[lower(options.same_site)]
    if options.same_site and not same_site then
        return 'same_site is "strict", "lax" or "none"'
    elseif same_site == "None" and not options.secure then
        return 'same_site "none" needs secure: browsers drop it otherwise'
    end
    local prefix = match(lower(name), "^__host%-") or match(lower(name), "^__secure%-")
    if prefix and not options.secure then
        return "a name that begins with " .. prefix .. " needs secure"
    elseif prefix == "__host-" and (options.path ~= "/" or options.domain) then
        return 'a name that begins with __host- needs path "/" and no domain'
    end
end

--- What is wrong with a cookie; nil when nothing is.
local function wrong_cookie(name, value, options)
    if #name + #value > MAX_BYTES then
        return "name and value have at most " .. MAX_BYTES .. " bytes together"
    elseif name == "" or find(name, "[^%w!#$%%&'*+.^_`|~-]") then
        return "name is a token: letters, digits and !#$%&'*+-.^_`|~"
    end
    local bare = match(value, '^"(.*)"$') or value
    if find(bare, "[%z\1-\32\",;\\\127-\255]") then
        return "value has no blank, '\"', ',', ';', '\\', control or byte beyond ASCII: encode it, as with url.encode"
    end
    for key in frozen.pairs(options) do
        local kind = kinds[key]
        if not kind then
            return "no option '" .. tostring(key) .. "': " .. object.choices(key, object.members(kinds))
        elseif type(options[key]) ~= kind then
            return key .. " is a " .. kind .. ", not " .. type(options[key])
        elseif kind == "string" and #options[key] > MAX_ATTRIBUTE_BYTES then
            return key .. " has at most " .. MAX_ATTRIBUTE_BYTES .. " bytes"
        end
    end
    local age = options.max_age
    if age and not (age >= 0 and age <= 2 ^ 53 and age == floor(age)) then
        return "max_age is 0 or a whole number of seconds above it"
    end
    return wrong_place(options) or wrong_together(name, options)
end

--- The value of a set-cookie field. Raises at the line that is `level` above.
local function text_of(what, name, value, options, level)
    if type(name) ~= "string" then
        object.dot(name, "cookie", "format", level + 1)
        error(what .. ": name is a string, not " .. type(name), level + 1)
    end
    if type(value) ~= "string" then
        error(what .. ": value is a string, not " .. type(value), level + 1)
    end
    if options ~= nil and type(options) ~= "table" then
        error(what .. ": options are a table, not " .. type(options), level + 1)
    end
    options = options or {}
    running.charge(100)
    running.bytes(3 * (#name + #value))
    local wrong = wrong_cookie(name, value, options)
    if wrong then
        error(what .. ": " .. wrong, level + 1)
    end
    local parts = { name .. "=" .. value }
    local function add(attribute, given)
        if given then
            parts[#parts + 1] = given == true and attribute or attribute .. "=" .. given
        end
    end
    add("Path", options.path)
    add("Domain", options.domain)
    add("Max-Age", options.max_age and format("%d", options.max_age))
    add("Secure", options.secure)
    add("HttpOnly", options.http_only)
    add("SameSite", options.same_site and same_sites[lower(options.same_site)])
    return concat(parts, "; ")
end

--- A cookie as the value of a set-cookie field, for an answer's headers. Raises on what RFC 6265 has no place for.
---@param name string  a token
---@param value string  no blanks, quotes, commas, semicolons or backslashes; quotes may stand around all of it
---@param options? moongate.CookieOptions
---@return string field
function cookie.format(name, value, options)
    return (text_of("cookie.format", name, value, options, 2))
end

return { members = cookie, text_of = text_of }
