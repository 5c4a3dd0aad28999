--- What plugins get wrong is told at their own line, with what to type. Each case is a handler that raises.
local machine = require("tests.lua.machine")
local mg = require("moongate.sdk.init")
local running = require("moongate.sdk.running")

--- What the handler raised; `made` gets what new(conf) would make.
local function raised(handler)
    local m = machine.of(function(ctx, next)
        handler(ctx, next)
        ctx:respond(200)
    end)
    local _, err = m:run()
    return err and err.message
end

--- Each case: the plugin's code as text, and what the message holds. `mg` and `made` are there.
local function each(cases)
    for _, case in ipairs(cases) do
        it("tells: " .. case[1], function()
            local made = {}
            local env = setmetatable({ mg = mg, made = made }, { __index = _G })
            local body = assert(load("local ctx, next = ...\n" .. case[1], "@plugins/own/plugin.lua", "t", env))
            local message = raised(function(ctx, next)
                local held = running.ctx
                running.ctx = false -- as in new(conf)
                made.limiter, made.breaker = mg.limiter({ rate = "1/s" }), mg.breaker({})
                made.counter, made.router = mg.counter("c"), mg.router({ { path = "/a", value = 1 } })
                made.key = mg.key("ip")
                running.ctx = held
                body(ctx, next)
            end)
            assert.truthy(message, "nothing was raised")
            assert.truthy(message:find("^plugins/own/plugin.lua:2: "), message)
            assert.is_nil(message:find("lua/moongate", 1, true), message)
            for i = 2, #case do
                assert.truthy(message:find(case[i], 1, true), message)
            end
        end)
    end
end

describe("a call with a dot where a colon belongs", function()
    each {
        { "ctx.respond(200)", "respond: call it with a colon: ctx:respond(..)" },
        { "ctx.respond()", "respond: call it with a colon: ctx:respond(..)" },
        { "ctx.respond(ctx.request, 200)", "ctx:respond(..)" },
        { "ctx.new_id()", "ctx:new_id(..)" },
        { "ctx.sleep(1)", "ctx:sleep(..)" },
        { "ctx.set_consumer('a')", "ctx:set_consumer(..)" },
        { "ctx.set_service('a')", "ctx:set_service(..)" },
        { "ctx.set_backend('a')", "ctx:set_backend(..)" },
        { "ctx.counter('a')", "ctx:counter(..)" },
        { "ctx.request.header('a')", "ctx.request:header(..)" },
        { "ctx.request.headers()", "ctx.request:headers(..)" },
        { "ctx.request.set_header('a', 'b')", "ctx.request:set_header(..)" },
        { "ctx.request.add_header('a', 'b')", "ctx.request:add_header(..)" },
        { "ctx.request.remove_header('a')", "ctx.request:remove_header(..)" },
        { "ctx.request.set_path('/a')", "ctx.request:set_path(..)" },
        { "ctx.request.set_method('PUT')", "ctx.request:set_method(..)" },
        { "ctx.request.set_query('a')", "ctx.request:set_query(..)" },
        { "ctx.request.param('a')", "ctx.request:param(..)" },
        { "ctx.request.query_param('a')", "ctx.request:query_param(..)" },
        { "ctx.request.body()", "ctx.request:body(..)" },
        { "ctx.request.set_body('a')", "ctx.request:set_body(..)" },
        { "ctx.response.set_status(200)", "ctx.response:set_status(..)" },
        { "ctx.response.header('a')", "ctx.response:header(..)" },
        { "ctx.log.info('x')", "ctx.log:info(..)" },
        { "ctx.log.error('%s', 'x')", "ctx.log:error(..)" },
        { "ctx.time:now()", "now: call it with a dot: ctx.time.now(..)" },
        { "ctx.time:mono()", "mono: call it with a dot: ctx.time.mono(..)" },
        { "ctx.kv.get('k')", "ctx.kv:get(..)" },
        { "ctx.kv.set('k', 'v')", "ctx.kv:set(..)" },
        { "ctx.kv.set('k', 'v', 5)", "ctx.kv:set(..)" },
        { "ctx.kv.delete('k')", "ctx.kv:delete(..)" },
        { "ctx.kv.incr('k')", "ctx.kv:incr(..)" },
        { "ctx.kv.incr('k', 1)", "ctx.kv:incr(..)" },
        { "ctx.kv.cas('k', 'a', 'b')", "ctx.kv:cas(..)" },
        { "ctx.http.get('http://a/')", "ctx.http:get(..)" },
        { "ctx.http.post('http://a/', 'b')", "ctx.http:post(..)" },
        { "ctx.http.request({ url = 'http://a/' })", "ctx.http:request(..)" },
        { "ctx.limit.take('a', 'k')", "ctx.limit:take(..)" },
        { "ctx.limit.take('a', 'k', 1)", "ctx.limit:take(..)" },
        { "ctx.limit.reserve('a', 'k')", "ctx.limit:reserve(..)" },
        { "ctx.breaker.ask('a')", "ctx.breaker:ask(..)" },
        { "ctx.breaker.ask()", "ctx.breaker:ask(..)" },
        { "ctx.breaker.run('a', function() end)", "ctx.breaker:run(..)" },
        { "made.limiter.take('k')", "colon" },
        { "made.counter.add(1)", "colon" },
        { "made.router.match({ path = '/a' })", "colon" },
        { "made.breaker.ask()", "colon" },
    }
end)

