/* A VM and its slots over small boots of their own: memory, errors, reuse. The real Lua side is tested in
 * gateway/request/call.c. */
#include "base/mem.h"
#include "script/state.h"
#include "script/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

/* Returns what boot.lua does; each slot runs `body`, which may read the call's first int by ffi. */
#define BOOT(body)                                                                                           \
    "local api, hash, host, plan, seed, source, memory = ...\n"                                              \
    "local ffi = require('ffi')\n"                                                                           \
    "local over = ffi.cast('int *', memory)\n"                                                               \
    "return { plugins = { { name = 'p', version = plan, has_log = true, request_body_bytes = 64 } },"        \
    " logs = { false, true }, streams = { 0, 2 },\n"                                                         \
    "aside = function(slot, what) return what == 0, 4, 2, 'filter', 'trace' end,\n"                          \
    "slot = function(pointer) local call = ffi.cast('int *', pointer) local yield = coroutine.yield\n" body  \
    "\nend,\n"                                                                                               \
    "fault = function(co, err) return 3, 17, tostring(err), debug.traceback(co) end }\n"

static const char *boot_text;

static mg_str source(const char *name)
{
    return strcmp(name, "lua/moongate/worker/boot.lua") == 0 ? mg_str_of(boot_text) : MG_STR_NONE;
}

static mg_vm *vm_with(const char *boot, size_t memory_max, mg_error *err)
{
    const mg_vm_conf conf = { .api = &boot_text,
                              .abi_hash = "hash",
                              .host = &boot_text,
                              .source = source,
                              .call_bytes = 64,
                              .memory_max = memory_max,
                              .seed = 1 };

    boot_text = boot;
    return mg_vm_new(&conf, MG_STR("1.0.0"), err);
}

static void a_vm_tells_what_its_plan_became(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_vm *vm = vm_with(BOOT("while true do yield() end"), 0, &err);

    (void)state;
    assert_non_null(vm);
    assert_int_equal(mg_vm_plugin_count(vm), 1);
    assert_string_equal(mg_vm_plugin_at(vm, 0)->name, "p");
    assert_string_equal(mg_vm_plugin_at(vm, 0)->version, "1.0.0");
    assert_true(mg_vm_plugin_at(vm, 0)->has_log);
    assert_int_equal(mg_vm_plugin_at(vm, 0)->request_body_bytes, 64);
    assert_int_equal(mg_vm_plugin_at(vm, 0)->response_body_bytes, 0);
    assert_false(mg_vm_chain_logs(vm, 0));
    assert_true(mg_vm_chain_logs(vm, 1));
    assert_int_equal(mg_vm_chain_streams(vm, 0), 0);
    assert_int_equal(mg_vm_chain_streams(vm, 1), 2);
    assert_true(mg_vm_used_bytes(vm) > 10000);
    mg_vm_free(vm);
    mg_vm_free(NULL);
}

