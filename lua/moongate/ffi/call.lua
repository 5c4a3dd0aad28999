--- call: the exchange of a slot, as moongate.h gives it. Converts and calls; who may call is decided above.
--- Here and in the SDK results stand in parentheses where a tail call would do: a trace takes 15 tail calls at most,
--- and those are left to plugins.
local ffi = require("ffi")
local c = require("moongate.ffi.c")
local maybe = require("moongate.ffi.problem").text

local string_of, new = ffi.string, ffi.new
local header, header_at, set_header, remove_header =
    c.mg_call_header, c.mg_call_header_at, c.mg_call_set_header, c.mg_call_remove_header
local text, set_text, param, query = c.mg_call_text, c.mg_call_set_text, c.mg_call_param, c.mg_call_query
local query_next = c.mg_call_query_next
local status, set_status = c.mg_call_status, c.mg_call_set_status
local respond, problem = c.mg_call_respond, c.mg_call_problem
local body, set_body, bodiless = c.mg_call_body, c.mg_call_set_body, c.mg_call_bodiless
local new_id, log, cancelled = c.mg_call_new_id, c.mg_call_log, c.mg_call_cancelled
local chunk, set_chunk = c.mg_call_chunk, c.mg_call_set_chunk
local enter, sleep, raised = c.mg_call_enter, c.mg_call_sleep, c.mg_call_raised
local limit_take, limit_reserve = c.mg_call_limit_take, c.mg_call_limit_reserve
local breaker_ask, breaker_finish = c.mg_call_breaker_ask, c.mg_call_breaker_finish
local task_start, task_detach, task_wait = c.mg_call_task_start, c.mg_call_task_detach, c.mg_call_task_wait
local task_raised = c.mg_call_task_raised

-- One VM runs one call at a time and nothing here yields, so one of each is enough.
local slice, slice2, id, why = new("mg_slice"), new("mg_slice"), new("char[32]"), new("const char *[1]")
local removed, query_at = new("uint32_t[1]"), new("uint32_t[1]")
local limit_view = new("mg_limit_view")

---@alias moongate.Call ffi.cdata*  mg_call *

local call = {
    REQUEST = c.MG_REQUEST,
    RESPONSE = c.MG_RESPONSE,
    text_of = {
        method = c.MG_TEXT_METHOD, scheme = c.MG_TEXT_SCHEME, host = c.MG_TEXT_HOST, path = c.MG_TEXT_PATH,
        query = c.MG_TEXT_QUERY, client_address = c.MG_TEXT_CLIENT_IP, route = c.MG_TEXT_ROUTE,
        service = c.MG_TEXT_SERVICE, error = c.MG_TEXT_ERROR, consumer = c.MG_TEXT_CONSUMER,
        target = c.MG_TEXT_TARGET,
    },
    wait_for = {
        DONE = c.MG_WAIT_DONE, NEXT = c.MG_WAIT_NEXT, SLEEP = c.MG_WAIT_SLEEP, HTTP = c.MG_WAIT_HTTP,
        BODY = c.MG_WAIT_BODY, BARRIER = c.MG_WAIT_BARRIER, TASK = c.MG_WAIT_TASK, PAUSE = c.MG_WAIT_PAUSE,
    },
    wait_end = c.mg_call_wait_end,
    wait_ends = { FINE = c.MG_WAIT_FINE, TIMED_OUT = c.MG_WAIT_TIMED_OUT, SPENT = c.MG_WAIT_SPENT },
    phase = c.mg_call_phase,
    phases = { UNANSWERED = c.MG_PHASE_UNANSWERED, TASK = c.MG_PHASE_TASK },
    asides = { LOG = c.MG_ASIDE_LOG }, -- those before it are bodies
    log_levels = {
        debug = c.MG_LOG_DEBUG, info = c.MG_LOG_INFO, warn = c.MG_LOG_WARN, error = c.MG_LOG_ERROR,
    },
    chain = c.mg_call_chain,
    wait = c.mg_call_wait,
    now_s = c.mg_call_now_s,
    mono_s = c.mg_call_mono_s,
    remaining_s = c.mg_call_remaining_s,
    status = status,
    task_number = c.mg_call_task_number,
    bytes = c.mg_call_bytes,
    limit = c.mg_call_limit,
    limit_waited = c.mg_call_limit_waited,
    limit_cancel = c.mg_call_limit_cancel,
    limit_commit = c.mg_call_limit_commit,
}

--- Tells C whose code runs; below 0: no plugin's.
function call.enter(self, plugin)
    enter(self, plugin < 0 and 4294967295 or plugin)
end

---@return moongate.Call
function call.of(pointer)
    return ffi.cast("mg_call *", pointer)
end

