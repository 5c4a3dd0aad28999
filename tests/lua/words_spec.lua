--- One table for each closed set: the lists of words beside the enums of runtime/ (base/words.h), and what says the
--- same words elsewhere: schemas/gateway.json and docs/metrics.md.
local json = require("tests.e2e.harness.json")

local function text_of(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

--- The words of a list's body: what stands in quotes behind a value, or its number. A value may have none: NULL.
local function words_of(body)
    local words = {}
    for arguments in body:gmatch("X(%b())") do
        words[#words + 1] = arguments:match('^%([%w_]+,%s*"([^"]*)"')
            or arguments:match('^%([%w_]+,%s*%d+,%s*"([^"]*)"')
    end
    return words
end

--- The words of each list under runtime/, sorted: MG_BREAKER_STATES = { "closed", .. }. A list may begin with another.
local function lists_of_runtime()
    local lists, lists_within = {}, {}
    for path in io.popen("find runtime -name '*.h'"):lines() do
        for name, body in text_of(path):gmatch("#define (MG_[A-Z_]+)%(X%)(.-[^\\])\n") do
            assert(not lists[name], name .. " stands twice")
            lists[name] = words_of(body:gsub("\\\n", " "))
            lists_within[name] = body:match("(MG_[A-Z_]+)%(X%)")
        end
    end
    for name, within in pairs(lists_within) do
        for _, word in ipairs(lists[within]) do
            table.insert(lists[name], word)
        end
    end
    for _, words in pairs(lists) do
        table.sort(words)
    end
    -- Of an enum of the ABI, which has no macros.
    lists["mg_log_level"] = {}
    for word in text_of("runtime/base/log.c"):match("mg_log_level_words%[%] = (%b{})"):gmatch('"(%a+)"') do
        table.insert(lists["mg_log_level"], word)
    end
    table.sort(lists["mg_log_level"])
    return lists
end

local lists = lists_of_runtime()

--- Which list each enum of the schema is; false: its words have no enum in C, the reader takes each on its own.
local SCHEMA = {
    ["log_level"] = "mg_log_level",
    ["balance"] = "MG_BALANCER_ALGORITHMS",
    ["breaker.mode"] = "MG_BREAKER_MODES",
    ["detector"] = "MG_DETECTOR_KINDS",
    ["algorithm"] = "MG_LIMITER_ALGORITHMS",
    ["on_missing_key"] = "MG_CONFIG_ON_MISSING_KEYS",
    ["on_full"] = "MG_LIMITER_ON_FULLS",
    ["limiter.mode"] = "MG_CONFIG_LIMITER_MODES",
    ["on_error"] = "MG_CONFIG_ON_ERRORS",
    ["sync"] = false, ["client_from"] = false, ["profile"] = false, ["per"] = false, ["scope"] = false, ["raw"] = false,
}

--- Which list the values of each label are, by the metric's name and the label; false: they are no enum's, and the
--- function that writes the metric has them.
local METRICS = {
    ["moongate_deadline_exceeded_total.where"] = "MG_DEADLINE_PLACES",
    ["moongate_upstream_requests_total.outcome"] = "MG_UPSTREAM_OUTCOMES",
    ["moongate_upstream_retries_total.outcome"] = "MG_RETRY_OUTCOMES",
    ["moongate_upstream_reuse_total.result"] = "MG_REUSE_RESULTS",
    ["circuit_breaker_state.state"] = "MG_BREAKER_STATES",
    ["circuit_breaker_calls_total.outcome"] = "MG_CALL_OUTCOMES",
    ["moongate_tasks_total.outcome"] = "MG_TASK_OUTCOME_LIST",
    ["moongate_tasks_total.kind"] = "MG_TASK_KIND_LIST",
    ["moongate_tasks_running.kind"] = false, ["moongate_config_reloads_total.result"] = false,
    ["moongate_upstream_refusals_total.reason"] = "MG_SERVICE_REFUSALS", ["moongate_upstream_hosts.state"] = false,
    ["moongate_upstream_connections.state"] = false, ["moongate_breaker_transitions_total.to"] = false,
    ["moongate_breaker_transitions_total.reason"] = false, ["moongate_limiter_decisions_total.decision"] = false,
    ["moongate_hangs_total.thread"] = false, ["moongate_log_lines_dropped_total.log"] = false,
}
--- Labels whose values are names of the configuration, of plugins or of HTTP.
local NAMES = {
    version = true, listener = true, route = true, method = true, code = true, service = true, limiter = true,
    rollout = true, name = true,
}

--- The words of a row that are in quotes (`ok`), without those that name another thing.
local function quoted_words(text)
    local found = {}
    for word in text:gmatch("`([%a_][%w_]*)`") do
        found[word] = true
    end
    return found
end

--- The rows of docs/metrics.md: { labels, text } by metric.
local function rows_of_docs(page)
    local rows = {}
    for name, labels, text in page:gmatch("\n| `([%w_]+)` | %a+ | ([^|]*)| ([^\n]*) |") do
        rows[name] = { labels = labels, text = text }
    end
    return rows
end

--- What is wrong with a row, where the values of its label are these words: one that is missing, or one too many. A row
--- that has two labels has the words of both.
local function faults_of_row(row, wanted)
    local faults, found = {}, quoted_words(row.text)
    for word in pairs(wanted) do
        if not found[word] then
            faults[#faults + 1] = "misses " .. word
        end
    end
    for word in pairs(found) do
        if not wanted[word] and not quoted_words(row.labels)[word] then
            faults[#faults + 1] = "has " .. word
        end
    end
    table.sort(faults)
    return faults
end

--- The enums of a schema: { path, words } each, the path as "limiter.mode".
local function enums_of(node, path, into)
    if type(node) == "table" then
        if type(node.enum) == "table" then
            local words = {}
            for i, word in ipairs(node.enum) do
                words[i] = word
            end
            table.sort(words)
            into[#into + 1] = { path = path, words = words }
        end
        for key, value in pairs(node) do
            enums_of(value, type(key) == "string" and path .. "." .. key or path, into)
        end
    end
    return into
end

--- What differs between the enums of a schema and the lists.
local function faults_of_schema(schema)
    local faults, seen = {}, {}
    for _, enum in ipairs(enums_of(schema, "", {})) do
        local short = enum.path:gsub("%.properties", ""):gsub("^%.%$defs", "")
        local key = short:match("([%w_]+%.[%w_]+)$")
        if SCHEMA[key] == nil then
            key = short:match("([%w_]+)$")
        end
        seen[key or ""] = true
        if SCHEMA[key] == nil then
            faults[#faults + 1] = enum.path .. ": no list of runtime/ is known for it"
        elseif SCHEMA[key] and table.concat(lists[SCHEMA[key]], " ") ~= table.concat(enum.words, " ") then
            faults[#faults + 1] = enum.path .. ": " .. table.concat(enum.words, " ") .. ", not "
                .. table.concat(lists[SCHEMA[key]], " ")
        end
    end
    for key in pairs(SCHEMA) do
        if not seen[key] then
            faults[#faults + 1] = key .. ": the schema has no such enum"
        end
    end
    return faults
end

--- The statuses of refusals by their word, as runtime/ has them: rate_limit = { ["429"] = true }.
local function statuses_of_refusals()
    local statuses = {}
    local list = text_of("runtime/gateway/observe/refusal.h"):gsub("\\\n", " ")
    for word, status in list:gmatch('X%(MG_REFUSED_[%w_]+,%s*"([^"]*)",%s*(%d+)') do
        statuses[word] = statuses[word] or {}
        statuses[word][status] = true
    end
    return statuses
end

--- What is wrong with the table of refusals of docs/policies.md: a word of no row or of two, one too many, or a status
--- that the gateway's list does not have first.
local function faults_of_answers(page, statuses)
    local faults, rows = {}, {}
    local text = page:match("\n| reason | status | [^\n]*\n|[-|]*|\n(.-)\n\n")
    for reasons, status in (text .. "\n"):gmatch("| ([^|\n]*) | (%d+)[^|\n]*|[^\n]*\n") do
        for word in pairs(quoted_words(reasons)) do
            if not statuses[word] or rows[word] then
                faults[#faults + 1] = "has " .. word
            elseif not statuses[word][status] then
                faults[#faults + 1] = word .. " is no " .. status
            end
            rows[word] = true
        end
    end
    for word in pairs(statuses) do
        if not rows[word] then
            faults[#faults + 1] = "misses " .. word
        end
    end
    table.sort(faults)
    return faults
end

describe("a closed set", function()
    it("has a list beside its enum", function()
        for _, known in ipairs({ SCHEMA, METRICS }) do
            for key, name in pairs(known) do
                assert.truthy(not name or lists[name] and #lists[name] > 1, key .. ": " .. tostring(name))
            end
        end
    end)

    it("has the same words in the schema", function()
        local schema = json.decode(text_of("schemas/gateway.json"))
        assert.same({}, faults_of_schema(schema))
        schema["$defs"].limiter.properties.algorithm.enum[1] = "tokens"
        assert.equal(1, #faults_of_schema(schema))
        schema["$defs"].limiter.properties.more = { enum = { "a", "b" } }
        assert.equal(2, #faults_of_schema(schema))
    end)

    it("has the same words in the table of metrics", function()
        local rows = rows_of_docs(text_of("docs/metrics.md"))
        local wanted = {}
        for name, row in pairs(rows) do
            for label in pairs(quoted_words(row.labels)) do
                assert.truthy(NAMES[label] or METRICS[name .. "." .. label] ~= nil, name .. "." .. label
                    .. ": no list of runtime/ is known for this label")
            end
        end
        for key, list in pairs(METRICS) do
            local name, label = key:match("^(.*)%.(.*)$")
            assert.truthy(rows[name] and quoted_words(rows[name].labels)[label], key .. " is not in docs/metrics.md")
            for _, word in ipairs(list and lists[list] or {}) do
                wanted[name] = wanted[name] or {}
                wanted[name][word] = true
            end
        end
        for name, words in pairs(wanted) do
            assert.same({}, faults_of_row(rows[name], words), name)
        end
        local row = rows["moongate_upstream_reuse_total"]
        row.text = row.text:gsub("`stale`", "`stale` or `old`")
        assert.same({ "has old" }, faults_of_row(row, wanted["moongate_upstream_reuse_total"]))
        row.text = row.text:gsub("`hit`", "hit")
        assert.same({ "has old", "misses hit" }, faults_of_row(row, wanted["moongate_upstream_reuse_total"]))
    end)

    it("of refusals has the same words and statuses in the docs", function()
        local statuses, wanted = statuses_of_refusals(), {}
        for _, word in ipairs(lists["MG_REFUSALS"]) do
            wanted[word] = true
            assert.truthy(statuses[word], word)
        end
        local row = text_of("docs/metrics.md"):match("\n| `error` | ([^\n]*) |\n")
        assert.same({}, faults_of_row({ labels = "", text = row }, wanted))
        assert.same({ "misses loop" }, faults_of_row({ labels = "", text = row:gsub("`loop`", "loop") }, wanted))

        local page = text_of("docs/policies.md")
        assert.same({}, faults_of_answers(page, statuses))
        assert.same({ "misses loop" }, faults_of_answers(page:gsub("`loop`", "loop"), statuses))
        assert.same({ "has loops", "misses loop" }, faults_of_answers(page:gsub("`loop`", "`loops`"), statuses))
        assert.same({ "loop is no 507" }, faults_of_answers(page:gsub("| 508 |", "| 507 |"), statuses))
    end)

    it("is written once in runtime/", function()
        local found = {}
        for path in io.popen("find runtime -name '*.c'"):lines() do
            for body in text_of(path):gmatch("%[[%w_]*%]%s*=%s*(%b{})") do
                local words = {}
                for word in body:gmatch('"([%a_]+)"') do
                    words[#words + 1] = word
                end
                table.sort(words)
                for name, list in pairs(lists) do
                    if name:find("^MG_") and #list > 1 and table.concat(list, " ") == table.concat(words, " ") then
                        found[#found + 1] = path .. ": the words of " .. name
                    end
                end
            end
        end
        assert.same({}, found)
    end)
end)
