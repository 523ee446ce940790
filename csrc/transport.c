/* Which pool serves the running loop; what becomes of pools whose loop or process is gone. */
#include "transport.h"

#include "link.h"

#include <structmember.h>

/* ---- the pool of the running loop ---- */

/* Drops the pools whose loop was closed under them, or that belong to the parent process. */
static int
forget_dead_pools(ArTransport *self)
{
    PyObject *pools = PyDict_Values(self->pools);
    if (pools == NULL) {
        return -1;
    }
    int result = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool)) {
            continue;
        }
        ar_pool_discard(pool);
        PyObject *core = (PyObject *)pool->core;
        if (PyDict_GetItemWithError(self->pools, core) == (PyObject *)pool && /* finalizers ran */
            PyDict_DelItem(self->pools, core) < 0) {
            result = -1;
            break;
        }
    }
    Py_DECREF(pools);
    return result;
}

static int
switch_pool(ArTransport *self, ArCore *core)
{
    Py_CLEAR(self->pool);
    ArPool *pool = (ArPool *)PyDict_GetItemWithError(self->pools, (PyObject *)core);
    if (pool != NULL && !pool->closed) {
        self->pool = (ArPool *)Py_NewRef((PyObject *)pool);
        return 0;
    }
    if (PyErr_Occurred() || forget_dead_pools(self) < 0) {
        return -1;
    }
    pool = ar_pool_new(core, self->config);
    if (pool == NULL) {
        return -1;
    }
    pool->overseer = self->overseer;
    pool->overseer_data = self->overseer_data;
    if (PyDict_SetItem(self->pools, (PyObject *)core, (PyObject *)pool) < 0) {
        Py_DECREF(pool);
        return -1;
    }
    self->pool = pool;
    return 0;
}

int
ar_transport_enter(ArCommand *command, ArCore *recent)
{
    /* A core is closed with its last pool; the loop gets another one. */
    if (command->core == NULL || command->core->ev == NULL) {
        Py_CLEAR(command->core);
        if (recent != NULL && ar_core_draining_here(recent)) {
            command->core = (ArCore *)Py_NewRef((PyObject *)recent);
        } else if ((command->core = ar_core_get(command->state)) == NULL) {
            return -1;
        }
    }
    return 0;
}

ArPool *
ar_transport_pool(const ArTransport *self, ArCore *core)
{
    ArPool *pool = self->pool;
    if (self->pools != NULL && (pool == NULL || pool->core != core)) {
        pool = (ArPool *)PyDict_GetItemWithError(self->pools, (PyObject *)core);
        PyErr_Clear(); /* cores are compared by identity */
    }
    return pool != NULL && ar_pool_usable(pool) ? pool : NULL;
}

void
ar_transport_oversee(ArTransport *self, const ar_pool_overseer *overseer, void *data)
{
    Py_ssize_t position = 0;
    PyObject *pool;
    self->overseer = overseer;
    self->overseer_data = data;
    while (self->pools != NULL && PyDict_Next(self->pools, &position, NULL, &pool)) {
        ((ArPool *)pool)->overseer = overseer;
        ((ArPool *)pool)->overseer_data = data;
    }
}

int
ar_transport_submit(ArTransport *self, ArCommand *command)
{
    const ArPool *last = self->pool;
    if (ar_transport_enter(command, last != NULL && !last->closed ? last->core : NULL) < 0) {
        return -1;
    }
    if (self->pool == NULL || self->pool->core != command->core || self->pool->closed) {
        ArCore *core = (ArCore *)Py_NewRef((PyObject *)command->core);
        ar_core_attach(core); /* finalizers may close its last pool before the new one is there */
        int result = switch_pool(self, core);
        ar_core_detach(core);
        Py_DECREF(core);
        if (result < 0) {
            return -1;
        }
    }
    return ar_pool_submit(self->pool, command);
}

int
ar_transport_close(ArTransport *self)
{
    Py_CLEAR(self->pool);
    if (self->pools == NULL) {
        return 0;
    }
    PyObject *pools = PyDict_Values(self->pools);
    if (pools == NULL) {
        return -1;
    }
    PyDict_Clear(self->pools);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool)) {
            ar_pool_close(pool);
        } else {
            ar_pool_discard(pool);
        }
    }
    Py_DECREF(pools);
    return 0;
}

