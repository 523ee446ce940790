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
    if (endpoint->host != NULL && endpoint->port == 0) {
        return PyUnicode_FromString(endpoint->host);
    }
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

void
ar_error_add_certificate_cause(PyObject *exception, const char *reason)
{
    PyObject *module = PyImport_ImportModule("ssl");
    PyObject *cls =
        module != NULL ? PyObject_GetAttrString(module, "SSLCertVerificationError") : NULL;
    PyObject *text =
        cls != NULL ? PyUnicode_FromFormat("[SSL: CERTIFICATE_VERIFY_FAILED] %s", reason) : NULL;
    PyObject *cause = text != NULL ? PyObject_CallFunction(cls, "iO", 1, text) : NULL;
    if (cause != NULL) {
        PyException_SetCause(exception, Py_NewRef(cause)); /* each steals a reference */
        PyException_SetContext(exception, cause);
    }
    PyErr_Clear(); /* without ssl, or memory, the message has to do */
    Py_XDECREF(text);
    Py_XDECREF(cls);
    Py_XDECREF(module);
}

/* "5.0", whatever the locale; NULL with an exception set. */
static PyObject *
seconds_text(double seconds)
{
    char *digits = PyOS_double_to_string(seconds, 'f', seconds < 0.1 ? 3 : 1, 0, NULL);
    PyObject *text = digits != NULL ? PyUnicode_FromString(digits) : NULL;
    PyMem_Free(digits);
    return text;
}

/* Steals both; the exception goes when the attribute cannot be set. */
static PyObject *
with_attribute(PyObject *exception, const char *name, PyObject *value)
{
    if (exception != NULL &&
        (value == NULL || PyObject_SetAttrString(exception, name, value) < 0)) {
        Py_CLEAR(exception);
    }
    Py_XDECREF(value);
    return exception;
}

static PyObject *
silence_text(const ar_stall *stall)
{
    if (stall->silent_for < 0.0) {
        return PyUnicode_FromString("nothing was ever read");
    }
    PyObject *seconds = seconds_text(stall->silent_for);
    PyObject *text =
        seconds != NULL ? PyUnicode_FromFormat("nothing was read for %U s", seconds) : NULL;
    Py_XDECREF(seconds);
    return text;
}

static const char *
timeout_format(const ar_stall *stall)
{
    if (stall->phase == AR_PHASE_CONNECTION) {
        return "Timeout connecting to server (%U) (%s; %U; %zd command%s in flight, %llu bytes "
               "unsent%s)";
    }
    if (stall->unsent) {
        return "Timeout writing to %U: earlier commands have not left yet (%s; %U; %zd command%s "
               "in flight, %llu bytes unsent%s)";
    }
    return "Timeout reading from %U (%s; %U; %zd command%s in flight, %llu bytes unsent%s)";
}

PyObject *
ar_error_timeout(ar_state *state, const ar_endpoint *endpoint, const ar_stall *stall)
{
    static const char *const phases[] = {"waiting for a connection", "queued", "written",
                                         "being answered"};
    const char *phase = phases[stall->phase];
    PyObject *where = endpoint_text(endpoint);
    PyObject *silence = where != NULL ? silence_text(stall) : NULL;
    PyObject *exception = NULL;
    if (silence != NULL) {
        exception = ar_error_format(
            state->CommandTimeoutError, timeout_format(stall), where, phase, silence,
            stall->in_flight, stall->in_flight == 1 ? "" : "s", stall->unsent_bytes,
            stall->total ? "; the time for the whole operation is over" : "");
    }
    Py_XDECREF(where);
    Py_XDECREF(silence);
    if (exception == NULL) {
        return NULL;
    }
    exception = with_attribute(exception, "phase", PyUnicode_FromString(phase));
    exception = with_attribute(exception, "in_flight", PyLong_FromSsize_t(stall->in_flight));
    exception =
        with_attribute(exception, "unsent_bytes", PyLong_FromUnsignedLongLong(stall->unsent_bytes));
    if (stall->silent_for >= 0.0) {
        exception = with_attribute(exception, "silent_for", PyFloat_FromDouble(stall->silent_for));
    }
    return exception;
}