describe("a call with a colon where a dot belongs", function()
    each {
        { "ctx.json:encode({ a = 1 })", "encode: call it with a dot: ctx.json.encode(..)" },
        { "ctx.json:decode('{}')", "decode: call it with a dot: ctx.json.decode(..)" },
        { "ctx.json:list({})", "list: call it with a dot: ctx.json.list(..)" },
        { "mg.json:encode({ a = 1 })", "moongate.json.encode(..)" },
        { "mg:limiter({ rate = '1/s' })", "moongate.limiter(..)" },
        { "mg:breaker({})", "moongate.breaker(..)" },
        { "mg:counter('a')", "moongate.counter(..)" },
        { "mg:key('ip')", "moongate.key(..)" },
        { "mg:router({})", "moongate.router(..)" },
        { "mg:pool('a')", "moongate.pool(..)" },
    }
end)

describe("a member that is not there", function()
    each {
        { "ctx.kv:put('a', 'b')", "ctx.kv has no 'put': get, set, delete, incr, cas, barrier" },
        { "ctx.kv:gett('a')", "ctx.kv has no 'gett': did you mean 'get'?", "get, set, delete, incr, cas, barrier" },
        { "ctx.log:warning('a')", "ctx.log has no 'warning': did you mean 'warn'?" },
        { "ctx.http:fetch('a')", "ctx.http has no 'fetch': request, get, post" },
        { "ctx.json.encod({})", "ctx.json has no 'encod': did you mean 'encode'?" },
        { "ctx.time.nwo()", "ctx.time has no 'nwo': did you mean 'now'?" },
        { "ctx.limit:tak('a', 'k')", "did you mean 'take'?" },
        { "ctx.breaker:aks()", "did you mean 'ask'?" },
        { "ctx:repsond(200)", "ctx has no 'repsond': did you mean 'respond'?", "request" },
        { "return ctx.requset", "ctx has no 'requset': did you mean 'request'?" },
        { "ctx.request:get_header('a')", "ctx.request has no 'get_header': did you mean 'set_header'?", "header" },
        { "return ctx.request.methd", "did you mean 'method'?" },
        { "return ctx.response.stauts", "did you mean 'status'?" },
        { "return ctx.service.nmae", "did you mean 'name'?" },
        { "return mg.limitr", "moongate has no 'limitr': did you mean 'limiter'?" },
        { "made.limiter:tke('k')", "a limiter has no 'tke': did you mean 'take'?" },
        { "made.counter:incr()", "a counter has no 'incr': add, sum" },
        { "return ctx.kv[1]", "ctx.kv has no '1'" },
    }
end)

describe("an assignment to what is the gateway's", function()
    each {
        { "ctx.request.path = '/a'", "ctx.request.path cannot be assigned: call ctx.request:set_path(..)" },
        { "ctx.request.query = 'a'", "call ctx.request:set_query(..)" },
        { "ctx.request.method = 'PUT'", "call ctx.request:set_method(..)" },
        { "ctx.request.headers = { a = 1 }", "call ctx.request:set_header(..)" },
        { "ctx.request.body = 'a'", "call ctx.request:set_body(..)" },
        { "ctx:respond(200) ctx.response.status = 404", "call ctx.response:set_status(..)" },
        { "ctx:respond(200) ctx.response.body = ''", "call ctx.response:set_body(..)" },
        { "ctx:respond(200) ctx.response.cookies = {}", "call ctx.response:set_cookie(..)" },
        { "ctx.consumer = 'a'", "ctx.consumer cannot be assigned: call ctx:set_consumer(..)" },
        { "ctx.service = 'cart'", "call ctx:set_service(..)" },
        { "ctx.state = {}", "ctx.state cannot be assigned: assign its members, as in ctx.state.user = .." },
        { "ctx.own = 1", "ctx.own cannot be assigned: keep what is yours in ctx.state" },
        { "ctx.request.own = 1", "ctx.request.own cannot be assigned: keep what is yours in ctx.state" },
        { "ctx.kv.a = 'b'", "ctx.kv.a cannot be assigned: keep what is yours in ctx.state" },
    }
end)

