/* Replies that mean "not here" or "not now", and nodes that cannot be reached: the command goes on. An error reply
 * of this kind says that the command was not executed, so that any command may be sent again. */
#include "cluster.h"

/* Nodes that a command is sent on to one after the other. */
#define REDIRECTS_MAX 16
/* Seconds. */
#define AGAIN_DELAY 0.005
#define DOWN_DELAY 0.1
#define RECONNECT_DELAY 0.05
#define AVOID_FOR 1.0
#define MOVED_DELAY 0.1 /* of asking for the topology: slots are seldom moved alone */

static int
is_a(PyObject *error, PyObject *cls)
{
    return PyErr_GivenExceptionMatches(error, cls);
}

int
ar_redirect_applies(const ArCluster *self, PyObject *error)
{
    const ar_state *state = self->state;
    return PyExceptionInstance_Check(error) &&
           (is_a(error, state->AskError) || is_a(error, state->TryAgainError) ||
            is_a(error, state->ClusterDownError) || ar_error_is_passing(state, error));
}

/* ---- MOVED and ASK ---- */

/* Where the reply says that the slot is; NULL with an exception set. */
static ar_node *
told_node(ar_node *from, PyObject *error)
{
    ArCluster *self = from->cluster;
    PyObject *host = PyObject_GetAttrString(error, "host");
    PyObject *port = host != NULL ? PyObject_GetAttrString(error, "port") : NULL;
    ar_node *node = NULL;
    if (port != NULL && PyUnicode_Check(host) && PyUnicode_GET_LENGTH(host) == 0) {
        /* The node does not know its own name: it is the one we have reached it by. */
        const char *own = from->transport->config->endpoint.host;
        Py_SETREF(host, PyUnicode_FromString(own != NULL ? own : ""));
    }
    PyObject *found =
        port != NULL && host != NULL ? PyObject_CallFunction(self->locate, "OO", host, port) : NULL;
    PyObject *name;
    ArTransport *transport;
    if (found != NULL &&
        PyArg_ParseTuple(found, "UO!:locate", &name, self->state->TransportType, &transport)) {
        node = ar_cluster_add_node(self, name, transport);
    }
    Py_XDECREF(found);
    Py_XDECREF(host);
    Py_XDECREF(port);
    return node;
}

static int
told_slot(PyObject *error, unsigned *slot)
{
    PyObject *value = PyObject_GetAttrString(error, "slot_id");
    long number = value != NULL ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    if (number < 0 || number >= AR_SLOTS) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "no slot: %ld", number);
        }
        return -1;
    }
    *slot = (unsigned)number;
    return 0;
}

static int
send_on(ar_node *from, ArCommand *command, PyObject *error, int asking)
{
    ArCluster *self = from->cluster;
    unsigned slot;
    ar_node *node = command->redirects < REDIRECTS_MAX ? told_node(from, error) : NULL;
    if (node == NULL || told_slot(error, &slot) < 0) {
        PyErr_Clear(); /* the reply itself is the error then */
        return 0;
    }
    if (!asking) {
        self->moved++;
        if (ar_cluster_move_slot(self, slot, node) < 0) {
            PyErr_Clear();
        }
        ar_router *router = ar_router_of(self, command);
        if (router != NULL) {
            ar_router_want_refresh(router, MOVED_DELAY);
            ar_router_unref(router);
        }
        PyErr_Clear();
    } else {
        self->asked++;
    }
    command->redirects++;
    command->asking = (uint8_t)asking;
    command->deadline = 0.0; /* the time for an answer begins anew */
    if (ar_cluster_send_to(node, command) < 0) {
        ar_command_fail_pending_exception(command);
    }
    return 1;
}

/* ---- another moment ---- */

