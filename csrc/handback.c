/* A blocking command whose waiter has given up: the server is asked to call it off (CLIENT UNBLOCK), and what it had
 * popped already is put back where it was. Another command takes its place in the connection's FIFO and sees to
 * that; the connection is used again once both are over. */
#include "pool_internal.h"

#include "lanes.h"

/* Seconds to wait for the server when the client has no timeout. */
#define PATIENCE 5.0

/* KEYS: source, destination; ARGV: the value, where in the destination it is, how it gets back. */
static const char MOVE_BACK[] = "if redis.call('LREM', KEYS[2], ARGV[2], ARGV[1]) == 1 then "
                                "redis.call(ARGV[3], KEYS[1], ARGV[1]) end";

/* A command of the pool's own. Steals `arguments`, a tuple; -1: there is no such command. One that cannot be
 * sent has failed. */
static int
submit(ArPool *pool, const ar_command_ops *ops, PyObject *arguments, uint8_t properties)
{
    ArCommand *command = NULL;
    if (arguments != NULL) {
        command = ar_command_new(pool->state, ops, (PyObject *)pool, PyTuple_GET_ITEM(arguments, 0),
                                 &PyTuple_GET_ITEM(arguments, 1), PyTuple_GET_SIZE(arguments) - 1);
        Py_DECREF(arguments);
    }
    if (command == NULL) {
        ar_core_report(pool->core, "No memory for putting back what a cancelled command had popped",
                       ar_exception_take(), NULL);
        return -1;
    }
    command->core = (ArCore *)Py_NewRef((PyObject *)pool->core);
    command->properties = properties | AR_NEVER_DECODE;
    command->quiet = 1;
    command->timeout = pool->config->timeout;
    command->status = AR_STARTED;
    if (ar_pool_submit(pool, command) < 0) {
        ar_command_fail_pending_exception(command);
    }
    Py_DECREF(command);
    return 0;
}

/* ---- putting back ---- */

static void
put_back_finished(ArCommand *command)
{
    ((ArPool *)command->owner)->handing_back--;
    if (command->status == AR_FAILED) {
        ar_core_report(command->core, "What a cancelled blocking command had popped is lost",
                       Py_NewRef(command->result), NULL);
    }
}

static const ar_command_ops put_back_ops = {
    .convert = ar_command_pass_reply,
    .finished = put_back_finished,
};

/* (name, key, value...) with the values in reverse order: the one popped first was outermost. */
static PyObject *
push_arguments(const char *name, PyObject *key, PyObject *values)
{
    Py_ssize_t count = PyList_GET_SIZE(values);
    PyObject *arguments = PyTuple_New(count + 2);
    PyObject *text = arguments != NULL ? PyUnicode_FromString(name) : NULL;
    if (text == NULL) {
        Py_XDECREF(arguments);
        return NULL;
    }
    PyTuple_SET_ITEM(arguments, 0, text);
    PyTuple_SET_ITEM(arguments, 1, Py_NewRef(key));
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(arguments, count + 1 - i, Py_NewRef(PyList_GET_ITEM(values, i)));
    }
    return arguments;
}

/* ("ZADD", key, "NX", score, member...): a member that was added anew meanwhile keeps its score. `pairs`
 * is a list of [member, score]. */
static PyObject *
zadd_arguments(PyObject *key, PyObject *pairs)
{
    PyObject *list = Py_BuildValue("[sOs]", "ZADD", key, "NX");
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(pairs); i++) {
        PyObject *pair = PyList_GET_ITEM(pairs, i);
        if (PySequence_Size(pair) != 2) {
            Py_CLEAR(list);
            break;
        }
        PyObject *member = PySequence_GetItem(pair, 0), *score = PySequence_GetItem(pair, 1);
        if (member == NULL || score == NULL || PyList_Append(list, score) < 0 ||
            PyList_Append(list, member) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(member);
        Py_XDECREF(score);
    }
    PyObject *arguments = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return arguments;
}

/* `taker`: BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout, BRPOPLPUSH source destination timeout. */
static PyObject *
move_back_arguments(const ArCommand *taker, PyObject *value)
{
    int from_left = 0, to_left = 1;
    if (ar_lanes_is_word(taker->argv[0], "BLMOVE") && taker->argc > 4) {
        from_left = ar_lanes_is_word(taker->argv[3], "LEFT");
        to_left = ar_lanes_is_word(taker->argv[4], "LEFT");
    }
    return Py_BuildValue("(ssiOOOis)", "EVAL", MOVE_BACK, 2, taker->argv[1], taker->argv[2], value,
                         to_left ? 1 : -1, from_left ? "LPUSH" : "RPUSH");
}

