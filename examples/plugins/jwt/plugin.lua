--- jwt: requests come with a JSON Web Token (RFC 7519) that is signed with HS256, or are answered 401. The token's
--- subject becomes the consumer.
local mg = require("moongate")
local sha256 = require("jwt.sha256")

local plugin = { name = "jwt", version = "1.0.0" }

---@class plugins.jwt.Conf
---@field secret string
---@field issuer? string  the only one whose tokens count
---@field leeway integer  seconds by which clocks may differ

--- Whether two texts are one, in a time that does not tell where they differ.
local function same(a, b)
    local differ = #a == #b and 0 or 1
    for i = 1, math.min(#a, #b) do
        differ = differ + (a:byte(i) == b:byte(i) and 0 or 1)
    end
    return differ == 0
end

--- A part of a token, or nil where it is not JSON object.
local function read(part)
    local value = mg.json.decode(mg.base64url.decode(part) or "")
    return type(value) == "table" and value or nil
end

--- What the token claims, or nil and what is wrong with it.
local function verify(token, conf, now)
    local head, claims, code = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    local header = head and read(head)
    if not header then
        return nil, "it is not a token"
    end
    if header.alg ~= "HS256" then
        return nil, "it is not signed with HS256"
    end
    if not same(mg.base64url.decode(code) or "", sha256.hmac(conf.secret, head .. "." .. claims)) then
        return nil, "its signature is wrong"
    end
    local claimed = read(claims)
    if not claimed then
        return nil, "it claims nothing"
    end
    if type(claimed.exp) ~= "number" or claimed.exp + conf.leeway <= now then
        return nil, "it has expired"
    end
    if claimed.nbf ~= nil and not (type(claimed.nbf) == "number" and claimed.nbf - conf.leeway <= now) then
        return nil, "it is not valid yet"
    end
    if conf.issuer and claimed.iss ~= conf.issuer then
        return nil, "it is of another issuer"
    end
    return claimed
end

---@param conf plugins.jwt.Conf
---@return moongate.Handler
function plugin.new(conf)
    return function(ctx, next)
        local scheme, token = (ctx.request:header("authorization") or ""):match("^(%a+) +(%S+)$")
        if not token or scheme:lower() ~= "bearer" then
            return ctx:respond(401, { title = "Unauthorized", detail = "a bearer token is needed" },
                { ["www-authenticate"] = "Bearer" })
        end
        local claims, problem = verify(token, conf, ctx.time.now())
        if not claims then
            return ctx:respond(401, { title = "Unauthorized", detail = "the token: " .. problem },
                { ["www-authenticate"] = 'Bearer error="invalid_token"' })
        end
        if type(claims.sub) == "string" and claims.sub ~= "" then
            ctx:set_consumer(claims.sub)
        end
        return next(ctx)
    end
end

return plugin
