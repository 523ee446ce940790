/* A batch is a command whose slot takes several replies. */
#include "batch.h"

#include "convert.h"
#include "lanes.h"

/* ---- making ---- */

static int
append_entry(ArQueue *queue, PyObject *entry)
{
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 2 ||
        !PyTuple_Check(PyTuple_GET_ITEM(entry, 0)) ||
        PyTuple_GET_SIZE(PyTuple_GET_ITEM(entry, 0)) == 0 ||
        !PyDict_Check(PyTuple_GET_ITEM(entry, 1))) {
        PyErr_SetString(PyExc_TypeError,
                        "a batch is a list of (arguments, options): tuple and dict");
        return -1;
    }
    PyObject *const *argv = &PyTuple_GET_ITEM(PyTuple_GET_ITEM(entry, 0), 0);
    Py_ssize_t argc = PyTuple_GET_SIZE(PyTuple_GET_ITEM(entry, 0));
    return ar_queue_append(queue, argv[0], argv + 1, argc - 1, PyTuple_GET_ITEM(entry, 1),
                           ar_lanes_properties(argv, argc));
}

ArQueue *
ar_batch_queue(ar_state *state, PyObject *list)
{
    ArQueue *queue = ar_queue_new(state);
    for (Py_ssize_t i = 0; queue != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *entry = Py_NewRef(PyList_GET_ITEM(list, i));
        if (append_entry(queue, entry) < 0) {
            Py_CLEAR(queue);
        }
        Py_DECREF(entry);
    }
    return queue;
}

PyObject *
ar_batch_new(ArClient *client, const ar_command_ops *ops, PyObject *commands, int mode)
{
    ar_state *state = client->target.state;
    ArQueue *queue;
    if (Py_TYPE(commands) == state->QueueType) {
        queue = (ArQueue *)Py_NewRef(commands);
    } else if (PyList_Check(commands)) {
        queue = ar_batch_queue(state, commands);
    } else {
        PyErr_Format(PyExc_TypeError, "a batch is a CommandQueue or a list, not %R", commands);
        return NULL;
    }
    if (queue == NULL) {
        return NULL;
    }
    if (queue->count == 0) {
        PyErr_SetString(PyExc_ValueError, "a batch needs at least one command");
        Py_DECREF(queue);
        return NULL;
    }
    PyObject *name = PyUnicode_InternFromString("PIPELINE");
    ArCommand *command =
        name != NULL ? ar_command_new(state, ops, (PyObject *)client, name, NULL, 0) : NULL;
    Py_XDECREF(name);
    if (command == NULL) {
        Py_DECREF(queue);
        return NULL;
    }
    /* SELECT and its like need a connection of their own; within a transaction nothing blocks. */
    command->properties =
        mode == AR_BATCH_TRANSACTION
            ? queue->any & AR_STATEFUL
            : (queue->all & AR_REPLAYABLE) | (queue->any & (AR_STATEFUL | AR_BLOCKING));
    command->timeout = client->transport->config->timeout;
    command->batch_mode = (uint8_t)mode;
    command->batch = queue;
    return (PyObject *)command;
}

/* ---- replies ---- */

static int
is_awaitable(PyObject *object)
{
    PyAsyncMethods *methods = Py_TYPE(object)->tp_as_async;
    return methods != NULL && methods->am_await != NULL;
}

/* `keys` is redis-py's, for its client-side cache, and NEVER_DECODE the parser's: response callbacks
 * know neither. */
static PyObject *
callback_options(ar_state *state, PyObject *options)
{
    PyObject *copy = PyDict_Copy(options);
    PyObject *const names[] = {state->str_keys, state->str_NEVER_DECODE};
    for (size_t i = 0; copy != NULL && i < sizeof(names) / sizeof(*names); i++) {
        int found = PyDict_Contains(copy, names[i]);
        if (found < 0 || (found && PyDict_DelItem(copy, names[i]) < 0)) {
            Py_CLEAR(copy);
        }
    }
    return copy;
}

#define CACHED_NAMES 8

/* Which native conversions the names of a batch have; names are told by their identity. */
typedef struct {
    ArClient *client;
    const ArQueue *queue;
    int cached;
    struct {
        PyObject *name; /* borrowed from the queue */
        long operation;
    } cache[CACHED_NAMES];
} converter;

