/* memory.c - the accounting allocator of a Lua state, and the pace of its collector. */
#include "script/memory.h"

#include "base/mem.h"
#include "base/time.h"

enum {
    STRIDE_BYTES = 64 << 10, /* made between two looks at the collector */
    CHUNK_KIB = 16,          /* of steps at once: about 20 us, 150 where there are only texts */
    PACE_MAX = 16,
    LITTLE_SHARE = 64, /* of the cap: who holds less is never in the way */
};

void mg_vm_memory_init(mg_vm_memory *memory)
{
    static const int32_t never = 0;

    *memory = (mg_vm_memory){ .shown = { .owner = -1, .given_up = &never },
                              .cap_bytes = SIZE_MAX,
                              .limit_bytes = SIZE_MAX,
                              .crowd_bytes = SIZE_MAX,
                              .high_bytes = SIZE_MAX };
    memory->held = &memory->nobody;
}

static void set_high(mg_vm_memory *memory, size_t high_bytes)
{
    memory->high_bytes = high_bytes;
    memory->shown.over = memory->used_bytes > high_bytes;
}

/* How much may be in use, as far as the collector goes by it. */
static size_t goal_of(const mg_vm_memory *memory)
{
    return memory->crowded ? memory->limit_bytes : memory->cap_bytes;
}

static size_t room_of(const mg_vm_memory *memory)
{
    const size_t goal = goal_of(memory);

    return goal > memory->used_bytes ? goal - memory->used_bytes : 0;
}

static void set_next_cycle(mg_vm_memory *memory)
{
    const size_t used = memory->used_bytes, part = room_of(memory) / 4;
    const size_t more = used < part ? used : part;

    set_high(memory, used + (more > STRIDE_BYTES ? more : STRIDE_BYTES));
}

void mg_vm_memory_bound(mg_vm_memory *memory, size_t cap_bytes)
{
    memory->cap_bytes = memory->limit_bytes = cap_bytes;
    set_next_cycle(memory);
}

/* ---- the allocator ---- */

/* A block begins with its owner: collections free what any plugin made, whoever runs. */
typedef uint64_t block_head;

static size_t owner_of(const mg_vm_memory *memory)
{
    const size_t owner = (size_t)memory->shown.owner; /* -1 is past the end */

    return owner < memory->held_count ? owner + 1 : 0;
}

static void count(mg_vm_memory *memory, size_t owner, size_t bytes) /* which may be a negative number */
{
    memory->used_bytes += bytes;
    memory->held[owner] += (int64_t)bytes;
}

static void note_use(mg_vm_memory *memory)
{
    memory->shown.over = memory->used_bytes > memory->high_bytes;
}

/* A new block's head is written; what Lua gets of it. */
static void *made(mg_vm_memory *memory, block_head *head, size_t taken)
{
    *head = owner_of(memory);
    memory->made_bytes += taken;
    count(memory, *head, taken);
    note_use(memory);
    return head + 1;
}

/* What any allocation may be; those that requests make are small, and a list has them. */
static __attribute__((noinline)) void *move(mg_vm_memory *memory, block_head *head, size_t old_bytes,
                                            size_t bytes)
{
    if (head)
        count(memory, *head, -mg_spare_taken(old_bytes));
    head = mg_spare_realloc(&memory->spare, head, old_bytes, bytes);
    if (bytes)
        return made(memory, head, mg_spare_taken(bytes));
    note_use(memory);
    return NULL;
}

static void *make(mg_vm_memory *memory, size_t bytes)
{
    const size_t steps = mg_spare_steps(bytes);
    block_head *head = mg_spare_take(&memory->spare, steps);

    return head ? made(memory, head, steps * MG_SPARE_STEP) : move(memory, NULL, 0, bytes);
}

static void *drop(mg_vm_memory *memory, block_head *head, size_t bytes)
{
    const size_t steps = mg_spare_steps(bytes), owner = *head;

    if (!mg_spare_keep(&memory->spare, head, steps))
        return move(memory, head, bytes, 0);
    count(memory, owner, -(steps * MG_SPARE_STEP));
    note_use(memory);
    return NULL;
}

void *mg_vm_memory_alloc(void *self, void *old, size_t old_bytes, size_t bytes)
{
    block_head *head = old;

    if (!head)
        return bytes ? make(self, bytes + sizeof *head) : NULL;
    if (!bytes)
        return drop(self, head - 1, old_bytes + sizeof *head);
    return move(self, head - 1, old_bytes + sizeof *head, bytes + sizeof *head);
}

