--- auth_request: another service says who may pass. It is asked for GET `path` with the client's Authorization and
--- Cookie: 2xx lets the request through, under the name in its X-Consumer, and any other answer goes to the client. A
--- yes is kept for a while in the memory of the worker, never on disk.
local plugin = { name = "auth_request", version = "1.0.0" }

---@class plugins.auth_request.Conf
---@field service string
---@field path string
---@field ttl number  seconds for which a yes is kept
---@field keep integer  how many, on each worker
---@field timeout number  seconds

---@param conf plugins.auth_request.Conf
---@return moongate.Handler
function plugin.new(conf)
    local young, old, count = {}, {}, 0 -- two generations: when the young one is full, the old one is forgotten

    local function keep(key, known)
        if count >= conf.keep then
            young, old, count = {}, young, 0
        end
        young[key], count = known, count + 1
    end

    local function ask(ctx, authorization, cookie)
        return ctx.http:get(conf.path, {
            service = conf.service, timeout = conf.timeout,
            headers = { authorization = authorization, cookie = cookie },
        })
    end

    return function(ctx, next)
        local authorization, cookie = ctx.request:header("authorization"), ctx.request:header("cookie")
        local key = (authorization or "") .. "\n" .. (cookie or "")
        local known = young[key] or old[key]
        if not known or known.ends < ctx.time.mono() then
            local said, why = ask(ctx, authorization, cookie)
            if not said then
                return ctx:respond(503, { title = "Nobody can say who you are", detail = why })
            elseif said.status < 200 or said.status > 299 then
                return ctx:respond(said.status, said.body, { ["www-authenticate"] = said.headers["www-authenticate"] })
            end
            known = { consumer = said.headers["x-consumer"], ends = ctx.time.mono() + conf.ttl }
            keep(key, known)
        end
        if known.consumer then
            ctx:set_consumer(known.consumer)
        end
        return next(ctx)
    end
end

return plugin
