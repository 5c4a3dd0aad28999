--- replace: a text in the bodies of answers becomes another one while they stream, however they are cut into pieces.
local plugin = { name = "replace", version = "1.0.0", body = { response = "stream" } }

---@class plugins.replace.Conf
---@field from string
---@field to string

--- How many bytes at the end of `text`, from `at` on, may begin `wanted`.
local function begun(text, at, wanted)
    for n = math.min(#wanted - 1, #text - at + 1), 1, -1 do
        if text:sub(-n) == wanted:sub(1, n) then
            return n
        end
    end
    return 0
end

---@param conf plugins.replace.Conf
function plugin.new(conf)
    local from, to = conf.from, conf.to
    local held = {} -- the key of this instance in ctx.state: another one may stand in the same chain

    return {
        handler = function(ctx, next)
            ctx.request:remove_header("accept-encoding") -- what is packed cannot be searched
            ctx.request:remove_header("range") -- nor is a part what it was
            return next(ctx)
        end,
        response_body = function(ctx, bytes, last)
            local text = (ctx.state[held] or "") .. bytes
            local out, at = {}, 1
            local first, final = text:find(from, at, true)
            while first do
                out[#out + 1] = text:sub(at, first - 1) .. to
                at = final + 1
                first, final = text:find(from, at, true)
            end
            local n = last and 0 or begun(text, at, from)
            ctx.state[held] = text:sub(#text - n + 1)
            out[#out + 1] = text:sub(at, #text - n)
            return table.concat(out)
        end,
    }
end

return plugin