/* `taker`: BLMPOP timeout numkeys key... LEFT|RIGHT [COUNT count], with keys of any name. */
static int
takes_from_left(const ArCommand *taker)
{
    for (Py_ssize_t i = taker->argc; i-- > 3;) {
        if (ar_lanes_is_word(taker->argv[i], "LEFT")) {
            return 1;
        }
        if (ar_lanes_is_word(taker->argv[i], "RIGHT")) {
            return 0;
        }
    }
    return 0;
}

/* The command that undoes what `taker` did, or NULL, with or without an exception set. */
static PyObject *
undoing_arguments(const ArCommand *taker, PyObject *reply)
{
    ar_taking taking = taker->argc > 0 ? ar_lanes_taking(taker->argv[0]) : AR_TAKES_NOTHING;
    if (taking == AR_MOVES && taker->argc > 3) {
        return PyBytes_Check(reply) ? move_back_arguments(taker, reply) : NULL;
    }
    if (!PyList_Check(reply) || PyList_GET_SIZE(reply) < 2) {
        return NULL;
    }
    PyObject *key = PyList_GET_ITEM(reply, 0), *rest = PyList_GET_ITEM(reply, 1);
    PyObject *values = NULL, *arguments = NULL;
    switch (taking) {
    case AR_TAKES_FIRST:
    case AR_TAKES_LAST:
        values = Py_BuildValue("[O]", rest);
        break;
    case AR_TAKES_SCORED:
        values = PyList_GET_SIZE(reply) == 3
                     ? Py_BuildValue("[(OO)]", rest, PyList_GET_ITEM(reply, 2))
                     : NULL;
        break;
    case AR_TAKES_SEVERAL:
    case AR_TAKES_SEVERAL_SCORED:
        values = PyList_Check(rest) ? Py_NewRef(rest) : NULL;
        break;
    default:
        break;
    }
    if (values != NULL) {
        int scored = taking == AR_TAKES_SCORED || taking == AR_TAKES_SEVERAL_SCORED;
        int left =
            taking == AR_TAKES_FIRST || (taking == AR_TAKES_SEVERAL && takes_from_left(taker));
        arguments = scored ? zadd_arguments(key, values)
                           : push_arguments(left ? "LPUSH" : "RPUSH", key, values);
        Py_DECREF(values);
    }
    return arguments;
}

/* Undoes what `taker` did, as its `reply` tells. */
static void
undo(ArPool *pool, const ArCommand *taker, PyObject *reply)
{
    PyObject *arguments = undoing_arguments(taker, reply);
    if (arguments != NULL) {
        pool->handing_back++;
        if (submit(pool, &put_back_ops, arguments, 0) < 0) {
            pool->handing_back--;
        }
    } else if (PyErr_Occurred()) {
        ar_core_report(pool->core, "What a cancelled blocking command had popped is lost",
                       ar_exception_take(), NULL);
    }
}

/* ---- answered, and nobody told ---- */

/* The receipt of what a command has taken: the pool, and the reply as it came. */
void
ar_pool_conn_taken(ar_conn *conn, ArCommand *command, PyObject *reply)
{
    PyObject *pool = Py_NewRef((PyObject *)conn->owner); /* an error handler may close the client */
    int decode = conn->config->decode && !(command->properties & AR_NEVER_DECODE), failed = 0;
    PyObject *value = decode ? ar_reply_decoded(&conn->sink, reply, &failed) : Py_NewRef(reply);
    PyObject *receipt = NULL;
    if (value == NULL) {
        ar_command_fail_pending_exception(command);
    } else if (failed) {
        ar_command_fail(command, value);
    } else if (ar_command_finished(command) || command->ops->returned == NULL || reply == Py_None ||
               PyExceptionInstance_Check(reply)) {
        ar_command_reply(command, value);
    } else if ((receipt = PyTuple_Pack(2, pool, reply)) != NULL && !ar_command_finished(command)) {
        ar_command_answer(command, value, receipt);
    } else { /* without memory it is like any other; one that a finalizer has just cancelled stays so */
        PyErr_Clear();
        Py_XDECREF(receipt);
        ar_command_reply(command, value);
    }
    Py_DECREF(reply);
    Py_DECREF(pool);
}

void
ar_pool_returned(ArCommand *command, int dropped)
{
    PyObject *receipt = command->replies;
    command->replies = NULL;
    if (receipt == NULL) {
        return;
    }
    ArPool *pool = (ArPool *)PyTuple_GET_ITEM(receipt, 0);
    /* Who drops a BLMOVE has wanted no more than the move, and to a loop that is gone nobody returns. */
    int unwanted = dropped && command->argc > 0 && ar_lanes_taking(command->argv[0]) == AR_MOVES;
    if (!unwanted && (!dropped || ar_pool_usable(pool))) {
        undo(pool, command, PyTuple_GET_ITEM(receipt, 1));
    }
    Py_DECREF(receipt);
}

