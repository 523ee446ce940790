/* A server that is still loading its data, or has no place for another client, refuses a command without
 * having looked at it: it is sent again, whatever it is, while the connection stays. */
#include "pool_internal.h"

/* Times a command goes to another server: there it is as good as never sent, whatever the policy for what was. */
#define MOVES_MAX 16

/* A pipeline counts as refused when every command in it was, so that nothing is done twice; a
 * transaction, when its EXEC failed because of a command that was. */
static int
batch_refused(const ar_state *state, const ArCommand *command, PyObject *replies)
{
    Py_ssize_t count = PyList_GET_SIZE(replies), refused = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        refused += ar_error_is_passing(state, PyList_GET_ITEM(replies, i));
    }
    if (command->batch_mode != AR_BATCH_PLAIN) {
        return refused > 0 && PyExceptionInstance_Check(PyList_GET_ITEM(replies, count - 1));
    }
    return refused == count;
}

static int
take_back(ArPool *pool, ar_conn *conn, ArCommand *command, PyObject *reply)
{
    const ArConfig *config = pool->config;
    if (ar_pool_is_heir(command)) {
        return 0;
    }
    if (pool->overseer != NULL && pool->overseer->redirected(pool, command, reply)) {
        return 1;
    }
    int moved = ar_follow_refused(conn, command, reply);
    int refused = moved || (config->replay &&
                            (command->batch != NULL ? batch_refused(pool->state, command, reply)
                                                    : ar_error_is_passing(pool->state, reply)));
    int most = moved ? MOVES_MAX : config->retries;
    ar_ring *ring = conn->lane == AR_LANE_LEASED ? &pool->lease_waiting : &pool->waiting;
    if (!refused || pool->closed || command->quiet || ar_command_finished(command) ||
        command->attempts > most || command->attempts == UINT8_MAX || ar_ring_reserve(ring) < 0) {
        return 0;
    }
    Py_INCREF(command);
    ar_ring_push(ring, command);
    ar_deadline_set(pool, command, 0.0);
    if (!pool->holding) {
        pool->holding = 1;
        double seconds = ar_pool_backoff(pool, command->attempts);
        if (!pool->closed) { /* by the user's function */
            ar_core_timer_start(pool->core, &pool->hold_timer, seconds);
        }
    }
    return 1;
}

int
ar_pool_conn_refused(ar_conn *conn, ArCommand *command, PyObject *reply)
{
    ArPool *pool = (ArPool *)Py_NewRef(conn->owner); /* what is called may close the client */
    int taken = take_back(pool, conn, command, reply);
    Py_DECREF(pool);
    return taken;
}

static void
on_hold_over(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ArPool *pool = timer->data;
    pool->holding = 0;
    ar_pool_dispatch(pool);
}

void
ar_refusal_init(ArPool *pool)
{
    ar_libev_timer_init(&pool->hold_timer, on_hold_over, pool);
}
