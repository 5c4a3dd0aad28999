--- mirror: a part of the requests is sent to a second place too, whose answers nobody sees and nobody waits for. The
--- copy has X-Mirrored: 1, so that the other side knows it.
local plugin = { name = "mirror", version = "1.0.0", body = { request = "buffer(256KiB)" } }

---@class plugins.mirror.Conf
---@field to string  where the path is added, as http://staging:8080
---@field share number  of the requests, 0 to 1
---@field hide string[]  names of fields that stay here

---@param conf plugins.mirror.Conf
---@return moongate.Handler
function plugin.new(conf)
    local hidden = { ["accept-encoding"] = true, expect = true }
    for _, name in ipairs(conf.hide) do
        hidden[name:lower()] = true
    end

    --- What a task needs of the request, which it cannot look at.
    local function copy_of(request)
        local headers = { ["x-mirrored"] = "1" }
        for name in request:headers() do
            if not hidden[name] then
                headers[name] = request:header_values(name)
            end
        end
        return {
            method = request.method,
            url = conf.to .. request.path .. (request.query and "?" .. request.query or ""),
            headers = headers,
            body = request:body(),
        }
    end

    return function(ctx, next)
        if math.random() < conf.share then
            ctx:task({ timeout = 10 }, function(beside, copy)
                local answer, problem = beside.http:request(copy)
                beside:counter(answer and "answered" or "failed")
                if not answer then
                    beside.log:warn("the copy: " .. problem)
                end
            end, copy_of(ctx.request)):detach()
        end
        return next(ctx)
    end
end

return plugin