static void a_boot_that_fails_says_where(void **state)
{
    static const char *const cases[][2] = {
        { "return {", "boot.lua:1:" },
        { "error('no plan', 0)", "no plan" },
        { "\nlocal x = nil + 1", "boot.lua:2:" },
        { "error({})", "not text" },
        { "return 1", "table expected" },
        { "return { plugins = {}, logs = {} }", "function expected" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        mg_error err = MG_ERROR_INIT;

        assert_null(vm_with(cases[i][0], 0, &err));
        assert_int_equal(err.code, MG_ERR_SCRIPT);
        if (!strstr(err.message, cases[i][1]))
            fail_msg("case %zu: %s", i, err.message);
    }
}

static void a_boot_past_its_memory_is_refused(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_null(vm_with("kept = {} for i = 1, 1e5 do kept[i] = { i } end\n" BOOT("while true do yield() end"),
                        4 << 20, &err));
    assert_int_equal(err.code, MG_ERR_LIMIT);
    assert_non_null(strstr(err.message, "4096 KiB"));
    assert_null(vm_with(BOOT("while true do yield() end"), 100, &err));
    assert_int_equal(err.code, MG_ERR_LIMIT);
}

/* Lets the collector work in pieces as small as there are, until it has no more to do; how many these were. */
static int tend(mg_vm *vm)
{
    int count = 0;

    while (mg_vm_wants_collector(vm)) {
        mg_vm_collect(vm, 0);
        if (++count > 100000)
            fail_msg("the collector does not come to an end");
    }
    return count;
}

/* A slot that keeps so many texts of its own, and tells whether the collector is due. */
static const char keeps[] =
    BOOT("local kept while true do yield() kept = {}\n"
         "for i = 1, call[0] do kept[i] = tostring(i) .. 'x' end call[1] = over[0] end");

static void keep(mg_task *task, int count)
{
    mg_task_error error;

    *(int *)mg_task_call(task) = count;
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
}

/* Compiled code does not survive a refusal, so there is none. */
static void the_allocator_passes_the_cap_and_says_so(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_vm *vm = vm_with(keeps, 6 << 20, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    for (int i = 0; i < 5; i++) {
        keep(task, 200000);
        assert_int_equal(((int *)mg_task_call(task))[1], 1);
        assert_false(mg_memory_fits(&vm->memory.shown, 0));
        assert_true(mg_memory_bursts(&vm->memory.shown, 0));
        assert_false(mg_vm_memory_has_room(&vm->memory));
        keep(task, 1);
        vm->memory.judge_from = vm->memory.cycles + 2; /* that began now */
        (void)tend(vm);
        assert_true(mg_memory_fits(&vm->memory.shown, 1 << 20));
        assert_true(mg_vm_memory_has_room(&vm->memory));
        assert_in_range(mg_vm_used_bytes(vm), 1, 3 << 20);
    }
    mg_task_give(task, true);
    mg_vm_free(vm);
}

/* No turn waits for a whole cycle: with every piece a little is done. */
static void the_collector_works_in_small_pieces(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_vm *vm = vm_with(keeps, 64 << 20, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    keep(task, 400000);
    mg_vm_collect(vm, 0);
    assert_true(mg_memory_cycling(&vm->memory.shown));
    const uint64_t cycles = vm->memory.cycles;
    int pieces = 0;
    for (; mg_memory_cycling(&vm->memory.shown); pieces++) {
        vm->memory.judge_from = cycles + 1;
        mg_vm_collect(vm, 0);
    }
    assert_int_equal(vm->memory.cycles, cycles);
    assert_in_range(pieces, 100, 20000);
    mg_task_give(task, true);
    mg_vm_free(vm);
}

/* What one request holds is its own affair: only a cycle that began behind it tells. */
static void a_state_is_crowded_when_it_stays_full_behind_a_request(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_vm *vm = vm_with(keeps, 6 << 20, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    keep(task, 80000);
    (void)tend(vm);
    for (int i = 0; i < 3; i++) { /* cycles within the request */
        vm->memory.shown.over = 1;
        for (const uint64_t cycles = vm->memory.cycles; vm->memory.cycles < cycles + 2; mg_vm_collect(vm, 0))
            vm->memory.shown.over = 1;
        assert_false(mg_vm_is_crowded(vm));
        assert_true(vm->memory.suspect || mg_memory_cycling(&vm->memory.shown));
    }
    mg_vm_memory_request_over(&vm->memory, false);
    assert_false(mg_vm_is_crowded(vm));
    (void)tend(vm);
    assert_true(mg_vm_is_crowded(vm));

    keep(task, 1); /* garbage by the time of the next ones */
    mg_vm_memory_request_over(&vm->memory, false);
    vm->memory.judge_from = vm->memory.cycles + 2;
    (void)tend(vm);
    assert_false(mg_vm_is_crowded(vm));
    mg_task_give(task, true);
    mg_vm_free(vm);
}

static void a_crowded_state_has_room_for_those_who_hold_little(void **state)
{
    mg_vm_memory memory;

    (void)state;
    mg_vm_memory_init(&memory);
    mg_memory_tell_apart(&memory.shown, 4);
    mg_vm_memory_bound(&memory, 64 << 20);
    memory.limit_bytes = 96 << 20;
    const size_t holds[] = { 40 << 20, 18 << 20, 3 << 20, 512 << 10 };
    for (int i = 0; i < 4; i++) {
        memory.shown.owner = i;
        mg_memory_outside(&memory.shown, (double)holds[i]);
    }
    static const struct {
        int plugin;
        double bytes;
        bool fits;
    } cases[] = {
        { 0, 18 << 20, true }, { 0, 19 << 20, false }, { 1, 18 << 20, true }, { 1, 19 << 20, false },
        { 2, 30 << 20, true }, { 2, 40 << 20, false }, { 3, 80 << 20, true }, { -1, 80 << 20, true },
    };
    memory.crowded = true;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        memory.shown.owner = cases[i].plugin;
        if (mg_memory_fits(&memory.shown, cases[i].bytes) != cases[i].fits)
            fail_msg("case %zu", i);
    }
    memory.crowded = false;
    memory.shown.owner = 3;
    assert_false(mg_memory_fits(&memory.shown, 3 << 20)); /* then the collector has to find it */
    mg_vm_memory_fini(&memory);
}

/* Whoever runs while it is collected. */
static void garbage_is_taken_from_the_plugin_that_made_it(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm =
        vm_with(BOOT("local kept, n = {}, 0 while true do yield() over[1] = 0\n"
                     "for i = 1, 1000 do n = n + 1 local t = tostring(n) .. ('g'):rep(1000) end\n"
                     "over[1] = 1 for i = 1, 10 do n = n + 1 kept[#kept + 1] = n .. ('k'):rep(1000) end\n"
                     "over[1] = -1 end"),
                0, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    mg_memory_tell_apart(&vm->memory.shown, 2);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
        vm->memory.shown.owner = i % 2 ? 1 : -1;
        (void)tend(vm);
    }
    vm->memory.judge_from = vm->memory.cycles + 2;
    (void)tend(vm);
    assert_in_range(mg_vm_memory_held(&vm->memory, 1), 5000000, 6000000);
    assert_in_range(mg_vm_memory_held(&vm->memory, 0), 0, 100000);
    mg_task_give(task, true);
    mg_vm_free(vm);
}

static void memory_is_held_against_the_plugin_that_runs(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("local kept = {} while true do yield() over[1] = call[0]\n"
                             "kept[call[0]] = string.rep('x', 1000) .. call[0] over[1] = -1 end"),
                        0, &err);
    mg_task *task = mg_task_take(vm);
    int *call = mg_task_call(task);
    size_t bytes = 0;

    (void)state;
    assert_int_equal(mg_vm_holder(vm, &bytes), -1);
    mg_memory_tell_apart(&vm->memory.shown, 3);
    assert_int_equal(mg_vm_holder(vm, &bytes), -1);
    call[0] = 2;
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
    assert_int_equal(mg_vm_holder(vm, &bytes), 2);
    assert_in_range(bytes, 1000, 20000);
    assert_true(mg_memory_held(&vm->memory.shown, 2) >= 1000);
    assert_true(mg_memory_held(&vm->memory.shown, 1) == 0);
    assert_true(mg_memory_held(&vm->memory.shown, 7) == 0);
    mg_task_give(task, true);
    mg_vm_free(vm);
}

static void slots_are_used_again(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("while true do yield() call[0] = call[0] + 1 end"), 0, &err);
    mg_task *first = mg_task_take(vm);
    mg_task *second = mg_task_take(vm);

    (void)state;
    assert_non_null(first);
    assert_ptr_not_equal(first, second);
    assert_int_equal(mg_vm_tasks(vm), 2);
    assert_int_equal(mg_task_resume(first, &error), MG_TASK_YIELDED);
    assert_int_equal(mg_task_resume(first, &error), MG_TASK_YIELDED);
    assert_int_equal(*(int *)mg_task_call(first), 2);
    assert_int_equal(*(int *)mg_task_call(second), 0);
    assert_int_equal((uintptr_t)mg_task_call(first) % 16, 0);
    mg_task_give(first, true);
    assert_int_equal(mg_vm_tasks(vm), 1);
    assert_ptr_equal(mg_task_take(vm), first); /* the last one given back: its memory is warm */
    mg_task_give(first, true);
    mg_task_give(second, true);
    mg_vm_free(vm);
}

static void a_task_that_raises_is_described_and_dropped(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("yield() local function deep() error('broken') end deep()"), 0, &err);

    (void)state;
    for (int i = 0; i < 100; i++) {
        mg_task *task = mg_task_take(vm);

        assert_int_equal(mg_task_resume(task, &error), MG_TASK_RAISED);
        assert_int_equal(error.plugin, 3);
        assert_int_equal(error.line, 17);
        assert_non_null(strstr(error.message, "broken"));
        assert_non_null(strstr(error.traceback, "deep"));
        mg_task_give(task, false);
    }
    assert_int_equal(mg_vm_tasks(vm), 0);
    mg_vm_free(vm);
}