void mg_vm_memory_fini(mg_vm_memory *memory)
{
    if (memory->held != &memory->nobody)
        mg_free(memory->held);
    mg_spare_fini(&memory->spare);
}

void mg_memory_tell_apart(mg_memory *shown, uint32_t plugins)
{
    mg_vm_memory *memory = (mg_vm_memory *)(void *)shown;
    int64_t *held = MG_NEW_N(int64_t, plugins + 1);

    for (size_t i = 0; i <= memory->held_count; i++)
        held[0] += memory->held[i];
    if (memory->held != &memory->nobody)
        mg_free(memory->held);
    memory->held = held;
    memory->held_count = plugins;
}

void mg_memory_outside(mg_memory *shown, double bytes)
{
    mg_vm_memory *memory = (mg_vm_memory *)(void *)shown;

    count(memory, owner_of(memory), (size_t)(int64_t)bytes);
    memory->shown.over = memory->used_bytes > memory->high_bytes;
}

/* ---- the pace ---- */

/* A cycle costs about a step of 1 KiB for each 2 KiB in use, and is to end within another quarter of the room. */
static void begin_cycle(mg_vm_memory *memory)
{
    const size_t pace = memory->used_bytes * 2 / (room_of(memory) + 1) + 1;

    memory->cycling = true;
    memory->from_made_bytes = memory->idle ? memory->made_bytes : memory->idle_made_bytes;
    memory->cycles++;
    memory->pace = pace < PACE_MAX ? pace : PACE_MAX;
    memory->debt_kib = STRIDE_BYTES >> 10;
    memory->paid_bytes = memory->used_bytes;
}

static size_t due_kib(mg_vm_memory *memory)
{
    if (!memory->cycling)
        begin_cycle(memory);
    if (memory->used_bytes > memory->paid_bytes)
        memory->debt_kib += ((memory->used_bytes - memory->paid_bytes) >> 10) * memory->pace;
    memory->paid_bytes = memory->used_bytes;
    return memory->debt_kib;
}

double mg_memory_due(mg_memory *shown)
{
    return (double)due_kib((mg_vm_memory *)(void *)shown);
}

/* Whether what a cycle has left is kept by plugins. What requests hold that run, or have ended during it, has been
 * made since the oldest of them began; a cycle that began behind them all needs no such allowance. */
static bool is_kept(const mg_vm_memory *memory)
{
    if (memory->judge_from && memory->cycles >= memory->judge_from)
        return true;
    return memory->used_bytes > memory->crowd_bytes + memory->made_bytes - memory->from_made_bytes;
}

static void judge(mg_vm_memory *memory)
{
    if (memory->used_bytes <= memory->crowd_bytes) {
        memory->suspect = memory->crowded = false;
        memory->judge_from = 0;
    } else if (is_kept(memory)) {
        memory->crowded = true;
        memory->judge_from = 0;
    } else if (!memory->judge_from && !memory->crowded) {
        memory->suspect = true;
    }
}

static void stepped(mg_vm_memory *memory, size_t kib, bool ended)
{
    memory->debt_kib -= kib < memory->debt_kib ? kib : memory->debt_kib;
    memory->paid_bytes = memory->used_bytes;
    if (!ended) {
        set_high(memory, memory->used_bytes + STRIDE_BYTES);
        return;
    }
    memory->cycling = false;
    memory->debt_kib = 0;
    judge(memory);
    set_next_cycle(memory);
}

void mg_memory_stepped(mg_memory *shown, double kib, bool ended)
{
    stepped((mg_vm_memory *)(void *)shown, (size_t)kib, ended);
}

bool mg_memory_cycling(const mg_memory *shown)
{
    return ((const mg_vm_memory *)(const void *)shown)->cycling;
}

typedef struct tending {
    mg_vm_memory *memory;
    uint64_t until_ns;
} tending;

static int run_steps(lua_State *L)
{
    const tending *t = lua_touserdata(L, 1);
    mg_vm_memory *memory = t->memory;

    do {
        const size_t due = due_kib(memory);
        const size_t kib = memory->judge_from || due > CHUNK_KIB ? CHUNK_KIB : due;
        const bool ended = lua_gc(L, LUA_GCSTEP, (int)kib) != 0;
        stepped(memory, kib, ended);
    } while (mg_vm_memory_wants(memory) && mg_clock_real.mono_ns(&mg_clock_real) < t->until_ns);
    lua_gc(L, LUA_GCSTOP, 0);
    return 0;
}

