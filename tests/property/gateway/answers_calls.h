/* answers_calls.h - every call that ctx has, for the programs of answers.c. Those without a text have letters
 * of their own there, for the model knows what they do; what the others do, no client sees. */
#ifndef TEST_ANSWERS_CALLS_H
#define TEST_ANSWERS_CALLS_H

static const struct {
    const char *key, *lua;
} every_call[] = {
    { "ctx.respond", NULL },
    { "ctx.sleep", NULL },
    { "ctx.response", NULL },
    { "ctx.request", NULL },
    { "ctx.new_id", "ctx:new_id()" },
    { "ctx.set_service", "ctx:set_service('up')" },
    { "ctx.set_backend", "ctx:set_backend('none')" },
    { "ctx.set_consumer", "ctx:set_consumer('anna')" },
    { "ctx.counter", "ctx:counter('c', 2)" },
    { "ctx.task", "ctx:task(function(ctx) ctx:sleep(0.001) end)" },
    { "ctx.task", "ctx:task(function(ctx) ctx:sleep(0.001) end):wait()" },
    { "ctx.json", "ctx.json.encode(ctx.json.decode('{\"a\":[1]}'))" },
    { "ctx.log", "return ctx.log" },
    { "ctx.time", "return ctx.time.now() + ctx.time.mono()" },
    { "ctx.http", "return ctx.http" },
    { "ctx.kv", "return ctx.kv" },
    { "ctx.limit", "return ctx.limit" },
    { "ctx.breaker", "return ctx.breaker" },
    { "ctx.service", "return ctx.service.name" },
    { "ctx.service", "return ctx.service('up').healthy" },
    { "ctx.params", "return ctx.params.id" },
    { "ctx.state", "ctx.state.own = 1" },
    { "ctx.route", "return ctx.route" },
    { "ctx.consumer", "return ctx.consumer" },
    { "ctx.remaining", "return ctx.remaining" },
    { "ctx.log.debug", "ctx.log:debug('%d', 1)" },
    { "ctx.log.info", "ctx.log:info('i')" },
    { "ctx.log.warn", "ctx.log:warn({ a = 1 })" },
    { "ctx.log.error", "ctx.log:error('e')" },
    { "ctx.kv.get", "ctx.kv:get('k')" },
    { "ctx.kv.set", "ctx.kv:set('k', 'v')" },
    { "ctx.kv.delete", "ctx.kv:delete('k')" },
    { "ctx.kv.incr", "ctx.kv:incr('n')" },
    { "ctx.kv.cas", "ctx.kv:cas('k', 'v', 'w')" },
    { "ctx.kv.barrier", "ctx.kv:barrier()" },
    { "ctx.http.request", "ctx.http:request({ url = 'http://10.0.0.9:1/', timeout = 0.001 })" },
    { "ctx.http.get", "ctx.http:get('http://10.0.0.9:1/', { timeout = 0.001 })" },
    { "ctx.http.post", "ctx.http:post('http://10.0.0.9:1/', 'x', { timeout = 0.001 })" },
    { "ctx.limit.take", "ctx.limit:take('l', 'k')" },
    { "ctx.limit.reserve", "ctx.limit:reserve('l', 'k')" },
    { "ctx.limit.cancel", "ctx.limit:cancel(ctx.limit:reserve('l', 'k'))" },
    { "ctx.limit.commit", "ctx.limit:commit(ctx.limit:reserve('l', 'k'))" },
    { "ctx.limit.new", "ctx.limit.new({ rate = '1/s' })" },
    { "ctx.breaker.new", "ctx.breaker.new({})" },
    { "ctx.breaker.ask", "ctx.breaker:ask('up')" },
    { "ctx.breaker.finish", "ctx.breaker:finish('up', ctx.breaker:ask('up'), 'ok', 0.1)" },
    { "ctx.breaker.run", "ctx.breaker:run('up', function() error('mine') end)" },
    { "ctx.json.encode", "ctx.json.encode({ ctx })" },
    { "ctx.json.decode", "ctx.json.decode('{')" },
    { "ctx.json.list", "ctx.json.list({})" },
    { "ctx.json.null", "return ctx.json.null" },
    { "ctx.json.decode_plain", "ctx.json.decode_plain('1')" },
    { "ctx.time.now", "ctx.time.now()" },
    { "ctx.time.mono", "ctx.time.mono()" },
    { "ctx.request.header", "ctx.request:header('host')" },
    { "ctx.request.header_values", "ctx.request:header_values('x-id')" },
    { "ctx.request.headers", "for n, v in ctx.request:headers() do local _ = n .. v end" },
    { "ctx.request.set_header", "ctx.request:set_header('x-other', 'a')" },
    { "ctx.request.set_header", "ctx.request:set_header('content-length', '1')" },
    { "ctx.request.add_header", "ctx.request:add_header('x-other', { 'b', 'c' })" },
    { "ctx.request.remove_header", "ctx.request:remove_header('x-other')" },
    { "ctx.request.body", "ctx.request:body()" },
    { "ctx.request.set_body", "ctx.request:set_body(ctx.request:body())" },
    { "ctx.request.set_method", "ctx.request:set_method('PUT')" },
    { "ctx.request.set_path", "ctx.request:set_path('/other/../path')" },
    { "ctx.request.set_query", "ctx.request:set_query('a=b')" },
    { "ctx.request.param", "ctx.request:param('id')" },
    { "ctx.request.query_param", "ctx.request:query_param('a')" },
    { "ctx.request.query_params", "ctx.request:query_params('a')" },
    { "ctx.request.cookie", "ctx.request:cookie('a')" },
    { "ctx.request.cookies", "ctx.request:cookies()" },
    { "ctx.request.method", "return ctx.request.method" },
    { "ctx.request.scheme", "return ctx.request.scheme" },
    { "ctx.request.host", "return ctx.request.host" },
    { "ctx.request.path", "return ctx.request.path" },
    { "ctx.request.query", "return ctx.request.query" },
    { "ctx.request.target", "return ctx.request.target" },
    { "ctx.request.client_address", "return ctx.request.client_address" },
    { "ctx.request.bytes", "return ctx.request.bytes + 1" },
    { "ctx.response.set_header", NULL },
    { "ctx.response.add_header", NULL },
    { "ctx.response.remove_header", NULL },
    { "ctx.response.set_body", NULL },
    { "ctx.response.set_status", NULL },
    { "ctx.response.body", NULL },
    { "ctx.response.set_cookie", "ctx.response:set_cookie('a', 'b', { path = '/' })" },
    { "ctx.response.header", "ctx.response:header('x-id')" },
    { "ctx.response.header_values", "ctx.response:header_values('x-id')" },
    { "ctx.response.headers", "for n, v in ctx.response:headers() do local _ = n .. v end" },
    { "ctx.response.status", "return ctx.response.status" },
    { "ctx.response.error", "return ctx.response.error" },
    { "ctx.response.bytes", "return ctx.response.bytes + 1" },
};

