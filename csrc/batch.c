/* A batch is a command whose slot takes several replies. */
#include "batch.h"

#include "lanes.h"

/* Checks the shape of the list and finds what all of its commands have in common. */
static int
examine(PyObject *commands, uint8_t *properties)
{
    *properties = AR_REPLAYABLE;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(commands); i++) {
        PyObject *entry = PyList_GET_ITEM(commands, i);
        if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 2 ||
            !PyTuple_Check(PyTuple_GET_ITEM(entry, 0)) ||
            PyTuple_GET_SIZE(PyTuple_GET_ITEM(entry, 0)) == 0 ||
            !PyDict_Check(PyTuple_GET_ITEM(entry, 1))) {
            PyErr_SetString(PyExc_TypeError,
                            "a batch is a list of (arguments, options): tuple and dict");
            return -1;
        }
        PyObject *arguments = PyTuple_GET_ITEM(entry, 0);
        if (*properties & AR_REPLAYABLE) {
            *properties &=
                ar_lanes_properties(&PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments));
        }
    }
    return 0;
}

PyObject *
ar_batch_new(PyObject *owner, ar_state *state, const ar_command_ops *ops, PyObject *commands,
             int raw, double timeout)
{
    uint8_t properties;
    if (PyList_GET_SIZE(commands) == 0) {
        PyErr_SetString(PyExc_ValueError, "a batch needs at least one command");
        return NULL;
    }
    if (examine(commands, &properties) < 0) {
        return NULL;
    }
    PyObject *name = PyUnicode_InternFromString("PIPELINE");
    if (name == NULL) {
        return NULL;
    }
    ArCommand *command = ar_command_new(state, ops, owner, name, NULL, 0);
    Py_DECREF(name);
    if (command == NULL) {
        return NULL;
    }
    command->properties = properties;
    command->timeout = timeout;
    command->raw = raw != 0;
    /* A copy: the pipeline's own list goes on changing. */
    command->batch = PyList_GetSlice(commands, 0, PyList_GET_SIZE(commands));
    if (command->batch == NULL) {
        command->status = AR_CLOSED;
        Py_CLEAR(command);
    }
    return (PyObject *)command;
}

static int
is_awaitable(PyObject *object)
{
    PyAsyncMethods *methods = Py_TYPE(object)->tp_as_async;
    return methods != NULL && methods->am_await != NULL;
}

/* `keys` is redis-py's, for its client-side cache; response callbacks do not know it. */
static PyObject *
callback_options(ArClient *client, PyObject *options)
{
    ar_state *state = client->target.state;
    if (PyDict_GET_SIZE(options) == 0) {
        return NULL;
    }
    if (PyDict_GetItemWithError(options, state->str_keys) == NULL) {
        return Py_NewRef(options);
    }
    PyObject *copy = PyDict_Copy(options);
    if (copy != NULL) {
        (void)PyDict_DelItem(copy, state->str_keys);
        if (PyDict_GET_SIZE(copy) == 0) {
            Py_CLEAR(copy);
        }
    }
    return copy;
}

PyObject *
ar_batch_convert(ArClient *client, ArCommand *command, PyObject *replies)
{
    int failed = 0, awaitables = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(replies); i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        if (command->raw) {
            failed |= PyExceptionInstance_Check(reply);
            continue;
        }
        PyObject *entry = PyList_GET_ITEM(command->batch, i);
        PyObject *options = callback_options(client, PyTuple_GET_ITEM(entry, 1));
        PyObject *result =
            PyErr_Occurred()
                ? NULL
                : ar_client_convert(client, PyTuple_GET_ITEM(PyTuple_GET_ITEM(entry, 0), 0),
                                    options, Py_NewRef(reply));
        Py_XDECREF(options);
        if (result == NULL) {
            result = ar_exception_take();
            if (result == NULL || !PyErr_GivenExceptionMatches(result, PyExc_Exception)) {
                Py_DECREF(replies);
                if (result != NULL) {
                    ar_exception_restore(result);
                }
                return NULL;
            }
            failed = 1;
        } else {
            awaitables |= is_awaitable(result);
        }
        PyList_SetItem(replies, i, result);
    }
    PyObject *outcome = Py_BuildValue("(NOO)", replies, failed ? Py_True : Py_False,
                                      awaitables ? Py_True : Py_False);
    return outcome;
}