static int
try_later(ar_node *from, ArCommand *command, PyObject *reason, double delay, int refresh)
{
    ar_router *router = ar_router_of(from->cluster, command);
    if (router == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (refresh) {
        ar_router_want_refresh(router, 0.0);
    }
    command->asking = 0;
    command->deadline = 0.0;
    command->redirects = 0; /* time is its limit: a slot may be half here, half there */
    int waits = ar_router_wait(router, command, reason, delay) == 0;
    if (!waits) {
        PyErr_Clear();
    }
    ar_router_unref(router);
    return waits;
}

int
ar_redirect_follow(ar_node *from, ArCommand *command, PyObject *error)
{
    ArCluster *self = from->cluster;
    const ar_state *state = self->state;
    if (self->closed) {
        return 0;
    }
    if (is_a(error, state->MovedError)) {
        return send_on(from, command, error, 0);
    }
    if (is_a(error, state->AskError)) {
        return send_on(from, command, error, 1);
    }
    if (!command->routed) {
        return 0;
    }
    if (is_a(error, state->TryAgainError)) {
        self->again++;
        return try_later(from, command, error, AGAIN_DELAY, 0);
    }
    self->down++;
    return try_later(from, command, error, DOWN_DELAY, 1);
}

/* ---- a new topology ---- */

static int
belongs_elsewhere(void *data, ArCommand *command)
{
    const ar_node *node = data;
    return command->routed && !command->asking &&
           ar_cluster_route(node->cluster, command->slot, 0) != node &&
           !((command->properties & AR_READ) && node->cluster->read_from != AR_READ_PRIMARY);
}

void
ar_redirect_waiting(ar_node *node, ArCore *core, double silent_after)
{
    ArCluster *self = node->cluster;
    ArPool *pool = ar_transport_pool(node->transport, core);
    if (pool == NULL) {
        return;
    }
    Py_INCREF(pool);
    if (!node->primary && ar_pool_silence(pool) > silent_after) {
        PyObject *reason =
            ar_error_format(self->state->ConnectionError,
                            "%U does not answer, and its slots are another node's.", node->name);
        if (reason != NULL) {
            ar_pool_lose_silent(pool, silent_after, reason);
            Py_DECREF(reason);
        }
        PyErr_Clear();
    }
    ar_ring taken = {0};
    (void)ar_pool_take_waiting(pool, &taken, belongs_elsewhere, node);
    for (ArCommand *command; (command = ar_ring_pop(&taken)) != NULL;) {
        if (!ar_command_finished(command) && ar_cluster_submit(self, command) < 0) {
            ar_command_fail_pending_exception(command);
        }
        Py_DECREF(command);
    }
    ar_ring_free(&taken);
    Py_DECREF(pool);
}

/* ---- what the pools of nodes report ---- */

/* The reply that says why EXEC has failed, or NULL: it has not, or not because of slots. */
static PyObject *
transaction_error(const ArCluster *self, PyObject *replies)
{
    Py_ssize_t last = PyList_GET_SIZE(replies) - 1;
    if (!PyExceptionInstance_Check(PyList_GET_ITEM(replies, last))) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i <= last; i++) {
        if (ar_redirect_applies(self, PyList_GET_ITEM(replies, i))) {
            return PyList_GET_ITEM(replies, i);
        }
    }
    return NULL;
}

static int
redirected(ArPool *pool, ArCommand *command, PyObject *reply)
{
    ar_node *node = pool->overseer_data;
    ArCluster *self = (ArCluster *)Py_NewRef((PyObject *)node->cluster);
    PyObject *error = reply;
    int delivering = pool->core->delivering;
    pool->core->delivering = 0;   /* Python code may run, and no task is resumed from it */
    if (command->batch != NULL) { /* the commands of other pipelines are sent on one by one */
        error = command->batch_mode == AR_BATCH_TRANSACTION ? transaction_error(self, reply) : NULL;
    }
    int taken = error != NULL && !ar_command_finished(command) && ar_redirect_applies(self, error);
    if (taken) {
        Py_INCREF(error);
        taken = ar_redirect_follow(node, command, error);
        Py_DECREF(error);
    }
    pool->core->delivering = delivering;
    Py_DECREF(self);
    return taken;
}

static int
is_routed(void *Py_UNUSED(data), ArCommand *command)
{
    return command->routed;
}

static void
gave_up(ArPool *pool, PyObject *reason)
{
    ar_node *node = pool->overseer_data;
    ArCluster *self = (ArCluster *)Py_NewRef((PyObject *)node->cluster);
    node->down_until = ar_monotonic() + AVOID_FOR;
    ar_ring taken = {0};
    (void)ar_pool_take_waiting(pool, &taken, is_routed, NULL);
    for (ArCommand *command; (command = ar_ring_pop(&taken)) != NULL;) {
        if (!try_later(node, command, reason, RECONNECT_DELAY, 1)) {
            ar_command_fail(command, ar_error_copy(reason));
        }
        Py_DECREF(command);
    }
    ar_ring_free(&taken);
    Py_DECREF(self);
}

static void
ready(ArPool *pool)
{
    ar_node *node = pool->overseer_data;
    node->down_until = 0.0;
    if (node->cluster->protocol == 0 || pool->protocol < node->cluster->protocol) {
        node->cluster->protocol = pool->protocol;
    }
}

static void
lost(ArPool *pool)
{
    ar_router *router = ar_router_on(((ar_node *)pool->overseer_data)->cluster, pool->core);
    if (router != NULL) {
        ar_router_want_refresh(router, 0.0);
        ar_router_unref(router);
    }
}

const ar_pool_overseer ar_redirect_overseer = {
    .redirected = redirected,
    .gave_up = gave_up,
    .ready = ready,
    .lost = lost,
};
