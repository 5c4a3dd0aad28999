/* place.c - reads a Lua state that stands still. */
#include "script/place.h"

#include "base/mem.h"
#include "script/state.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>

enum { LEVELS = 64 };

/* Of this thread: where to go on when the walk faults; NULL: no walk. */
static _Thread_local sigjmp_buf *walk_end;

static void on_fault(int signal_number)
{
    if (walk_end)
        siglongjmp(*walk_end, 1);
    (void)signal(signal_number, SIG_DFL); /* another thread's own: it faults again, and ends the process */
}

static size_t copy_n(char *to, size_t size, const char *from, size_t n)
{
    n = n < size ? n : size - 1;
    memcpy(to, from, n);
    to[n] = '\0';
    return n;
}

static size_t copy_cut(char *to, size_t size, const char *from)
{
    return copy_n(to, size, from, strnlen(from, size));
}

static bool is_ours(const char *source)
{
    static const char prefix[] = "@lua/moongate/";

    return strncmp(source, prefix, sizeof prefix - 1) == 0;
}

/* The innermost line of a plugin. */
static void find_line(lua_State *L, char line[], size_t size)
{
    lua_Debug at;

    for (int level = 0; level < LEVELS && lua_getstack(L, level, &at); level++) {
        char number[20];
        if (!lua_getinfo(L, "Sl", &at) || at.currentline <= 0 || is_ours(at.source))
            continue;
        size_t n =
            copy_n(line, size - sizeof number - 2, at.short_src, strnlen(at.short_src, sizeof at.short_src));
        line[n++] = ':';
        (void)copy_n(line + n, size - n, number, mg_u64_write(number, (uint64_t)at.currentline));
        return;
    }
}

/* The plugin that runs; NULL: none does, or they are being loaded. */
static const mg_vm_plugin *plugin_of(const mg_vm *vm)
{
    const size_t index = (size_t)vm->memory.shown.owner; /* -1 is past the end */

    if (index >= vm->plugin_count || !vm->plugins || !vm->plugins[index].place)
        return NULL;
    return &vm->plugins[index];
}

/* The same, whatever state the stack is in. */
static void find_line_safely(lua_State *L, char line[], size_t size)
{
    static const int faults[] = { SIGSEGV, SIGBUS };
    struct sigaction caught = { .sa_handler = on_fault, .sa_flags = SA_NODEFER }, before[mg_countof(faults)];
    sigjmp_buf end;

    sigemptyset(&caught.sa_mask);
    for (size_t i = 0; i < mg_countof(faults); i++)
        (void)sigaction(faults[i], &caught, &before[i]);
    walk_end = &end;
    if (sigsetjmp(end, 1) == 0)
        find_line(L, line, size);
    else
        line[0] = '\0';
    walk_end = NULL;
    for (size_t i = 0; i < mg_countof(faults); i++)
        (void)sigaction(faults[i], &before[i], NULL);
}

void mg_vm_place_now(const mg_vm_site *site, mg_vm_place *place)
{
    lua_State *L = site->L;
    const mg_vm_plugin *plugin = L ? plugin_of(site->vm) : NULL;

    *place = (mg_vm_place){ .in_lua = L != NULL };
    if (!L)
        return;
    if (plugin)
        (void)copy_cut(place->plugin, sizeof place->plugin, plugin->name);
    find_line_safely(L, place->line, sizeof place->line);
    if (plugin && !place->line[0]) {
        (void)copy_cut(place->line, sizeof place->line, plugin->place);
        place->is_handler = true;
    }
}
