/* Pools whose server is not a fixed one: it is asked for with each connection, and connections to a server that has
 * changed its role are given up. Several replicas share the commands. */
#include "pool_internal.h"

#include "lanes.h"

/* ---- where to connect to ---- */

static int
append_address(PyObject *list, const ar_conn *conn)
{
    return conn->address != NULL && conn->state != AR_CONN_CLOSED
               ? PyList_Append(list, conn->address)
               : 0;
}

PyObject *
ar_follow_locate(ar_conn *conn)
{
    const ArPool *pool = conn->owner;
    PyObject *in_use = PyList_New(0);
    for (int i = 0; in_use != NULL && i < pool->conn_count; i++) {
        const ar_conn *other = pool->conns[i];
        if (other != conn && other->lane == conn->lane && append_address(in_use, other) < 0) {
            Py_CLEAR(in_use);
        }
    }
    if (in_use == NULL) {
        return NULL;
    }
    PyObject *awaitable = PyObject_CallOneArg(conn->config->locate, in_use);
    Py_DECREF(in_use);
    return awaitable;
}

/* ---- several servers ---- */

static int
is_ready(const ar_conn *conn)
{
    return conn->lane == AR_LANE_EXPRESS && conn->state == AR_CONN_READY && !conn->tainted;
}

ar_conn *
ar_follow_pick(ArPool *pool)
{
    unsigned count = (unsigned)pool->conn_count;
    for (unsigned i = 0; i < count; i++) {
        ar_conn *conn = pool->conns[pool->turn++ % count];
        if (is_ready(conn) && !ar_pool_has_bulk(conn)) {
            return conn;
        }
    }
    return NULL;
}

void
ar_follow_ready(ArPool *pool)
{
    if (pool->spread > 1 && !pool->closed && !ar_libev_timer_active(&pool->retry_timer) &&
        ar_pool_count_lane(pool, AR_LANE_EXPRESS, 0) < pool->spread &&
        ar_pool_count_lane(pool, AR_LANE_EXPRESS, 1) == 0 &&
        pool->conn_count + pool->lent_count < pool->config->max_connections) {
        (void)ar_pool_open_conn(pool, AR_LANE_EXPRESS);
    }
}

/* ---- following ---- */

/* Whether the connection leads elsewhere; one that does not know yet where to has still to ask. */
static int
leads_elsewhere(const ar_conn *conn, PyObject *addresses)
{
    if (conn->address == NULL || conn->state == AR_CONN_CLOSED) {
        return 0;
    }
    int found = PySequence_Contains(addresses, conn->address);
    return found < 0 ? -1 : !found;
}

/* The first of the connections that leads elsewhere, NULL: none, or with an exception set. */
static ar_conn *
find_astray(ar_conn *const *conns, int count, PyObject *addresses)
{
    for (int i = 0; i < count; i++) {
        int elsewhere = leads_elsewhere(conns[i], addresses);
        if (elsewhere != 0) {
            return elsewhere > 0 ? conns[i] : NULL;
        }
    }
    return NULL;
}

static int
drop_astray(ArPool *pool, PyObject *addresses)
{
    int dropped = 0;
    while (!pool->closed) {
        ar_conn *conn = find_astray(pool->conns, pool->conn_count, addresses);
        if (conn == NULL && !PyErr_Occurred()) {
            conn = find_astray(pool->lent, pool->lent_count, addresses);
        }
        if (conn == NULL) {
            break;
        }
        ar_conn_ref(conn); /* finalizers may close the client */
        PyObject *reason =
            ar_error_format(pool->state->ConnectionError, "%s is no longer at %s:%d.",
                            pool->config->endpoint.host, conn->endpoint.host, conn->endpoint.port);
        conn->answered = 1; /* its loss is not a failure to connect */
        ar_conn_lose(conn, reason, 0);
        ar_conn_unref(conn);
        dropped++;
    }
    return PyErr_Occurred() ? -1 : dropped;
}

int
ar_pool_follow(ArPool *pool, PyObject *addresses, int spread)
{
    Py_INCREF(pool);
    pool->spread = spread;
    int dispatching = pool->dispatching;
    pool->dispatching = 1; /* not onto the next one that is given up */
    int dropped = drop_astray(pool, addresses);
    pool->dispatching = dispatching;
    if (dropped >= 0 && !pool->closed) {
        pool->failures = pool->holding = 0;
        ev_timer_stop(pool->core->ev, &pool->retry_timer);
        ev_timer_stop(pool->core->ev, &pool->hold_timer);
        ar_pool_dispatch(pool);
        if (ar_pool_has_express(pool)) {
            ar_follow_ready(pool);
        }
    }
    Py_DECREF(pool);
    return dropped;
}

/* ---- a server that is not the master any more ---- */

static int
is_read_only(const ar_state *state, PyObject *reply)
{
    return PyExceptionInstance_Check(reply) &&
           PyErr_GivenExceptionMatches(reply, state->ReadOnlyError);
}

/* A pipeline may be sent again when what was executed of it may be repeated; a transaction when EXEC
 * failed. */
static int
batch_read_only(const ar_state *state, const ArCommand *command, PyObject *replies, int *repeatable)
{
    Py_ssize_t count = PyList_GET_SIZE(replies), refused = 0;
    *repeatable = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (is_read_only(state, PyList_GET_ITEM(replies, i))) {
            refused++;
        } else if (command->batch_mode == AR_BATCH_PLAIN) {
            uint8_t properties = ar_lanes_properties(ar_queue_argv(command->batch, i),
                                                     ar_queue_argc(command->batch, i));
            *repeatable &= (properties & AR_REPLAYABLE) != 0;
        }
    }
    if (command->batch_mode != AR_BATCH_PLAIN) {
        *repeatable = PyExceptionInstance_Check(PyList_GET_ITEM(replies, count - 1));
    }
    return refused > 0;
}

int
ar_follow_refused(ar_conn *conn, const ArCommand *command, PyObject *reply)
{
    const ArPool *pool = conn->owner;
    int repeatable = 1;
    if (!pool->config->read_only_moves) {
        return 0;
    }
    int refused = command->batch != NULL ? batch_read_only(pool->state, command, reply, &repeatable)
                                         : is_read_only(pool->state, reply);
    conn->tainted |= refused;
    return refused && repeatable;
}
