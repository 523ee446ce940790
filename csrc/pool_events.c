/* What happens to a pool's commands when its connections change: become ready, fall idle, are lost. */
#include "lanes.h"
#include "pool_internal.h"

/* Times a command is written before its loss is reported. */
#define ATTEMPTS_MAX 3
/* Seconds to the next attempt where no backoff function says otherwise. */
#define BACKOFF_DEFAULT 0.05

/* ---- connection events ---- */

static void
conn_ready(ar_conn *conn)
{
    ArPool *pool = conn->owner;
    Py_INCREF(pool);
    pool->protocol = conn->protocol;
    pool->connects++;
    ar_breaker_succeeded(pool);
    ar_health_start(pool);
    if (pool->overseer != NULL) {
        pool->overseer->ready(pool);
    }
    ar_reauth_ready(pool, conn);
    ar_pool_dispatch(pool);
    ar_follow_ready(pool);
    Py_DECREF(pool);
}

static void
conn_idle(ar_conn *conn)
{
    ArPool *pool = conn->owner;
    pool->failures = 0;
    if (conn->lane != AR_LANE_LEASED && !conn->tainted) {
        return;
    }
    Py_INCREF(pool);
    if (conn->tainted && ar_pool_remove_conn(pool, conn)) {
        ar_conn_close(conn);
        ar_conn_unref(conn);
    }
    ar_pool_dispatch(pool);
    Py_DECREF(pool);
}

static void
conn_progress(ar_conn *conn)
{
    ar_pool_dispatch(conn->owner);
}

/* Nobody has asked for it: who subscribes, or tracks keys, has a link. */
static void
conn_push(ar_conn *Py_UNUSED(conn), PyObject *message)
{
    Py_DECREF(message);
}

static void
resume_job(PyObject *subject)
{
    ArPool *pool = (ArPool *)subject;
    pool->resume_scheduled = 0;
    for (int i = 0; i < pool->conn_count && pool->core->interrupt == NULL; i++) {
        ar_conn_resume(pool->conns[i]);
    }
    for (int i = 0; i < pool->conn_count; i++) {
        if (pool->conns[i]->resuming) {
            pool->conns[i]->calls->resume_later(pool->conns[i]);
        }
    }
}

static void
conn_resume_later(ar_conn *conn)
{
    ArPool *pool = conn->owner;
    if (!pool->resume_scheduled) {
        pool->resume_scheduled = 1;
        if (ar_core_schedule_job(pool->core, resume_job, (PyObject *)pool) < 0) {
            pool->resume_scheduled = 0;
            ar_conn_lose(conn, NULL, 0); /* no memory, or the loop is closed */
        }
    }
}

/* ---- loss ---- */

void
ar_pool_fail_ring(ArPool *pool, ar_ring *ring, PyObject *reason)
{
    Py_INCREF(pool);
    ar_ring commands = ar_ring_take(ring);
    for (ArCommand *command; (command = ar_ring_pop(&commands)) != NULL;) {
        command->connection = NULL;
        if (!ar_command_finished(command)) {
            ar_command_fail(command, ar_error_copy(reason));
            /* Who closes the client knows that nobody waits for these. */
            command->unretrieved &= !pool->closed;
        }
        Py_DECREF(command);
    }
    ar_ring_free(&commands);
    Py_DECREF(pool);
}

/* Once around the ring whatever happens, so that what stays keeps its order. */
static int
take_from(ar_ring *ring, ar_ring *taken, int (*wanted)(void *data, ArCommand *command), void *data)
{
    int result = 0;
    for (size_t left = ring->count; left > 0; left--) {
        ArCommand *command = ar_ring_pop(ring);
        int take = result == 0 && !ar_command_finished(command) && wanted(data, command);
        if (take && ar_ring_reserve(taken) < 0) {
            take = 0;
            result = -1;
        }
        ar_ring_push(take ? taken : ring, command);
    }
    return result;
}

int
ar_pool_take_waiting(ArPool *pool, ar_ring *taken, int (*wanted)(void *data, ArCommand *command),
                     void *data)
{
    int result = take_from(&pool->waiting, taken, wanted, data);
    return take_from(&pool->lease_waiting, taken, wanted, data) < 0 ? -1 : result;
}

static double
silence_of(const ar_conn *conn, double now)
{
    int waited_for = conn->lane == AR_LANE_EXPRESS && conn->inflight.count > 0;
    return waited_for && conn->silent_since != 0.0 ? now - conn->silent_since : 0.0;
}

double
ar_pool_silence(const ArPool *pool)
{
    double now = ar_monotonic(), longest = 0.0;
    for (int i = 0; i < pool->conn_count; i++) {
        double silence = silence_of(pool->conns[i], now);
        longest = silence > longest ? silence : longest;
    }
    return longest;
}

void
ar_pool_lose_silent(ArPool *pool, double seconds, PyObject *reason)
{
    double now = ar_monotonic();
    Py_INCREF(pool);
    for (int i = pool->conn_count - 1; i >= 0; i--) {
        ar_conn *conn = i < pool->conn_count ? pool->conns[i] : NULL;
        if (conn != NULL && silence_of(conn, now) > seconds) {
            ar_conn_ref(conn); /* finalizers may close the client */
            ar_conn_lose(conn, ar_error_copy(reason), 0);
            ar_conn_unref(conn);
        }
    }
    Py_DECREF(pool);
}

