--- cors: tells browsers which pages of other origins may read answers (Fetch standard, 3.2 HTTP CORS protocol).
local plugin = { name = "cors", version = "1.0.0" }

local UNIT_S = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
local PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

---@class plugins.cors.Conf
---@field origins string[]
---@field methods string[]
---@field request_headers string[]  none: those that the browser asks for
---@field expose string[]
---@field credentials boolean
---@field max_age string  a duration

--- "https://*.shop.example" as what must stand before and behind one or more labels.
local function split_wildcard(origin)
    local before, behind = origin:match("^(%a[%w+.-]*://)%*(%..+)$")
    return before, behind
end

--- A function from an Origin field to whether its pages may read answers: those named exactly, all below a domain, any.
--- Origins are compared as browsers send them: lower-case.
---@param list string[]
---@return fun(origin: string): boolean allowed, boolean any
local function matcher(list)
    local exact, before, behind, any = {}, {}, {}, false

    for _, origin in ipairs(list) do
        origin = origin:lower()
        local scheme, suffix = split_wildcard(origin)
        if origin == "*" then
            any = true
        elseif scheme then
            before[#before + 1], behind[#behind + 1] = scheme, suffix
        else
            exact[origin] = true
        end
    end

    return function(origin)
        if any or exact[origin] then
            return true
        end
        for i = 1, #before do
            local scheme, suffix = before[i], behind[i]
            local labels = origin:sub(#scheme + 1, -#suffix - 1)
            if origin == scheme .. labels .. suffix and labels:find("^[%w.-]+$") then
                return true
            end
        end
        return false
    end, any
end

local function seconds_of(duration)
    local number, unit = duration:match("^([%d.]+)(%a+)$")
    return ("%d"):format(tonumber(number) * UNIT_S[unit])
end

local function check(conf, any)
    if conf.credentials and any then
        error("credentials for every origin would hand each visitor's session to every site: name the origins", 0)
    end
end

--- Adds Origin to Vary, unless it says so already: a cache must not give one origin's answer to another.
local function vary_by_origin(response)
    for name in (response:header("vary") or ""):gmatch("[^,%s]+") do
        if name == "*" or name:lower() == "origin" then
            return
        end
    end
    response:add_header("vary", "Origin")
end

--- What a preflight is answered, out of what does not depend on the request.
local function preflight_fields(conf)
    local fields = {
        ["access-control-allow-methods"] = table.concat(conf.methods, ", "),
        ["access-control-max-age"] = seconds_of(conf.max_age),
    }
    if #conf.request_headers > 0 then
        fields["access-control-allow-headers"] = table.concat(conf.request_headers, ", ")
    end
    if conf.credentials then
        fields["access-control-allow-credentials"] = "true"
    end
    return fields
end

---@param conf plugins.cors.Conf
---@return moongate.Handler
function plugin.new(conf)
    local allowed, any = matcher(conf.origins)
    local fixed = preflight_fields(conf)
    local credentials, expose = conf.credentials, table.concat(conf.expose, ", ")

    check(conf, any)

    local function preflight(ctx, origin)
        local headers = {}
        for name, value in pairs(fixed) do
            headers[name] = value
        end
        headers["access-control-allow-origin"] = any and "*" or origin
        headers.vary = PREFLIGHT_VARY
        if not headers["access-control-allow-headers"] then
            headers["access-control-allow-headers"] = ctx.request:header("access-control-request-headers")
        end
        ctx:respond(204, nil, headers)
    end

    local function refuse(ctx)
        ctx:respond(403, { title = "Origin not allowed", detail = "pages of this origin may not make this request" },
            { vary = PREFLIGHT_VARY })
    end

    --- On an answer; what the upstream said of CORS is not mixed with it.
    local function mark(response, origin)
        response:remove_header("access-control-allow-credentials")
        response:remove_header("access-control-expose-headers")
        if not any then
            vary_by_origin(response)
        end
        if not origin then
            response:remove_header("access-control-allow-origin")
            return
        end
        response:set_header("access-control-allow-origin", any and "*" or origin)
        if credentials then
            response:set_header("access-control-allow-credentials", "true")
        end
        if expose ~= "" then
            response:set_header("access-control-expose-headers", expose)
        end
    end

    return function(ctx, next)
        local request = ctx.request
        local origin = request:header("origin")
        local welcome = origin and allowed(origin) and origin or nil

        if origin and request.method == "OPTIONS" and request:header("access-control-request-method") then
            return (welcome and preflight or refuse)(ctx, origin)
        end

        next(ctx)

        mark(ctx.response, welcome)
    end
end

return plugin
