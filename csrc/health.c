/* health_check_interval: an idle connection is sent a PING now and then, and given up when it stays
 * unanswered, so that a peer that vanished is noticed before a command has to find out. */
#include "pool_internal.h"

/* Any answer will do, also an error reply: somebody is there. */
static PyObject *
keep_reply(ArCommand *Py_UNUSED(command), PyObject *reply)
{
    return reply;
}

static const ar_command_ops health_ops = {
    .convert = keep_reply,
    .abandoned = ar_pool_abandon,
};

static int
ping(ArPool *pool, ar_conn *conn)
{
    PyObject *name = PyUnicode_InternFromString("PING");
    if (name == NULL) {
        return -1;
    }
    ArCommand *command = ar_command_new(pool->state, &health_ops, (PyObject *)pool, name, NULL, 0);
    Py_DECREF(name);
    if (command == NULL) {
        return -1;
    }
    const ArConfig *config = pool->config;
    command->status = AR_STARTED;
    command->quiet = 1;
    command->core = (ArCore *)Py_NewRef((PyObject *)pool->core);
    command->timeout = config->timeout > 0.0 ? config->timeout : config->health_check_interval;
    int result = ar_pool_send_on(pool, conn, command);
    if (result == 0 && conn->state == AR_CONN_READY && !ar_command_finished(command)) {
        command->connection = conn; /* unanswered, the connection goes with it */
    }
    Py_DECREF(command);
    return result;
}

static void
on_health_check(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ArPool *pool = timer->data;
    double interval = pool->config->health_check_interval, now = ar_monotonic();
    Py_INCREF(pool);
    for (int i = pool->conn_count - 1; i >= 0 && i < pool->conn_count; i--) {
        ar_conn *conn = pool->conns[i];
        if (conn->state != AR_CONN_READY || conn->inflight.count > 0 ||
            now - conn->silent_since < interval) {
            continue;
        }
        ar_conn_ref(conn);
        if (ping(pool, conn) < 0) {
            ar_conn_lose(conn, NULL, 0);
        }
        ar_conn_unref(conn);
    }
    if (!pool->closed && pool->conn_count > 0) {
        ar_core_timer_start(pool->core, &pool->health_timer, interval);
    }
    Py_DECREF(pool);
}

void
ar_health_init(ArPool *pool)
{
    ar_libev_timer_init(&pool->health_timer, on_health_check, pool);
}

void
ar_health_start(ArPool *pool)
{
    if (pool->config->health_check_interval > 0.0 && !ar_libev_timer_active(&pool->health_timer)) {
        ar_core_timer_start(pool->core, &pool->health_timer, pool->config->health_check_interval);
    }
}
