--- key_auth: who sends a known key goes on under its consumer's name; all others are answered 401.
local plugin = { name = "key_auth", version = "1.0.0" }

---@class plugins.key_auth.Conf
---@field header string  where the key is looked for first; "" is nowhere
---@field query? string  parameter where it is looked for next
---@field keys table<string, string>|{ key: string, consumer: string }[]
---@field hide boolean  whether the upstream is spared the key
---@field consumer_header string  tells the upstream who asks; "" tells nobody
---@field realm string

local function byte_of(hex)
    return string.char(tonumber(hex, 16))
end

local function plain(text)
    return (text:gsub("%+", " "):gsub("%%(%x%x)", byte_of))
end

--- The query without all parameters of that name, however it was encoded; what is left keeps its bytes and its order.
---@param text string  without the "?"
---@param name string  decoded
---@return string
local function query_without(text, name)
    local kept = {}
    for pair in (text .. "&"):gmatch("([^&]*)&") do
        local raw = pair:match("^[^=]*")
        if raw ~= name and (not raw:find("[%%+]") or plain(raw) ~= name) then
            kept[#kept + 1] = pair
        end
    end
    return table.concat(kept, "&")
end

--- Both forms of `keys` as one table. A key is never part of a message.
---@return table<string, string> consumer_of
local function read_keys(keys)
    local consumer_of = {}

    for key, value in pairs(keys) do
        local consumer = value
        if type(value) == "table" then
            key, consumer = value.key, value.consumer
        end
        if consumer_of[key] then
            error(("%q and %q have the same key; every key names one consumer"):format(consumer_of[key], consumer), 0)
        end
        consumer_of[key] = consumer
    end
    return consumer_of
end

---@param conf plugins.key_auth.Conf
---@return moongate.Handler
function plugin.new(conf)
    local consumer_of = read_keys(conf.keys)
    local header, query, hide, consumer_header = conf.header, conf.query, conf.hide, conf.consumer_header
    local problem = { title = "Unauthorized", detail = "a valid API key is needed" }
    local challenge = { ["www-authenticate"] = ('ApiKey realm="%s"'):format(conf.realm) }

    if header == "" and not query then
        error("a key is looked for nowhere: name a header or a query parameter", 0)
    end

    return function(ctx, next)
        local request = ctx.request
        local key = header ~= "" and request:header(header) or nil
        if not key and query then
            key = request:query_param(query)
        end
        local consumer = key and consumer_of[key]
        if not consumer then
            return ctx:respond(401, problem, challenge)
        end

        ctx:set_consumer(consumer)
        if consumer_header ~= "" then
            request:set_header(consumer_header, consumer)
        end
        if hide then
            if header ~= "" then
                request:remove_header(header)
            end
            if query and request:query_param(query) then
                request:set_query(query_without(request.query, query))
            end
        end
        return next(ctx)
    end
end

return plugin
