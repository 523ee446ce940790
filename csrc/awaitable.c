/* A command as Python sees it, as far as it is the same before and after the start. Both types have one layout:
 * a new command changes its type in place, once, when it is awaited or asked whether it is a future. */
#include "awaitable.h"

#include "lanes.h"

#include <stddef.h>

/* ---- life ---- */

int
ar_awaitable_traverse(ArCommand *self, visitproc visit, void *arg)
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
    Py_VISIT(self->context);
    Py_VISIT(self->replies);
    for (Py_ssize_t i = 0; i < self->argc; i++) {
        Py_VISIT(self->argv[i]);
    }
    return 0;
}

int
ar_awaitable_clear(ArCommand *self)
{
    ar_command_release_payload(self);
    self->status = AR_CLOSED; /* whoever asks all the same is garbage too */
    Py_CLEAR(self->result);
    Py_CLEAR(self->traceback);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->callback_context);
    Py_CLEAR(self->more_callbacks);
    Py_CLEAR(self->inner);
    return 0;
}

static int
was_never_awaited(const ArCommand *self)
{
    return self->status == AR_NEW && self->inner == NULL;
}

static int
has_last_words(const ArCommand *self)
{
    return was_never_awaited(self) || self->status == AR_ANSWERED ||
           (self->status == AR_FAILED && self->unretrieved);
}

void
ar_awaitable_finalize(ArCommand *self)
{
    PyObject *pending = ar_exception_take();
    if (was_never_awaited(self)) {
        if (PyErr_WarnEx(PyExc_RuntimeWarning,
                         "coroutine 'Redis.execute_command' was never awaited", 1) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    } else if (self->status == AR_ANSWERED) {
        self->ops->returned(self, 1);
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

void
ar_awaitable_dealloc(ArCommand *self)
{
    /* Called whatever there is to say, it would mark the memory, which is used again, as finalized. */
    if (has_last_words(self) && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    (void)ar_awaitable_clear(self);
    Py_CLEAR(self->core);
    if (!ar_command_spare(self)) {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

void
ar_awaitable_become_future(ArCommand *self)
{
    PyTypeObject *old = Py_TYPE(self), *new = self->state->CommandFutureType;
    Py_INCREF(new);
    Py_SET_TYPE(self, new);
    Py_DECREF(old);
}

/* ---- outcome ---- */

void
ar_awaitable_set_cancelled_error(ArCommand *self)
{
    PyObject *message = self->result;
    if (message != NULL && message != Py_None) {
        PyErr_SetObject(self->state->CancelledError, message);
    } else {
        PyErr_SetNone(self->state->CancelledError);
    }
}

PyObject *
ar_awaitable_outcome(ArCommand *self)
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
        ar_awaitable_set_cancelled_error(self);
        return NULL;
    default:
        break;
    }
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return NULL;
}

int
ar_awaitable_advance(ArCommand *self, PyObject **value)
{
    if (self->status == AR_NEW) {
        ar_command_start(self);
    }
    ar_command_look(self);
    if (!ar_command_finished(self)) {
        self->blocking = 1;
        return 0;
    }
    *value = ar_awaitable_outcome(self);
    return *value == NULL ? -1 : 1;
}

/* Ends an iteration with `value`, as a generator's return does. */
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

PyObject *
ar_awaitable_iterate(int verdict, PyObject *value)
{
    if (verdict == 1) {
        set_stop_iteration(value);
        Py_DECREF(value);
        return NULL;
    }
    return verdict == 0 ? value : NULL;
}

#if PY_VERSION_HEX >= 0x030A0000
PySendResult
ar_awaitable_send_result(int verdict)
{
    return verdict == 0 ? PYGEN_NEXT : verdict == 1 ? PYGEN_RETURN : PYGEN_ERROR;
}
#endif

/* ---- accessors ---- */

int
ar_awaitable_set_blocking(ArCommand *self, PyObject *value, void *Py_UNUSED(closure))
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

PyObject *
ar_awaitable_repr(ArCommand *self)
{
    static const char *const states[] = {"new",      "scheduled", "pending",   "pending",
                                         "finished", "failed",    "cancelled", "closed"};
    const char *type = Py_TYPE(self) == self->state->CommandType ? "Command" : "CommandFuture";
    if (self->argc == 0) {
        return PyUnicode_FromFormat("<%s %s>", type, states[self->status]);
    }
    /* The name only: arguments may be secrets. */
    PyObject *name = ar_lanes_name(self->argv[0]);
    PyObject *text =
        name != NULL ? PyUnicode_FromFormat("<%s %S %s>", type, name, states[self->status]) : NULL;
    Py_XDECREF(name);
    return text;
}

PyObject *
ar_awaitable_get_name(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("execute_command");
}

PyObject *
ar_awaitable_get_qualname(ArCommand *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("Redis.execute_command");
}

PyMemberDef ar_awaitable_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ArCommand, weakrefs), READONLY, NULL},
    {NULL},
};

PyTypeObject *
ar_awaitable_make_type(PyObject *module, PyType_Spec *spec, const char *name)
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
