/* Preloaded, it makes the n-th allocation fail: of Python (PYTHONMALLOC=malloc), hiredis, libev and
 * OpenSSL alike. It also counts the blocks that live, to find what a failure leaves behind.
 *
 * With `frames`, only allocations count whose call stack shows the watched library (by part of its
 * path) among that many innermost frames, unless a frame of another one, the barrier, stands before
 * it: what the code that it calls does of its own is not its business. Only the thread that armed it is counted. With
 * FAILING_TRACE in the environment, the stack of each allocation that fails is printed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX 64

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

static long live, seen, first, last;
static int armed, looking, frames_watched;
static pthread_t thread;
typedef struct {
    const char *part; /* of its path */
    uintptr_t start, end;
} code_range;

static code_range library, barrier;

/* CPython 3.11 leaks the whole frame of a function when one of its cells cannot be made. PyCell_New()
 * may be inlined, as in Debian's: a cell is known by its size, and by what allocates it. */
#define CELL_SIZE (5 * sizeof(void *)) /* PyGC_Head and PyCellObject */
#define CELL_FRAMES 8                  /* from here to _PyObject_GC_New() at most */

/* dlsym() itself allocates: from here, and never given back. */
static char early[65536];
static size_t early_used;

static int
is_early(const void *block)
{
    return (const char *)block >= early && (const char *)block < early + sizeof(early);
}

static void *
early_alloc(size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (size > sizeof(early) - early_used) {
        abort();
    }
    early_used += size;
    return early + early_used - size;
}

static void __attribute__((constructor)) start(void)
{
    static int looking_up;
    if (real_malloc != NULL || looking_up) {
        return;
    }
    looking_up = 1;
    real_free = dlsym(RTLD_NEXT, "free");
    real_calloc = dlsym(RTLD_NEXT, "calloc");
    real_realloc = dlsym(RTLD_NEXT, "realloc");
    real_malloc = dlsym(RTLD_NEXT, "malloc");
    looking_up = 0;
    void *first_use[1];
    backtrace(first_use, 1); /* loads libgcc */
}

static int
is_cell(void *const *stack, int depth, size_t size)
{
    Dl_info caller;
    for (int i = 0; size == CELL_SIZE && i < depth && i < CELL_FRAMES; i++) {
        if (dladdr(stack[i], &caller) && caller.dli_sname != NULL &&
            strcmp(caller.dli_sname, "_PyObject_GC_New") == 0) {
            return 1;
        }
    }
    return 0;
}

static int
watched(size_t size)
{
    if (frames_watched == 0) {
        return 1;
    }
    void *stack[FRAMES_MAX];
    looking = 1;
    int depth = backtrace(stack, frames_watched);
    int cell = is_cell(stack, depth, size);
    looking = 0;
    if (cell) {
        return 0;
    }
    for (int i = 0; i < depth; i++) {
        uintptr_t address = (uintptr_t)stack[i];
        if (address >= library.start && address < library.end) {
            return 1;
        }
        if (address >= barrier.start && address < barrier.end) {
            return 0;
        }
    }
    return 0;
}

static int
fails(size_t size)
{
    if (!armed || looking || !pthread_equal(thread, pthread_self()) || !watched(size)) {
        return 0;
    }
    long number = ++seen;
    if (number < first || number > last) {
        return 0;
    }
    if (getenv("FAILING_TRACE") != NULL) {
        void *stack[FRAMES_MAX];
        looking = 1;
        backtrace_symbols_fd(stack, backtrace(stack, 24), 2);
        looking = 0;
    }
    errno = ENOMEM;
    return 1;
}

static void *
counted(void *block)
{
    if (block != NULL) {
        __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
    }
    return block;
}

void *
malloc(size_t size)
{
    start();
    if (real_malloc == NULL) {
        return early_alloc(size);
    }
    return fails(size) ? NULL : counted(real_malloc(size));
}

void *
calloc(size_t count, size_t size)
{
    start();
    if (real_malloc == NULL) {
        return early_alloc(count * size);
    }
    return fails(count * size) ? NULL : counted(real_calloc(count, size));
}

void *
realloc(void *block, size_t size)
{
    start();
    if (is_early(block)) {
        void *copy = malloc(size);
        return copy != NULL ? memcpy(copy, block, size) : NULL;
    }
    if (block == NULL) {
        return malloc(size);
    }
    return fails(size) ? NULL : real_realloc(block, size);
}

void
free(void *block)
{
    start();
    if (block == NULL || is_early(block)) {
        return;
    }
    __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
    real_free(block);
}

/* ---- for the script, through ctypes ---- */

static int
look_at(struct dl_phdr_info *info, size_t size, void *data)
{
    code_range *range = data;
    (void)size;
    if (strstr(info->dlpi_name, range->part) == NULL) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
            range->start = info->dlpi_addr + segment->p_vaddr;
            range->end = range->start + segment->p_memsz;
        }
    }
    return 1;
}

int
failing_watch(const char *part, const char *barrier_part)
{
    library.part = part;
    barrier.part = barrier_part;
    return dl_iterate_phdr(look_at, &library) && dl_iterate_phdr(look_at, &barrier);
}

void
failing_arm(long from, long to, int frames)
{
    thread = pthread_self();
    seen = 0;
    first = from;
    last = to;
    frames_watched = frames < FRAMES_MAX ? frames : FRAMES_MAX;
    armed = 1;
}

long
failing_disarm(void)
{
    armed = 0;
    return seen;
}

long
failing_live(void)
{
    return live;
}
