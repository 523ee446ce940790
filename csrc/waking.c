/* Who waits for a command, and how they are called once it is finished. */
#include "command.h"

#include <stddef.h>
#include <string.h>

/* The C Task registers a builtin bound to itself; asyncio gives it no public name. */
static int
is_task_wakeup(ar_state *state, PyObject *callback)
{
#if PY_VERSION_HEX < 0x030A0000
    /* A type of its own there, which has no public name either. */
    if (strcmp(Py_TYPE(callback)->tp_name, "TaskWakeupMethWrapper") == 0) {
        return 1;
    }
#endif
    if (!PyCFunction_CheckExact(callback)) {
        return 0;
    }
    PyMethodDef *method = ((PyCFunctionObject *)callback)->m_ml;
    if (method == state->task_wakeup) {
        return 1;
    }
    if (state->task_wakeup == NULL && (strcmp(method->ml_name, "TaskWakeup") == 0 ||
                                       strcmp(method->ml_name, "task_wakeup") == 0)) {
        state->task_wakeup = method;
        return 1;
    }
    return 0;
}

static void
call_later(ArCommand *command, PyObject *callback, PyObject *context)
{
    if (ar_core_schedule_callback(command->core, callback, (PyObject *)command, context) < 0) {
        /* The loop is closed: nothing of it can be resumed, as with asyncio's own futures. */
        PyErr_Clear();
    }
}

/* Calls the waiter right here, inside the drain: no Handle, no further loop turn. */
static void
call_now(ArCommand *command, PyObject *callback, PyObject *context, PyObject *argument)
{
    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        call_later(command, callback, context);
        return;
    }
    PyObject *result = PyObject_CallOneArg(callback, argument);
    PyObject *exception = result == NULL ? ar_exception_take() : NULL;
    Py_XDECREF(result);
    if (PyContext_Exit(context) < 0) {
        PyErr_WriteUnraisable(callback);
    }
    if (exception == NULL) {
        return;
    }
    if (ar_is_interrupt(exception)) {
        ar_core_interrupt(command->core, exception);
    } else {
        ar_core_report(command->core, "Exception in callback of a Redis command", exception,
                       (PyObject *)command);
    }
}

/* No task is running, so that everybody can be called. Takes over the references. */
static void
call_all(ArCommand *command, PyObject *callback, PyObject *context, PyObject *more)
{
    ArCore *core = command->core;
    Py_ssize_t more_count = more != NULL ? PyList_GET_SIZE(more) : 0;
    for (Py_ssize_t i = -1; i < more_count; i++) {
        PyObject *pair = i >= 0 ? PyList_GET_ITEM(more, i) : NULL;
        PyObject *function = pair != NULL ? PyTuple_GET_ITEM(pair, 0) : callback;
        PyObject *within = pair != NULL ? PyTuple_GET_ITEM(pair, 1) : context;
        if (core->ev == NULL || core->interrupt != NULL) { /* being closed, by a task maybe */
            call_later(command, function, within);
        } else {
            call_now(command, function, within, (PyObject *)command);
        }
    }
    Py_XDECREF(callback);
    Py_XDECREF(context);
    Py_XDECREF(more);
}

/* Without memory for jobs: at the end of the drain or turn no task is running. */
static void
wake_late(ar_flushable *flushable)
{
    ArCommand *command = (ArCommand *)((char *)flushable - offsetof(ArCommand, late));
    PyObject *callback = command->callback, *context = command->callback_context;
    PyObject *more = command->more_callbacks;
    command->callback = command->callback_context = command->more_callbacks = NULL;
    if (callback != NULL) { /* else the last one has been removed meanwhile */
        call_all(command, callback, context, more);
    }
    Py_DECREF(command);
}

int
ar_command_resumes_at_once(const ArCommand *command)
{
    const ArCore *core = command->core;
    return core->delivering && command->callback != NULL && command->more_callbacks == NULL &&
           core->interrupt == NULL && is_task_wakeup(command->state, command->callback);
}