/* ---- the type ---- */

static PyObject *
transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"config", NULL};
    ar_state *state = PyType_GetModuleState(type);
    PyObject *config;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Transport", keywords,
                                                      state->ConfigType, &config)) {
        return NULL;
    }
    ArTransport *self = (ArTransport *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->config = (ArConfig *)Py_NewRef(config);
    self->pools = PyDict_New();
    if (self->pools == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
transport_traverse(ArTransport *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->config);
    Py_VISIT(self->pool);
    Py_VISIT(self->pools);
    return 0;
}

/* Nobody can be waiting any more: who waits for a command holds it, and it holds the transport. */
static void
discard_pools(ArTransport *self)
{
    PyObject *pools = self->pools != NULL ? PyDict_Values(self->pools) : NULL;
    Py_CLEAR(self->pool);
    if (pools == NULL) {
        PyErr_Clear(); /* without memory, the dict lets go of them */
        return;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pools); i++) {
        ar_pool_discard((ArPool *)PyList_GET_ITEM(pools, i));
    }
    Py_DECREF(pools);
}

static int
transport_clear(ArTransport *self)
{
    discard_pools(self);
    Py_CLEAR(self->pools);
    Py_CLEAR(self->config);
    return 0;
}

static void
transport_dealloc(ArTransport *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *pending = ar_exception_take();
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)transport_clear(self);
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(lend_doc, "lend($self, /)\n--\n\n"
                       "An awaitable of a Link: a connection for the caller alone. Past\n"
                       "max_connections callers wait in the order in which they came.");

static int
start_lending(ArCommand *command)
{
    return ar_transport_submit((ArTransport *)command->owner, command);
}

static const ar_command_ops lend_ops = {
    .start = start_lending,
    .lend = ar_link_lend,
};

static PyObject *
transport_lend(ArTransport *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *name = PyUnicode_InternFromString("CONNECT");
    if (name == NULL) {
        return NULL;
    }
    ArCommand *command = ar_command_new(self->state, &lend_ops, (PyObject *)self, name, NULL, 0);
    Py_DECREF(name);
    if (command != NULL) {
        command->properties = AR_LEND | AR_STATEFUL;
    }
    return (PyObject *)command;
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Close every connection; commands still pending fail with ConnectionError.\n"
             "The next command connects anew.");

static PyObject *
transport_close(ArTransport *self, PyObject *Py_UNUSED(ignored))
{
    if (ar_transport_close(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stats_doc,
             "stats($self, /)\n--\n\n"
             "Figures of the pool used last: connections, inflight, waiting,\n"
             "pending_bytes, connects, reconnects, protocol, lent, handing_back, circuit\n"
             "(0 closed, 1 open, 2 half-open), circuit_opened.");

static PyObject *
transport_stats(ArTransport *self, PyObject *Py_UNUSED(ignored))
{
    const ArPool *pool = self->pool;
    Py_ssize_t inflight = 0, bytes = 0;
    if (pool == NULL || pool->closed) {
        return PyDict_New();
    }
    for (int i = 0; i < pool->conn_count; i++) {
        inflight += (Py_ssize_t)pool->conns[i]->inflight.count;
        bytes += (Py_ssize_t)ar_outq_pending(&pool->conns[i]->out);
    }
    return Py_BuildValue("{s:i,s:n,s:n,s:n,s:K,s:K,s:i,s:i,s:i,s:i,s:K}", "connections",
                         pool->conn_count, "inflight", inflight, "waiting",
                         (Py_ssize_t)(pool->waiting.count + pool->lease_waiting.count),
                         "pending_bytes", bytes, "connects", pool->connects, "reconnects",
                         pool->reconnects, "protocol", pool->protocol, "lent", pool->lent_count,
                         "handing_back", pool->handing_back, "circuit", (int)pool->breaker.state,
                         "circuit_opened", pool->breaker.opened);
}

PyDoc_STRVAR(reauthenticate_doc,
             "reauthenticate($self, words, /)\n--\n\n"
             "Say AUTH with the words of a tuple on every connection of the running loop. Returns\n"
             "the futures of the answers, but for those behind a blocking command.");

static PyObject *
transport_reauthenticate(ArTransport *self, PyObject *words)
{
    if (!PyTuple_Check(words)) {
        PyErr_Format(PyExc_TypeError, "words must be a tuple, not %s", Py_TYPE(words)->tp_name);
        return NULL;
    }
    PyObject *loop = PyObject_CallNoArgs(self->state->get_running_loop);
    PyObject *pools = loop != NULL ? PyDict_Values(self->pools) : NULL;
    PyObject *futures = pools != NULL ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; futures != NULL && i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool) && pool->core->loop == loop &&
            ar_pool_reauthenticate(pool, words, futures) < 0) {
            Py_CLEAR(futures);
        }
    }
    Py_XDECREF(pools);
    Py_XDECREF(loop);
    return futures;
}

