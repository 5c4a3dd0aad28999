--- service: what moongate.h tells of services. Text of C becomes strings here.
local ffi = require("ffi")
local c = require("moongate.ffi.c")

local string_of, new = ffi.string, ffi.new
local look, look_host, look_breaker = c.mg_call_service, c.mg_call_service_host, c.mg_call_service_breaker
local choose = c.mg_call_choose

-- One VM runs one call at a time and nothing here yields, so one of each is enough.
local seen, host, breaker = new("mg_service_seen"), new("mg_service_host_seen"), new("mg_breaker *[1]")

local NAMES = 256 -- of a message, at most
local NAME_BYTES = 1024 -- a longer one names nothing, and is not looked for

local service = {}

---@param name string  "": the request's own
---@return ffi.cdata*? seen  mg_service_seen, good until the next call; nil when there is none
function service.seen(call, name)
    if #name <= NAME_BYTES and look(call, name, #name, seen) then
        return seen
    end
end

service.of = { SERVICES = c.MG_NAMES_SERVICES, LIMITERS = c.MG_NAMES_LIMITERS, GROUPS = c.MG_NAMES_GROUPS }

--- Names for messages, sorted.
---@param what integer  of service.of
---@return string[]
function service.names(call, what)
    local all, name = {}, new("mg_slice")
    while #all < NAMES and c.mg_call_name_at(call, what, #all, name) do
        all[#all + 1] = string_of(name.p, name.n)
    end
    table.sort(all)
    return all
end

--- Sends the request to a service, or else to the backend of a group.
---@param group boolean
---@return string? problem  "": there is none of that name
function service.choose(call, group, name)
    if #name > NAME_BYTES then
        return ""
    end
    local wrong = choose(call, group, name, #name)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

---@return string? name  of the request's own service
function service.own_name(call)
    if look(call, "", 0, seen) then
        return (string_of(seen.name.p, seen.name.n))
    end
end

---@return string? state, number retry_s  no state when it has no breaker
function service.breaker_state(call, name)
    if look(call, name, #name, seen) and seen.breaker ~= nil then
        return string_of(seen.breaker), seen.retry_s
    end
    return nil, 0
end

---@param index integer  from 0
---@return ffi.cdata*? host  mg_service_host_seen, good until the next call; nil past the end
---@return string? authority, string? health, string? address  no address where the authority says it
function service.host(call, name, index)
    if look_host(call, name, #name, index, host) then
        local address = host.address.n > 0 and string_of(host.address.p, host.address.n) or nil
        return host, string_of(host.authority.p, host.authority.n), string_of(host.health), address
    end
end

---@return boolean found
---@return ffi.cdata*? breaker  nil when the service has none
function service.breaker(call, name)
    breaker[0] = nil
    local found = #name <= NAME_BYTES and look_breaker(call, name, #name, breaker)
    local pointer = breaker[0]
    if pointer ~= nil then
        return found, pointer
    end
    return found, nil
end

return service
