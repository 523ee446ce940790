/* What asyncio sees of a command. New, it is a coroutine (send, throw, close). Asked whether it is a future,
 * or awaited, it changes its type, once, to one that has add_done_callback and the rest instead;
 * both types share one layout. Driven by send(), as a Task drives a coroutine, it stays a coroutine
 * and waits on an inner future that took over its content. */
#include "awaitable.h"

#include <stddef.h>
#include <structmember.h>

static int
is_coroutine(ArCommand *self)
{
    return Py_TYPE(self) == self->state->CommandType;
}

/* ---- life ---- */

static int
command_traverse(ArCommand *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->core);
    Py_VISIT(self->result);
    Py_VISIT(self->traceback);
    Py_VISIT(self->callback);
    Py_VISIT(self->callback_context);
    Py_VISIT(self->more_callbacks);
    Py_VISIT(self->on_error);
    Py_VISIT(self->error_key);
    Py_VISIT(self->options);
    Py_VISIT(self->inner);
    Py_VISIT(self->batch);
    Py_VISIT(self->replies);
    for (Py_ssize_t i = 0; i < self->argc; i++) {
        Py_VISIT(self->argv[i]);
    }
    return 0;
}

static int
command_clear(ArCommand *self)
{
    ar_command_release_payload(self);
    Py_CLEAR(self->result);
    Py_CLEAR(self->traceback);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->callback_context);
    Py_CLEAR(self->more_callbacks);
    Py_CLEAR(self->inner);
    return 0;
}

static void
command_finalize(ArCommand *self)
{
    PyObject *pending = ar_exception_take();
    if (self->status == AR_NEW && self->inner == NULL) {
        if (PyErr_WarnEx(PyExc_RuntimeWarning,
                         "coroutine 'Redis.execute_command' was never awaited", 1) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    } else if (self->status == AR_FAILED && self->unretrieved && self->core != NULL &&
               self->result != NULL) {
        self->unretrieved = 0;
        ar_core_report(self->core, "Redis command exception was never retrieved",
                       Py_NewRef(self->result), (PyObject *)self);
    }
    if (pending != NULL) {
        ar_exception_restore(pending);
    }
}

static void
command_dealloc(ArCommand *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)command_clear(self);
    Py_CLEAR(self->core);
    type->tp_free(self);
    Py_DECREF(type);
}

static void
become_future(ArCommand *self)
{
    PyTypeObject *old = Py_TYPE(self), *new = self->state->CommandFutureType;
    Py_INCREF(new);
    Py_SET_TYPE(self, new);
    Py_DECREF(old);
}

static int
ensure_scheduled(ArCommand *self)
{
    return self->status == AR_NEW ? ar_command_schedule(self) : 0;
}

/* ---- the future's outcome ---- */

static void
set_cancelled_error(ArCommand *self)
{
    PyObject *message = self->result;
    if (message != NULL && message != Py_None) {
        PyErr_SetObject(self->state->CancelledError, message);
    } else {
        PyErr_SetNone(self->state->CancelledError);
    }
}

