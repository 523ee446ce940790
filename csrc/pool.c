/* Which connection a command takes: the shared express lane, or a lease. */
#include "pool_internal.h"

#include "lanes.h"

/* With this much arriving or leaving, an express connection is left to it, and new commands take
 * another one. */
#define BULK_BYTES (512 * 1024)
/* Seconds added to a blocking command's own timeout before the server counts as silent. */
#define BLOCK_GRACE 1.0

static void open_express(ArPool *pool);

/* ---- the list of connections ---- */

int
ar_pool_list_add(ar_conn ***list, int *count, int *capacity, ar_conn *conn)
{
    if (*count == *capacity) {
        int wanted = *capacity ? *capacity * 2 : 4;
        ar_conn **larger = PyMem_Realloc(*list, (size_t)wanted * sizeof(*larger));
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        *list = larger;
        *capacity = wanted;
    }
    (*list)[(*count)++] = conn;
    return 0;
}

static int
add_conn(ArPool *pool, ar_conn *conn)
{
    return ar_pool_list_add(&pool->conns, &pool->conn_count, &pool->conn_capacity, conn);
}

int
ar_pool_remove_conn(ArPool *pool, const ar_conn *conn)
{
    for (int i = 0; i < pool->conn_count; i++) {
        if (pool->conns[i] == conn) {
            pool->conn_count--;
            for (; i < pool->conn_count; i++) {
                pool->conns[i] = pool->conns[i + 1];
            }
            return 1;
        }
    }
    return 0;
}

int
ar_pool_count_lane(const ArPool *pool, ar_lane lane, int connecting_only)
{
    int count = 0;
    for (int i = 0; i < pool->conn_count; i++) {
        const ar_conn *conn = pool->conns[i];
        count += conn->lane == lane && (!connecting_only || conn->state < AR_CONN_READY);
    }
    return count;
}

/* ---- sending ---- */

int
ar_pool_send_on(ArPool *pool, ar_conn *conn, ArCommand *command)
{
    double timeout = command->timeout;
    if (command->properties & AR_LEND) {
        ar_conn_ref(conn);
        int lent = command->ops->lend(command, conn, pool);
        ar_conn_unref(conn);
        return lent;
    }
    if (conn->lane == AR_LANE_LEASED) {
        if (command->properties & AR_BLOCKING) {
            double block = ar_lanes_block_seconds(command->argv, command->argc);
            timeout = block <= 0.0 ? 0.0 : block + (timeout > BLOCK_GRACE ? timeout : BLOCK_GRACE);
        }
    }
    if (command->deadline != command->expires && command->deadline != 0.0 &&
        conn->lane == AR_LANE_EXPRESS) {
        timeout = ar_deadline_left(pool, command); /* it has waited for room already */
    }
    command->deadline = 0.0;
    ar_conn_ref(conn);
    int result = ar_conn_send(conn, command);
    if (result == 0 && conn->state != AR_CONN_CLOSED) {
        if (conn->lane == AR_LANE_LEASED) {
            command->connection = conn;
            conn->tainted |= (command->properties & AR_STATEFUL) != 0;
        }
        if (timeout > 0.0 || command->expires != 0.0) {
            ar_deadline_set(pool, command, timeout);
        }
    }
    ar_conn_unref(conn);
    return result;
}

int
ar_pool_has_bulk(const ar_conn *conn)
{
    const redisReader *reader = conn->context->reader;
    return reader->len - reader->pos > BULK_BYTES || ar_bulk_left(&conn->bulk) > BULK_BYTES ||
           ar_outq_pending(&conn->out) > BULK_BYTES;
}

/* An express connection to send on now, or NULL: none is ready, or all are busy with something large
 * and another one may be opened (not while the last attempt to has just failed). */
static ar_conn *
pick_express(ArPool *pool)
{
    ar_conn *busy = pool->spread > 1 ? ar_follow_pick(pool) : NULL;
    if (busy != NULL) {
        return busy;
    }
    for (int i = 0; i < pool->conn_count; i++) {
        ar_conn *conn = pool->conns[i];
        if (conn->lane != AR_LANE_EXPRESS || conn->state != AR_CONN_READY || conn->tainted) {
            continue;
        }
        if (!ar_pool_has_bulk(conn)) {
            return conn;
        }
        if (busy == NULL || ar_outq_pending(&conn->out) < ar_outq_pending(&busy->out)) {
            busy = conn;
        }
    }
    int may_open = pool->conn_count + pool->lent_count < pool->config->max_connections &&
                   !ar_libev_timer_active(&pool->retry_timer);
    return may_open ? NULL : busy;
}

int
ar_pool_has_express(const ArPool *pool)
{
    for (int i = 0; i < pool->conn_count; i++) {
        const ar_conn *conn = pool->conns[i];
        if (conn->lane == AR_LANE_EXPRESS && conn->state == AR_CONN_READY && !conn->tainted) {
            return 1;
        }
    }
    return 0;
}

