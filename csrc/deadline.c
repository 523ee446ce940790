/* Deadlines of commands. One timer a pool stands for the earliest of them; a command that is answered in
 * time costs a comparison only, and its deadline is found stale when the timer fires. */
#include "pool_internal.h"

/* A connection that has said nothing for this many timeouts is given up with the command. */
#define SILENT_TIMEOUTS 2.0

void
ar_deadline_set(ArPool *pool, ArCommand *command, double seconds)
{
    double now = ar_monotonic();
    command->deadline = now + seconds;
    if (!ar_libev_timer_active(&pool->deadline_timer) || command->deadline < pool->next_deadline) {
        pool->next_deadline = command->deadline;
        ar_core_timer_start(pool->core, &pool->deadline_timer, seconds);
    }
}

/* When a peer last took bytes that had to wait for it. */
static double
last_movement(const ArPool *pool)
{
    double last = 0.0;
    for (int i = 0; i < pool->conn_count; i++) {
        const ar_conn *conn = pool->conns[i];
        if (conn->lane == AR_LANE_EXPRESS && conn->writable_at > last) {
            last = conn->writable_at;
        }
    }
    return last;
}

/* While a queue moves, the time begins anew for all in it. */
static double
extended(const ArCommand *command, double moved)
{
    double other = moved + command->timeout;
    return other > command->deadline ? other : command->deadline;
}

double
ar_deadline_left(const ArPool *pool, const ArCommand *command)
{
    double left = extended(command, last_movement(pool)) - ar_monotonic();
    return left > 1e-6 ? left : 1e-6;
}

typedef struct {
    ar_ring expired; /* ArCommand *, owned */
    double now, next;
} deadline_scan;

/* `moved`: monotonic seconds at which the queue last moved; 0.0 where that does not matter. */
static void
scan_ring(const ar_ring *ring, double moved, deadline_scan *scan)
{
    for (size_t i = 0; i < ring->count; i++) {
        ArCommand *command = ar_ring_at(ring, i);
        if (ar_command_finished(command) || command->deadline == 0.0) {
            continue;
        }
        double deadline = extended(command, moved);
        if (deadline > scan->now) {
            scan->next = scan->next == 0.0 || deadline < scan->next ? deadline : scan->next;
        } else if (ar_ring_reserve(&scan->expired) == 0) {
            Py_INCREF(command);
            ar_ring_push(&scan->expired, command);
        } else {
            scan->next = scan->now; /* without memory: look again at once */
        }
    }
}

/* A read or a last-write-wins write gets one more chance when the user asked for it. */
static int
try_again(ArPool *pool, ArCommand *command)
{
    if (!pool->config->retry_on_timeout || !(command->properties & AR_REPLAYABLE) ||
        command->batch != NULL || command->attempts != 1) {
        return 0;
    }
    command->deadline = 0.0;
    if (ar_pool_submit(pool, command) < 0) {
        ar_command_fail_pending_exception(command);
    }
    return 1;
}

static void
expire(ArPool *pool, ArCommand *command)
{
    if (ar_command_finished(command) || try_again(pool, command)) {
        return;
    }
    PyObject *exception;
    if (command->attempts == 0 && (command->properties & (AR_BLOCKING | AR_STATEFUL))) {
        exception = ar_error_format(pool->state->ConnectionError,
                                    "No connection available: all %d of max_connections are in "
                                    "use, and none was returned within the pool's timeout.",
                                    pool->config->max_connections);
    } else if (command->attempts == 0) {
        exception = ar_error_write_timeout(pool->state, &pool->config->endpoint);
    } else {
        exception = ar_error_read_timeout(pool->state, &pool->config->endpoint);
    }
    ar_conn *conn = command->connection;
    ar_command_fail(command, exception != NULL ? exception : ar_exception_take());
    if (conn != NULL && command->connection == conn) {
        ar_pool_abandon(command);
    }
}

/* The connections on which nothing has come for so long that the peer must be taken for gone. */
static void
drop_silent_connections(ArPool *pool, double now)
{
    double limit = pool->config->timeout * SILENT_TIMEOUTS;
    for (int i = pool->conn_count - 1; i >= 0 && i < pool->conn_count; i--) {
        ar_conn *conn = pool->conns[i];
        const ArCommand *oldest = ar_ring_peek(&conn->inflight);
        if (limit > 0.0 && conn->lane == AR_LANE_EXPRESS && oldest != NULL &&
            conn->silent_since != 0.0 && now - conn->silent_since > limit) {
            ar_conn_lose(conn, ar_error_read_timeout(pool->state, &pool->config->endpoint), 0);
        }
    }
}

static void
on_deadline(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ArPool *pool = timer->data;
    Py_INCREF(pool);
    deadline_scan scan = {.now = ar_monotonic()};
    for (int i = 0; i < pool->conn_count; i++) {
        scan_ring(&pool->conns[i]->inflight, 0.0, &scan);
    }
    scan_ring(&pool->waiting, last_movement(pool), &scan);
    scan_ring(&pool->lease_waiting, 0.0, &scan);
    int expired = scan.expired.count > 0;
    for (ArCommand *command; (command = ar_ring_pop(&scan.expired)) != NULL;) {
        expire(pool, command);
        Py_DECREF(command);
    }
    ar_ring_free(&scan.expired);
    if (expired) {
        drop_silent_connections(pool, scan.now);
    }
    if (scan.next != 0.0 && !pool->closed &&
        (!ar_libev_timer_active(&pool->deadline_timer) || scan.next < pool->next_deadline)) {
        double left = scan.next - ar_monotonic();
        pool->next_deadline = scan.next;
        ar_core_timer_start(pool->core, &pool->deadline_timer, left > 0.0 ? left : 0.0);
    }
    Py_DECREF(pool);
}

void
ar_deadline_init(ArPool *pool)
{
    ar_libev_timer_init(&pool->deadline_timer, on_deadline, pool);
}