/* The result as a new reference, or NULL with what it failed with set. Only when finished. */
static PyObject *
take_outcome(ArCommand *self)
{
    switch (self->status) {
    case AR_DONE:
        return Py_NewRef(self->result);
    case AR_FAILED:
        self->unretrieved = 0;
        (void)PyException_SetTraceback(self->result,
                                       self->traceback != NULL ? self->traceback : Py_None);
        PyErr_SetObject((PyObject *)Py_TYPE(self->result), self->result);
        return NULL;
    case AR_CANCELLED:
        set_cancelled_error(self);
        return NULL;
    default:
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
}

/* The await protocol in three ways out: 1 finished (*value set), 0 pending, -1 error. */
static int
advance(ArCommand *self, PyObject **value)
{
    if (self->status == AR_NEW) {
        ar_command_start(self);
    }
    if (!ar_command_finished(self)) {
        self->blocking = 1;
        return 0;
    }
    *value = take_outcome(self);
    return *value == NULL ? -1 : 1;
}

static void
set_stop_iteration(PyObject *value)
{
    if (value == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
        return;
    }
    if (!PyTuple_Check(value) && !PyExceptionInstance_Check(value)) {
        PyErr_SetObject(PyExc_StopIteration, value);
        return;
    }
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
}

static PyObject *
future_iternext(ArCommand *self)
{
    PyObject *value = NULL;
    switch (advance(self, &value)) {
    case 0:
        return Py_NewRef((PyObject *)self);
    case 1:
        set_stop_iteration(value);
        Py_DECREF(value);
        return NULL;
    default:
        return NULL;
    }
}

static PyObject *
command_await(ArCommand *self)
{
    if (is_coroutine(self)) {
        if (self->inner != NULL || self->status != AR_NEW) {
            PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
            return NULL;
        }
        become_future(self);
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *
command_await_method(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    return command_await(self);
}

/* ---- driven like a coroutine ---- */

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
    int verdict = advance(inner, yielded_or_value);
    if (verdict == 0) {
        *yielded_or_value = Py_NewRef((PyObject *)inner);
        return 0;
    }
    self->status = AR_CLOSED;
    Py_CLEAR(self->inner);
    return verdict;
}

static PyObject *
coroutine_send(ArCommand *self, PyObject *argument)
{
    PyObject *value = NULL;
    if (self->inner == NULL && argument != Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "can't send non-None value to a just-started coroutine");
        return NULL;
    }
    switch (coroutine_advance(self, &value)) {
    case 0:
        return value;
    case 1:
        set_stop_iteration(value);
        Py_DECREF(value);
        return NULL;
    default:
        return NULL;
    }
}

#if PY_VERSION_HEX >= 0x030A0000
static PySendResult
coroutine_am_send(ArCommand *self, PyObject *Py_UNUSED(argument), PyObject **value)
{
    *value = NULL;
    switch (coroutine_advance(self, value)) {
    case 0:
        return PYGEN_NEXT;
    case 1:
        return PYGEN_RETURN;
    default:
        return PYGEN_ERROR;
    }
}

static PySendResult
future_am_send(ArCommand *self, PyObject *Py_UNUSED(argument), PyObject **value)
{
    *value = NULL;
    switch (advance(self, value)) {
    case 0:
        *value = Py_NewRef((PyObject *)self);
        return PYGEN_NEXT;
    case 1:
        return PYGEN_RETURN;
    default:
        return PYGEN_ERROR;
    }
}
#endif

/* As with a Python coroutine that awaits a future: the exception is raised at the await, the future
 * itself is left to its fate (a Task cancels it before it throws). */
static PyObject *
coroutine_throw(ArCommand *self, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return NULL;
    }
    self->status = AR_CLOSED;
    Py_CLEAR(self->inner);
    ar_command_release_payload(self);
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
    self->status = AR_CLOSED;
    Py_CLEAR(self->inner);
    ar_command_release_payload(self);
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
    become_future(self);
    Py_RETURN_FALSE;
}

/* ---- the future's methods ---- */

static PyObject *
future_get_blocking(ArCommand *self, void *Py_UNUSED(closure))
{
    if (ensure_scheduled(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(self->blocking);
}

static int
future_set_blocking(ArCommand *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    int truth = PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    self->blocking = (uint8_t)truth;
    return 0;
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
    if (!ar_command_finished(self)) {
        PyErr_SetString(self->state->InvalidStateError, "Result is not set.");
        return NULL;
    }
    return take_outcome(self);
}

PyDoc_STRVAR(exception_doc, "exception($self, /)\n--\n\n"
                            "What the command failed with, or None; raises CancelledError, or\n"
                            "InvalidStateError while it is pending.");

static PyObject *
future_exception(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    switch (self->status) {
    case AR_FAILED:
        self->unretrieved = 0;
        return Py_NewRef(self->result);
    case AR_DONE:
        Py_RETURN_NONE;
    case AR_CANCELLED:
        set_cancelled_error(self);
        return NULL;
    default:
        PyErr_SetString(self->state->InvalidStateError, "Exception is not set.");
        return NULL;
    }
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
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

/* asyncio.gather() asks a cancelled child for this. */
static PyObject *
future_make_cancelled_error(ArCommand *self, PyObject *Py_UNUSED(ignored))
{
    set_cancelled_error(self);
    return ar_exception_take();
}

/* ---- both ---- */

PyDoc_STRVAR(guard_doc, "_guard($self, on_error, key, /)\n--\n\n"
                        "Attach an error policy: on an Exception, the value of on_error(key,\n"
                        "exception) becomes the result. Returns the command.");

static PyObject *
command_guard(ArCommand *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "_guard() takes on_error and key");
        return NULL;
    }
    if (self->status != AR_NEW || self->inner != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "an error policy comes before the start of a command");
        return NULL;
    }
    Py_XSETREF(self->on_error, Py_NewRef(args[0]));
    Py_XSETREF(self->error_key, Py_NewRef(args[1]));
    return Py_NewRef((PyObject *)self);
}

static PyObject *
command_repr(ArCommand *self)
{
    static const char *const states[] = {"new",  "scheduled", "pending",  "finished",
                                         "failed", "cancelled", "closed"};
    /* The name only: arguments may be secrets. */
    if (self->argc > 0) {
        return PyUnicode_FromFormat("<%s %S %s>", is_coroutine(self) ? "Command" : "CommandFuture",
                                    self->argv[0], states[self->status]);
    }
    return PyUnicode_FromFormat("<%s %s>", is_coroutine(self) ? "Command" : "CommandFuture",
                                states[self->status]);
}