PyDoc_STRVAR(
    follow_doc,
    "follow($self, addresses, spread=1, /)\n--\n\n"
    "Keep only connections of the running loop that lead to one of the addresses, a list of\n"
    "(host, port), and share the commands among `spread` of them. What waits for a\n"
    "connection is tried at once. Returns how many connections were dropped.");

static PyObject *
transport_follow(ArTransport *self, PyObject *args)
{
    PyObject *addresses;
    int spread = 1, dropped = 0;
    if (!PyArg_ParseTuple(args, "O!|i:follow", &PyList_Type, &addresses, &spread)) {
        return NULL;
    }
    PyObject *loop = PyObject_CallNoArgs(self->state->get_running_loop);
    PyObject *pools = loop != NULL ? PyDict_Values(self->pools) : NULL;
    for (Py_ssize_t i = 0; pools != NULL && i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        int lost = 0;
        if (ar_pool_usable(pool) && pool->core->loop == loop) {
            lost = ar_pool_follow(pool, addresses, spread);
        }
        if (lost < 0) {
            Py_CLEAR(pools);
        }
        dropped += lost;
    }
    Py_XDECREF(loop);
    if (pools == NULL) {
        return NULL;
    }
    Py_DECREF(pools);
    return PyLong_FromLong(dropped);
}

PyDoc_STRVAR(loops_doc, "loops($self, /)\n--\n\n"
                        "The asyncio loops on which there are connections.");

static PyObject *
transport_loops(ArTransport *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *pools = PyDict_Values(self->pools);
    PyObject *loops = pools != NULL ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; loops != NULL && i < PyList_GET_SIZE(pools); i++) {
        ArPool *pool = (ArPool *)PyList_GET_ITEM(pools, i);
        if (ar_pool_usable(pool) && PyList_Append(loops, pool->core->loop) < 0) {
            Py_CLEAR(loops);
        }
    }
    Py_XDECREF(pools);
    return loops;
}

static PyMethodDef transport_methods[] = {
    {"lend", (PyCFunction)transport_lend, METH_NOARGS, lend_doc},
    {"close", (PyCFunction)transport_close, METH_NOARGS, close_doc},
    {"stats", (PyCFunction)transport_stats, METH_NOARGS, stats_doc},
    {"reauthenticate", (PyCFunction)transport_reauthenticate, METH_O, reauthenticate_doc},
    {"follow", (PyCFunction)transport_follow, METH_VARARGS, follow_doc},
    {"loops", (PyCFunction)transport_loops, METH_NOARGS, loops_doc},
    {NULL},
};

static PyMemberDef transport_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ArTransport, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, (void *)"Transport(config)\n--\n\nConnections by one set of settings."},
    {Py_tp_new, transport_new},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_methods, transport_methods},
    {Py_tp_members, transport_members},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "aiecs_redis._native.Transport",
    .basicsize = sizeof(ArTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

int
ar_transport_setup(PyObject *module, ar_state *state)
{
    state->TransportType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &transport_spec, NULL);
    if (state->TransportType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Transport", (PyObject *)state->TransportType);
}
