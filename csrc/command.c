/* The life of a command up to its result, and the waking of whoever waits for it. */
#include "command.h"

#include "scope.h"

#include <stddef.h>
#include <string.h>

ArCommand *
ar_command_new(ar_state *state, const ar_command_ops *ops, PyObject *owner, PyObject *name,
               PyObject *const *rest, Py_ssize_t rest_count)
{
    PyTypeObject *type = state->CommandType;
    ArCommand *command = (ArCommand *)type->tp_alloc(type, 0);
    if (command == NULL) {
        return NULL;
    }
    command->state = state;
    command->ops = ops;
    command->owner = Py_NewRef(owner);
    command->argv = command->inline_argv;
    if (rest_count + 1 > AR_INLINE_ARGUMENTS) {
        command->argv = PyMem_Malloc((size_t)(rest_count + 1) * sizeof(PyObject *));
        if (command->argv == NULL) {
            command->argv = command->inline_argv;
            command->status = AR_CLOSED;
            Py_DECREF(command);
            PyErr_NoMemory();
            return NULL;
        }
    }
    command->argc = rest_count + 1;
    command->argv[0] = Py_NewRef(name);
    for (Py_ssize_t i = 0; i < rest_count; i++) {
        command->argv[i + 1] = Py_NewRef(rest[i]);
    }
    return command;
}

ArCommand *
ar_command_move(ArCommand *command)
{
    PyTypeObject *type = command->state->CommandFutureType;
    ArCommand *moved = (ArCommand *)type->tp_alloc(type, 0);
    if (moved == NULL) {
        return NULL;
    }
#define MOVE(field)                                                                                \
    moved->field = command->field;                                                                 \
    command->field = NULL
    MOVE(owner);
    MOVE(on_error);
    MOVE(error_key);
    MOVE(options);
    MOVE(batch);
    MOVE(context);
#undef MOVE
    moved->state = command->state;
    moved->ops = command->ops;
    moved->timeout = command->timeout;
    moved->expires = command->expires;
    moved->properties = command->properties;
    moved->batch_mode = command->batch_mode;
    moved->as_bool = command->as_bool;
    moved->argc = command->argc;
    if (command->argv == command->inline_argv) {
        memcpy(moved->inline_argv, command->inline_argv, sizeof(moved->inline_argv));
        moved->argv = moved->inline_argv;
    } else {
        moved->argv = command->argv;
        command->argv = command->inline_argv;
    }
    command->argc = 0;
    return moved;
}

void
ar_command_release_payload(ArCommand *command)
{
    PyObject **argv = command->argv;
    Py_ssize_t argc = command->argc;
    command->argc = 0;
    for (Py_ssize_t i = 0; i < argc; i++) {
        Py_DECREF(argv[i]);
    }
    if (argv != command->inline_argv) {
        command->argv = command->inline_argv;
        PyMem_Free(argv);
    }
    Py_CLEAR(command->options);
    Py_CLEAR(command->batch);
    Py_CLEAR(command->context);
    Py_CLEAR(command->replies);
    Py_CLEAR(command->on_error);
    Py_CLEAR(command->error_key);
    Py_CLEAR(command->owner);
}

/* ---- waking the waiter ---- */

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

/* Without memory for jobs: at the end of the drain or turn no task is running, so that the callbacks
 * can be called from there. */
static void
wake_late(ar_flushable *flushable)
{
    ArCommand *command = (ArCommand *)((char *)flushable - offsetof(ArCommand, late));
    ArCore *core = command->core;
    PyObject *callback = command->callback, *context = command->callback_context;
    PyObject *more = command->more_callbacks;
    command->callback = command->callback_context = command->more_callbacks = NULL;
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
    Py_DECREF(command);
}