PyObject *
ar_error_circuit_open(ar_state *state, const ar_endpoint *endpoint, int failures,
                      double retry_after, PyObject *cause)
{
    PyObject *where = endpoint_text(endpoint), *exception = NULL;
    PyObject *seconds = where != NULL ? seconds_text(retry_after) : NULL;
    if (seconds != NULL && retry_after > 0.0) {
        exception = ar_error_format(state->CircuitOpenError,
                                    "Circuit open after %d failed attempts to connect to %U: the "
                                    "next attempt is in %U s. (%S)",
                                    failures, where, seconds, cause);
    } else if (seconds != NULL) {
        exception = ar_error_format(state->CircuitOpenError,
                                    "Circuit open after %d failed attempts to connect to %U: the "
                                    "next attempt is under way. (%S)",
                                    failures, where, cause);
    }
    Py_XDECREF(where);
    Py_XDECREF(seconds);
    return with_attribute(exception, "retry_after", PyFloat_FromDouble(retry_after));
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

int
ar_error_is_passing(const ar_state *state, PyObject *reply)
{
    return PyExceptionInstance_Check(reply) &&
           PyErr_GivenExceptionMatches(reply, state->ConnectionError) &&
           !PyErr_GivenExceptionMatches(reply, state->AuthenticationError);
}

PyObject *
ar_error_first(PyObject *replies, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *reply = PyList_GET_ITEM(replies, i);
        if (reply != NULL && PyExceptionInstance_Check(reply)) {
            return reply;
        }
    }
    return NULL;
}

void
ar_error_set_bad_argument(ar_state *state, PyObject *argument)
{
    const char *name = Py_TYPE(argument)->tp_name, *dot = strrchr(name, '.');
    PyErr_Format(state->DataError,
                 "Invalid input of type: '%s'. Convert to a bytes, string, int or float first.",
                 dot != NULL ? dot + 1 : name);
}

void
ar_error_set_given_up(ar_state *state)
{
    PyObject *cause = ar_exception_take();
    PyObject *exception = ar_error_format(state->ConnectionError,
                                          "Connecting was cancelled: the look-up of the name, "
                                          "or the credential provider.");
    if (exception != NULL) {
        PyException_SetCause(exception, cause);
        ar_exception_restore(exception);
    } else {
        Py_DECREF(cause);
    }
}

PyObject *
ar_error_copy(PyObject *exception)
{
    PyObject *arguments = PyObject_GetAttrString(exception, "args");
    PyObject *copy = NULL;
    if (arguments != NULL && PyTuple_Check(arguments)) {
        copy = PyObject_Call((PyObject *)Py_TYPE(exception), arguments, NULL);
    }
    Py_XDECREF(arguments);
    if (copy == NULL || Py_TYPE(copy) != Py_TYPE(exception)) {
        /* A class with a constructor of its own: the shared instance still tells the truth. */
        PyErr_Clear();
        Py_XDECREF(copy);
        return Py_NewRef(exception);
    }
    PyObject *attributes = PyObject_GetAttrString(exception, "__dict__");
    PyObject *own = attributes != NULL ? PyObject_GetAttrString(copy, "__dict__") : NULL;
    if (own == NULL || PyDict_Update(own, attributes) < 0) {
        PyErr_Clear(); /* without memory it says less */
    }
    Py_XDECREF(own);
    Py_XDECREF(attributes);
    PyObject *cause = PyException_GetCause(exception);
    if (cause != NULL) {
        PyException_SetCause(copy, cause);
    }
    PyObject *context = PyException_GetContext(exception);
    if (context != NULL) {
        PyException_SetContext(copy, context);
    }
    return copy;
}
