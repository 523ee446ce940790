/* The circuit breaker: after a number of attempts to connect that failed in a row, commands fail at once,
 * and one attempt at a time, at random moments, finds out whether the server is back. Off by default. */
#include "pool_internal.h"

#include <unistd.h>

/* splitmix64: 0.0 up to 1.0. Each pool has numbers of its own, so that many do not come at once. */
static double
next_random(ar_breaker *breaker)
{
    uint64_t value = breaker->random += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return (double)((value ^ (value >> 31)) >> 11) * 0x1.0p-53;
}

static PyObject *
open_error(const ArPool *pool)
{
    const ar_breaker *breaker = &pool->breaker;
    double left = breaker->state == AR_BREAKER_OPEN ? breaker->next - ar_monotonic() : 0.0;
    PyObject *reason = breaker->reason != NULL ? breaker->reason : Py_None;
    return ar_error_circuit_open(pool->state, &pool->config->endpoint, breaker->failures,
                                 left > 0.0 ? left : 0.0, reason);
}

static void
trip(ArPool *pool)
{
    ar_breaker *breaker = &pool->breaker;
    const ArConfig *config = pool->config;
    double pause = config->breaker_recovery *
                   (1.0 + config->breaker_jitter * (next_random(breaker) - 0.5) * 2.0);
    breaker->opened += breaker->state == AR_BREAKER_CLOSED;
    breaker->state = AR_BREAKER_OPEN;
    breaker->next = ar_monotonic() + pause;
    ar_core_timer_start(pool->core, &breaker->timer, pause);
}

int
ar_breaker_failed(ArPool *pool, PyObject *reason, int fatal)
{
    ar_breaker *breaker = &pool->breaker;
    if (pool->config->breaker_failures == 0) {
        return 0;
    }
    if (fatal) {
        ar_breaker_succeeded(pool);
        return 0;
    }
    breaker->failures += breaker->failures < INT_MAX;
    if (breaker->state == AR_BREAKER_CLOSED && breaker->failures < pool->config->breaker_failures) {
        return 0;
    }
    Py_XSETREF(breaker->reason, Py_NewRef(reason));
    ev_timer_stop(pool->core->ev, &pool->retry_timer);
    pool->failures = 0;
    trip(pool);
    breaker->wanted = pool->waiting.count > 0 || pool->lease_waiting.count > 0 || breaker->wanted;
    PyObject *error = open_error(pool);
    if (error == NULL) {
        error = ar_exception_take();
    }
    ar_pool_fail_ring(pool, &pool->waiting, error);
    ar_pool_fail_ring(pool, &pool->lease_waiting, error);
    Py_DECREF(error);
    return 1;
}

void
ar_breaker_succeeded(ArPool *pool)
{
    ar_breaker *breaker = &pool->breaker;
    breaker->state = AR_BREAKER_CLOSED;
    breaker->failures = 0;
    breaker->wanted = 0;
    ev_timer_stop(pool->core->ev, &breaker->timer);
    Py_CLEAR(breaker->reason);
}

static int
is_connecting(const ArPool *pool)
{
    return ar_pool_count_lane(pool, AR_LANE_EXPRESS, 1) > 0 ||
           ar_pool_count_lane(pool, AR_LANE_LEASED, 1) > 0;
}

int
ar_breaker_refuses(ArPool *pool)
{
    if (pool->breaker.state == AR_BREAKER_CLOSED ||
        (pool->breaker.state == AR_BREAKER_HALF_OPEN && !is_connecting(pool))) {
        return 0; /* half-open, its attempt to connect is the one that decides */
    }
    pool->breaker.wanted = 1;
    PyObject *error = open_error(pool);
    if (error != NULL) {
        ar_exception_restore(error);
    }
    return 1;
}

/* While commands come the attempt is made without them: each has its answer at once. Without any there is no
 * attempt before the next one. */
static void
on_recovery(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ArPool *pool = timer->data;
    Py_INCREF(pool);
    pool->breaker.state = AR_BREAKER_HALF_OPEN;
    if (pool->breaker.wanted) {
        pool->breaker.wanted = 0;
        if (ar_pool_open_conn(pool, AR_LANE_EXPRESS) < 0 && !pool->closed) {
            trip(pool);
        }
    }
    Py_DECREF(pool);
}

void
ar_breaker_init(ArPool *pool)
{
    pool->breaker.random =
        (uint64_t)(uintptr_t)pool ^ (uint64_t)(ar_monotonic() * 1e9) ^ ((uint64_t)getpid() << 40);
    ar_libev_timer_init(&pool->breaker.timer, on_recovery, pool);
}