static void
wake(ArCommand *command)
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
        (void)ar_core_mark_dirty(core, &command->late);
        return;
    }
    PyObject *callback = command->callback, *context = command->callback_context;
    PyObject *more = command->more_callbacks;
    command->callback = command->callback_context = command->more_callbacks = NULL;
    if (core->delivering && more == NULL && core->interrupt == NULL &&
        is_task_wakeup(command->state, callback)) {
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

int
ar_command_add_callback(ArCommand *command, PyObject *callback, PyObject *context)
{
    if (ar_command_finished(command)) {
        return ar_core_schedule_callback(command->core, callback, (PyObject *)command, context);
    }
    if (command->callback == NULL) {
        command->callback = Py_NewRef(callback);
        command->callback_context = Py_NewRef(context);
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
    Py_XDECREF(more);
    if (*removed > 0) {
        Py_CLEAR(command->callback);
        Py_CLEAR(command->callback_context);
        Py_CLEAR(command->more_callbacks);
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(kept); i++) {
            PyObject *pair = PyList_GET_ITEM(kept, i);
            if (ar_command_add_callback(command, PyTuple_GET_ITEM(pair, 0),
                                        PyTuple_GET_ITEM(pair, 1)) < 0) {
                Py_DECREF(kept);
                return -1;
            }
        }
    }
    Py_DECREF(kept);
    return 0;

error:
    Py_XDECREF(more);
    Py_DECREF(kept);
    return -1;
}

/* ---- starting ---- */

void
ar_command_start(ArCommand *command)
{
    Py_INCREF(command);
    /* What was scheduled has been looked at then: now the context is the loop's. */
    int bounded = command->status == AR_NEW && command->state->open_scopes != 0;
    command->status = AR_STARTED;
    if ((bounded && ar_scope_expires(command->state, &command->expires) < 0) ||
        command->ops->start(command) < 0) {
        ar_command_fail_pending_exception(command);
    }
    Py_DECREF(command);
}

static void
start_job(PyObject *subject)
{
    ArCommand *command = (ArCommand *)subject;
    if (command->status == AR_SCHEDULED) {
        ar_command_start(command);
    }
}

int
ar_command_schedule(ArCommand *command)
{
    if (command->core == NULL) {
        command->core = ar_core_get(command->state);
        if (command->core == NULL) {
            return -1;
        }
    }
    if (command->state->open_scopes != 0 &&
        ar_scope_expires(command->state, &command->expires) < 0) {
        return -1;
    }
    if (ar_core_schedule_job(command->core, start_job, (PyObject *)command) < 0) {
        return -1;
    }
    command->status = AR_SCHEDULED;
    return 0;
}

/* ---- finishing ---- */

static void
measure(ArCommand *command, PyObject *exception)
{
    double started = command->started;
    command->started = 0.0;
    command->ops->measured(command, started, exception);
}

/* Steals `result`. */
static void
finish(ArCommand *command, ar_status status, PyObject *result)
{
    Py_INCREF(command);
    if (status == AR_DONE && command->as_bool) {
        Py_SETREF(result, PyBool_FromLong(PyObject_IsTrue(result) == 1));
    }
    command->status = status;
    Py_XSETREF(command->result, result);
    command->unretrieved = status == AR_FAILED && !command->quiet;
    if (status == AR_FAILED) {
        Py_XSETREF(command->traceback, PyException_GetTraceback(result));
    }
    if (command->started != 0.0) {
        measure(command, NULL);
    }
    if (command->ops->finished != NULL) {
        command->ops->finished(command);
    }
    ar_command_release_payload(command);
    if (command->core != NULL) {
        wake(command);
    }
    Py_DECREF(command);
}

/* Python code that is called on the way to a result may cancel other commands: their tasks are not to
 * be resumed from there. */
static int
suspend_delivery(const ArCommand *command)
{
    int delivering = command->core != NULL && command->core->delivering;
    if (delivering) {
        command->core->delivering = 0;
    }
    return delivering;
}

static void
resume_delivery(const ArCommand *command, int delivering)
{
    if (delivering) {
        command->core->delivering = 1;
    }
}

void
ar_command_fail(ArCommand *command, PyObject *exception)
{
    if (command->started != 0.0 && !ar_command_finished(command)) {
        measure(command, exception);
    }
    if (ar_command_finished(command)) {
        Py_DECREF(exception);
        return;
    }
    if (command->on_error == NULL || !PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
        finish(command, AR_FAILED, exception);
        return;
    }
    PyObject *key = command->error_key != NULL ? command->error_key : Py_None;
    PyObject *on_error = Py_NewRef(command->on_error);
    int delivering = suspend_delivery(command);
    PyObject *value = PyObject_CallFunctionObjArgs(on_error, key, exception, NULL);
    resume_delivery(command, delivering);
    Py_DECREF(on_error);
    Py_DECREF(exception);
    PyObject *failure = value == NULL ? ar_exception_take() : NULL;
    if (ar_command_finished(command)) { /* the error handler may cancel */
        Py_XDECREF(value);
        Py_XDECREF(failure);
    } else if (value != NULL) {
        finish(command, AR_DONE, value);
    } else {
        finish(command, AR_FAILED, failure);
    }
}

void
ar_command_complete(ArCommand *command, PyObject *value)
{
    if (ar_command_finished(command)) {
        Py_DECREF(value);
    } else {
        finish(command, AR_DONE, value);
    }
}

void
ar_command_fail_pending_exception(ArCommand *command)
{
    ar_command_fail(command, ar_exception_take());
}

void
ar_command_reply(ArCommand *command, PyObject *reply)
{
    if (ar_command_finished(command)) {
        Py_DECREF(reply);
        return;
    }
    int delivering = suspend_delivery(command);
    PyObject *value = command->ops->convert(command, reply);
    resume_delivery(command, delivering);
    if (ar_command_finished(command)) { /* a response callback may cancel */
        Py_XDECREF(value);
        PyErr_Clear();
    } else if (value != NULL) {
        finish(command, AR_DONE, value);
    } else if (PyErr_Occurred()) {
        ar_command_fail_pending_exception(command);
    }
    /* else: an awaitable is being waited for, and will finish it */
}

int
ar_command_cancel(ArCommand *command, PyObject *message)
{
    if (ar_command_finished(command)) {
        return 0;
    }
    Py_INCREF(command);
    if (command->connection != NULL && command->ops->bequeath != NULL) {
        (void)command->ops->bequeath(command);
    }
    finish(command, AR_CANCELLED, Py_XNewRef(message));
    if (command->connection != NULL) {
        command->ops->abandoned(command);
    }
    Py_DECREF(command);
    return 1;
}
