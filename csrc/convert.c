/* Looks the response callback up at the time of the reply, so that one set by the user acts at once. */
#include "convert.h"

#include <string.h>

static int
has_lower_case(PyObject *name)
{
    if (!PyUnicode_IS_COMPACT_ASCII(name)) {
        return 1;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(name); i++) {
        if (text[i] >= 'a' && text[i] <= 'z') {
            return 1;
        }
    }
    return 0;
}

/* Borrowed; NULL without an exception when there is none. */
static PyObject *
find_callback(PyObject *callbacks, PyObject *name)
{
    if (callbacks == NULL || !PyUnicode_Check(name)) {
        return NULL;
    }
    if (!has_lower_case(name)) {
        return PyDict_GetItemWithError(callbacks, name);
    }
    PyObject *upper = PyObject_CallMethod(name, "upper", NULL);
    if (upper == NULL) {
        return NULL;
    }
    PyObject *callback = PyDict_GetItemWithError(callbacks, upper);
    Py_DECREF(upper);
    return callback;
}

/* The number of the callback's native twin; 0 when it has none. */
static long
native_operation(ar_state *state, PyObject *callback)
{
    PyObject *operation = PyDict_GetItemWithError(state->converters, callback);
    if (operation == NULL) {
        PyErr_Clear(); /* a callback without a hash is simply not one of ours */
        return 0;
    }
    return PyLong_AsLong(operation);
}

int
ar_convert_find(ar_state *state, PyObject *callbacks, PyObject *name, long *operation)
{
    PyObject *callback = find_callback(callbacks, name);
    if (callback == NULL) {
        *operation = AR_CONVERT_IDENTITY;
        return PyErr_Occurred() ? -1 : 0;
    }
    *operation = native_operation(state, callback);
    return 0;
}

/* A bytes or str reply that spells `text`. */
static int
reply_is(PyObject *reply, const char *text)
{
    if (PyBytes_Check(reply)) {
        return strcmp(PyBytes_AS_STRING(reply), text) == 0;
    }
    return PyUnicode_Check(reply) && PyUnicode_CompareWithASCIIString(reply, text) == 0;
}

/* -1 with an exception set: it is an object that is neither. */
static int
option_is_true(PyObject *options, const char *name)
{
    PyObject *value = options != NULL ? PyDict_GetItemString(options, name) : NULL;
    return value != NULL ? PyObject_IsTrue(value) : 0;
}

static PyObject *
call(PyObject *callback, PyObject *reply, PyObject *options)
{
    PyObject *arguments = PyTuple_Pack(1, reply);
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_Call(callback, arguments, options);
    Py_DECREF(arguments);
    return result;
}

static PyObject *
pairs_to_dict(PyObject *pairs)
{
    PyObject *dict = PyDict_New();
    for (Py_ssize_t i = 0; dict != NULL && i + 1 < PyList_GET_SIZE(pairs); i += 2) {
        if (PyDict_SetItem(dict, PyList_GET_ITEM(pairs, i), PyList_GET_ITEM(pairs, i + 1)) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

PyObject *
ar_convert_natively(long operation, PyObject *options, PyObject *reply)
{
    int asked;
    switch (operation) {
    case AR_CONVERT_BOOL_OK:
        return PyBool_FromLong(reply_is(reply, "OK"));
    case AR_CONVERT_SET:
        asked = reply == Py_None ? 1 : option_is_true(options, "get");
        if (asked != 0) {
            return asked < 0 ? NULL : Py_NewRef(reply);
        }
        return reply_is(reply, "OK") ? Py_NewRef(Py_True) : NULL;
    case AR_CONVERT_BOOL:
        return PyBool_FromLong(PyObject_IsTrue(reply));
    case AR_CONVERT_PONG:
        return PyBool_FromLong(reply_is(reply, "PONG"));
    case AR_CONVERT_PY_SET:
        return PyList_CheckExact(reply) ? PySet_New(reply) : NULL;
    case AR_CONVERT_PAIRS:
        if (PyDict_CheckExact(reply)) {
            return Py_NewRef(reply);
        }
        return PyList_CheckExact(reply) ? pairs_to_dict(reply) : NULL;
    case AR_CONVERT_FLOAT:
        return reply == Py_None || PyFloat_CheckExact(reply) ? Py_NewRef(reply)
                                                             : PyNumber_Float(reply);
    case AR_CONVERT_SCORES:
        return option_is_true(options, "withscores") != 0 ? NULL : Py_NewRef(reply);
    case AR_CONVERT_IDENTITY:
        return Py_NewRef(reply);
    case AR_CONVERT_ZADD:
        return reply == Py_None || PyLong_CheckExact(reply) ? Py_NewRef(reply) : NULL;
    default:
        return NULL;
    }
}

PyObject *
ar_convert(ar_state *state, PyObject *callbacks, PyObject *name, PyObject *options, PyObject *reply)
{
    PyObject *callback = find_callback(callbacks, name);
    if (callback == NULL) {
        if (PyErr_Occurred()) {
            Py_CLEAR(reply);
        }
        return reply;
    }
    Py_INCREF(callback);
    PyObject *result = ar_convert_natively(native_operation(state, callback), options, reply);
    if (result == NULL && !PyErr_Occurred()) {
        result = call(callback, reply, options);
    }
    Py_DECREF(callback);
    Py_DECREF(reply);
    return result;
}