static int
has_room(const ArPool *pool, const ar_conn *conn)
{
    return ar_outq_pending(&conn->out) < (size_t)pool->config->max_pending_bytes;
}

/* Its arguments have been settled: a bad one fails before anything waits for it. */
int
ar_pool_enqueue(ar_ring *ring, ArCommand *command)
{
    if (ar_ring_reserve(ring) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(command);
    ar_ring_push(ring, command);
    return 0;
}

static int
submit_express(ArPool *pool, ArCommand *command)
{
    ar_conn *conn = pick_express(pool);
    if (conn != NULL && pool->waiting.count == 0 && has_room(pool, conn)) {
        return ar_pool_send_on(pool, conn, command);
    }
    if (ar_pool_enqueue(&pool->waiting, command) < 0) {
        return -1;
    }
    /* Connecting has a deadline of its own; waiting behind what is connected needs one. */
    double timeout = ar_pool_has_express(pool) ? command->timeout : 0.0;
    if (timeout > 0.0 || command->expires != 0.0) {
        ar_deadline_set(pool, command, timeout);
    }
    if (conn == NULL) {
        open_express(pool);
    }
    return 0;
}

int
ar_pool_submit(ArPool *pool, ArCommand *command)
{
    Py_INCREF(pool);
    int result = ar_command_settle(command, &pool->config->codec);
    if (result < 0 || ar_command_finished(command)) {
        Py_DECREF(pool);
        return result;
    }
    if (pool->closed) {
        PyErr_SetString(pool->state->ConnectionError, "The client has been closed.");
        Py_DECREF(pool);
        return -1;
    }
    if ((command->expires != 0.0 || pool->breaker.state != AR_BREAKER_CLOSED) &&
        (ar_deadline_refuses(pool, command) || ar_breaker_refuses(pool))) {
        Py_DECREF(pool);
        return -1;
    }
    result = command->properties & (AR_BLOCKING | AR_STATEFUL) ? ar_lease_submit(pool, command)
                                                               : submit_express(pool, command);
    Py_DECREF(pool);
    return result;
}

/* ---- dispatching what waits ---- */

void
ar_pool_send_or_fail(ArPool *pool, ar_conn *conn, ArCommand *command)
{
    if (ar_pool_send_on(pool, conn, command) < 0) {
        ar_command_fail_pending_exception(command);
    }
}

static void
dispatch_express(ArPool *pool)
{
    while (pool->waiting.count > 0 && !pool->closed) {
        ArCommand *command = ar_ring_peek(&pool->waiting);
        if (!ar_command_finished(command)) {
            ar_conn *conn = pick_express(pool);
            if (conn == NULL) {
                open_express(pool);
                return;
            }
            if (!has_room(pool, conn)) {
                return;
            }
            (void)ar_ring_pop(&pool->waiting);
            ar_pool_send_or_fail(pool, conn, command);
        } else {
            (void)ar_ring_pop(&pool->waiting);
        }
        Py_DECREF(command);
    }
}

void
ar_pool_dispatch(ArPool *pool)
{
    if (pool->holding || (pool->waiting.count == 0 && pool->lease_waiting.count == 0)) {
        return;
    }
    if (pool->dispatching) { /* by what sending has set off: a connection is lost, or has room */
        pool->dispatch_again = 1;
        return;
    }
    Py_INCREF(pool);
    pool->dispatching = 1;
    do {
        pool->dispatch_again = 0;
        dispatch_express(pool);
        ar_lease_dispatch(pool);
    } while (pool->dispatch_again && !pool->closed && !pool->holding);
    pool->dispatching = 0;
    Py_DECREF(pool);
}

/* ---- opening ---- */

/* -1 when the connection could not be made; what waits has failed then. */
int
ar_pool_open_conn(ArPool *pool, ar_lane lane)
{
    ar_conn *conn = ar_conn_new(pool->core, pool->config, lane, &ar_pool_conn_owner, pool);
    if (conn == NULL || add_conn(pool, conn) < 0) {
        PyObject *reason = ar_exception_take();
        if (conn != NULL) {
            ar_conn_unref(conn);
        }
        ar_pool_fail_ring(pool, lane == AR_LANE_LEASED ? &pool->lease_waiting : &pool->waiting,
                          reason);
        Py_DECREF(reason);
        return -1;
    }
    ar_conn_open(conn);
    return 0;
}

static void
open_express(ArPool *pool)
{
    if (!pool->closed && !ar_libev_timer_active(&pool->retry_timer) &&
        ar_pool_count_lane(pool, AR_LANE_EXPRESS, 1) == 0) {
        (void)ar_pool_open_conn(pool, AR_LANE_EXPRESS);
    }
}

static void
on_retry(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ar_pool_dispatch(timer->data);
}

/* ---- life ---- */

static void
close_connections(ArPool *pool)
{
    pool->closed = 1;
    if (pool->core->ev != NULL) {
        ev_timer_stop(pool->core->ev, &pool->retry_timer);
        ev_timer_stop(pool->core->ev, &pool->deadline_timer);
        ev_timer_stop(pool->core->ev, &pool->health_timer);
        ev_timer_stop(pool->core->ev, &pool->hold_timer);
        ev_timer_stop(pool->core->ev, &pool->breaker.timer);
    }
    for (int i = 0; i < pool->conn_count; i++) {
        ar_conn_close(pool->conns[i]);
    }
}

static void
release_connections(ArPool *pool)
{
    while (pool->conn_count > 0) {
        ar_conn_unref(pool->conns[--pool->conn_count]);
    }
    ar_core_detach(pool->core);
}

void
ar_pool_close(ArPool *pool)
{
    if (pool->closed) {
        return;
    }
    Py_INCREF(pool);
    close_connections(pool);
    PyObject *reason =
        ar_error_format(pool->state->ConnectionError, "Connection closed by the client.");
    if (reason == NULL) {
        reason = ar_exception_take();
    }
    for (int i = 0; i < pool->conn_count; i++) {
        ar_pool_fail_ring(pool, &pool->conns[i]->inflight, reason);
    }
    ar_pool_fail_ring(pool, &pool->waiting, reason);
    ar_pool_fail_ring(pool, &pool->lease_waiting, reason);
    while (pool->lent_count > 0) { /* its owner gives it back */
        ar_conn_lose(pool->lent[pool->lent_count - 1], Py_NewRef(reason), 0);
    }
    Py_DECREF(reason);
    release_connections(pool);
    Py_DECREF(pool);
}

static void
drop_ring(ar_ring *ring)
{
    ar_ring commands = ar_ring_take(ring);
    for (ArCommand *command; (command = ar_ring_pop(&commands)) != NULL;) {
        command->connection = NULL;
        if (!ar_command_finished(command)) {
            command->status = AR_CLOSED;
        }
        Py_DECREF(command);
    }
    ar_ring_free(&commands);
}

static void
discard(ArPool *pool)
{
    if (pool->closed) {
        return;
    }
    close_connections(pool);
    for (int i = 0; i < pool->conn_count; i++) {
        drop_ring(&pool->conns[i]->inflight);
    }
    drop_ring(&pool->waiting);
    drop_ring(&pool->lease_waiting);
    pool->lent_count = 0;
    release_connections(pool);
}

void
ar_pool_discard(ArPool *pool)
{
    Py_INCREF(pool);
    discard(pool);
    Py_DECREF(pool);
}

static int
pool_traverse(ArPool *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->core);
    Py_VISIT(self->config);
    Py_VISIT(self->new_credentials);
    Py_VISIT(self->breaker.reason);
    for (int i = 0; i < self->conn_count; i++) {
        int result = ar_conn_traverse(self->conns[i], visit, arg);
        if (result != 0) {
            return result;
        }
    }
    for (size_t i = 0; i < self->waiting.count; i++) {
        Py_VISIT((PyObject *)ar_ring_at(&self->waiting, i));
    }
    for (size_t i = 0; i < self->lease_waiting.count; i++) {
        Py_VISIT((PyObject *)ar_ring_at(&self->lease_waiting, i));
    }
    return 0;
}

