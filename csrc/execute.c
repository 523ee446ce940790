/* From a call to a command, and from its reply to a result. */
#include "execute.h"

#include "batch.h"
#include "lanes.h"

/* ---- replies ---- */

static PyObject *
awaited_done(PyObject *subject, PyObject *future)
{
    ArCommand *command = (ArCommand *)subject;
    PyObject *value = PyObject_CallMethod(future, "result", NULL);
    if (value != NULL) {
        ar_command_complete(command, value);
    } else {
        ar_command_fail_pending_exception(command);
    }
    Py_RETURN_NONE;
}

static PyMethodDef awaited_done_method = {"response_callback_done", awaited_done, METH_O, NULL};

/* The response callback is a coroutine function: its outcome is the command's. Steals `awaitable`. */
static int
await_result(ArCommand *command, PyObject *awaitable)
{
    PyObject *future = PyObject_CallFunctionObjArgs(command->state->resolve_awaitable, awaitable,
                                                    command->core->loop, NULL);
    Py_DECREF(awaitable);
    PyObject *callback = PyCFunction_New(&awaited_done_method, (PyObject *)command);
    PyObject *result = NULL;
    if (future != NULL && callback != NULL) {
        result = PyObject_CallMethod(future, "add_done_callback", "O", callback);
    }
    Py_XDECREF(callback);
    Py_XDECREF(future);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* What it converts with is held: a response callback, or an option asked for its truth, may give up the command. */
static PyObject *
command_convert(ArCommand *command, PyObject *reply)
{
    PyObject *owner = Py_NewRef(command->owner), *name = Py_NewRef(command->argv[0]);
    PyObject *options = Py_XNewRef(command->options);
    PyObject *result = ar_client_convert((ArClient *)owner, name, options, reply);
    Py_XDECREF(options);
    Py_DECREF(name);
    Py_DECREF(owner);
    if (result != NULL && Py_TYPE(result)->tp_as_async != NULL &&
        Py_TYPE(result)->tp_as_async->am_await != NULL) {
        (void)await_result(command, result);
        return NULL;
    }
    return result;
}

static const ar_command_ops client_ops = {
    .start = ar_client_start,
    .convert = command_convert,
    .bequeath = ar_pool_bequeath,
    .returned = ar_pool_returned,
    .abandoned = ar_pool_abandon,
    .measured = ar_client_measured,
};

static PyObject *
batch_convert(ArCommand *command, PyObject *replies)
{
    return ar_batch_convert((ArClient *)command->owner, command, replies);
}

static const ar_command_ops batch_ops = {
    .start = ar_client_start,
    .convert = batch_convert,
    .abandoned = ar_pool_abandon,
    .measured = ar_client_measured,
};

/* ---- making commands ---- */

/* Calls a method of Python's with the command's name and arguments, and in front of them `subject`, if not NULL.
 * Steals the method, which is NULL where there is none. */
static PyObject *
call_method(PyObject *method, PyObject *subject, PyObject *name, PyObject *const *rest,
            Py_ssize_t rest_count, PyObject *options)
{
    Py_ssize_t before = subject != NULL;
    PyObject *arguments = method != NULL ? PyTuple_New(before + 1 + rest_count) : NULL;
    PyObject *result = NULL;
    if (arguments != NULL) {
        if (subject != NULL) {
            PyTuple_SET_ITEM(arguments, 0, Py_NewRef(subject));
        }
        ar_arguments_fill(&PyTuple_GET_ITEM(arguments, before), name, rest, rest_count);
        result = PyObject_Call(method, arguments, options);
        Py_DECREF(arguments);
    }
    Py_XDECREF(method);
    return result;
}

static PyObject *
retry_execute(ArClient *self, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
              PyObject *options)
{
    return call_method(PyObject_GetAttrString((PyObject *)self, "_retry_execute"), NULL, name, rest,
                       rest_count, options);
}

/* Steals the command; NULL with an exception set. */
static PyObject *
told_of(const ArClient *self, ArCommand *command)
{
    if (self->metrics != NULL && ar_metrics_created(self->metrics, command) < 0) {
        command->status = AR_CLOSED;
        Py_CLEAR(command);
    }
    return (PyObject *)command;
}

static PyObject *
make_command(ArClient *self, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
             PyObject *options, uint8_t properties)
{
    ArCommand *command =
        ar_command_new(self->target.state, &client_ops, (PyObject *)self, name, rest, rest_count);
    if (command != NULL) {
        command->properties = properties;
        command->options = Py_XNewRef(options);
        command->timeout = self->transport->config->timeout;
        return told_of(self, command);
    }
    return NULL;
}

/* Of a cluster client: which node it is for is redis-py's to say. */
static PyObject *
without_keys(ArClient *self, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
             PyObject *options)
{
    PyObject *subject = ar_target_subject(&self->target);
    if (subject == NULL) {
        return NULL;
    }
    PyObject *method =
        PyObject_GetAttr(self->target.python_class, self->target.state->str_execute_command);
    PyObject *result = call_method(method, subject, name, rest, rest_count, options);
    Py_DECREF(subject);
    return result;
}

PyObject *
ar_execute_dispatch(ArTarget *target, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
                    PyObject *options, uint8_t properties)
{
    ArClient *self = (ArClient *)target;
    ar_keys keys;
    if (self->cluster != NULL && !ar_keyspec_find(target->state, name, rest, rest_count, &keys)) {
        return without_keys(self, name, rest, rest_count, options);
    }
    if (self->retrying) {
        return retry_execute(self, name, rest, rest_count, options);
    }
    return make_command(self, name, rest, rest_count, options, properties);
}

/* The keyword arguments that are the response callback's, as a dict or NULL; -1 on failure. `keys` is
 * for redis-py's client-side cache, NEVER_DECODE for the parser. */
static int
split_options(ar_state *state, PyObject *const *values, PyObject *kwnames, PyObject **options,
              uint8_t *properties)
{
    *options = NULL;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (name == state->str_keys || PyUnicode_Compare(name, state->str_keys) == 0) {
            continue;
        }
        if (PyUnicode_Compare(name, state->str_NEVER_DECODE) == 0) {
            *properties |= AR_NEVER_DECODE;
            continue;
        }
        if (*options == NULL && (*options = PyDict_New()) == NULL) {
            return -1;
        }
        if (PyDict_SetItem(*options, name, values[i]) < 0) {
            Py_CLEAR(*options);
            return -1;
        }
    }
    return 0;
}