static void a_slot_that_ends_is_an_error_of_ours(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("yield()"), 0, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_RAISED);
    assert_int_equal(error.plugin, -1);
    mg_task_give(task, false);
    mg_vm_free(vm);
}

static void a_waiting_task_may_be_dropped(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm =
        vm_with(BOOT("while true do local keep = string.rep('x', 1000) .. tostring({}) yield(keep) end"),
                8 << 20, &err);

    (void)state;
    for (int i = 0; i < 20000; i++) { /* 20 MB in all: what is dropped is collected */
        mg_task *task = mg_task_take(vm);

        assert_non_null(task);
        assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
        mg_task_give(task, false);
        if (mg_vm_wants_collector(vm))
            mg_vm_collect(vm, MG_NS_PER_MS);
    }
    mg_vm_free(vm);
}

static void a_vm_at_its_cap_gives_no_more_slots(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_vm *vm = vm_with(BOOT("while true do yield() end"), 1 << 20, &err);
    mg_task *tasks[4096];
    size_t count = 0;

    (void)state;
    while (count < mg_countof(tasks) && (tasks[count] = mg_task_take(vm)))
        count++;
    assert_in_range(count, 100, 4095);
    for (size_t i = 0; i < count; i++)
        mg_task_give(tasks[i], i % 2 == 0);
    assert_non_null(tasks[0] = mg_task_take(vm));
    mg_task_give(tasks[0], true);
    mg_vm_free(vm);
}

