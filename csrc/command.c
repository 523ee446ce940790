/* The life of a command up to its result. */
#include "command.h"

#include "scope.h"

#include <string.h>

/* Commands whose memory is kept, at most. Debug builds keep none: a late use of one is to be found. */
#ifdef AR_DEBUG
#define SPARES_MAX 0
#else
#define SPARES_MAX 256
#endif

ArCommand *
ar_command_allocate(ar_state *state, PyTypeObject *type)
{
    ArCommand *command = state->spares;
    if (command == NULL) {
        return (ArCommand *)type->tp_alloc(type, 0);
    }
    state->spares = (ArCommand *)command->owner;
    state->spare_count--;
    memset((char *)command + sizeof(PyObject), 0, sizeof(*command) - sizeof(PyObject));
    (void)PyObject_Init((PyObject *)command, type);
    PyObject_GC_Track(command);
    return command;
}

int
ar_command_spare(ArCommand *command)
{
    ar_state *state = command->state;
    /* A type that the collector has cleared holds its module, and with it the state, no longer; a command
     * that it has finalized would never be finalized again. */
    const PyHeapTypeObject *type = (PyHeapTypeObject *)Py_TYPE(command);
    if (type->ht_module == NULL || state == NULL || state->spare_count >= SPARES_MAX ||
        PyObject_GC_IsFinalized((PyObject *)command)) {
        return 0;
    }
    command->owner = (PyObject *)state->spares;
    state->spares = command;
    state->spare_count++;
    return 1;
}

void
ar_command_free_spares(ar_state *state)
{
    while (state->spares != NULL) {
        ArCommand *command = state->spares;
        state->spares = (ArCommand *)command->owner;
        PyObject_GC_Del(command);
    }
    state->spare_count = SPARES_MAX; /* whatever is still to come is freed */
}

ArCommand *
ar_command_new(ar_state *state, const ar_command_ops *ops, PyObject *owner, PyObject *name,
               PyObject *const *rest, Py_ssize_t rest_count)
{
    ArCommand *command = ar_command_allocate(state, state->CommandType);
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
    ar_arguments_fill(command->argv, name, rest, rest_count);
    return command;
}

PyObject *
ar_command_hold_arguments(const ArCommand *command)
{
    PyObject *held = PyTuple_New(command->argc);
    if (held != NULL && ar_command_finished(command)) {
        Py_CLEAR(held);
    }
    if (held != NULL) {
        ar_arguments_fill(&PyTuple_GET_ITEM(held, 0), command->argv[0], command->argv + 1,
                          command->argc - 1);
    }
    return held;
}

ArCommand *
ar_command_move(ArCommand *command)
{
    ArCommand *moved = ar_command_allocate(command->state, command->state->CommandFutureType);
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
    command->status = AR_SCHEDULED; /* first: the turn asked for may be run meanwhile */
    if (ar_core_schedule_job(command->core, start_job, (PyObject *)command) < 0) {
        if (command->status == AR_SCHEDULED) {
            command->status = AR_NEW;
        }
        return -1;
    }
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
        ar_command_wake(command);
    }
    Py_DECREF(command);
}

/* Python code that is called on the way to a result may cancel other commands: their tasks are not to
 * be resumed from there. */
static int
suspend_delivery(const ArCommand *command)
{
    int delivering = command->core != NULL ? command->core->delivering : 0;
    if (delivering) {
        command->core->delivering = 0;
    }
    return delivering;
}

static void
resume_delivery(const ArCommand *command, int delivering)
{
    if (delivering) {
        command->core->delivering = delivering;
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
    PyObject *key = Py_NewRef(command->error_key != NULL ? command->error_key : Py_None);
    PyObject *on_error = Py_NewRef(command->on_error);
    int delivering = suspend_delivery(command);
    PyObject *value = PyObject_CallFunctionObjArgs(on_error, key, exception, NULL);
    resume_delivery(command, delivering);
    Py_DECREF(on_error);
    Py_DECREF(key);
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

/* What the value becomes on its way to the waiter; NULL with an exception set. Steals it. Of a user's response
 * callback it may be anything. */
static PyObject *
as_asked(const ArCommand *command, PyObject *value)
{
    if (!command->as_bool || value == NULL) {
        return value;
    }
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth < 0 ? NULL : PyBool_FromLong(truth);
}

/* Steals `value`; NULL: with an exception set. */
static void
finish_with(ArCommand *command, PyObject *value)
{
    if (ar_command_finished(command)) { /* the Python code called for the value may cancel */
        Py_XDECREF(value);
        PyErr_Clear();
    } else if (value != NULL) {
        finish(command, AR_DONE, value);
    } else {
        ar_command_fail_pending_exception(command);
    }
}

void
ar_command_complete(ArCommand *command, PyObject *value)
{
    if (ar_command_finished(command)) {
        Py_DECREF(value);
        return;
    }
    int delivering = suspend_delivery(command);
    value = as_asked(command, value);
    resume_delivery(command, delivering);
    finish_with(command, value);
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
    PyObject *value = as_asked(command, command->ops->convert(command, reply));
    resume_delivery(command, delivering);
    if (value != NULL || PyErr_Occurred()) {
        finish_with(command, value);
    }
    /* else: an awaitable is being waited for, and will finish it */
}

PyObject *
ar_command_pass_reply(ArCommand *Py_UNUSED(command), PyObject *reply)
{
    if (!PyExceptionInstance_Check(reply)) {
        return reply;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(reply), reply);
    Py_DECREF(reply);
    return NULL;
}

int
ar_command_cancel(ArCommand *command, PyObject *message)
{
    if (ar_command_finished(command)) {
        return 0;
    }
    Py_INCREF(command);
    /* Never started, it has no loop yet on which to call back whoever asks for it afterwards. */
    if (command->core == NULL && (command->core = ar_core_get(command->state)) == NULL) {
        PyErr_Clear(); /* none runs */
    }
    if (command->status == AR_ANSWERED) {
        command->ops->returned(command, 0);
    } else if (command->connection != NULL && command->ops->bequeath != NULL) {
        (void)command->ops->bequeath(command);
    }
    if (!ar_command_finished(command)) { /* both send, and that may run Python code */
        finish(command, AR_CANCELLED, Py_XNewRef(message));
    }
    if (command->connection != NULL) {
        command->ops->abandoned(command);
    }
    Py_DECREF(command);
    return 1;
}