function call.header(self, which, name)
    if header(self, which, name, #name, slice) then
        return (string_of(slice.p, slice.n))
    end
end

---@return string? name, string? value  nil past the end
function call.header_at(self, which, index)
    if header_at(self, which, index, slice, slice2) then
        return string_of(slice.p, slice.n), string_of(slice2.p, slice2.n)
    end
end

--- The value of each field of a name, in order.
---@param lower_name string
function call.header_values(self, which, lower_name)
    local values, index = {}, 0
    while header_at(self, which, index, slice, slice2) do
        if slice.n == #lower_name and string_of(slice.p, slice.n) == lower_name then
            values[#values + 1] = string_of(slice2.p, slice2.n)
        end
        index = index + 1
    end
    if #values == 0 and header(self, which, lower_name, #lower_name, slice) then
        values[1] = string_of(slice.p, slice.n) -- host, which is no field
    end
    return values
end

---@return string? problem
function call.set_header(self, which, name, value, replace)
    local wrong = set_header(self, which, name, #name, value, #value, replace)
    if wrong ~= nil then
        return (maybe(wrong))
    end
end

---@return integer count, string? problem
function call.remove_header(self, which, name)
    local wrong = remove_header(self, which, name, #name, removed)
    if wrong ~= nil then
        return 0, string_of(wrong)
    end
    return removed[0]
end

function call.text(self, what)
    if text(self, what, slice) then
        return (string_of(slice.p, slice.n))
    end
end

function call.set_text(self, what, value)
    local wrong = set_text(self, what, value, #value)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

function call.param(self, name)
    if param(self, name, #name, slice) then
        return (string_of(slice.p, slice.n))
    end
end

function call.query(self, name)
    if query(self, name, #name, slice) then
        return (string_of(slice.p, slice.n))
    end
end

--- All values of that name.
function call.queries(self, name)
    local values = {}
    query_at[0] = 0
    while query_next(self, name, #name, query_at, slice) do
        values[#values + 1] = string_of(slice.p, slice.n)
    end
    return values
end

function call.set_status(self, value)
    local wrong = set_status(self, value)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

function call.respond(self, value, content_type, bytes)
    local wrong = respond(self, value, content_type, bytes, #bytes)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

function call.problem(self, value, title, detail)
    local wrong = problem(self, value, title, title and #title or 0, detail, detail and #detail or 0)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

---@return string? bytes, string? problem  neither: it is not there yet
function call.body(self, which)
    why[0] = nil
    if body(self, which, slice, why) then
        return (string_of(slice.p, slice.n))
    end
    return nil, maybe(why[0])
end

---@return string bytes, boolean last
function call.chunk(self)
    local last = chunk(self, slice)
    return string_of(slice.p, slice.n), last
end

function call.set_chunk(self, bytes)
    local wrong = set_chunk(self, bytes, #bytes)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

function call.set_body(self, which, bytes)
    local wrong = set_body(self, which, bytes, #bytes)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

---@return string? why  "HEAD", "204", ..: a body that is set has no effect
function call.bodiless(self, which)
    return (maybe(bodiless(self, which)))
end

function call.new_id(self)
    new_id(self, id)
    return (string_of(id, 32))
end

function call.log(self, level, line)
    log(self, level, line, #line)
end

--- Why the chain must unwind; nil: it must not.
function call.cancel_reason(self)
    return (maybe(cancelled(self)))
end

function call.sleep(self, seconds)
    local wrong = sleep(self, seconds)
    if wrong ~= nil then
        return string_of(wrong)
    end
end

function call.raised(self, plugin, message, traceback)
    raised(self, plugin, message, #message, traceback, #traceback)
end

---@return number? number, string? problem
function call.task_start(self, plugin, where, timeout_s)
    local number = task_start(self, plugin, where, #where, timeout_s, why)
    if number == 0 then
        return nil, string_of(why[0])
    end
    return number
end

---@return string? problem
function call.task_detach(self, number)
    return maybe(task_detach(self, number))
end

---@return string? problem
function call.task_wait(self, number)
    return maybe(task_wait(self, number))
end

function call.task_raised(self, message, traceback)
    task_raised(self, message, #message, traceback, #traceback)
end

---@return ffi.cdata*? view  mg_limit_view, good until the next call
---@return string? problem
function call.limit_take(self, name, key, cost)
    local wrong = limit_take(self, name, #name, key, #key, cost, limit_view)
    if wrong ~= nil then
        return nil, string_of(wrong)
    end
    return limit_view
end

---@param limiter ffi.cdata*?  nil: the one of the configuration with that name
---@param max_wait_s number  below 0: as the configuration says
---@return ffi.cdata*? view  mg_limit_view, good until the next call
---@return string? problem
function call.limit_reserve(self, limiter, name, key, cost, max_wait_s)
    local wrong = limit_reserve(self, limiter, name, #name, key, #key, cost, max_wait_s, limit_view)
    if wrong ~= nil then
        return nil, string_of(wrong)
    end
    return limit_view
end

---@return integer? ticket  a 64-bit integer; nil when refused
function call.breaker_ask(self, breaker)
    local ticket = breaker_ask(self, breaker)
    if ticket ~= 0 then
        return ticket
    end
end

function call.breaker_finish(self, breaker, ticket, outcome, duration_s)
    return (breaker_finish(self, breaker, ticket, outcome, duration_s))
end

return call