describe("a member by a number", function()
    each {
        { "return ctx.kv[{}]", "ctx.kv has no 'table'" },
    }
end)

describe("an argument of a wrong type", function()
    each {
        { "ctx.request:param(nil)", "param: the name is a string, not nil" },
        { "ctx.request:query_param(5)", "query_param: the name is a string, not number" },
        { "return ctx.params[1]", "a name is a string, not number" },
        { "ctx.request:header(nil)", "header: the name is a string, not nil" },
        { "ctx.request:set_header(nil, 'a')", "set_header: the name is a string, not nil" },
        { "ctx.request:set_header('a', {})", "the value of a" },
        { "ctx.request:set_header('a', true)", "the value of a is a string or a number, not boolean" },
        { "ctx.request:set_header('a', 0/0)", "the value of a" },
        { "ctx.request:set_header('a', 1/0)", "the value of a" },
        { "ctx.request:set_path(nil)", "set_path: it is a string, not nil" },
        { "ctx.request:set_body({})", "set_body: a body is a string, not table" },
        { "ctx:respond('200')", "a status is a number, not string" },
        { "ctx:respond(200.5)", "respond: a status is a whole number, not 200.5" },
        { "ctx:respond(0 / 0)", "respond: a status is a whole number" },
        { "ctx:respond(200) ctx.response:set_status(404.5)", "set_status: a status is a whole number, not 404.5" },
        { "ctx.request:set_header('a', { 'b', c = 'd' })", "set_header: the value of a is a list of 1 that has" },
        { "ctx.request:add_header('a', { 'b', [3] = 'd' })", "add_header: the value of a is a list of 1 that has the" },
        { "ctx:respond(200, '', { a = { 'b', [0] = 'd' } })", "respond: header: the value of a is a list of 1 that" },
        { "ctx.request:set_header('a', 1i)", "the value of a is a string or a number, not cdata" },
        { "ctx.log:info('%d items', 'x')", "info: bad argument #2 to 'format' (number expected, got string)" },
        { "ctx:respond(200, 5)", "a body is a string or a table, not number" },
        { "ctx:respond(200, 'a', 'b')", "headers are a table, not string" },
        { "ctx:respond(400, { title = 5 })", "title is a string, not number" },
        { "ctx:sleep('1')", "seconds are a number, not string" },
        { "ctx:set_consumer(5)", "an id is a string, not number" },
        { "ctx:counter(nil)", "counter: a name" },
        { "ctx:counter('a', 'b')", "0 or more" },
        { "ctx.kv:get(5)", "get: a key is a string, not number" },
        { "ctx.kv:set('k', 5)", "set: a value is a string, not number" },
        { "ctx.kv:set('k', 'v', '5')", "set: ttl is a number of seconds, not string" },
        { "ctx.kv:incr('k', 'v')", "incr: it adds a number, not string" },
        { "ctx.http:get(nil)", "get: a url is a string, not nil" },
        { "ctx.http:get('http://a/', 'x')", "get: options are a table, not string" },
        { "ctx.http:post('http://a/', {})", "post: a body is a string, not table" },
        { "ctx.http:get('http://a/', { headers = 'x' })", "headers is a table, not a string" },
        { "ctx.http:get('http://a/', { timeout = '5' })", "timeout is a number, not a string" },
        { "ctx.limit:take('a', nil)", "take: a key is a string, not nil" },
        { "ctx.limit:take(5, 'k')", "this is not a limiter" },
        { "ctx.limit:reserve('a', 5)", "reserve: a key is a string, not number" },
        { "ctx.breaker:run(made.breaker, 5)", "run: what is called is a function, not number" },
        { "made.breaker:run()", "run: what is called is a function, not nil" },
        { "made.breaker:finish(1, 'ok')", "finish: a ticket comes from ask" },
        { "made.breaker:finish(made.breaker:ask(), 'ok', 'x')", "finish: seconds are a number, not string" },
        { "made.breaker:finish(made.breaker:ask(), 'okay')", "finish: an outcome is ok, fail, timeout or ignore" },
        { "made.limiter:take(5)", "take: a key is a string, not number" },
        { "made.limiter:fields()", "fields: remaining" },
        { "made.router:match()", "match: a request is a table" },
        { "made.router:match({ path = '/', host = 5 })", "match: host is a string, not number" },
        { "mg.router()", "router: routes are a list, not nil" },
        { "mg.pool(5)", "pool: a service is a string, not number" },
        { "error(select(2, mg.pool('crt')), 2 - 1)", "no service is named 'crt': did you mean 'cart'?" },
        { "error(tostring(getmetatable(ctx.service.hosts)))", "json.list" },
        { "ctx.service(5)", "a service's name is a string, not number" },
        { "ctx.log:info('%d', 'x')", "info: ", "number expected" },
        { "ctx.log:info(5, 'x')", "info: with more arguments the text is a format" },
        { "ctx.json.decode(5)", "decode: text is a string, not number" },
        { "ctx.json.list(5)", "list: items are a table, not number" },
        { "ctx.json.encode(ctx.request)", "ctx.request has no JSON" },
    }
end)

