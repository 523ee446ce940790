/* Makes a command's arguments ready to be encoded. While a connection's output is being written to, no Python
 * code may run, which could use or close the connection: what repr(), a codec or a buffer has to be asked for
 * is asked before. */
#include "command.h"

static int
settle_batch(ArCommand *command, const ar_text_codec *codec)
{
    ArQueue *settled = ar_queue_settle(command->batch, codec);
    if (settled == NULL) {
        return -1;
    }
    if (command->batch != NULL) { /* it may have been cancelled meanwhile */
        Py_SETREF(command->batch, settled);
    } else {
        Py_DECREF(settled);
    }
    return 0;
}

int
ar_command_settle(ArCommand *command, const ar_text_codec *codec)
{
    if (command->batch != NULL) {
        return settle_batch(command, codec);
    }
    for (Py_ssize_t i = 0; i < command->argc; i++) {
        PyObject *argument = command->argv[i];
        if (codec->encoding == NULL && ar_encode_is_plain(argument)) {
            continue;
        }
        Py_INCREF(argument);
        PyObject *settled = ar_encode_settle(command->state, codec, argument, i == 0);
        Py_DECREF(argument);
        if (settled == NULL) {
            return -1;
        }
        if (i < command->argc) { /* it may have been cancelled meanwhile */
            Py_SETREF(command->argv[i], settled);
        } else {
            Py_DECREF(settled);
        }
    }
    return 0;
}

PyObject *
ar_arguments_settle(ar_state *state, const ar_text_codec *codec, PyObject *arguments)
{
    PyObject *settled = PyTuple_New(PyTuple_GET_SIZE(arguments));
    for (Py_ssize_t i = 0; settled != NULL && i < PyTuple_GET_SIZE(arguments); i++) {
        PyObject *other = ar_encode_settle(state, codec, PyTuple_GET_ITEM(arguments, i), i == 0);
        if (other == NULL) {
            Py_CLEAR(settled);
        } else {
            PyTuple_SET_ITEM(settled, i, other);
        }
    }
    return settled;
}
