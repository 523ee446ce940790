/* A command on its way is a future: add_done_callback, result, exception, cancel, and its own iterator. */
#include "awaitable.h"

static int
ensure_scheduled(ArCommand *self)
{
    return self->status == AR_NEW ? ar_command_schedule(self) : 0;
}

/* It is what it yields while it is pending. */
static int
future_advance(ArCommand *self, PyObject **yielded_or_value)
{
    int verdict = ar_awaitable_advance(self, yielded_or_value);
    if (verdict == 0) {
        *yielded_or_value = Py_NewRef((PyObject *)self);
    }
    return verdict;
}

static PyObject *
future_iternext(ArCommand *self)
{
    PyObject *value = NULL;
    int verdict = future_advance(self, &value);
    return ar_awaitable_iterate(verdict, value);
}

#if PY_VERSION_HEX >= 0x030A0000
static PySendResult
future_am_send(ArCommand *self, PyObject *Py_UNUSED(argument), PyObject **value)
{
    *value = NULL;
    return ar_awaitable_send_result(future_advance(self, value));
}
#endif

static PyObject *
future_get_blocking(ArCommand *self, void *Py_UNUSED(closure))
{
    if (ensure_scheduled(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(self->blocking);
}

PyDoc_STRVAR(add_done_callback_doc,
             "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
             "Call fn(self) in `context` once the command is finished, as asyncio.Future does.");

static PyObject *
future_add_done_callback(ArCommand *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *context = NULL;
    if (nargs != 1 || keywords > 1 ||
        (keywords == 1 &&
         PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "context") != 0)) {
        PyErr_SetString(PyExc_TypeError,
                        "add_done_callback() takes one callback and the keyword 'context'");
        return NULL;
    }
    if (keywords == 1 && args[1] != Py_None) {
        context = Py_NewRef(args[1]);
        if (!PyContext_CheckExact(context)) {
            PyErr_Format(PyExc_TypeError, "context must be a contextvars.Context, not %s",
                         Py_TYPE(context)->tp_name);
            Py_DECREF(context);
            return NULL;
        }
    } else {
        context = PyContext_CopyCurrent();
        if (context == NULL) {
            return NULL;
        }
    }
    int result = ensure_scheduled(self);
    if (result == 0) {
        result = ar_command_add_callback(self, args[0], context);
    }
    Py_DECREF(context);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remove_done_callback_doc, "remove_done_callback($self, fn, /)\n--\n\n"
                                       "Remove all instances of a callback; returns how many.");

static PyObject *
future_remove_done_callback(ArCommand *self, PyObject *callback)
{
    Py_ssize_t removed;
    if (ar_command_remove_callback(self, callback, &removed) < 0) {
        return NULL;
    }
    return PyLong_FromSsize_t(removed);
}

PyDoc_STRVAR(result_doc, "result($self, /)\n--\n\n"
                         "The reply; raises what the command failed with, CancelledError, or\n"
                         "InvalidStateError while it is pending.");

static PyObject *
future_result(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    ar_command_look(self);
    if (!ar_command_finished(self)) {
        PyErr_SetString(self->state->InvalidStateError, "Result is not set.");
        return NULL;
    }
    return ar_awaitable_outcome(self);
}

PyDoc_STRVAR(exception_doc, "exception($self, /)\n--\n\n"
                            "What the command failed with, or None; raises CancelledError, or\n"
                            "InvalidStateError while it is pending.");

static PyObject *
future_exception(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    ar_command_look(self);
    switch (self->status) {
    case AR_FAILED:
        self->unretrieved = 0;
        return Py_NewRef(self->result);
    case AR_DONE:
        Py_RETURN_NONE;
    case AR_CANCELLED:
        ar_awaitable_set_cancelled_error(self);
        return NULL;
    default:
        PyErr_SetString(self->state->InvalidStateError, "Exception is not set.");
        return NULL;
    }
}

PyDoc_STRVAR(cancel_doc,
             "cancel($self, /, msg=None)\n--\n\n"
             "Give the command up. What was sent stays sent: its reply is eaten when it\n"
             "comes, and the connection stays in use.");

static PyObject *
future_cancel(ArCommand *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"msg", NULL};
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", keywords, &message)) {
        return NULL;
    }
    return PyBool_FromLong(ar_command_cancel(self, message));
}

static PyObject *
future_cancelled(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->status == AR_CANCELLED);
}

static PyObject *
future_done(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    ar_command_look(self);
    return PyBool_FromLong(ar_command_finished(self));
}

static PyObject *
future_get_loop(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    if (self->core == NULL && (self->core = ar_core_get(self->state)) == NULL) {
        return NULL;
    }
    return Py_NewRef(self->core->loop);
}

static PyObject *
future_get_loop_attribute(ArCommand *self, void *Py_UNUSED(closure))
{
    return future_get_loop(self, NULL);
}

/* asyncio.gather(return_exceptions=True) asks a cancelled child for this, ... */
static PyObject *
future_get_cancel_message(ArCommand *self, void *Py_UNUSED(closure))
{
    PyObject *message = self->status == AR_CANCELLED ? self->result : NULL;
    return Py_NewRef(message != NULL ? message : Py_None);
}

/* ... and without it for this. */
static PyObject *
future_make_cancelled_error(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    ar_awaitable_set_cancelled_error(self);
    return ar_exception_take();
}

static PyObject *
future_await_method(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef((PyObject *)self);
}

static PyMethodDef future_methods[] = {
    {"__await__", (PyCFunction)future_await_method, METH_NOARGS, NULL},
    {"add_done_callback", (PyCFunction)(void (*)(void))future_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, add_done_callback_doc},
    {"remove_done_callback", (PyCFunction)future_remove_done_callback, METH_O,
     remove_done_callback_doc},
    {"result", (PyCFunction)future_result, METH_NOARGS, result_doc},
    {"exception", (PyCFunction)future_exception, METH_NOARGS, exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel, METH_VARARGS | METH_KEYWORDS,
     cancel_doc},
    {"cancelled", (PyCFunction)future_cancelled, METH_NOARGS,
     "cancelled($self, /)\n--\n\nWhether the command was cancelled."},
    {"done", (PyCFunction)future_done, METH_NOARGS,
     "done($self, /)\n--\n\nWhether there is a reply, an error, or a cancellation."},
    {"get_loop", (PyCFunction)future_get_loop, METH_NOARGS,
     "get_loop($self, /)\n--\n\nThe asyncio loop that the command belongs to."},
    {"_make_cancelled_error", (PyCFunction)future_make_cancelled_error, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef future_getset[] = {
    AR_AWAITABLE_GETSET,
    {"_asyncio_future_blocking", (getter)future_get_blocking, (setter)ar_awaitable_set_blocking,
     NULL, NULL},
    {"_cancel_message", (getter)future_get_cancel_message, NULL, NULL, NULL},
    {"_loop", (getter)future_get_loop_attribute, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot future_slots[] = {
    AR_AWAITABLE_SLOTS,
    {Py_am_await, PyObject_SelfIter},
    {Py_tp_doc, (void *)"A Redis command on its way: a future of its reply."},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, future_iternext},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, future_am_send},
#endif
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "aiecs_redis._native.CommandFuture",
    .basicsize = sizeof(ArCommand),
    .flags = AR_AWAITABLE_FLAGS,
    .slots = future_slots,
};

int
ar_future_setup(PyObject *module, ar_state *state)
{
    state->CommandFutureType = ar_awaitable_make_type(module, &future_spec, "CommandFuture");
    return state->CommandFutureType == NULL ? -1 : 0;
}
