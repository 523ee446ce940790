/* The Python type of a client: its attributes decide whether commands go the native way. */
#include "client_type.h"

#include "execute.h"
#include "hot.h"

/* ---- configuring ---- */

PyDoc_STRVAR(native_configure_doc,
             "_native_configure($self, transport, retrying, /)\n--\n\n"
             "Use this transport (None: redis-py's own); `retrying` sends commands through\n"
             "_retry_execute.");

static PyObject *
client_native_configure(ArClient *self, PyObject *args)
{
    PyObject *transport;
    int retrying;
    if (!PyArg_ParseTuple(args, "Op:_native_configure", &transport, &retrying)) {
        return NULL;
    }
    if (transport != Py_None && !Py_IS_TYPE(transport, self->target.state->TransportType)) {
        PyErr_Format(PyExc_TypeError, "transport must be a Transport or None, not %s",
                     Py_TYPE(transport)->tp_name);
        return NULL;
    }
    Py_XSETREF(self->transport, transport == Py_None ? NULL : (ArTransport *)Py_NewRef(transport));
    self->retrying = retrying;
    self->unsettled = self->transport != NULL;
    ar_client_redirect(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_cluster_doc,
             "_native_cluster($self, cluster, face, python_class, method, /)\n--\n\n"
             "Send commands to the nodes of this Cluster. The methods are those of `face`, which\n"
             "is not held, and fall back to those of `python_class`.");

static PyObject *
client_native_cluster(ArClient *self, PyObject *args)
{
    PyObject *cluster, *face, *python_class, *method;
    if (!PyArg_ParseTuple(args, "O!OO!O:_native_cluster", self->target.state->ClusterType, &cluster,
                          &face, &PyType_Type, &python_class, &method) ||
        ar_target_set_face(&self->target, face, python_class, method) < 0) {
        return NULL;
    }
    Py_XSETREF(self->cluster, (ArCluster *)Py_NewRef(cluster));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_face_changed_doc,
             "_native_face_changed($self, /)\n--\n\n"
             "Look whether the face has an execute_command of its own now, or no longer.");

static PyObject *
client_native_face_changed(ArClient *self, PyObject *Py_UNUSED(ignored))
{
    if (ar_target_check_override(&self->target) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- metrics ---- */

PyDoc_STRVAR(native_observe_doc,
             "_native_observe($self, enabled, on_command, on_slow, slow_seconds, /)\n--\n\n"
             "Count commands from now on, or no longer. The callables, or None, are called with\n"
             "(name, first argument, pipeline size, seconds, end, outcome, exception): one for\n"
             "every command, the other for those that took slow_seconds or more.");

static PyObject *
client_native_observe(ArClient *self, PyObject *args)
{
    int enabled;
    PyObject *on_command, *on_slow;
    double slow_seconds;
    if (!PyArg_ParseTuple(args, "pOOd:_native_observe", &enabled, &on_command, &on_slow,
                          &slow_seconds)) {
        return NULL;
    }
    ar_metrics *old = self->metrics;
    if (!enabled) {
        self->metrics = NULL;
        if (old != NULL) {
            ar_metrics_unref(old);
        }
        Py_RETURN_NONE;
    }
    if (old == NULL && (self->metrics = ar_metrics_new()) == NULL) {
        return NULL;
    }
    /* Held: an old callable's end may call this again. */
    ar_metrics *metrics = ar_metrics_ref(self->metrics);
    ar_metrics_observe(metrics, on_command != Py_None ? on_command : NULL,
                       on_slow != Py_None ? on_slow : NULL, slow_seconds);
    ar_metrics_unref(metrics);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_count_in_doc,
             "_native_count_in($self, other, /)\n--\n\n"
             "From now on count in the counters of another client, and tell its observers, or do\n"
             "neither if it does not. Later changes there need another call.");

static PyObject *
client_native_count_in(ArClient *self, PyObject *other)
{
    if (!PyObject_TypeCheck(other, self->target.state->ClientType)) {
        PyErr_Format(PyExc_TypeError, "other must be a Client, not %s", Py_TYPE(other)->tp_name);
        return NULL;
    }
    ar_metrics *metrics = ((ArClient *)other)->metrics, *old = self->metrics;
    self->metrics = metrics != NULL ? ar_metrics_ref(metrics) : NULL;
    if (old != NULL) {
        ar_metrics_unref(old);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(native_metrics_doc,
             "_native_metrics($self, /)\n--\n\n"
             "Counters by command name: (calls, errors, cancelled, nils, pipelined, seconds,\n"
             "slowest, [(upper bound, count), ...]). None while commands are not counted.");

static PyObject *
client_native_metrics(ArClient *self, PyObject *Py_UNUSED(ignored))
{
    if (self->metrics == NULL) {
        Py_RETURN_NONE;
    }
    ar_metrics *metrics = ar_metrics_ref(self->metrics);
    PyObject *found = ar_metrics_as_dict(metrics);
    ar_metrics_unref(metrics);
    return found;
}

/* ---- the type ---- */

static int
client_traverse(ArClient *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->transport);
    Py_VISIT(self->cluster);
    Py_VISIT(self->callbacks);
    int result = ar_target_traverse(&self->target, visit, arg);
    if (result != 0) {
        return result;
    }
    return self->metrics != NULL ? ar_metrics_traverse(self->metrics, visit, arg) : 0;
}

static int
client_clear(ArClient *self)
{
    Py_CLEAR(self->transport);
    Py_CLEAR(self->cluster);
    Py_CLEAR(self->callbacks);
    ar_target_clear(&self->target);
    ar_metrics *metrics = self->metrics;
    self->metrics = NULL;
    if (metrics != NULL) {
        ar_metrics_unref(metrics);
    }
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
    self->target.native_method =
        PyObject_GetAttr((PyObject *)state->ClientType, state->str_execute_command);
    if (self->target.native_method == NULL || ar_target_check_override(&self->target) < 0) {
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
        self->own_connection = value != NULL && value != Py_None;
        ar_client_redirect(self);
    }
    return 0;
}

PyDoc_STRVAR(execute_command_doc,
             "execute_command($self, /, *args, **options)\n--\n\n"
             "Return an awaitable of the command's reply, as redis.asyncio.Redis does.");

PyDoc_STRVAR(native_execute_doc, "_native_execute($self, /, *args, **options)\n--\n\n"
                                 "execute_command() without the client's own retry policy.");

PyDoc_STRVAR(
    native_batch_doc,
    "_native_batch($self, commands, mode, /)\n--\n\n"
    "Send a CommandQueue, or a list of (arguments, options), in one write. The awaitable\n"
    "gives (results, failed, awaitables): error replies are exception instances in\n"
    "results, and failed tells that there are some. Mode BATCH_PLAIN applies the response\n"
    "callbacks; BATCH_TRANSACTION puts MULTI and EXEC around the commands, and, where\n"
    "anything failed, gives all replies as they are; BATCH_RAW applies nothing.");

static PyMethodDef client_methods[] = {
    {"execute_command", (PyCFunction)(void (*)(void))ar_execute_command,
     METH_FASTCALL | METH_KEYWORDS, execute_command_doc},
    {"_native_execute", (PyCFunction)(void (*)(void))ar_execute_native,
     METH_FASTCALL | METH_KEYWORDS, native_execute_doc},
    {"_native_batch", (PyCFunction)ar_execute_batch, METH_VARARGS, native_batch_doc},
    {"_native_configure", (PyCFunction)client_native_configure, METH_VARARGS, native_configure_doc},
    {"_native_cluster", (PyCFunction)client_native_cluster, METH_VARARGS, native_cluster_doc},
    {"_native_face_changed", (PyCFunction)client_native_face_changed, METH_NOARGS,
     native_face_changed_doc},
    {"_native_observe", (PyCFunction)client_native_observe, METH_VARARGS, native_observe_doc},
    {"_native_count_in", (PyCFunction)client_native_count_in, METH_O, native_count_in_doc},
    {"_native_metrics", (PyCFunction)client_native_metrics, METH_NOARGS, native_metrics_doc},
    {NULL},
};

static PyObject *
client_get_ready(ArClient *self, void *Py_UNUSED(closure))
{
    if (self->unsettled && ar_client_settle(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(self->transport != NULL && ar_target_is_direct(&self->target));
}

/* A pipeline does not go through its client's execute_command, whoever replaced that. */
static PyObject *
client_get_pipelining(ArClient *self, void *Py_UNUSED(closure))
{
    if (self->unsettled && ar_client_settle(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(!self->target.diverted);
}

static PyObject *
client_get_retrying(ArClient *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->retrying);
}

static PyObject *
client_get_transport(ArClient *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->transport != NULL ? (PyObject *)self->transport : Py_None);
}

static PyGetSetDef client_getset[] = {
    {"_native_transport", (getter)client_get_transport, NULL,
     "What carries its commands, or None: redis-py's own.", NULL},
    {"_native_ready", (getter)client_get_ready, NULL, "Commands take the native way.", NULL},
    {"_native_pipelining", (getter)client_get_pipelining, NULL, "Pipelines take the native way.",
     NULL},
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
