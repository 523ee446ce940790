/* A new token has come: every live connection says AUTH again, behind the commands that are already on it. */
#include "pool_internal.h"

#include "awaitable.h"

static const ar_command_ops reauth_ops = {
    .convert = ar_command_pass_reply,
    .abandoned = ar_pool_abandon,
};

/* The AUTH on its way, a new reference; NULL with an exception set: it was refused. */
static ArCommand *
authenticate(ArPool *pool, ar_conn *conn, double timeout)
{
    PyObject *name = PyUnicode_InternFromString("AUTH");
    if (name == NULL) {
        return NULL;
    }
    PyObject *words = Py_NewRef(pool->new_credentials); /* a finalizer may bring a newer token */
    ArCommand *command = ar_command_new(pool->state, &reauth_ops, (PyObject *)pool, name,
                                        &PyTuple_GET_ITEM(words, 0), PyTuple_GET_SIZE(words));
    Py_DECREF(words);
    Py_DECREF(name);
    if (command == NULL) {
        return NULL;
    }
    ar_awaitable_become_future(command);
    command->status = AR_STARTED;
    command->quiet = 1;
    command->properties = AR_SECRET;
    command->core = (ArCore *)Py_NewRef((PyObject *)pool->core);
    command->timeout = timeout;
    int result = ar_command_settle(command, &pool->config->codec);
    if (result == 0 && conn->state != AR_CONN_READY) { /* a codec has closed it */
        ar_command_fail(command, ar_error_format(pool->state->ConnectionError,
                                                 "The connection was closed meanwhile."));
    } else if (result < 0 || ar_pool_send_on(pool, conn, command) < 0) {
        Py_CLEAR(command);
    }
    return command;
}

int
ar_pool_reauthenticate(ArPool *pool, PyObject *words, PyObject *futures)
{
    int result = 0;
    if (pool->closed) {
        return 0;
    }
    Py_INCREF(pool);
    Py_XSETREF(pool->new_credentials, Py_NewRef(words));
    for (int i = 0; i < pool->lent_count; i++) {
        pool->lent[i]->authenticate_again = 1; /* when it is given back */
    }
    for (int i = pool->conn_count - 1; result == 0 && i >= 0 && i < pool->conn_count; i--) {
        ar_conn *conn = pool->conns[i];
        if (conn->state != AR_CONN_READY) {
            conn->authenticate_again = 1; /* it may have been told the old token already */
            continue;
        }
        /* Behind a blocking command the answer takes as long as that does: nobody waits for it. */
        int busy = conn->lane == AR_LANE_LEASED && conn->inflight.count > 0;
        ar_conn_ref(conn);
        ArCommand *command = authenticate(pool, conn, busy ? 0.0 : pool->config->timeout);
        ar_conn_unref(conn);
        if (command == NULL || (!busy && PyList_Append(futures, (PyObject *)command) < 0)) {
            result = -1;
        }
        Py_XDECREF(command);
    }
    Py_DECREF(pool);
    return result;
}

void
ar_reauth_ready(ArPool *pool, ar_conn *conn)
{
    if (!conn->authenticate_again || pool->new_credentials == NULL) {
        return;
    }
    conn->authenticate_again = 0;
    ar_conn_ref(conn); /* a codec may close it */
    ArCommand *command = authenticate(pool, conn, pool->config->timeout);
    if (command == NULL) {
        ar_conn_lose(conn, NULL, 0);
    }
    ar_conn_unref(conn);
    Py_XDECREF(command);
}
