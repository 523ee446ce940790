/* The only unit that includes ev.c: what it reads of struct ev_loop has no public accessor. */
#include "libev.h"

#include "ev.c"

struct ev_loop *
ar_libev_new(void)
{
#if EV_USE_EPOLL
    return ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
#else
    return ev_loop_new(EVBACKEND_KQUEUE | EVFLAG_NOENV);
#endif
}

int
ar_libev_backend_fd(struct ev_loop *loop)
{
    return loop->backend_fd;
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