static int
pool_clear(ArPool *self)
{
    ar_pool_discard(self);
    Py_CLEAR(self->breaker.reason);
    Py_CLEAR(self->new_credentials);
    return 0;
}

static void
pool_dealloc(ArPool *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *pending = ar_exception_take();
    if (self->core != NULL) {
        discard(self);
        Py_CLEAR(self->breaker.reason);
        Py_CLEAR(self->new_credentials);
    }
    ar_ring_free(&self->waiting);
    ar_ring_free(&self->lease_waiting);
    PyMem_Free(self->conns);
    PyMem_Free(self->lent);
    Py_CLEAR(self->config);
    Py_CLEAR(self->core);
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

ArPool *
ar_pool_new(ArCore *core, ArConfig *config)
{
    ar_state *state = core->state;
    ArPool *pool = (ArPool *)state->PoolType->tp_alloc(state->PoolType, 0);
    if (pool == NULL) {
        return NULL;
    }
    pool->state = state;
    pool->core = (ArCore *)Py_NewRef((PyObject *)core);
    pool->config = (ArConfig *)Py_NewRef((PyObject *)config);
    ar_libev_timer_init(&pool->retry_timer, on_retry, pool);
    ar_deadline_init(pool);
    ar_health_init(pool);
    ar_refusal_init(pool);
    ar_breaker_init(pool);
    ar_core_attach(core);
    return pool;
}

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, (void *)"Connections of one client on one loop."},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_clear, pool_clear},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "aiecs_redis._native.Pool",
    .basicsize = sizeof(ArPool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pool_slots,
};

int
ar_pool_setup(PyObject *module, ar_state *state)
{
    state->PoolType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pool_spec, NULL);
    if (state->PoolType == NULL) {
        return -1;
    }
#if PY_VERSION_HEX < 0x030A0000
    state->PoolType->tp_new = NULL;
#endif
    return 0;
}