void
ar_command_wake(ArCommand *command)
{
    if (command->callback == NULL) {
        return;
    }
    ArCore *core = command->core;
    size_t waiters = 1;
    if (command->more_callbacks != NULL) {
        waiters += (size_t)PyList_GET_SIZE(command->more_callbacks);
    }
    if (ar_core_reserve_jobs(core, waiters) < 0) {
        PyErr_Clear();
        command->late = (ar_flushable){.flush = wake_late};
        Py_INCREF(command);
        ar_core_mark_dirty(core, &command->late);
        return;
    }
    PyObject *callback = command->callback, *context = command->callback_context;
    PyObject *more = command->more_callbacks;
    int at_once = ar_command_resumes_at_once(command);
    command->callback = command->callback_context = command->more_callbacks = NULL;
    if (core->delivering == AR_DELIVER_TO_ALL) {
        core->delivering = 0;
        call_all(command, callback, context, more);
        return;
    }
    if (at_once) {
        core->delivering = 0; /* no task is resumed inside of another one */
        /* A Task asks what wakes it for an error only: its coroutine has the result from the command. Of
         * asyncio's own future it learns that without calling result() by name. */
        int plain = command->status == AR_DONE && core->done != NULL;
        call_now(command, callback, context, plain ? core->done : (PyObject *)command);
    } else {
        call_later(command, callback, context);
    }
    for (Py_ssize_t i = 0; more != NULL && i < PyList_GET_SIZE(more); i++) {
        PyObject *pair = PyList_GET_ITEM(more, i);
        call_later(command, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    Py_XDECREF(more);
}

/* ---- who waits ---- */

int
ar_command_add_callback(ArCommand *command, PyObject *callback, PyObject *context)
{
    if (ar_command_finished(command)) {
        return ar_core_schedule_callback(command->core, callback, (PyObject *)command, context);
    }
    if (command->callback == NULL) {
        command->callback = Py_NewRef(callback);
        command->callback_context = Py_NewRef(context);
        if (command->status == AR_ANSWERED) {
            ar_command_tell_later(command);
        }
        return 0;
    }
    if (command->more_callbacks == NULL) {
        command->more_callbacks = PyList_New(0);
        if (command->more_callbacks == NULL) {
            return -1;
        }
    }
    PyObject *pair = PyTuple_Pack(2, callback, context);
    if (pair == NULL) {
        return -1;
    }
    int result = PyList_Append(command->more_callbacks, pair);
    Py_DECREF(pair);
    return result;
}

/* Rebuilds the list without `callback`: comparing may run Python code that changes it. */
int
ar_command_remove_callback(ArCommand *command, PyObject *callback, Py_ssize_t *removed)
{
    *removed = 0;
    PyObject *kept = PyList_New(0);
    if (kept == NULL) {
        return -1;
    }
    PyObject *more = Py_XNewRef(command->more_callbacks);
    if (command->callback != NULL) {
        PyObject *first = PyTuple_Pack(2, command->callback, command->callback_context);
        int result = first == NULL ? -1 : PyList_Append(kept, first);
        Py_XDECREF(first);
        if (result < 0 || (more != NULL && PyList_SetSlice(kept, 1, 1, more) < 0)) {
            goto error;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(kept);) {
        int same = PyObject_RichCompareBool(PyTuple_GET_ITEM(PyList_GET_ITEM(kept, i), 0), callback,
                                            Py_EQ);
        if (same < 0) {
            goto error;
        }
        if (!same) {
            i++;
            continue;
        }
        if (PyList_SetSlice(kept, i, i + 1, NULL) < 0) {
            goto error;
        }
        ++*removed;
    }
    Py_CLEAR(more);
    if (*removed > 0 && command->callback != NULL) { /* else comparing has finished it */
        Py_ssize_t left = PyList_GET_SIZE(kept);
        PyObject *first = left > 0 ? Py_NewRef(PyList_GET_ITEM(kept, 0)) : NULL;
        if (left > 1 && (more = PyList_GetSlice(kept, 1, left)) == NULL) {
            Py_XDECREF(first);
            goto error;
        }
        Py_XSETREF(command->callback,
                   Py_XNewRef(first != NULL ? PyTuple_GET_ITEM(first, 0) : NULL));
        Py_XSETREF(command->callback_context,
                   Py_XNewRef(first != NULL ? PyTuple_GET_ITEM(first, 1) : NULL));
        Py_XSETREF(command->more_callbacks, more);
        Py_XDECREF(first);
    }
    Py_DECREF(kept);
    return 0;

error:
    Py_XDECREF(more);
    Py_DECREF(kept);
    return -1;
}
