--- The 10,000 routes of the side-by-side benchmark's `routes` scenario, as tests/bench/gateway reads them from a file.
local routes = { static = 5000, param = 4000, prefix = 1000 }
routes.count = routes.static + routes.param + routes.prefix

--- The i-th, from 0: kind, path and name, with tabs between.
function routes.line(i)
    if i < routes.static then return ("static\t/s%d/catalog/items/list\ts%d"):format(i, i) end
    i = i - routes.static
    if i < routes.param then return ("param\t/t%d/users/:id/orders/:oid\tt%d"):format(i, i) end
    i = i - routes.param
    return ("prefix\t/p%d/assets/\tp%d"):format(i, i)
end

return routes
