/* The Python face of a link. */
#include "link.h"

#include "message.h"

#include <string.h>

/* ---- life ---- */

static PyObject *
link_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"config", NULL};
    ar_state *state = PyType_GetModuleState(type);
    PyObject *config;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Link", keywords,
                                                      state->ConfigType, &config)) {
        return NULL;
    }
    return (PyObject *)ar_link_new(state, (ArConfig *)config);
}

static int
link_traverse(ArLink *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->config);
    Py_VISIT(self->core);
    Py_VISIT(self->pool);
    Py_VISIT(self->error);
    Py_VISIT(self->kept);
    Py_VISIT(self->inlet.sink.error);
    for (size_t i = 0; i < self->waiters.count; i++) {
        Py_VISIT((PyObject *)ar_ring_at(&self->waiters, i));
    }
    return self->conn != NULL ? ar_conn_traverse(self->conn, visit, arg) : 0;
}

static int
link_clear(ArLink *self)
{
    ar_link_discard(self);
    Py_CLEAR(self->error);
    Py_CLEAR(self->kept);
    return 0;
}

static void
link_dealloc(ArLink *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *pending = ar_exception_take();
    (void)link_clear(self);
    ar_inlet_clear(&self->inlet);
    Py_CLEAR(self->core);
    Py_CLEAR(self->config);
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nClose the connection; who waits is woken.");

static PyObject *
link_close(ArLink *self, PyObject *Py_UNUSED(ignored))
{
    ar_link_close(self, 0);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(release_doc,
             "release($self, /)\n--\n\n"
             "Give the connection back to the pool that lent it. It is closed when its\n"
             "state was changed, or replies are still to come.");

static PyObject *
link_release(ArLink *self, PyObject *Py_UNUSED(ignored))
{
    ar_link_close(self, 1);
    Py_RETURN_NONE;
}

/* ---- awaitables ---- */

PyDoc_STRVAR(connect_doc, "connect($self, /)\n--\n\nAn awaitable: connect, unless connected.");

static PyObject *
link_connect(ArLink *self, PyObject *Py_UNUSED(ignored))
{
    return ar_link_connect(self);
}

PyDoc_STRVAR(wait_doc, "wait($self, timeout=None, /)\n--\n\n"
                       "An awaitable: True when bytes have come since the last look, or the\n"
                       "connection is lost; False after `timeout` seconds.");

static PyObject *
link_wait(ArLink *self, PyObject *args)
{
    PyObject *timeout = Py_None;
    if (!PyArg_ParseTuple(args, "|O:wait", &timeout)) {
        return NULL;
    }
    double seconds = timeout == Py_None ? 0.0 : PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (timeout != Py_None && seconds <= 0.0) {
        PyErr_Format(PyExc_ValueError, "timeout=%R: give seconds greater than 0, or None", timeout);
        return NULL;
    }
    return ar_link_wait(self, seconds);
}

PyDoc_STRVAR(drain_doc, "drain($self, /)\n--\n\nAn awaitable: the output has room.");

static PyObject *
link_drain(ArLink *self, PyObject *Py_UNUSED(ignored))
{
    return ar_link_drain(self);
}

/* ---- sending and reading ---- */

PyDoc_STRVAR(send_doc, "send($self, commands, /)\n--\n\n"
                       "Encode and send a sequence of tuples (name, argument...) in one write.");

static PyObject *
link_send(ArLink *self, PyObject *commands)
{
    if (ar_link_send(self, commands) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(write_doc, "write($self, chunks, /)\n--\n\nSend a sequence of bytes as they are.");

static PyObject *
link_write(ArLink *self, PyObject *chunks)
{
    if (ar_link_write(self, chunks) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The reply, not_ready, or NULL with an exception set. */
static PyObject *
next_reply(ArLink *self, int decode)
{
    PyObject *reply;
    int failed;
    switch (ar_link_next(self, decode, &reply, &failed)) {
    case AR_READ_INCOMPLETE:
        return Py_NewRef(self->state->not_ready);
    case AR_READ_FAILED:
        return NULL;
    case AR_READ_REPLY:
        break;
    }
    if (failed) {
        ar_exception_restore(reply);
        return NULL;
    }
    return reply;
}

PyDoc_STRVAR(read_doc,
             "read($self, decode=False, /)\n--\n\n"
             "The next reply that has come, or NOT_READY. An error reply is an exception\n"
             "instance; `pushed` tells whether it was a push.\n\n"
             "Raises:\n"
             "    ConnectionError: nothing is left, and the connection is lost.");

static PyObject *
link_read(ArLink *self, PyObject *args)
{
    int decode = 0;
    if (!PyArg_ParseTuple(args, "|p:read", &decode)) {
        return NULL;
    }
    return next_reply(self, decode);
}

PyDoc_STRVAR(next_message_doc,
             "next_message($self, decode, channels, patterns, shard_channels, /)\n--\n\n"
             "As read(), with a published message as redis-py's dict, or as (handler, dict).");

static PyObject *
link_next_message(ArLink *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyDict_Check(args[1]) || !PyDict_Check(args[2]) || !PyDict_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, "next_message() takes a bool and three dicts");
        return NULL;
    }
    PyObject *reply = next_reply(self, args[0] == Py_True);
    if (reply == NULL || reply == self->state->not_ready) {
        return reply;
    }
    ar_subscriptions subscriptions = {args[1], args[2], args[3]};
    return ar_message_from_reply(self->state, &subscriptions, reply);
}

PyDoc_STRVAR(set_limit_doc,
             "set_limit($self, limit, overflow, decode, /)\n--\n\n"
             "More than `limit` unread bytes: 'pause' reading, 'drop_oldest' published messages\n"
             "(the rest is decoded as `decode` says), or 'disconnect'.");

static PyObject *
link_set_limit(ArLink *self, PyObject *args)
{
    static const char *const names[] = {"pause", "drop_oldest", "disconnect"};
    Py_ssize_t limit;
    const char *overflow;
    int decode;
    if (!PyArg_ParseTuple(args, "nsp:set_limit", &limit, &overflow, &decode)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (limit > 0 && strcmp(overflow, names[i]) == 0) {
            self->limit = (size_t)limit;
            self->overflow = (ar_overflow)i;
            self->decode_kept = decode;
            Py_RETURN_NONE;
        }
    }
    PyErr_Format(PyExc_ValueError,
                 "limit=%zd, overflow='%s': give bytes greater than 0, and 'pause', 'drop_oldest' "
                 "or 'disconnect'",
                 limit, overflow);
    return NULL;
}

static PyMethodDef link_methods[] = {
    {"connect", (PyCFunction)link_connect, METH_NOARGS, connect_doc},
    {"wait", (PyCFunction)link_wait, METH_VARARGS, wait_doc},
    {"drain", (PyCFunction)link_drain, METH_NOARGS, drain_doc},
    {"send", (PyCFunction)link_send, METH_O, send_doc},
    {"write", (PyCFunction)link_write, METH_O, write_doc},
    {"read", (PyCFunction)link_read, METH_VARARGS, read_doc},
    {"next_message", (PyCFunction)(void (*)(void))link_next_message, METH_FASTCALL,
     next_message_doc},
    {"set_limit", (PyCFunction)link_set_limit, METH_VARARGS, set_limit_doc},
    {"close", (PyCFunction)link_close, METH_NOARGS, close_doc},
    {"release", (PyCFunction)link_release, METH_NOARGS, release_doc},
    {NULL},
};

/* ---- attributes ---- */

static PyObject *
link_get_connected(ArLink *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ar_link_is_open(self));
}

static PyObject *
link_get_pushed(ArLink *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->pushed);
}

static PyObject *
link_get_pending(ArLink *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(ar_inlet_pending(&self->inlet));
}

static PyObject *
link_get_protocol(ArLink *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(self->conn != NULL ? self->conn->protocol : 0);
}

static PyObject *
link_get_fileno(ArLink *self, void *Py_UNUSED(closure))
{
    int known = self->conn != NULL && self->conn->context != NULL;
    return PyLong_FromLong(known ? self->conn->context->fd : -1);
}

static PyObject *
link_get_unsent(ArLink *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->conn != NULL ? ar_outq_pending(&self->conn->out) : 0);
}

static PyObject *
link_get_dropped(ArLink *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->dropped);
}

