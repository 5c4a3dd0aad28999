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

static size_t copy(char *to, size_t size, const char *from, size_t n)
{
    n = n < size ? n : size - 1;
    memcpy(to, from, n);
    to[n] = '\0';
    return n;
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
        size_t n = copy(line, size - sizeof number - 2, at.short_src, strnlen(at.short_src, LUA_IDSIZE));
        line[n++] = ':';
        (void)copy(line + n, size - n, number, mg_u64_write(number, (uint64_t)at.currentline));
        return;
    }
}

void mg_vm_place_now(const mg_vm_site *site, mg_vm_place *place)
{
    static const int faults[] = { SIGSEGV, SIGBUS };
    struct sigaction caught = { .sa_handler = on_fault, .sa_flags = SA_NODEFER }, before[mg_countof(faults)];
    const mg_vm *vm = site->vm;
    lua_State *L = site->L;
    sigjmp_buf end;

    *place = (mg_vm_place){ .in_lua = L != NULL };
    if (!L)
        return;
    const size_t plugin = (size_t)vm->memory.shown.owner; /* -1 is past the end */
    if (plugin < vm->plugin_count)
        (void)copy(place->plugin, sizeof place->plugin, vm->plugins[plugin].name,
                   strlen(vm->plugins[plugin].name));
    sigemptyset(&caught.sa_mask);
    for (size_t i = 0; i < mg_countof(faults); i++)
        (void)sigaction(faults[i], &caught, &before[i]);
    walk_end = &end;
    if (sigsetjmp(end, 1) == 0)
        find_line(L, place->line, sizeof place->line);
    walk_end = NULL;
    for (size_t i = 0; i < mg_countof(faults); i++)
        (void)sigaction(faults[i], &before[i], NULL);
}
