/* Deadlines of commands. One timer a pool stands for the earliest of them; a command that is answered in
 * time costs a comparison only, and its deadline is found stale when the timer fires. */
#include "pool_internal.h"

/* A connection that has said nothing for this many timeouts is given up with the command. */
#define SILENT_TIMEOUTS 2.0

static void
arm(ArPool *pool, const ArCommand *command, double seconds)
{
    if (!ar_libev_timer_active(&pool->deadline_timer) || command->deadline < pool->next_deadline) {
        pool->next_deadline = command->deadline;
        ar_core_timer_start(pool->core, &pool->deadline_timer, seconds);
    }
}

static void
set_within(ArPool *pool, ArCommand *command, double now)
{
    if (command->deadline <= now || command->expires < command->deadline) {
        command->deadline = command->expires;
    }
    if (!pool->closed) {
        arm(pool, command, command->deadline > now ? command->deadline - now : 0.0);
    }
}

void
ar_deadline_set(ArPool *pool, ArCommand *command, double seconds)
{
    double now = ar_monotonic();
    command->deadline = now + seconds;
    if (command->expires != 0.0) {
        set_within(pool, command, now);
    } else if (seconds > 0.0) {
        arm(pool, command, seconds);
    } else {
        command->deadline = 0.0;
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
    other = other > command->deadline ? other : command->deadline;
    return command->expires != 0.0 && other > command->expires ? command->expires : other;
}

double
ar_deadline_left(const ArPool *pool, const ArCommand *command)
{
    double left = extended(command, last_movement(pool)) - ar_monotonic();
    return left > 1e-6 ? left : 1e-6;
}

typedef struct {
    ar_ring expired; /* ArCommand * and the ar_conn * it is in flight on, or NULL; owned */
    double now, next;
    ar_stall stall; /* what the last one was told, */
    PyObject *told; /* and how: most of those that expire together are told the same; or NULL */
} deadline_scan;

static int
reserve_two(ar_ring *ring)
{
    return ring->count + 2 <= ring->capacity ? 0 : ar_ring_grow(ring);
}

/* `conn`: of the commands in flight, or NULL. `moved`: monotonic seconds at which the queue last moved, 0.0 where that
 * does not matter. */
static void
scan_ring(const ar_ring *ring, ar_conn *conn, double moved, deadline_scan *scan)
{
    for (size_t i = 0; i < ring->count; i++) {
        ArCommand *command = ar_ring_at(ring, i);
        if (ar_command_finished(command) || command->deadline == 0.0) {
            continue;
        }
        double deadline = extended(command, moved);
        if (deadline > scan->now) {
            scan->next = scan->next == 0.0 || deadline < scan->next ? deadline : scan->next;
        } else if (reserve_two(&scan->expired) == 0) {
            Py_INCREF(command);
            if (conn != NULL) {
                ar_conn_ref(conn);
            }
            ar_ring_push(&scan->expired, command);
            ar_ring_push(&scan->expired, conn);
        } else {
            scan->next = scan->now; /* without memory: look again at once */
        }
    }
}

static int
is_over(const ArCommand *command, double now)
{
    return command->expires != 0.0 && command->expires <= now;
}

/* ---- what there is to say of it ---- */

static ar_phase
phase_on(const ar_conn *conn, const ArCommand *command)
{
    if (!ar_conn_was_sent(conn, command)) {
        return AR_PHASE_QUEUED;
    }
    const redisReader *reader = conn->context != NULL ? conn->context->reader : NULL;
    int begun = command->replies != NULL ||
                (reader != NULL &&
                 (reader->ridx > 0 || reader->reply != NULL || reader->len > reader->pos));
    return begun && ar_ring_peek(&conn->inflight) == command ? AR_PHASE_ANSWERED : AR_PHASE_WRITTEN;
}

static void
add_figures(const ar_conn *conn, ar_stall *stall, double *read_at)
{
    stall->in_flight += (Py_ssize_t)conn->inflight.count;
    stall->unsent_bytes += ar_outq_pending(&conn->out);
    *read_at = conn->silent_since > *read_at ? conn->silent_since : *read_at;
}

/* `conn`: what it is in flight on, or NULL: then the figures are those of all connections. */
static ar_stall
look_at(const ArPool *pool, const ar_conn *conn, const ArCommand *command)
{
    double now = ar_monotonic(), read_at = 0.0;
    ar_stall stall = {.unsent = command->attempts == 0, .total = is_over(command, now)};
    if (conn != NULL) {
        stall.phase = phase_on(conn, command);
        add_figures(conn, &stall, &read_at);
    } else {
        int leased = command->properties & (AR_BLOCKING | AR_STATEFUL);
        stall.phase = leased || !ar_pool_has_express(pool) ? AR_PHASE_CONNECTION : AR_PHASE_QUEUED;
        for (int i = 0; i < pool->conn_count; i++) {
            add_figures(pool->conns[i], &stall, &read_at);
        }
    }
    stall.silent_for = read_at != 0.0 ? now - read_at : -1.0;
    return stall;
}

static PyObject *
timeout_error(const ArPool *pool, const ar_conn *conn, const ArCommand *command)
{
    ar_stall stall = look_at(pool, conn, command);
    return ar_error_timeout(pool->state, &pool->config->endpoint, &stall);
}

int
ar_deadline_refuses(ArPool *pool, const ArCommand *command)
{
    if (!is_over(command, ar_monotonic())) {
        return 0;
    }
    PyObject *exception = timeout_error(pool, NULL, command);
    if (exception != NULL) {
        ar_exception_restore(exception);
    }
    return 1;
}

static int
is_same(const ar_stall *one, const ar_stall *other)
{
    double apart = one->silent_for - other->silent_for;
    return one->phase == other->phase && one->in_flight == other->in_flight &&
           one->unsent_bytes == other->unsent_bytes && one->unsent == other->unsent &&
           one->total == other->total && apart < 1e-3 && apart > -1e-3;
}

/* Thousands may expire at the same time: the text is made once. */
static PyObject *
timeout_error_again(const ArPool *pool, const ar_conn *conn, const ArCommand *command,
                    deadline_scan *scan)
{
    ar_stall stall = look_at(pool, conn, command);
    if (scan->told != NULL && is_same(&stall, &scan->stall)) {
        return ar_error_copy(scan->told);
    }
    PyObject *exception = ar_error_timeout(pool->state, &pool->config->endpoint, &stall);
    scan->stall = stall;
    Py_XSETREF(scan->told, exception != NULL ? ar_error_copy(exception) : NULL);
    return exception;
}

/* ---- when it has come ---- */

/* A read or a last-write-wins write gets one more chance when the user asked for it. */
static int
try_again(ArPool *pool, ArCommand *command)
{
    if (!pool->config->retry_on_timeout || !(command->properties & AR_REPLAYABLE) ||
        command->batch != NULL || command->attempts != 1 || command->repeated ||
        is_over(command, ar_monotonic())) {
        return 0;
    }
    command->repeated = 1; /* it may have to wait for room, and count one attempt all the while */
    command->deadline = 0.0;
    if (ar_pool_submit(pool, command) < 0) {
        ar_command_fail_pending_exception(command);
    }
    return 1;
}

static void
expire(ArPool *pool, ArCommand *command, ar_conn *conn, deadline_scan *scan)
{
    if (ar_command_finished(command) || command->status == AR_ANSWERED ||
        try_again(pool, command)) {
        return;
    }
    PyObject *exception;
    int leased = command->properties & (AR_BLOCKING | AR_STATEFUL);
    int over = is_over(command, ar_monotonic());
    if (command->attempts == 0 && leased && !over) {
        exception = ar_error_format(pool->state->ConnectionError,
                                    "No connection available: all %d of max_connections are in "
                                    "use, and none was returned within the pool's timeout.",
                                    pool->config->max_connections);
    } else {
        exception = timeout_error_again(pool, conn, command, scan);
    }
    if (exception == NULL) {
        exception = ar_exception_take();
    }
    /* The server is to call it off: it is not silent, only slower than the caller's patience. */
    if (over && command->connection != NULL && command->ops->bequeath != NULL) {
        (void)command->ops->bequeath(command);
    }
    void *serving = command->connection;
    pool->core->delivering = AR_DELIVER_TO_TASK; /* now, not when all the others have failed */
    ar_command_fail(command, exception);
    pool->core->delivering = 0;
    if (serving != NULL && command->connection == serving) {
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
            ar_stall stall = look_at(pool, conn, oldest);
            ar_conn_ref(conn); /* finalizers may close the client */
            ar_conn_lose(conn, ar_error_timeout(pool->state, &pool->config->endpoint, &stall), 0);
            ar_conn_unref(conn);
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
        scan_ring(&pool->conns[i]->inflight, pool->conns[i], 0.0, &scan);
    }
    scan_ring(&pool->waiting, NULL, last_movement(pool), &scan);
    scan_ring(&pool->lease_waiting, NULL, 0.0, &scan);
    int expired = scan.expired.count > 0;
    for (ArCommand *command; (command = ar_ring_pop(&scan.expired)) != NULL;) {
        ar_conn *conn = ar_ring_pop(&scan.expired);
        expire(pool, command, conn, &scan);
        Py_DECREF(command);
        if (conn != NULL) {
            ar_conn_unref(conn);
        }
    }
    ar_ring_free(&scan.expired);
    Py_XDECREF(scan.told);
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