/* What says which members an object has: it names them all for one that there is not. */
static const char *const every_object[] = { "ctx",         "ctx.log",     "ctx.kv",   "ctx.http",
                                            "ctx.limit",   "ctx.breaker", "ctx.json", "ctx.time",
                                            "ctx.request", "ctx.response" };

/* In front of a plugin: other_call(ctx), which makes the next of those calls and keeps what they raise. Which
 * they are, the field x-calls says: a number for each request. */
static inline void add_calls(mg_text *out)
{
    mg_text_add_c(out, "local calls = {\n");
    for (size_t i = 0; i < sizeof every_call / sizeof *every_call; i++)
        if (every_call[i].lua)
            mg_text_addf(out, "function(ctx) %s end,\n", every_call[i].lua);
    mg_text_add_c(out, "}\nlocal function other_call(ctx)\n"
                       "  local at = (ctx.state.at or tonumber(ctx.request:header('x-calls'))) * 31 % 9973\n"
                       "  ctx.state.at = at\n"
                       "  pcall(calls[at % #calls + 1], ctx)\n"
                       "end\n");
}

/* The objects whose members a client is told, a line each. */
static inline void add_listing(mg_text *out)
{
    mg_text_add_c(out, "return { name = 'l', version = '1', new = function() return function(ctx)\n"
                       "local lines = {} local function ask(name, object)\n"
                       "  local _, err = pcall(function() return object.zzz end)\n"
                       "  lines[#lines + 1] = name .. ' ' .. err:match(\"'zzz': (.*)$\") end\n");
    for (size_t i = 0; i < sizeof every_object / sizeof *every_object; i++)
        mg_text_addf(out, "ask('%s', %s)\n", every_object[i], every_object[i]);
    mg_text_add_c(out, "ctx:respond(200, table.concat(lines, '\\n') .. '\\n') end end }\n");
}

#endif
