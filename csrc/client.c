/* A client without its Python face: how it sends, and its rules for replies. */
#include "client.h"

#include "convert.h"

/* ---- settings ---- */

void
ar_client_redirect(ArClient *self)
{
    self->target.diverted = self->transport == NULL || self->unsettled || self->own_connection;
}

int
ar_client_settle(ArClient *self)
{
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_configure", NULL);
    self->unsettled = result == NULL;
    Py_XDECREF(result);
    ar_client_redirect(self);
    return result == NULL ? -1 : 0;
}

/* ---- sending ---- */

int
ar_client_start(ArCommand *command)
{
    const ArClient *self = (ArClient *)command->owner;
    if (self->transport == NULL) {
        PyErr_SetString(command->state->ConnectionError, "The client has been closed.");
        return -1;
    }
    if (self->metrics != NULL) {
        command->started = ar_monotonic();
    }
    double limit = self->transport->config->operation_timeout;
    if (limit > 0.0) {
        double expires = ar_monotonic() + limit;
        if (command->expires == 0.0 || expires < command->expires) {
            command->expires = expires;
        }
    }
    return self->cluster != NULL ? ar_cluster_submit(self->cluster, command)
                                 : ar_transport_submit(self->transport, command);
}

void
ar_client_measured(ArCommand *command, double started, PyObject *exception)
{
    const ArClient *self = (ArClient *)command->owner;
    if (self != NULL && self->metrics != NULL) {
        ar_metrics_finished(self->metrics, command, started, exception);
    }
}

/* ---- replies ---- */

/* The first connection that had to fall back to RESP2 changes the client's response callbacks. */
int
ar_client_note_protocol(ArClient *self)
{
    const ArTransport *transport = self->transport;
    if (self->downgraded || transport == NULL || transport->config->protocol != 3) {
        return 0;
    }
    int spoken = self->cluster != NULL     ? self->cluster->protocol
                 : transport->pool != NULL ? transport->pool->protocol
                                           : 0;
    if (spoken != 2) {
        return 0;
    }
    self->downgraded = 1;
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_on_resp2_fallback", NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

PyObject *
ar_client_convert(ArClient *self, PyObject *name, PyObject *options, PyObject *reply)
{
    ar_state *state = self->target.state;
    PyObject *empty =
        options != NULL ? PyDict_GetItemWithError(options, state->str_EMPTY_RESPONSE) : NULL;
    if (PyExceptionInstance_Check(reply)) {
        if (empty != NULL) {
            Py_DECREF(reply);
            return Py_NewRef(empty);
        }
        PyErr_SetObject((PyObject *)Py_TYPE(reply), reply);
        Py_DECREF(reply);
        return NULL;
    }
    if (ar_client_note_protocol(self) < 0) {
        Py_DECREF(reply);
        return NULL;
    }
    if (empty == NULL) {
        return ar_convert(state, self->callbacks, name, options, reply);
    }
    PyObject *rest = PyDict_Copy(options);
    PyObject *result = NULL;
    if (rest != NULL && PyDict_DelItem(rest, state->str_EMPTY_RESPONSE) == 0) {
        result = ar_convert(state, self->callbacks, name, rest, reply);
    } else {
        Py_DECREF(reply);
    }
    Py_XDECREF(rest);
    return result;
}