describe("a value that JSON cannot say", function()
    each {
        { "ctx:respond(200, { json = { 1, nil, 3 } })", "respond: json: it is a list with a gap: [2] is nil" },
        { "ctx:respond(200, { json = { a = { b = { 1, nil, 3 } } } })", "respond: json.a.b: it is a list with a gap" },
        { "ctx:respond(200, { json = { a = { 1, x = 2 } } })", "respond: json.a: it has both" },
        { "ctx:respond(200, { json = { a = print } })", "respond: json.a: a function has no JSON" },
        { "ctx:respond(200, { json = { a = { 1, 1i } } })", "respond: json.a[2]: a cdata that is not a 64-bit" },
        { "ctx.json.encode({ 2LL, { b = 1i } })", "encode: value[2].b: a cdata that is not a 64-bit integer" },
        { "ctx:respond(200, { json = { { n = 0 / 0 } } })", "respond: json[1].n: JSON has no" },
        { "ctx.json.encode({ ['a b'] = { print } })", 'encode: value["a b"][1]: a function has no JSON' },
        { "local t = {} t.t = t ctx.json.encode(t)", "encode: tables nest deeper than 64" },
        { "ctx.json.encode({ a = { 1, [2.5] = 1 } })", "encode: value.a: it has the key 2.5: a list's are 1, 2, .." },
        { "ctx.json.encode({ [0] = 1 })", "encode: value: it has the key 0: a list's are 1, 2, .." },
        { "ctx.json.encode({ [true] = 1 })", "encode: value: it has a key that is a boolean" },
    }
end)

describe("an option that nobody reads", function()
    each {
        { "ctx.http:get('http://a/', { timout = 1 })", "http: no option 'timout': did you mean 'timeout'?", "headers" },
        { "ctx.http:request({ url = 'http://a/', query = 'x' })", "http: no option 'query': " },
        { "ctx.http:post('http://a/', '', { [1] = 1 })", "http: no option '1'" },
        { "ctx:respond(400, { titel = 'x' })", "respond: no member 'titel': did you mean 'title'?" },
        { "ctx:respond(400, { fields = {} })", "respond: no member 'fields'" },
        { "ctx:respond(400, { json = {}, title = 'x' })", "respond: json is the whole body" },
        { "mg.limiter({ rate = '1/s', brst = 1 })", "limiter: no option 'brst': did you mean 'burst'?" },
        { "ctx:respond(200) ctx.response:set_cookie('a', 'b', { pth = '/' })", "'pth': did you mean 'path'?" },
        { "mg.breaker({ failure = 1 })", "breaker: no option 'failure': did you mean 'failures'?" },
    }
end)

describe("a number as a field's value", function()
    local function written(value)
        local seen
        raised(function(ctx)
            ctx.request:set_header("x-a", value)
            seen = ctx.request:header("x-a")
        end)
        return seen
    end

    it("is digits, however large or small", function()
        assert.equal("12000000000000000", written(1.2e16))
        assert.equal("-12000000000000000", written(-1.2e16))
        assert.equal("5", written(5))
        assert.equal("0.5", written(0.5))
        assert.equal("0.00001", written(1e-5))
        assert.equal("1000000000000000000000", written(1e21))
        assert.equal("9007199254740993", written(9007199254740993LL))
        assert.equal("18446744073709551615", written(-1ULL))
        assert.equal("-9007199254740993", written({ -9007199254740993LL }))
    end)
end)