static void a_task_that_eats_the_stack_is_an_error(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("local function down() return 1 + down() end while true do yield() down() end"),
                        0, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_RAISED);
    assert_non_null(strstr(error.message, "stack overflow"));
    mg_task_give(task, false);
    mg_vm_free(vm);
}

static void tasks_yield_in_pcall(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(
        BOOT("while true do yield() pcall(function() yield() call[0] = call[0] + 1 error('x') end) end"), 0,
        &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
    assert_int_equal(*(int *)mg_task_call(task), 500);
    mg_task_give(task, false);
    mg_vm_free(vm);
}

static void a_filter_runs_while_its_task_waits(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_task_error error;
    mg_vm *vm = vm_with(BOOT("while true do yield() end"), 0, &err);
    mg_task *task = mg_task_take(vm);

    (void)state;
    assert_int_equal(mg_task_aside(task, MG_ASIDE_REQUEST, &error), MG_TASK_YIELDED);
    assert_int_equal(mg_task_aside(task, MG_ASIDE_RESPONSE, &error), MG_TASK_RAISED);
    assert_int_equal(error.plugin, 4);
    assert_string_equal(error.message, "filter");
    assert_int_equal(mg_task_resume(task, &error), MG_TASK_YIELDED);
    mg_task_give(task, true);
    mg_vm_free(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_tells_what_its_plan_became),
        cmocka_unit_test(a_boot_that_fails_says_where),
        cmocka_unit_test(a_boot_past_its_memory_is_refused),
        cmocka_unit_test(slots_are_used_again),
        cmocka_unit_test(a_task_that_raises_is_described_and_dropped),
        cmocka_unit_test(a_slot_that_ends_is_an_error_of_ours),
        cmocka_unit_test(a_waiting_task_may_be_dropped),
        cmocka_unit_test(the_allocator_passes_the_cap_and_says_so),
        cmocka_unit_test(the_collector_works_in_small_pieces),
        cmocka_unit_test(a_state_is_crowded_when_it_stays_full_behind_a_request),
        cmocka_unit_test(a_crowded_state_has_room_for_those_who_hold_little),
        cmocka_unit_test(garbage_is_taken_from_the_plugin_that_made_it),
        cmocka_unit_test(memory_is_held_against_the_plugin_that_runs),
        cmocka_unit_test(a_vm_at_its_cap_gives_no_more_slots),
        cmocka_unit_test(a_task_that_eats_the_stack_is_an_error),
        cmocka_unit_test(tasks_yield_in_pcall),
        cmocka_unit_test(a_filter_runs_while_its_task_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