static PyGetSetDef link_getset[] = {
    {"connected", (getter)link_get_connected, NULL, "Ready for commands.", NULL},
    {"pushed", (getter)link_get_pushed, NULL, "The reply read last was a push.", NULL},
    {"pending", (getter)link_get_pending, NULL, "Bytes that have come and were not read.", NULL},
    {"protocol", (getter)link_get_protocol, NULL, "RESP version spoken, 0 when closed.", NULL},
    {"fileno", (getter)link_get_fileno, NULL, "The socket's descriptor, or -1.", NULL},
    {"unsent", (getter)link_get_unsent, NULL, "Bytes that wait to be written.", NULL},
    {"dropped", (getter)link_get_dropped, NULL, "Published messages dropped by overflows.", NULL},
    {NULL},
};

static PyType_Slot link_slots[] = {
    {Py_tp_doc, (void *)"Link(config)\n--\n\nA connection in the hands of one user."},
    {Py_tp_new, link_new},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_traverse, link_traverse},
    {Py_tp_clear, link_clear},
    {Py_tp_methods, link_methods},
    {Py_tp_getset, link_getset},
    {0, NULL},
};

static PyType_Spec link_spec = {
    .name = "aiecs_redis._native.Link",
    .basicsize = sizeof(ArLink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = link_slots,
};

int
ar_link_setup(PyObject *module, ar_state *state)
{
    state->LinkType = (PyTypeObject *)PyType_FromModuleAndSpec(module, &link_spec, NULL);
    state->not_ready = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    if (state->LinkType == NULL || state->not_ready == NULL ||
        PyModule_AddObjectRef(module, "NOT_READY", state->not_ready) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Link", (PyObject *)state->LinkType);
}
