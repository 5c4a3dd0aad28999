--- headers: changes fields of the request on its way in and of the response on its way out.
local plugin = { name = "headers", version = "1.0.0" }

---@class plugins.headers.Changes
---@field remove string[]  names
---@field rename table<string, string>  old name to new
---@field set table<string, string>  in place of all of that name
---@field add table<string, string|string[]>  behind those of that name

---@class plugins.headers.Conf
---@field request plugins.headers.Changes
---@field response plugins.headers.Changes

--- A map as two lists, in order of name, so that two gateways with one configuration write the same bytes.
local function in_order(map)
    local names, values = {}, {}
    for name in pairs(map) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        values[i] = map[name]
    end
    return names, values
end

--- One name and one value a place, a name with several values several times.
local function flattened(map)
    local names, values = {}, {}
    local sorted, given = in_order(map)
    for i, name in ipairs(sorted) do
        local list = type(given[i]) == "table" and given[i] or { given[i] }
        for _, value in ipairs(list) do
            names[#names + 1], values[#values + 1] = name, value
        end
    end
    return names, values
end

--- All values of a field move to another name, in their order.
local function rename(message, old, new)
    if message:header(old) == nil then
        return
    end
    local values, wanted = {}, old:lower()
    for name, value in message:headers() do
        if name == wanted then
            values[#values + 1] = value
        end
    end
    message:remove_header(old)
    message:set_header(new, values)
end

---@param changes plugins.headers.Changes
---@return fun(message: moongate.Message)? change  nil when there is nothing to do
local function changer(changes)
    local removed = changes.remove
    local old_names, new_names = in_order(changes.rename)
    local set_names, set_values = in_order(changes.set)
    local add_names, add_values = flattened(changes.add)

    if #removed + #old_names + #set_names + #add_names == 0 then
        return nil
    end
    return function(message)
        for i = 1, #removed do
            message:remove_header(removed[i])
        end
        for i = 1, #old_names do
            rename(message, old_names[i], new_names[i])
        end
        for i = 1, #set_names do
            message:set_header(set_names[i], set_values[i])
        end
        for i = 1, #add_names do
            message:add_header(add_names[i], add_values[i])
        end
    end
end

---@param conf plugins.headers.Conf
---@return moongate.Handler
function plugin.new(conf)
    local change_request, change_response = changer(conf.request), changer(conf.response)

    return function(ctx, next)
        if change_request then
            change_request(ctx.request)
        end
        if not change_response then
            return next(ctx)
        end
        next(ctx)
        change_response(ctx.response)
    end
end

return plugin
