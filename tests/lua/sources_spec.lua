--- What the text of runtime/ shows: things that have one place, which the compiler cannot hold to it.

--- Calls look(path, line number, line) for each line of C under runtime/, comments left out.
local function each_line(look)
    for path in io.popen("find runtime -name '*.[ch]' | sort"):lines() do
        local number = 0
        for line in io.lines(path) do
            number = number + 1
            look(path, number, (line:gsub("/%*.-%*/", "")))
        end
    end
end

--- Whether a line of C writes a part of JSON by hand: a text that begins a map or list with a name, or one that goes on
--- with a name, a format among them; or a quoted text beside the writer.
local function writes_json(line)
    for text in line:gsub('\\"', "\1"):gmatch('"([^"]*)"') do
        if text:find("^[{%[,}%]]*{%s*\1") or text:find("^,\1[^,]*\1:") or text:find("{\1[^,]*\1:") then
            return true
        end
    end
    return line:find("mg_text_add_json%(") ~= nil
end

describe("JSON", function()
    --- Where a text in quotes is wanted and no document: a message, and the quoting of plugins' own JSON.
    local quotes = { ["runtime/config/config.c"] = 1, ["runtime/text/json_reader.c"] = 1 }
    local home = {
        ["runtime/base/json_out.c"] = true, ["runtime/base/text.c"] = true, ["runtime/base/str.h"] = true,
    }

    it("is written by base/json_out alone", function()
        local found, left = {}, {}
        for path, count in pairs(quotes) do
            left[path] = count
        end
        each_line(function(path, number, line)
            if home[path] or not writes_json(line) or line:find("hint") then
                return
            elseif (left[path] or 0) > 0 then
                left[path] = left[path] - 1
                return
            end
            found[#found + 1] = path .. ":" .. number .. ": " .. line
        end)
        assert.same({}, found)
    end)

    it("is seen where it is written by hand", function()
        for _, line in ipairs({
            [[mg_text_addf(out, "{\"time\":\"%s\"", time);]], [[mg_text_addf(out, ",\"%s\":%d", name, value);]],
            [[printf("{\"version\":\"%s\"}\n", v);]], [[mg_text_add_c(out, "[{\"a\":1}]");]],
            [[mg_text_add_c(&v->json, "{\"damaged\":true}");]], [[mg_text_add_json(out, name);]],
            [[mg_text_addf(out, "],\"panic\":{\"a\":%s", b);]],
        }) do
            assert.is_true(writes_json(line), line)
        end
        for _, line in ipairs({
            [[mg_text_addf(out, "x{route=\"%s\"} %llu\n", a, b);]], [[mg_fail(err, 1, "\"%.*s\" is no rate", s);]],
            [[mg_json_out_text(&out, "time", mg_str_of(time));]],
        }) do
            assert.is_false(writes_json(line), line)
        end
    end)
end)