static PyObject *
command_get_name(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("execute_command");
}

static PyObject *
command_get_qualname(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("Redis.execute_command");
}

static PyObject *
command_get_none(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
command_get_false(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

#define COMMON_METHODS                                                                             \
    {"__await__", (PyCFunction)command_await_method, METH_NOARGS, NULL},                          \
        {"_guard", (PyCFunction)(void (*)(void))command_guard, METH_FASTCALL, guard_doc}
#define COMMON_GETSET                                                                              \
    {"__name__", (getter)command_get_name, NULL, NULL, NULL},                                     \
        {"__qualname__", (getter)command_get_qualname, NULL, NULL, NULL}

static PyMethodDef coroutine_methods[] = {
    COMMON_METHODS,
    {"send", (PyCFunction)coroutine_send, METH_O, NULL},
    {"throw", (PyCFunction)coroutine_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)coroutine_close, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef coroutine_getset[] = {
    COMMON_GETSET,
    {"_asyncio_future_blocking", (getter)coroutine_get_blocking, (setter)future_set_blocking, NULL,
     NULL},
    {"cr_await", (getter)coroutine_get_await, NULL, NULL, NULL},
    {"cr_frame", (getter)command_get_none, NULL, NULL, NULL},
    {"cr_running", (getter)command_get_false, NULL, NULL, NULL},
    {NULL},
};

static PyMethodDef future_methods[] = {
    COMMON_METHODS,
    {"add_done_callback", (PyCFunction)(void (*)(void))future_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, add_done_callback_doc},
    {"remove_done_callback", (PyCFunction)future_remove_done_callback, METH_O,
     remove_done_callback_doc},
    {"result", (PyCFunction)future_result, METH_NOARGS, result_doc},
    {"exception", (PyCFunction)future_exception, METH_NOARGS, exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel, METH_VARARGS | METH_KEYWORDS,
     cancel_doc},
    {"cancelled", (PyCFunction)future_cancelled, METH_NOARGS, NULL},
    {"done", (PyCFunction)future_done, METH_NOARGS, NULL},
    {"get_loop", (PyCFunction)future_get_loop, METH_NOARGS, NULL},
    {"_make_cancelled_error", (PyCFunction)future_make_cancelled_error, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef future_getset[] = {
    COMMON_GETSET,
    {"_asyncio_future_blocking", (getter)future_get_blocking, (setter)future_set_blocking, NULL,
     NULL},
    {"_loop", (getter)future_get_loop_attribute, NULL, NULL, NULL},
    {NULL},
};

static PyMemberDef command_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ArCommand, weakrefs), READONLY, NULL},
    {NULL},
};

#define COMMON_SLOTS                                                                               \
    {Py_tp_dealloc, command_dealloc}, {Py_tp_finalize, command_finalize},                         \
        {Py_tp_traverse, command_traverse}, {Py_tp_clear, command_clear},                         \
        {Py_tp_repr, command_repr}, {Py_tp_members, command_members}, {Py_am_await, command_await}

static PyType_Slot coroutine_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, (void *)"A Redis command that has not been sent yet: an awaitable, lazy like a "
                        "coroutine."},
    {Py_tp_methods, coroutine_methods},
    {Py_tp_getset, coroutine_getset},
#if PY_VERSION_HEX >= 0x030A0000
    {Py_am_send, coroutine_am_send},
#endif
    {0, NULL},
};

static PyType_Slot future_slots[] = {
    COMMON_SLOTS,
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

#define TYPE_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION)

static PyType_Spec coroutine_spec = {
    .name = "aiecs_redis._native.Command",
    .basicsize = sizeof(ArCommand),
    .flags = TYPE_FLAGS,
    .slots = coroutine_slots,
};

static PyType_Spec future_spec = {
    .name = "aiecs_redis._native.CommandFuture",
    .basicsize = sizeof(ArCommand),
    .flags = TYPE_FLAGS,
    .slots = future_slots,
};

static PyTypeObject *
make_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL) {
        return NULL;
    }
#if PY_VERSION_HEX < 0x030A0000
    type->tp_new = NULL;
#endif
    if (PyModule_AddObjectRef(module, name, (PyObject *)type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

int
ar_awaitable_setup(PyObject *module, ar_state *state)
{
    state->CommandType = make_type(module, &coroutine_spec, "Command");
    if (state->CommandType == NULL) {
        return -1;
    }
    state->CommandFutureType = make_type(module, &future_spec, "CommandFuture");
    return state->CommandFutureType == NULL ? -1 : 0;
}