static int
names_nodes(const ar_state *state, PyObject *kwnames)
{
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (name == state->str_target_nodes ||
            PyUnicode_Compare(name, state->str_target_nodes) == 0) {
            return 1;
        }
    }
    return 0;
}

typedef PyObject *(*make_function)(ArTarget *, PyObject *, PyObject *const *, Py_ssize_t,
                                   PyObject *, uint8_t);

static PyObject *
execute(ArClient *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
        make_function make)
{
    ar_state *state = self->target.state;
    if (self->unsettled && ar_client_settle(self) < 0) {
        return NULL;
    }
    if (self->target.diverted || nargs == 0 || ar_queue_is_himport(args[0]) ||
        (self->cluster != NULL && names_nodes(state, kwnames))) {
        return ar_target_fall_back(&self->target, state->str_execute_command, args, nargs, kwnames);
    }
    PyObject *options;
    uint8_t properties = ar_lanes_properties(args, nargs);
    if (split_options(state, args + nargs, kwnames, &options, &properties) < 0) {
        return NULL;
    }
    PyObject *result = make(&self->target, args[0], args + 1, nargs - 1, options, properties);
    Py_XDECREF(options);
    return result;
}

PyObject *
ar_execute_command(ArClient *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return execute(self, args, nargs, kwnames, ar_execute_dispatch);
}

static PyObject *
make_plain(ArTarget *target, PyObject *name, PyObject *const *rest, Py_ssize_t rest_count,
           PyObject *options, uint8_t properties)
{
    return make_command((ArClient *)target, name, rest, rest_count, options, properties);
}

PyObject *
ar_execute_native(ArClient *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return execute(self, args, nargs, kwnames, make_plain);
}

PyObject *
ar_execute_batch(ArClient *self, PyObject *args)
{
    PyObject *commands;
    int mode;
    if (!PyArg_ParseTuple(args, "Oi:_native_batch", &commands, &mode)) {
        return NULL;
    }
    if (self->transport == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "_native_batch() needs a configured native client");
        return NULL;
    }
    PyObject *batch = ar_batch_new(self, &batch_ops, commands, mode);
    return batch == NULL ? NULL : told_of(self, (ArCommand *)batch);
}
