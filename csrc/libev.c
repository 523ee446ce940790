/* The only unit that includes ev.c: what it reads of struct ev_loop has no public accessor. */
#include "libev.h"

#include "ev.c"

/* ---- memory ----
 *
 * libev aborts the process when it gets none. So everything it will need is allocated before it asks:
 * here, where there is a way to fail. */

/* Grows an array of libev's: -1 without memory, and it is as it was. */
static int
grow(void **array, int *capacity, int wanted, size_t size)
{
    if (wanted <= *capacity) {
        return 0;
    }
    int larger = array_nextsize((int)size, *capacity, wanted);
    char *room = calloc((size_t)larger, size);
    if (room == NULL) {
        return -1;
    }
    if (*array != NULL) {
        memcpy(room, *array, (size_t)*capacity * size);
    }
    ev_free(*array);
    *array = room;
    *capacity = larger;
    return 0;
}

#define GROW(array, capacity, wanted)                                                              \
    grow((void **)&loop->array, &loop->capacity, wanted, sizeof(*loop->array))

int
ar_libev_reserve(struct ev_loop *loop, int fd, int watchers)
{
    if (GROW(anfds, anfdmax, fd + 1) < 0 || GROW(fdchanges, fdchangemax, watchers) < 0 ||
        GROW(pendings[0], pendingmax[0], watchers) < 0 || GROW(rfeeds, rfeedmax, watchers) < 0 ||
        GROW(timers, timermax, watchers + HEAP0) < 0) {
        return -1;
    }
#if EV_USE_EPOLL
    /* It grows when a wait has filled it: never, with room for one more than there are. */
    if (GROW(epoll_events, epoll_eventmax, watchers + 1) < 0) {
        return -1;
    }
#endif
    return 0;
}

/* What making a loop takes: the loop, and room for 64 events. */
enum { FIRST_BLOCKS = 2 };
static const size_t first_sizes[FIRST_BLOCKS] = {sizeof(struct ev_loop), 64 * 64};
static _Thread_local void *first_blocks[FIRST_BLOCKS];

static void *
allocate(void *block, long size) EV_NOEXCEPT
{
    if (size == 0) {
        free(block);
        return NULL;
    }
    for (int i = 0; block == NULL && i < FIRST_BLOCKS; i++) {
        if (first_blocks[i] != NULL && first_sizes[i] >= (size_t)size) {
            void *first = first_blocks[i];
            first_blocks[i] = NULL;
            return first;
        }
    }
    return realloc(block, (size_t)size);
}

struct ev_loop *
ar_libev_new(void)
{
    struct ev_loop *loop = NULL;
    ev_set_allocator(allocate);
    for (int i = 0; i < FIRST_BLOCKS; i++) {
        first_blocks[i] = malloc(first_sizes[i]);
    }
    if (first_blocks[0] != NULL && first_blocks[1] != NULL) {
#if EV_USE_EPOLL
        loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
#else
        loop = ev_loop_new(EVBACKEND_KQUEUE | EVFLAG_NOENV);
#endif
    }
    for (int i = 0; i < FIRST_BLOCKS; i++) {
        free(first_blocks[i]);
        first_blocks[i] = NULL;
    }
    return loop;
}

/* ---- what libev keeps to itself ---- */

int
ar_libev_backend_fd(struct ev_loop *loop)
{
    return loop->backend_fd;
}

int
ar_libev_is_stale(struct ev_loop *loop)
{
    return loop->postfork != 0;
}

void
ar_libev_renew(struct ev_loop *loop)
{
    loop_fork(loop);
}

double
ar_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double
ar_libev_next_timeout(struct ev_loop *loop)
{
    if (loop->timercnt == 0) {
        return -1.0;
    }
    double left = ANHE_at(loop->timers[HEAP0]) - get_clock();
    return left > 0.0 ? left : 0.0;
}

void
ar_libev_io_init(ev_io *watcher, ar_io_callback callback, int fd, int events, void *data)
{
    ev_io_init(watcher, callback, fd, events);
    watcher->data = data;
}

void
ar_libev_timer_init(ev_timer *timer, ar_timer_callback callback, void *data)
{
    ev_init(timer, callback);
    timer->data = data;
}

int
ar_libev_io_active(const ev_io *watcher)
{
    return ev_is_active(watcher);
}

int
ar_libev_timer_active(const ev_timer *timer)
{
    return ev_is_active(timer);
}

/* ---- a descriptor to wake oneself by ---- */

int
ar_libev_waker_open(int ends[2])
{
#if defined(__linux__)
    ends[0] = ends[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return ends[0] < 0 ? -1 : 0;
#else
    if (pipe(ends) < 0) {
        ends[0] = ends[1] = -1;
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
#endif
}

void
ar_libev_waker_ring(const int ends[2])
{
    const uint64_t one = 1;
    ssize_t written = write(ends[1], &one, sizeof(one)); /* a full one is ringing already */
    (void)written;
}

void
ar_libev_waker_silence(const int ends[2])
{
    uint64_t rings[16];
    ssize_t length = read(ends[0], rings, sizeof(rings));
    (void)length;
}

void
ar_libev_waker_close(int ends[2])
{
    if (ends[0] >= 0) {
        (void)close(ends[0]);
    }
    if (ends[1] >= 0 && ends[1] != ends[0]) {
        (void)close(ends[1]);
    }
    ends[0] = ends[1] = -1;
}
