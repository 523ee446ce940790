/* The Python type of a client: its attributes decide whether commands go the native way. */
#include "client_type.h"

#include "execute.h"
#include "hot.h"

/* ---- configuring and closing ---- */

PyDoc_STRVAR(native_configure_doc,
             "_native_configure($self, config, retrying, /)\n--\n\n"
             "Use the native transport by `config` (None: redis-py's own); `retrying` sends\n"
             "commands through _retry_execute.");

static PyObject *
client_native_configure(ArClient *self, PyObject *args)
{
    PyObject *config;
    int retrying;
    if (!PyArg_ParseTuple(args, "Op:_native_configure", &config, &retrying)) {
        return NULL;
    }
    if (config != Py_None && !Py_IS_TYPE(config, self->target.state->ConfigType)) {
        PyErr_Format(PyExc_TypeError, "config must be a Config or None, not %s",
                     Py_TYPE(config)->tp_name);
        return NULL;
    }
    if (ar_client_close_pools(self) < 0) {
        return NULL;
    }
    Py_XSETREF(self->config, config == Py_None ? NULL : (ArConfig *)Py_NewRef(config));
    self->retrying = retrying;
    self->target.diverted = self->config == NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_close_doc, "_native_close($self, /)\n--\n\n"
                               "Close every native connection; commands still pending fail with\n"
                               "ConnectionError. The next command connects anew.");

static PyObject *
client_native_close(ArClient *self, PyObject *Py_UNUSED(ignored))
{
    if (ar_client_close_pools(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_stats_doc,
             "_native_stats($self, /)\n--\n\n"
             "Figures of the pool used last: connections, inflight, waiting, pending_bytes,\n"
             "connects, reconnects, protocol.");

static PyObject *
client_native_stats(ArClient *self, PyObject *Py_UNUSED(ignored))
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
    return Py_BuildValue("{s:i,s:n,s:n,s:n,s:K,s:K,s:i}", "connections", pool->conn_count,
                         "inflight", inflight, "waiting",
                         (Py_ssize_t)(pool->waiting.count + pool->lease_waiting.count),
                         "pending_bytes", bytes, "connects", pool->connects, "reconnects",
                         pool->reconnects, "protocol", pool->protocol);
}

/* ---- the type ---- */

static int
client_traverse(ArClient *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->config);
    Py_VISIT(self->pool);
    Py_VISIT(self->pools);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->target.native_method);
    return 0;
}

static int
client_clear(ArClient *self)
{
    if (ar_client_close_pools(self) < 0) {
        PyErr_Clear();
    }
    Py_CLEAR(self->pools);
    Py_CLEAR(self->config);
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->target.native_method);
    return 0;
}

static void
client_dealloc(ArClient *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *pending = ar_exception_take();
    (void)client_clear(self);
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
client_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ar_state *state = ar_state_of_type(type);
    if (state == NULL) {
        return NULL;
    }
    ArClient *self = (ArClient *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->target.state = state;
    self->target.dispatch = ar_execute_dispatch;
    self->target.python_class = state->python_client;
    self->target.diverted = 1;
    self->pools = PyDict_New();
    self->target.native_method =
        PyObject_GetAttr((PyObject *)state->ClientType, state->str_execute_command);
    if (self->pools == NULL || self->target.native_method == NULL ||
        ar_target_check_override(&self->target) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Watches the attributes that decide whether a command may go the native way. */
static int
client_setattro(ArClient *self, PyObject *name, PyObject *value)
{
    ar_state *state = self->target.state;
    if (PyObject_GenericSetAttr((PyObject *)self, name, value) < 0) {
        return -1;
    }
    if (PyUnicode_Compare(name, state->str_execute_command) == 0) {
        return ar_target_check_override(&self->target);
    }
    if (PyUnicode_Compare(name, state->str_response_callbacks) == 0) {
        Py_XSETREF(self->callbacks, value != NULL && PyDict_Check(value) ? Py_NewRef(value) : NULL);
    } else if (PyUnicode_Compare(name, state->str_connection) == 0) {
        /* A connection of its own (single_connection_client) is driven by redis-py. */
        self->target.diverted = self->config == NULL || (value != NULL && value != Py_None);
    }
    return 0;
}

PyDoc_STRVAR(execute_command_doc,
             "execute_command($self, /, *args, **options)\n--\n\n"
             "Return an awaitable of the command's reply, as redis.asyncio.Redis does.");

PyDoc_STRVAR(native_execute_doc, "_native_execute($self, /, *args, **options)\n--\n\n"
                                 "execute_command() without the client's own retry policy.");

PyDoc_STRVAR(native_batch_doc,
             "_native_batch($self, commands, raw, /)\n--\n\n"
             "Send a list of (arguments, options) in one write. The awaitable gives\n"
             "(results, failed, awaitables): error replies are exception instances in results,\n"
             "and failed tells that there are some; response callbacks are applied unless raw.");

static PyMethodDef client_methods[] = {
    {"execute_command", (PyCFunction)(void (*)(void))ar_execute_command,
     METH_FASTCALL | METH_KEYWORDS, execute_command_doc},
    {"_native_execute", (PyCFunction)(void (*)(void))ar_execute_native,
     METH_FASTCALL | METH_KEYWORDS, native_execute_doc},
    {"_native_batch", (PyCFunction)ar_execute_batch, METH_VARARGS, native_batch_doc},
    {"_native_configure", (PyCFunction)client_native_configure, METH_VARARGS, native_configure_doc},
    {"_native_close", (PyCFunction)client_native_close, METH_NOARGS, native_close_doc},
    {"_native_stats", (PyCFunction)client_native_stats, METH_NOARGS, native_stats_doc},
    {NULL},
};

static PyObject *
client_get_ready(ArClient *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->config != NULL && ar_target_is_direct(&self->target));
}

static PyObject *
client_get_retrying(ArClient *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->retrying);
}

static PyGetSetDef client_getset[] = {
    {"_native_ready", (getter)client_get_ready, NULL, "Commands take the native way.", NULL},
    {"_native_retrying", (getter)client_get_retrying, NULL, "An explicit retry policy is set.",
     NULL},
    {NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, (void *)"The native half of aiecs_redis.Redis."},
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_clear, client_clear},
    {Py_tp_setattro, client_setattro},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_getset},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "aiecs_redis._native.Client",
    .basicsize = sizeof(ArClient),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = client_slots,
};

int
ar_client_type_setup(PyObject *module, ar_state *state)
{
    state->ClientType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &client_spec, NULL);
    if (state->ClientType == NULL || ar_hot_add_methods(state->ClientType) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Client", (PyObject *)state->ClientType);
}
