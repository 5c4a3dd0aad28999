--- http: reads heads and bodies off a peer. Plain on purpose: a second opinion beside the parser under test.
local http = {}

--- The fields of a head or trailer section: lower-case name to value (several joined by ", "), and in order as list.
local function fields_of(text)
    local fields, list = {}, {}
    for line in text:gmatch("([^\r\n]+)\r\n") do
        local name, value = line:match("^([^:]+):[ \t]*(.-)[ \t]*$")
        if not name then error("not a field line: " .. line, 0) end
        list[#list + 1] = { name = name, value = value }
        name = name:lower()
        fields[name] = fields[name] and fields[name] .. ", " .. value or value
    end
    return fields, list
end

local function head_of(peer)
    local raw = peer:recv_until("\r\n\r\n")
    local start, rest = raw:match("^([^\r\n]*)\r\n(.*)\r\n$")
    local message = { raw = raw, start = start }
    message.fields, message.list = fields_of(rest)
    return message
end

local function chunked(peer, message)
    local parts = {}
    message.chunks = {}
    while true do
        local line = peer:recv_until("\r\n")
        local size = tonumber(line:match("^(%x+)"), 16)
        if not size then error(peer.name .. ": not a chunk size: " .. line, 0) end
        if size == 0 then break end
        message.chunks[#message.chunks + 1] = size
        parts[#parts + 1] = peer:recv(size)
        local ending = peer:recv(2)
        if ending ~= "\r\n" then error(peer.name .. ": chunk not closed by CRLF", 0) end
    end
    local trailers = ""
    repeat
        local line = peer:recv_until("\r\n")
        trailers = trailers .. line
    until line == "\r\n"
    message.trailers = fields_of(trailers)
    message.body = table.concat(parts)
end

local function body(peer, message, none, until_close)
    if none then
        message.body = ""
    elseif message.fields["transfer-encoding"] then
        chunked(peer, message)
    elseif message.fields["content-length"] then
        message.body = peer:recv(tonumber(message.fields["content-length"]))
    elseif until_close then
        message.body = peer:recv_all()
    else
        message.body = ""
    end
    return message
end

function http.request_head(peer)
    local message = head_of(peer)
    message.method, message.target, message.version = message.start:match("^(%S+) (%S+) HTTP/(%d%.%d)$")
    if not message.method then error(peer.name .. ": not a request line: " .. message.start, 0) end
    return message
end

function http.request(peer)
    return body(peer, http.request_head(peer), false, false)
end

function http.response_head(peer)
    local message = head_of(peer)
    local version, status, reason = message.start:match("^HTTP/(%d%.%d) (%d%d%d) ?(.*)$")
    if not version then error(peer.name .. ": not a status line: " .. message.start, 0) end
    message.version, message.status, message.reason = version, tonumber(status), reason
    return message
end

--- A whole response; `to_head` says that it answers a HEAD request.
function http.response(peer, to_head)
    local message = http.response_head(peer)
    local status = message.status
    return body(peer, message, to_head or status < 200 or status == 204 or status == 304, true)
end

return http