void mg_vm_memory_tend(mg_vm_memory *memory, lua_State *L, uint64_t max_ns)
{
    tending t = { memory, mg_clock_real.mono_ns(&mg_clock_real) + max_ns };

    if (lua_cpcall(L, run_steps, &t) != 0)
        lua_settop(L, 0);
}

bool mg_vm_memory_wants(const mg_vm_memory *memory)
{
    return memory->shown.over || memory->debt_kib || memory->judge_from;
}

void mg_vm_memory_request(mg_vm_memory *memory)
{
    if (memory->idle)
        memory->idle_made_bytes = memory->made_bytes;
    memory->idle = false;
}

void mg_vm_memory_request_over(mg_vm_memory *memory, bool idle)
{
    memory->idle = idle;
    if (memory->suspect)
        memory->judge_from = memory->cycles + 1;
    memory->suspect = false;
}

bool mg_vm_memory_serve(mg_vm_memory *memory, lua_State *L)
{
    const size_t cap = memory->cap_bytes;

    lua_gc(L, LUA_GCCOLLECT, 0); /* what loading left behind */
    lua_gc(L, LUA_GCSTOP, 0);
    memory->cycling = memory->suspect = memory->crowded = false;
    memory->judge_from = 0;
    if (memory->used_bytes > cap)
        return false;
    memory->limit_bytes = cap + cap / 2;
    memory->crowd_bytes = memory->used_bytes + (cap - memory->used_bytes) / 4 * 3;
    set_next_cycle(memory);
    return true;
}

/* ---- room ---- */

int64_t mg_vm_memory_held(const mg_vm_memory *memory, uint32_t plugin)
{
    return plugin < memory->held_count ? memory->held[plugin + 1] : 0;
}

int mg_vm_memory_holder(const mg_vm_memory *memory)
{
    int best = -1;

    for (uint32_t i = 0; i < memory->held_count; i++)
        if (mg_vm_memory_held(memory, i) > (best < 0 ? 0 : mg_vm_memory_held(memory, (uint32_t)best)))
            best = (int)i;
    return best;
}

bool mg_vm_memory_admits(const mg_vm_memory *memory, uint32_t plugin, size_t bytes)
{
    const size_t cap = memory->cap_bytes;
    const int64_t held = mg_vm_memory_held(memory, plugin);

    if (!memory->crowded || held <= (int64_t)(cap / LITTLE_SHARE))
        return true;
    const bool holds_most = held > (int64_t)(cap / 4) || mg_vm_memory_holder(memory) == (int)plugin;
    return memory->used_bytes + bytes <= (holds_most ? cap + cap / 4 : memory->limit_bytes);
}

bool mg_memory_fits(const mg_memory *shown, double bytes)
{
    const mg_vm_memory *memory = (const mg_vm_memory *)(const void *)shown;

    if (memory->crowded && bytes < (double)memory->limit_bytes)
        return mg_vm_memory_admits(memory, (uint32_t)shown->owner, (size_t)bytes);
    return (double)memory->used_bytes + bytes <= (double)memory->cap_bytes;
}

bool mg_memory_bursts(const mg_memory *shown, double bytes)
{
    const mg_vm_memory *memory = (const mg_vm_memory *)(const void *)shown;

    const double more = (double)memory->used_bytes + bytes;

    return more > (double)memory->limit_bytes ||
           (bytes > (double)memory->cap_bytes / 4 && more > (double)memory->cap_bytes);
}

bool mg_memory_crowded(const mg_memory *shown)
{
    return ((const mg_vm_memory *)(const void *)shown)->crowded;
}

bool mg_vm_memory_has_room(const mg_vm_memory *memory)
{
    return memory->used_bytes / 2 <= memory->cap_bytes; /* a slot is small */
}

double mg_memory_held(const mg_memory *shown, uint32_t plugin)
{
    return (double)mg_vm_memory_held((const mg_vm_memory *)(const void *)shown, plugin);
}

double mg_memory_cap(const mg_memory *shown)
{
    return (double)((const mg_vm_memory *)(const void *)shown)->cap_bytes;
}
