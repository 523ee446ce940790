/* "message", "pmessage", "smessage": what most of a subscriber's traffic is. */
#include "message.h"

#include <string.h>

static int
has_text(PyObject *object, const char *text, Py_ssize_t length)
{
    if (PyBytes_Check(object)) {
        return PyBytes_GET_SIZE(object) == length &&
               memcmp(PyBytes_AS_STRING(object), text, (size_t)length) == 0;
    }
    return PyUnicode_Check(object) && PyUnicode_IS_COMPACT_ASCII(object) &&
           PyUnicode_GET_LENGTH(object) == length &&
           memcmp(PyUnicode_1BYTE_DATA(object), text, (size_t)length) == 0;
}

typedef enum { NOT_PUBLISHED, MESSAGE, PMESSAGE, SMESSAGE } message_kind;

static message_kind
kind_of(PyObject *reply)
{
    Py_ssize_t size = PyList_CheckExact(reply) ? PyList_GET_SIZE(reply) : 0;
    if (size != 3 && size != 4) {
        return NOT_PUBLISHED;
    }
    PyObject *type = PyList_GET_ITEM(reply, 0);
    if (size == 4) {
        return has_text(type, "pmessage", 8) ? PMESSAGE : NOT_PUBLISHED;
    }
    return has_text(type, "message", 7)    ? MESSAGE
           : has_text(type, "smessage", 8) ? SMESSAGE
                                           : NOT_PUBLISHED;
}

int
ar_message_is_published(PyObject *reply)
{
    return kind_of(reply) != NOT_PUBLISHED;
}

PyObject *
ar_message_from_reply(ar_state *state, const ar_subscriptions *subscriptions, PyObject *reply)
{
    PyObject *type = NULL, *handlers = NULL;
    switch (kind_of(reply)) {
    case NOT_PUBLISHED:
        return reply;
    case MESSAGE:
        type = state->str_message;
        handlers = subscriptions->channels;
        break;
    case PMESSAGE:
        type = state->str_pmessage;
        handlers = subscriptions->patterns;
        break;
    case SMESSAGE:
        type = state->str_smessage;
        handlers = subscriptions->shard_channels;
        break;
    }
    Py_ssize_t size = PyList_GET_SIZE(reply);
    PyObject *pattern = size == 4 ? PyList_GET_ITEM(reply, 1) : Py_None;
    PyObject *channel = PyList_GET_ITEM(reply, size - 2);
    PyObject *data = PyList_GET_ITEM(reply, size - 1);
    PyObject *handler = PyDict_GetItemWithError(handlers, size == 4 ? pattern : channel);
    Py_XINCREF(handler); /* a finalizer may unsubscribe it */
    PyObject *message = PyErr_Occurred() ? NULL : PyDict_New();
    if (message != NULL && (PyDict_SetItem(message, state->str_type, type) < 0 ||
                            PyDict_SetItem(message, state->str_pattern, pattern) < 0 ||
                            PyDict_SetItem(message, state->str_channel, channel) < 0 ||
                            PyDict_SetItem(message, state->str_data, data) < 0)) {
        Py_CLEAR(message);
    }
    Py_DECREF(reply);
    PyObject *result = message;
    if (message != NULL && handler != NULL && handler != Py_None) {
        result = PyTuple_Pack(2, handler, message);
        Py_DECREF(message);
    }
    Py_XDECREF(handler);
    return result;
}
