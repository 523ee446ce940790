/* What a link sends, and what it does with the bytes that come until somebody reads. */
#include "lanes.h"
#include "link.h"
#include "message.h"

/* ---- sending ---- */

static int
check_open(const ArLink *self)
{
    if (ar_link_is_open(self)) {
        return 0;
    }
    if (self->error != NULL) {
        ar_exception_restore(ar_error_copy(self->error));
    } else {
        PyErr_SetString(self->state->ConnectionError, "The connection is closed.");
    }
    return -1;
}

/* What the command makes of the connection's state. */
static void
note_state(ArLink *self, PyObject *const *argv, Py_ssize_t argc)
{
    self->unanswered++;
    if (!(ar_lanes_properties(argv, argc) & AR_STATEFUL)) {
        return;
    }
    if (ar_lanes_is_word(argv[0], "WATCH")) {
        self->watching = 1;
    } else if (ar_lanes_is_word(argv[0], "MULTI")) {
        self->queueing = 1;
    } else if (ar_lanes_is_word(argv[0], "UNWATCH")) {
        self->watching = 0;
    } else if (ar_lanes_is_word(argv[0], "EXEC") || ar_lanes_is_word(argv[0], "DISCARD")) {
        self->watching = self->queueing = 0;
    } else {
        self->changed = 1;
    }
}

static void
flush(ArLink *self)
{
    ar_conn *conn = self->conn;
    if (ar_core_draining_here(self->core) || conn->flushable.queued) {
        ar_conn_flush_later(conn);
        return;
    }
    ar_conn_ref(conn);
    ar_conn_flush(conn);
    ar_conn_unref(conn);
}

/* A new list of settled tuples. */
static PyObject *
settle(const ArLink *self, PyObject *commands)
{
    PyObject *list = PySequence_List(commands);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *arguments = PyList_GET_ITEM(list, i), *settled = NULL;
        if (!PyTuple_Check(arguments) || PyTuple_GET_SIZE(arguments) == 0) {
            PyErr_SetString(PyExc_TypeError, "a command is a tuple of its name and arguments");
        } else {
            settled = ar_arguments_settle(self->state, &self->config->codec, arguments);
        }
        if (settled == NULL || PyList_SetItem(list, i, settled) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

int
ar_link_send(ArLink *self, PyObject *commands)
{
    PyObject *list = settle(self, commands);
    if (list == NULL || check_open(self) < 0) {
        Py_XDECREF(list);
        return -1;
    }
    ar_outq *out = &self->conn->out;
    ar_outq_mark mark = ar_outq_get_mark(out);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *arguments = PyList_GET_ITEM(list, i);
        if (ar_encode_command(self->state, out, &self->config->codec,
                              &PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments)) < 0) {
            ar_outq_rollback(out, mark);
            Py_DECREF(list);
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *arguments = PyList_GET_ITEM(list, i);
        note_state(self, &PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments));
    }
    flush(self);
    Py_DECREF(list); /* last, as finalizers of the arguments may close the connection */
    return 0;
}

/* A new list of bytes: a buffer of the user's own making may run Python code. */
static PyObject *
as_bytes(PyObject *chunks)
{
    PyObject *list = PySequence_List(chunks);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *chunk = PyList_GET_ITEM(list, i);
        if (PyBytes_Check(chunk)) {
            continue;
        }
        PyObject *bytes = NULL;
        if (PyObject_CheckBuffer(chunk)) {
            bytes = PyBytes_FromObject(chunk);
        } else {
            PyErr_Format(PyExc_TypeError, "a bytes-like object is required, not '%s'",
                         Py_TYPE(chunk)->tp_name);
        }
        if (bytes == NULL || PyList_SetItem(list, i, bytes) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

int
ar_link_write(ArLink *self, PyObject *chunks)
{
    PyObject *list = as_bytes(chunks);
    if (list == NULL || check_open(self) < 0) {
        Py_XDECREF(list);
        return -1;
    }
    ar_outq *out = &self->conn->out;
    ar_outq_mark mark = ar_outq_get_mark(out);
    self->changed = 1; /* whatever it says */
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *chunk = PyList_GET_ITEM(list, i);
        if (ar_outq_append(out, PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk)) < 0) {
            ar_outq_rollback(out, mark);
            Py_DECREF(list);
            return -1;
        }
    }
    flush(self);
    Py_DECREF(list);
    return 0;
}

