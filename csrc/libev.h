/* libev, embedded: the rest of the core sees ev.h plus the two things libev keeps to itself. */
#ifndef AR_LIBEV_H
#define AR_LIBEV_H

/* Compile-time choices, shared by ev.c and every user of ev.h. */
#define EV_STANDALONE 1
#define EV_MULTIPLICITY 1
#define EV_COMPAT3 0
#define EV_FEATURES 0
#define EV_MAXPRI 0
#define EV_MINPRI 0
#define EV_IDLE_ENABLE 0
#define EV_SIGNAL_ENABLE 0
#define EV_CHILD_ENABLE 0
#define EV_STAT_ENABLE 0
#define EV_ASYNC_ENABLE 0
#define EV_EMBED_ENABLE 0
#define EV_PERIODIC_ENABLE 0
#define EV_PREPARE_ENABLE 0
#define EV_CHECK_ENABLE 0
#define EV_FORK_ENABLE 0
#define EV_CLEANUP_ENABLE 0
#define EV_USE_FLOOR 1
#define EV_USE_MONOTONIC 1
#define EV_USE_REALTIME 0
#define EV_USE_SELECT 0
#define EV_USE_POLL 0
#define EV_USE_IOURING 0
#define EV_USE_LINUXAIO 0
#define EV_USE_PORT 0
#define EV_USE_INOTIFY 0
#define EV_USE_TIMERFD 0
#define EV_USE_SIGNALFD 0
#if defined(__linux__)
#define EV_USE_EPOLL 1
#define EV_USE_KQUEUE 0
#define EV_USE_EVENTFD 1
#else
#define EV_USE_EPOLL 0
#define EV_USE_KQUEUE 1
#define EV_USE_EVENTFD 0
#endif

#include "ev.h"

/* A private loop on epoll or kqueue (never the default loop, which takes SIGCHLD); NULL on failure. */
struct ev_loop *ar_libev_new(void);

/* Room for `watchers` watchers in all, and for one on `fd`: libev itself aborts when it lacks memory. -1: there
 * is none. */
int ar_libev_reserve(struct ev_loop *loop, int fd, int watchers);

/* The file descriptor that becomes readable when a watched descriptor has an event. */
int ar_libev_backend_fd(struct ev_loop *loop);
/* Whether that descriptor has events of sockets that were closed here, but live on in a forked child: the next run
 * would replace it. To be called after a run, and before the next one ar_libev_renew(), which replaces it. */
int ar_libev_is_stale(struct ev_loop *loop);
void ar_libev_renew(struct ev_loop *loop);

/* Monotonic seconds, of the clock that libev uses. */
double ar_monotonic(void);

/* Seconds until the next timer is due (0 when it is overdue), or -1 when no timer is active. */
double ar_libev_next_timeout(struct ev_loop *loop);

/* A descriptor pair that makes a loop turn up without an allocation: [0] is to be watched. */
int ar_libev_waker_open(int ends[2]);
void ar_libev_waker_ring(const int ends[2]);
void ar_libev_waker_silence(const int ends[2]);
void ar_libev_waker_close(int ends[2]);

/* ev_io_init and its like are macros that pun types; here they are functions. */
typedef void (*ar_io_callback)(struct ev_loop *loop, ev_io *watcher, int events);
typedef void (*ar_timer_callback)(struct ev_loop *loop, ev_timer *timer, int events);
void ar_libev_io_init(ev_io *watcher, ar_io_callback callback, int fd, int events, void *data);
void ar_libev_timer_init(ev_timer *timer, ar_timer_callback callback, void *data);
int ar_libev_io_active(const ev_io *watcher);
int ar_libev_timer_active(const ev_timer *timer);

#endif