/* ---- calling off ---- */

static void
heir_finished(ArCommand *command)
{
    ArPool *pool = (ArPool *)command->owner;
    pool->handing_back--;
    if (command->status != AR_DONE || pool->closed) {
        return; /* the connection is gone: so is what the server may have popped for it */
    }
    undo(pool, command, command->result);
}

static PyObject *
heir_convert(ArCommand *Py_UNUSED(command), PyObject *reply)
{
    if (PyExceptionInstance_Check(reply)) { /* -UNBLOCKED, WRONGTYPE: nothing was popped */
        Py_DECREF(reply);
        Py_RETURN_NONE;
    }
    return reply;
}

static const ar_command_ops heir_ops = {
    .convert = heir_convert,
    .abandoned = ar_pool_abandon,
    .finished = heir_finished,
};

int
ar_pool_is_heir(const ArCommand *command)
{
    return command->ops == &heir_ops;
}

/* CLIENT UNBLOCK has been answered: from now on nobody refers to the connection's id. */
static void
unblock_finished(ArCommand *command)
{
    ArPool *pool = (ArPool *)command->owner;
    long long id = PyLong_AsLongLong(command->argv[1]);
    for (int i = 0; i < pool->conn_count; i++) {
        ar_conn *conn = pool->conns[i];
        if (conn->client_id != id || !conn->held) {
            continue;
        }
        conn->held = 0;
        if (command->status == AR_FAILED && conn->inflight.count > 0) {
            /* We are not allowed to: as good as it gets. */
            ar_conn_lose(conn, Py_NewRef(command->result), 0);
        }
        break;
    }
    ar_pool_dispatch(pool);
}

static const ar_command_ops unblock_ops = {
    .convert = ar_command_pass_reply,
    .finished = unblock_finished,
};

/* What takes the place of a command. Making it may run finalizers, and they may cancel the command as well: NULL
 * without an exception then. */
static ArCommand *
make_heir(ArPool *pool, const ArCommand *command)
{
    PyObject *arguments = ar_command_hold_arguments(command);
    ArCommand *heir = NULL;
    if (arguments != NULL) {
        PyObject **argv = &PyTuple_GET_ITEM(arguments, 0);
        heir = ar_command_new(pool->state, &heir_ops, (PyObject *)pool, argv[0], argv + 1,
                              PyTuple_GET_SIZE(arguments) - 1);
    }
    if (heir != NULL && ar_command_finished(command)) {
        heir->status = AR_CLOSED;
        Py_CLEAR(heir);
    }
    Py_XDECREF(arguments);
    return heir;
}

static int
bequeath(ArPool *pool, ar_conn *conn, ArCommand *command)
{
    if (!(command->properties & AR_BLOCKING) || conn->client_id <= 0 || pool->closed ||
        !ar_pool_usable(pool) || conn->inflight.count != 1 || !ar_conn_was_sent(conn, command)) {
        return 0;
    }
    ArCommand *heir = make_heir(pool, command);
    if (heir == NULL) {
        PyErr_Clear(); /* then the connection is closed */
        return 0;
    }
    heir->core = (ArCore *)Py_NewRef((PyObject *)pool->core);
    heir->status = AR_STARTED;
    heir->properties = AR_NEVER_DECODE;
    heir->quiet = 1;
    heir->wire_start = command->wire_start;
    heir->attempts = command->attempts;
    heir->connection = conn;
    (void)ar_ring_pop(&conn->inflight);
    ar_ring_push(&conn->inflight, heir);
    command->connection = NULL;
    pool->handing_back++;
    conn->held = 1;
    ar_deadline_set(pool, heir, pool->config->timeout > 0.0 ? pool->config->timeout : PATIENCE);
    if (submit(pool, &unblock_ops, Py_BuildValue("(sL)", "CLIENT UNBLOCK", conn->client_id),
               AR_REPLAYABLE) < 0) {
        conn->held = 0; /* the deadline closes it */
    }
    Py_DECREF(command);
    return 1;
}

int
ar_pool_bequeath(ArCommand *command)
{
    ar_conn *conn = command->connection;
    ArPool *pool = (ArPool *)Py_NewRef(conn->owner); /* finalizers may close the client */
    ar_conn_ref(conn);
    int taken = bequeath(pool, conn, command);
    ar_conn_unref(conn);
    Py_DECREF(pool);
    return taken;
}