/* ---- reading ---- */

static void
resume_reading(ArLink *self)
{
    if (self->paused && self->conn != NULL && ar_inlet_backlog(&self->inlet) < self->limit / 2) {
        self->paused = 0;
        ev_io_start(self->core->ev, &self->conn->read_watcher);
        ar_core_watchers_changed(self->core);
    }
}

static void
note_read(ArLink *self, int pushed)
{
    self->pushed = pushed;
    self->unanswered -= !pushed;
}

static ar_read_result
next_kept(ArLink *self, PyObject **reply)
{
    PyObject *pair = Py_NewRef(PyList_GET_ITEM(self->kept, 0));
    ar_read_result result = AR_READ_FAILED;
    if (PyList_SetSlice(self->kept, 0, 1, NULL) == 0) {
        *reply = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        note_read(self, PyTuple_GET_ITEM(pair, 1) == Py_True);
        result = AR_READ_REPLY;
    }
    Py_DECREF(pair);
    return result;
}

ar_read_result
ar_link_next(ArLink *self, int decode, PyObject **reply, int *failed)
{
    if (self->kept != NULL && PyList_GET_SIZE(self->kept) > 0) {
        *failed = 0;
        return next_kept(self, reply);
    }
    if (self->inlet.busy) {
        PyErr_SetString(PyExc_RuntimeError, "a reply of this connection is being read");
        return AR_READ_FAILED;
    }
    ar_read_result result = ar_inlet_next(&self->inlet, decode, reply, failed);
    if (self->paused && self->conn != NULL && self->core->ev != NULL) {
        resume_reading(self);
    }
    switch (result) {
    case AR_READ_REPLY:
        note_read(self, self->inlet.sink.kind == AR_REPLY_PUSH);
        return result;
    case AR_READ_INCOMPLETE:
        self->fresh = 0;
        if (check_open(self) < 0) {
            return AR_READ_FAILED;
        }
        return result;
    case AR_READ_FAILED:
        break;
    }
    PyObject *error = ar_exception_take(); /* the stream is out of step */
    ar_link_close(self, 0);
    ar_exception_restore(error);
    return result;
}

/* ---- bytes that come ---- */

/* Forgets published messages until half of the limit is free, and keeps everything else. */
static int
drop_oldest(ArLink *self)
{
    if (self->kept == NULL && (self->kept = PyList_New(0)) == NULL) {
        return -1;
    }
    while (ar_inlet_backlog(&self->inlet) > self->limit / 2) {
        PyObject *reply;
        int failed, result = 0;
        ar_read_result read = ar_inlet_next(&self->inlet, self->decode_kept, &reply, &failed);
        if (read != AR_READ_REPLY) {
            return read == AR_READ_FAILED ? -1 : 0;
        }
        if (failed || ar_message_is_published(reply)) {
            self->dropped++;
        } else {
            PyObject *pushed = self->inlet.sink.kind == AR_REPLY_PUSH ? Py_True : Py_False;
            PyObject *pair = PyTuple_Pack(2, reply, pushed);
            result = pair != NULL ? PyList_Append(self->kept, pair) : -1;
            Py_XDECREF(pair);
        }
        Py_DECREF(reply);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

int
ar_link_bytes(ar_conn *conn, const char *data, size_t length)
{
    ArLink *self = conn->owner;
    if (ar_inlet_append(&self->inlet, data, length) < 0) {
        return -1;
    }
    self->fresh = 1;
    if (self->paused || ar_inlet_backlog(&self->inlet) <= self->limit) {
        return 0;
    }
    switch (self->overflow) {
    case AR_OVERFLOW_PAUSE:
        self->paused = 1;
        ev_io_stop(self->core->ev, &conn->read_watcher);
        ar_core_watchers_changed(self->core);
        return 0;
    case AR_OVERFLOW_DROP_OLDEST: {
        if (self->inlet.busy) {
            return 0;
        }
        Py_INCREF(self); /* decoding may run Python code that drops it */
        int result = drop_oldest(self);
        Py_DECREF(self);
        return result;
    }
    case AR_OVERFLOW_DISCONNECT:
        break;
    }
    PyErr_Format(self->state->ConnectionError,
                 "Disconnected: %zu bytes of messages were waiting to be read, more than the limit "
                 "of %zu.",
                 ar_inlet_backlog(&self->inlet), self->limit);
    return -1;
}
