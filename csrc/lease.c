/* Leases: commands that block, or change the state of their connection, have one to themselves. */
#include "pool_internal.h"

static ar_conn *
idle_lease(const ArPool *pool)
{
    for (int i = 0; i < pool->conn_count; i++) {
        ar_conn *conn = pool->conns[i];
        if (conn->lane == AR_LANE_LEASED && conn->state == AR_CONN_READY && !conn->tainted &&
            !conn->held && conn->inflight.count == 0) {
            return conn;
        }
    }
    return NULL;
}

/* One place is kept for the express lane; with max_connections=1 a lease may exceed it by one. */
static void
open_leases(ArPool *pool)
{
    int limit = pool->config->max_connections > 1 ? pool->config->max_connections - 1 : 1;
    while (!ar_libev_timer_active(&pool->retry_timer) &&
           (size_t)ar_pool_count_lane(pool, AR_LANE_LEASED, 1) < pool->lease_waiting.count &&
           ar_pool_count_lane(pool, AR_LANE_LEASED, 0) + pool->lent_count < limit) {
        if (ar_pool_open_conn(pool, AR_LANE_LEASED) < 0) {
            return;
        }
    }
}

int
ar_lease_submit(ArPool *pool, ArCommand *command)
{
    ar_conn *conn = pool->lease_waiting.count == 0 ? idle_lease(pool) : NULL;
    if (conn != NULL) {
        return ar_pool_send_on(pool, conn, command);
    }
    if (ar_pool_enqueue(&pool->lease_waiting, command) < 0) {
        return -1;
    }
    if (pool->config->pool_timeout > 0.0 || command->expires != 0.0) {
        ar_deadline_set(pool, command, pool->config->pool_timeout);
    }
    open_leases(pool);
    return 0;
}

void
ar_lease_dispatch(ArPool *pool)
{
    while (pool->lease_waiting.count > 0 && !pool->closed) {
        ArCommand *command = ar_ring_peek(&pool->lease_waiting);
        if (!ar_command_finished(command)) {
            ar_conn *conn = idle_lease(pool);
            if (conn == NULL) {
                open_leases(pool);
                return;
            }
            (void)ar_ring_pop(&pool->lease_waiting);
            ar_pool_send_or_fail(pool, conn, command);
        } else {
            (void)ar_ring_pop(&pool->lease_waiting);
        }
        Py_DECREF(command);
    }
}

/* ---- lending ---- */

int
ar_pool_lend(ArPool *pool, ar_conn *conn)
{
    if (ar_pool_list_add(&pool->lent, &pool->lent_count, &pool->lent_capacity, conn) < 0) {
        return -1;
    }
    (void)ar_pool_remove_conn(pool, conn);
    return 0;
}

static int
remove_lent(ArPool *pool, const ar_conn *conn)
{
    for (int i = 0; i < pool->lent_count; i++) {
        if (pool->lent[i] == conn) {
            pool->lent[i] = pool->lent[--pool->lent_count];
            return 1;
        }
    }
    return 0;
}

void
ar_pool_take_back(ArPool *pool, ar_conn *conn, int reuse)
{
    int known = remove_lent(pool, conn);
    conn->calls = &ar_pool_conn_owner;
    conn->owner = pool;
    if (!known || !reuse || pool->closed || conn->state != AR_CONN_READY ||
        ar_pool_list_add(&pool->conns, &pool->conn_count, &pool->conn_capacity, conn) < 0) {
        PyErr_Clear(); /* without memory for the list it is closed, too */
        ar_conn_close(conn);
        ar_conn_unref(conn);
    } else {
        ar_reauth_ready(pool, conn);
    }
    if (!pool->closed) {
        ar_pool_dispatch(pool);
    }
}

/* ---- giving up ---- */

void
ar_pool_abandon(ArCommand *command)
{
    ar_conn *conn = command->connection;
    command->connection = NULL;
    if (conn != NULL) {
        ar_conn_ref(conn);
        ar_conn_lose(conn,
                     ar_error_format(command->state->ConnectionError,
                                     "The command on this connection was given up."),
                     0);
        ar_conn_unref(conn);
    }
}