static int
may_be_sent_again(const ArPool *pool, const ar_conn *conn, const ArCommand *command)
{
    if (!ar_conn_was_sent(conn, command)) {
        return 1;
    }
    return pool->config->replay && (command->properties & AR_REPLAYABLE) &&
           command->attempts < ATTEMPTS_MAX;
}

/* Puts the commands back in front of those that wait, oldest first; what cannot be repeated fails. */
static void
requeue_inflight(ArPool *pool, ar_conn *conn, PyObject *reason)
{
    ar_ring inflight = ar_conn_take_inflight(conn);
    ar_ring *ring = conn->lane == AR_LANE_LEASED ? &pool->lease_waiting : &pool->waiting;
    ar_ring failed = {0};
    for (size_t i = inflight.count; i-- > 0;) {
        ArCommand *command = ar_ring_at(&inflight, i);
        command->connection = NULL;
        ar_deadline_set(pool, command, 0.0);
        if (ar_command_finished(command)) {
            Py_DECREF(command);
        } else if (may_be_sent_again(pool, conn, command) && ar_ring_reserve(ring) == 0) {
            ar_ring_push_front(ring, command);
        } else if (ar_ring_reserve(&failed) == 0) {
            ar_ring_push_front(&failed, command);
        } else {
            ar_command_fail(command, ar_error_copy(reason));
            Py_DECREF(command);
        }
    }
    ar_ring_free(&inflight);
    for (ArCommand *command; (command = ar_ring_pop(&failed)) != NULL;) {
        PyObject *name = command->argc > 0 ? ar_lanes_name(command->argv[0]) : Py_NewRef(Py_None);
        PyObject *exception =
            name != NULL ? ar_error_outcome_unknown(pool->state, name,
                                                    command->properties & AR_REPLAYABLE, reason)
                         : NULL;
        Py_XDECREF(name);
        ar_command_fail(command, exception != NULL ? exception : ar_exception_take());
        Py_DECREF(command);
    }
    ar_ring_free(&failed);
}

double
ar_pool_backoff(const ArPool *pool, int failures)
{
    if (pool->config->backoff == Py_None) {
        return BACKOFF_DEFAULT;
    }
    PyObject *value = PyObject_CallFunction(pool->config->backoff, "i", failures);
    double seconds = value != NULL ? PyFloat_AsDouble(value) : -1.0;
    Py_XDECREF(value);
    if (seconds < 0.0) {
        PyErr_Clear(); /* a negative delay, or a faulty user function: the default */
        return BACKOFF_DEFAULT;
    }
    return seconds;
}

static void
connecting_failed(ArPool *pool, PyObject *reason, int fatal)
{
    int others_serve = ar_pool_has_express(pool);
    if (!others_serve && ar_breaker_failed(pool, reason, fatal)) {
        return;
    }
    pool->failures++;
    int give_up = fatal || pool->failures > pool->config->retries;
    if (!give_up || others_serve) {
        double seconds = ar_pool_backoff(pool, pool->failures);
        if (pool->closed) { /* by the user's function */
            return;
        }
        ar_core_timer_start(pool->core, &pool->retry_timer, seconds);
    }
    if (give_up) {
        pool->failures = 0;
        if (!others_serve && !fatal && pool->overseer != NULL) {
            pool->overseer->gave_up(pool, reason);
        }
        if (!others_serve) {
            ar_pool_fail_ring(pool, &pool->waiting, reason);
        }
        ar_pool_fail_ring(pool, &pool->lease_waiting, reason);
    }
    if (others_serve) {
        ar_pool_dispatch(pool); /* a further connection would have been better, no more */
    }
}

static void
conn_lost(ar_conn *conn, PyObject *reason, int fatal)
{
    ArPool *pool = conn->owner;
    if (!ar_pool_remove_conn(pool, conn)) {
        return;
    }
    Py_INCREF(pool);
    requeue_inflight(pool, conn, reason);
    if (pool->closed) { /* by what ran meanwhile, and what has just been put back must not wait */
        ar_pool_fail_ring(pool, &pool->waiting, reason);
        ar_pool_fail_ring(pool, &pool->lease_waiting, reason);
    }
    if (!pool->closed && conn->answered && pool->overseer != NULL) {
        pool->overseer->lost(pool);
    }
    if (!pool->closed) {
        if (conn->answered) {
            pool->reconnects++;
            ar_pool_dispatch(pool);
        } else if (pool->waiting.count > 0 || pool->lease_waiting.count > 0 ||
                   pool->config->breaker_failures > 0) {
            connecting_failed(pool, reason, fatal);
        }
    }
    ar_conn_unref(conn);
    Py_DECREF(pool);
}

const ar_conn_owner ar_pool_conn_owner = {
    .ready = conn_ready,
    .lost = conn_lost,
    .refused = ar_pool_conn_refused,
    .taken = ar_pool_conn_taken,
    .locate = ar_follow_locate,
    .idle = conn_idle,
    .progress = conn_progress,
    .push = conn_push,
    .resume_later = conn_resume_later,
};