static int
find_operation(converter *self, PyObject *name, long *operation)
{
    for (int i = 0; i < self->cached; i++) {
        if (self->cache[i].name == name) {
            *operation = self->cache[i].operation;
            return 0;
        }
    }
    if (ar_convert_find(self->client->target.state, self->client->callbacks, name, operation) < 0) {
        return -1;
    }
    if (self->cached < CACHED_NAMES) {
        self->cache[self->cached].name = name;
        self->cache[self->cached++].operation = *operation;
    }
    return 0;
}

/* The result of one command; NULL with an exception set. */
static PyObject *
convert_reply(converter *self, Py_ssize_t number, PyObject *reply)
{
    ArClient *client = self->client;
    PyObject *name = *ar_queue_argv(self->queue, number);
    PyObject *options = self->queue->commands[number].options;
    if (options == NULL && !PyExceptionInstance_Check(reply)) {
        long operation;
        if (find_operation(self, name, &operation) < 0) {
            return NULL;
        }
        PyObject *result = ar_convert_natively(operation, NULL, reply);
        if (result != NULL || PyErr_Occurred()) {
            return result;
        }
    }
    /* Python code may change the callbacks. */
    self->cached = 0;
    if (options == NULL) {
        return ar_client_convert(client, name, NULL, Py_NewRef(reply));
    }
    options = callback_options(client->target.state, options);
    if (options == NULL) {
        return NULL;
    }
    PyObject *result = ar_client_convert(
        client, name, PyDict_GET_SIZE(options) > 0 ? options : NULL, Py_NewRef(reply));
    Py_DECREF(options);
    return result;
}

/* An error is a result of its command, unless it is to end everything. */
static PyObject *
error_as_result(void)
{
    PyObject *error = ar_exception_take();
    if (error != NULL && !PyErr_GivenExceptionMatches(error, PyExc_Exception)) {
        ar_exception_restore(error);
        return NULL;
    }
    return error;
}

/* Replaces the replies by results. Returns whether one is an error, which has ended it unless
 * `errors_are_results`; -1 with an exception set. */
static int
convert_all(converter *self, PyObject *replies, int errors_are_results, int *awaitables)
{
    int failed = 0;
    for (Py_ssize_t i = 0; i < self->queue->count && i < PyList_GET_SIZE(replies); i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        PyObject *result = convert_reply(self, i, reply);
        if (result == reply) { /* most replies are as they should be */
            Py_DECREF(result);
            continue;
        }
        if (result != NULL) {
            *awaitables |= is_awaitable(result);
        } else {
            result = errors_are_results ? error_as_result() : NULL;
            if (result == NULL) {
                return -1;
            }
            failed = 1;
        }
        if (PyList_SetItem(replies, i, result) < 0) {
            return -1;
        }
    }
    return failed;
}

/* What EXEC gave, when MULTI, EXEC and every command between them succeeded; NULL otherwise. */
static PyObject *
exec_results(const ArQueue *queue, PyObject *replies)
{
    Py_ssize_t last = PyList_GET_SIZE(replies) - 1;
    PyObject *results = PyList_GET_ITEM(replies, last);
    if (!PyList_CheckExact(results) || PyList_GET_SIZE(results) != queue->count ||
        ar_error_first(results, queue->count) != NULL || ar_error_first(replies, last) != NULL) {
        return NULL;
    }
    return results;
}

PyObject *
ar_batch_convert(ArClient *client, ArCommand *command, PyObject *replies)
{
    /* Held: a response callback may cancel the command. */
    ArQueue *queue = (ArQueue *)Py_NewRef((PyObject *)command->batch);
    converter self = {.client = client, .queue = queue};
    int failed = 0, awaitables = 0;
    PyObject *results = replies;
    if (command->batch_mode == AR_BATCH_TRANSACTION) {
        results = exec_results(queue, replies);
        failed = results == NULL;
        results = failed ? replies : results;
    } else if (command->batch_mode == AR_BATCH_RAW) {
        failed = ar_error_first(replies, PyList_GET_SIZE(replies)) != NULL;
    }
    Py_INCREF(results);
    if (command->batch_mode != AR_BATCH_RAW && !failed) {
        int transaction = command->batch_mode == AR_BATCH_TRANSACTION;
        failed = ar_client_note_protocol(client) < 0
                     ? -1
                     : convert_all(&self, results, !transaction, &awaitables);
    }
    PyObject *outcome = failed < 0 ? NULL
                                   : Py_BuildValue("(OOO)", results, failed ? Py_True : Py_False,
                                                   awaitables ? Py_True : Py_False);
    Py_DECREF(results);
    Py_DECREF(replies);
    Py_DECREF(queue);
    return outcome;
}
