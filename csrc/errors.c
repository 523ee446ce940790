/* Builds every exception of the client; raising or storing them is the caller's business. */
#include "errors.h"

#include <stdarg.h>
#include <string.h>

PyObject *
ar_error_format(PyObject *cls, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *message = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (message == NULL) {
        return NULL;
    }
    PyObject *exception = PyObject_CallOneArg(cls, message);
    Py_DECREF(message);
    return exception;
}

static PyObject *
endpoint_text(const ar_endpoint *endpoint)
{
    if (endpoint->host != NULL) {
        return PyUnicode_FromFormat("%s:%d", endpoint->host, endpoint->port);
    }
    return PyUnicode_FromString(endpoint->path);
}

PyObject *
ar_error_connecting(ar_state *state, const ar_endpoint *endpoint, int error_number,
                    const char *reason)
{
    PyObject *where = endpoint_text(endpoint);
    if (where == NULL) {
        return NULL;
    }
    PyObject *exception;
    if (error_number != 0) {
        exception =
            ar_error_format(state->ConnectionError, "Error %d connecting to %U. %s.", error_number,
                            where, reason != NULL ? reason : strerror(error_number));
    } else {
        exception = ar_error_format(state->ConnectionError, "Error connecting to %U. %s.", where,
                                    reason != NULL ? reason : "Unknown error");
    }
    Py_DECREF(where);
    return exception;
}

static PyObject *
error_with_endpoint(PyObject *cls, const char *format, const ar_endpoint *endpoint)
{
    PyObject *where = endpoint_text(endpoint);
    if (where == NULL) {
        return NULL;
    }
    PyObject *exception = ar_error_format(cls, format, where);
    Py_DECREF(where);
    return exception;
}

PyObject *
ar_error_read_timeout(ar_state *state, const ar_endpoint *endpoint)
{
    return error_with_endpoint(state->TimeoutError, "Timeout reading from %U", endpoint);
}

PyObject *
ar_error_write_timeout(ar_state *state, const ar_endpoint *endpoint)
{
    return error_with_endpoint(
        state->TimeoutError, "Timeout writing to %U: earlier commands have not left yet", endpoint);
}

PyObject *
ar_error_connect_timeout(ar_state *state, const ar_endpoint *endpoint)
{
    return error_with_endpoint(state->TimeoutError, "Timeout connecting to server (%U)", endpoint);
}

PyObject *
ar_error_outcome_unknown(ar_state *state, PyObject *command_name, int repeatable, PyObject *cause)
{
    const char *why = repeatable ? "it was not to be sent once more"
                                 : "it is not one that can be repeated safely";
    PyObject *exception =
        ar_error_format(state->OutcomeUnknownError,
                        "Connection lost while %S was in flight: it was sent but not answered, so "
                        "whether the server executed it is unknown, and %s. (%S)",
                        command_name, why, cause);
    if (exception != NULL) {
        PyException_SetCause(exception, Py_NewRef(cause));
    }
    return exception;
}

PyObject *
ar_error_from_reply(ar_state *state, const char *text, size_t length)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)length, "replace");
    if (message == NULL) {
        return NULL;
    }
    PyObject *exception = PyObject_CallOneArg(state->parse_error, message);
    Py_DECREF(message);
    return exception;
}

void
ar_error_set_bad_argument(ar_state *state, PyObject *argument)
{
    const char *name = Py_TYPE(argument)->tp_name, *dot = strrchr(name, '.');
    PyErr_Format(state->DataError,
                 "Invalid input of type: '%s'. Convert to a bytes, string, int or float first.",
                 dot != NULL ? dot + 1 : name);
}

PyObject *
ar_error_copy(PyObject *exception)
{
    PyObject *arguments = PyObject_GetAttrString(exception, "args");
    PyObject *copy = NULL;
    if (arguments != NULL) {
        copy = PyObject_Call((PyObject *)Py_TYPE(exception), arguments, NULL);
        Py_DECREF(arguments);
    }
    if (copy == NULL || Py_TYPE(copy) != Py_TYPE(exception)) {
        /* A class with a constructor of its own: the shared instance still tells the truth. */
        PyErr_Clear();
        Py_XDECREF(copy);
        return Py_NewRef(exception);
    }
    PyObject *cause = PyException_GetCause(exception);
    if (cause != NULL) {
        PyException_SetCause(copy, cause);
    }
    return copy;
}
