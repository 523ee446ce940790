/* A new command is a coroutine: send, throw, close. Driven by them, as a Task drives a coroutine, it stays one
 * and waits on an inner future that took over its content. */
#include "awaitable.h"

static ArCommand *
inner_future(ArCommand *self)
{
    if (self->inner == NULL) {
        if (self->status != AR_NEW) {
            PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
            return NULL;
        }
        self->inner = (PyObject *)ar_command_move(self);
    }
    return (ArCommand *)self->inner;
}

static int
coroutine_advance(ArCommand *self, PyObject **yielded_or_value)
{
    ArCommand *inner = inner_future(self);
    if (inner == NULL) {
        return -1;
    }
    Py_INCREF(inner); /* an argument's __repr__ may close us meanwhile */
    int verdict = ar_awaitable_advance(inner, yielded_or_value);
    if (verdict == 0) {
        *yielded_or_value = (PyObject *)inner;
        return 0;
    }
    Py_DECREF(inner);
    self->status = AR_CLOSED;
    Py_CLEAR(self->inner);
    return verdict;
}

static PyObject *
coroutine_send(ArCommand *self, PyObject *argument)
{
    PyObject *value = NULL;
    if (self->inner == NULL && argument != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return NULL;
    }
    int verdict = coroutine_advance(self, &value);
    return ar_awaitable_iterate(verdict, value);
}

#if PY_VERSION_HEX >= 0x030A0000
static PySendResult
coroutine_am_send(ArCommand *self, PyObject *Py_UNUSED(argument), PyObject **value)
{
    *value = NULL;
    return ar_awaitable_send_result(coroutine_advance(self, value));
}
#endif

/* As with a Python coroutine that awaits a future the exception is raised at the await, and the future is left to its
 * fate (a Task cancels it before it throws); but nobody is to pop anything for it. */
static void
give_up(ArCommand *self)
{
    ArCommand *inner = (ArCommand *)self->inner;
    self->status = AR_CLOSED;
    self->inner = NULL;
    if (inner != NULL && (inner->properties & AR_BLOCKING)) {
        (void)ar_command_cancel(inner, NULL);
    }
    Py_XDECREF(inner);
    ar_command_release_payload(self);
}

static PyObject *
coroutine_throw(ArCommand *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return NULL;
    }
    give_up(self);
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value);
    } else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
        return NULL;
    }
    if (traceback != NULL && traceback != Py_None) {
        PyObject *exception = ar_exception_take();
        int result = PyException_SetTraceback(exception, traceback);
        if (result == 0) {
            ar_exception_restore(exception);
        } else {
            Py_DECREF(exception);
        }
    }
    return NULL;
}

static PyObject *
coroutine_close(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    give_up(self);
    Py_RETURN_NONE;
}

static PyObject *
coroutine_get_await(ArCommand *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->inner != NULL ? self->inner : Py_None);
}

/* Reading this on a new command is what asyncio.isfuture() does: a running loop makes it a future. */
static PyObject *
coroutine_get_blocking(ArCommand *self, void *Py_UNUSED(closure))
{
    if (self->status != AR_NEW || self->inner != NULL) {
        Py_RETURN_NONE;
    }
    if (ar_command_schedule(self) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) {
            return NULL;
        }
        PyErr_Clear(); /* no running loop: it stays a coroutine */
        Py_RETURN_NONE;
    }
    ar_awaitable_become_future(self);
    Py_RETURN_FALSE;
}

static PyObject *
coroutine_await(ArCommand *self)
{
    if (self->inner != NULL || self->status != AR_NEW) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    ar_awaitable_become_future(self);
    return Py_NewRef((PyObject *)self);
}

static PyObject *
coroutine_await_method(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    return coroutine_await(self);
}

static PyObject *
coroutine_get_none(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
coroutine_get_false(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyMethodDef coroutine_methods[] = {
    {"__await__", (PyCFunction)coroutine_await_method, METH_NOARGS, NULL},
    {"send", (PyCFunction)coroutine_send, METH_O,
     "send($self, value, /)\n--\n\nStart, or resume, as a coroutine's send()."},
    {"throw", (PyCFunction)coroutine_throw, METH_VARARGS,
     "throw($self, typ, val=None, tb=None, /)\n--\n\nGive the command up, and raise."},
    {"close", (PyCFunction)coroutine_close, METH_NOARGS,
     "close($self, /)\n--\n\nGive the command up."},
    {NULL},
};

static PyGetSetDef coroutine_getset[] = {
    AR_AWAITABLE_GETSET,
    {"_asyncio_future_blocking", (getter)coroutine_get_blocking, (setter)ar_awaitable_set_blocking,
     NULL, NULL},
    {"cr_await", (getter)coroutine_get_await, NULL, NULL, NULL},
    {"cr_frame", (getter)coroutine_get_none, NULL, NULL, NULL},
    {"cr_running", (getter)coroutine_get_false, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot coroutine_slots[] = {
    AR_AWAITABLE_SLOTS,
    {Py_am_await, coroutine_await},
    {Py_tp_doc, (void *)"A Redis command that has not been sent yet: an awaitable, lazy like a "
                        "coroutine."},
    {Py_tp_methods, coroutine_methods},
    {Py_tp_getset, coroutine_getset},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, coroutine_am_send},
#endif
    {0, NULL},
};

static PyType_Spec coroutine_spec = {
    .name = "aiecs_redis._native.Command",
    .basicsize = sizeof(ArCommand),
    .flags = AR_AWAITABLE_FLAGS,
    .slots = coroutine_slots,
};

int
ar_coroutine_setup(PyObject *module, ar_state *state)
{
    state->CommandType = ar_awaitable_make_type(module, &coroutine_spec, "Command");
    return state->CommandType == NULL ? -1 : 0;
}
