/* memory.c - the accounting allocator of a Lua state. */
#include "script/memory.h"

#include "base/mem.h"

void mg_vm_memory_init(mg_vm_memory *memory)
{
    *memory = (mg_vm_memory){ .shown = { .owner = -1 }, .cap_bytes = SIZE_MAX, .high_bytes = SIZE_MAX };
}

/* A collection is due a little below the cap, so that a plugin which holds everything is found while the
 * others still have room; and then at the cap, since one of a full state takes as long as five requests may.
 */
static void set_high(mg_vm_memory *memory)
{
    const size_t cap = memory->cap_bytes, early = cap - cap / 8;

    memory->high_bytes = memory->left_bytes + cap / 64 > early ? cap : early;
    memory->shown.over = memory->used_bytes > memory->high_bytes;
}

void mg_vm_memory_bound(mg_vm_memory *memory, size_t cap_bytes)
{
    memory->cap_bytes = cap_bytes;
    set_high(memory);
}

void mg_vm_memory_fini(mg_vm_memory *memory)
{
    mg_free(memory->held);
    mg_spare_fini(&memory->spare);
}

void mg_memory_tell_apart(mg_memory *shown, uint32_t plugins)
{
    mg_vm_memory *memory = (mg_vm_memory *)(void *)shown;

    mg_free(memory->held);
    memory->held = MG_NEW_N(int64_t, plugins + 1);
    memory->held_count = plugins;
}

static void count(mg_vm_memory *memory, size_t old_bytes, size_t bytes)
{
    const size_t owner = (size_t)memory->shown.owner; /* -1 is past the end */

    memory->used_bytes += bytes - old_bytes;
    memory->shown.over = memory->used_bytes > memory->high_bytes;
    if (owner < memory->held_count)
        memory->held[owner] += (int64_t)bytes - (int64_t)old_bytes;
}

void *mg_vm_memory_alloc(void *self, void *old, size_t old_bytes, size_t bytes)
{
    mg_vm_memory *memory = self;
    void *p = mg_spare_realloc(&memory->spare, old, old_bytes, bytes);

    count(memory, old_bytes, bytes);
    return p;
}

void mg_memory_outside(mg_memory *shown, double bytes)
{
    mg_vm_memory *memory = (mg_vm_memory *)(void *)shown;

    if (bytes < 0)
        count(memory, (size_t)-bytes, 0);
    else
        count(memory, 0, (size_t)bytes);
}

static bool fits(const mg_vm_memory *memory, double bytes)
{
    return (double)memory->used_bytes + bytes <= (double)memory->cap_bytes;
}

bool mg_memory_fits(const mg_memory *shown, double bytes)
{
    return fits((const mg_vm_memory *)(const void *)shown, bytes);
}

static bool collectable(const mg_vm_memory *memory)
{
    return memory->used_bytes > memory->left_bytes + memory->cap_bytes / 64;
}

bool mg_memory_collectable(const mg_memory *shown)
{
    return collectable((const mg_vm_memory *)(const void *)shown);
}

static bool is_nearly_full(const mg_vm_memory *memory)
{
    return memory->used_bytes > memory->cap_bytes / 4 * 3;
}

void mg_memory_collected(mg_memory *shown)
{
    mg_vm_memory *memory = (mg_vm_memory *)(void *)shown;

    memory->left_bytes = memory->used_bytes;
    set_high(memory);
    if (is_nearly_full(memory))
        memory->suspect = true;
}

static int collect_all(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

static void collect(mg_vm_memory *memory, lua_State *L)
{
    if (!collectable(memory))
        return;
    if (lua_cpcall(L, collect_all, NULL) != 0)
        lua_settop(L, 0);
    mg_memory_collected(&memory->shown);
}

bool mg_vm_memory_relieve(mg_vm_memory *memory, lua_State *L)
{
    if (memory->shown.over)
        collect(memory, L);
    return memory->used_bytes <= memory->cap_bytes;
}

void mg_vm_memory_judge(mg_vm_memory *memory, lua_State *L)
{
    if (!memory->suspect)
        return;
    if (memory->crowded && is_nearly_full(memory)) { /* it is known: its successor is on its way */
        memory->suspect = false;
        return;
    }
    /* What the request held is garbage now, however little else has come. */
    memory->left_bytes = 0;
    collect(memory, L);
    memory->suspect = false;
    memory->crowded = is_nearly_full(memory);
}

double mg_memory_held(const mg_memory *shown, uint32_t plugin)
{
    const mg_vm_memory *memory = (const mg_vm_memory *)(const void *)shown;

    return plugin < memory->held_count ? (double)memory->held[plugin] : 0;
}

double mg_memory_cap(const mg_memory *shown)
{
    return (double)((const mg_vm_memory *)(const void *)shown)->cap_bytes;
}

int mg_vm_memory_holder(const mg_vm_memory *memory)
{
    int best = -1;

    for (size_t i = 0; i < memory->held_count; i++)
        if (memory->held[i] > (best < 0 ? 0 : memory->held[best]))
            best = (int)i;
    return best;
}
