/* From an endpoint to a connected socket: names are looked up off the loop, addresses tried in order. */
#include "connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void try_next_address(ar_conn *conn);

/* ---- waiting for a Python future ---- */

#define CAPSULE_NAME "aiecs_redis.connection"

static void
release_capsule(PyObject *capsule)
{
    ar_conn_unref(PyCapsule_GetPointer(capsule, CAPSULE_NAME));
}

static PyObject *
future_done(PyObject *capsule, PyObject *future)
{
    ar_conn *conn = PyCapsule_GetPointer(capsule, CAPSULE_NAME);
    PyObject *result = PyObject_CallMethod(future, "result", NULL);
    if (conn->state == AR_CONN_CLOSED || conn->waiting_for != future) {
        PyErr_Clear();
        Py_XDECREF(result);
        Py_RETURN_NONE;
    }
    Py_CLEAR(conn->waiting_for);
    if (result == NULL && PyErr_ExceptionMatches(conn->module_state->CancelledError)) {
        /* Not those who wait for the connection have been cancelled. */
        ar_error_set_given_up(conn->module_state);
    }
    ar_conn_ref(conn);
    conn->continuation(conn, result);
    ar_conn_unref(conn);
    Py_XDECREF(result);
    Py_RETURN_NONE;
}

static PyMethodDef future_done_method = {"connection_future_done", future_done, METH_O, NULL};

int
ar_conn_wait_for(ar_conn *conn, PyObject *awaitable,
                 void (*continuation)(ar_conn *conn, PyObject *result))
{
    PyObject *future = PyObject_CallFunctionObjArgs(conn->module_state->resolve_awaitable,
                                                    awaitable, conn->core->loop, NULL);
    Py_DECREF(awaitable);
    PyObject *capsule = NULL, *callback = NULL, *result = NULL;
    if (future == NULL) {
        return -1;
    }
    if (conn->state == AR_CONN_CLOSED) { /* by what made the awaitable, or the future of it */
        result = PyObject_CallMethod(future, "cancel", NULL);
        goto done;
    }
    capsule = PyCapsule_New(conn, CAPSULE_NAME, release_capsule);
    if (capsule == NULL) {
        goto done;
    }
    ar_conn_ref(conn);
    callback = PyCFunction_New(&future_done_method, capsule);
    if (callback == NULL) {
        goto done;
    }
    conn->continuation = continuation;
    Py_XSETREF(conn->waiting_for, Py_NewRef(future));
    result = PyObject_CallMethod(future, "add_done_callback", "O", callback);

done:
    Py_XDECREF(callback);
    Py_XDECREF(capsule);
    Py_DECREF(future);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- connecting ---- */

static void
set_socket_options(const ar_conn *conn)
{
    int fd = conn->context->fd, on = 1;
    if (conn->endpoint.path != NULL) {
        return;
    }
    if (conn->config->keepalive) {
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    PyObject *options = conn->config->socket_options;
    for (Py_ssize_t i = 0; options != NULL && i < PyTuple_GET_SIZE(options); i++) {
        int level, option, value;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(options, i), "iii", &level, &option, &value)) {
            PyErr_Clear(); /* checked by Python; an option this platform lacks is skipped too */
            continue;
        }
        (void)setsockopt(fd, level, option, &value, sizeof(value));
    }
}

static void
connected(ar_conn *conn)
{
    set_socket_options(conn);
    if (conn->config->tls != NULL) {
        conn->session = ar_tls_start(conn->config->tls, conn->context, conn->endpoint.host);
        if (conn->session == NULL) {
            const char *reason = conn->context->err ? conn->context->errstr : "TLS could not start";
            PyObject *exception =
                ar_error_connecting(conn->module_state, &conn->endpoint, 1, reason);
            ar_conn_lose(conn, exception, 0);
            return;
        }
    }
    ar_conn_watch(conn);
    ar_conn_handshake_start(conn);
}

static void
address_failed(ar_conn *conn, int error_number)
{
    if (conn->addresses != NULL && conn->next_address < PyList_GET_SIZE(conn->addresses)) {
        try_next_address(conn);
        return;
    }
    PyObject *exception =
        ar_error_connecting(conn->module_state, &conn->endpoint, error_number, NULL);
    ar_conn_lose(conn, exception, 0);
}

static void
on_connect_event(struct ev_loop *ev, ev_io *watcher, int Py_UNUSED(events))
{
    ar_conn *conn = watcher->data;
    int error_number = 0;
    socklen_t size = sizeof(error_number);
    ev_io_stop(ev, watcher);
    if (getsockopt(conn->context->fd, SOL_SOCKET, SO_ERROR, &error_number, &size) < 0) {
        error_number = errno;
    }
    ar_conn_ref(conn);
    if (error_number != 0) {
        address_failed(conn, error_number);
    } else {
        connected(conn);
    }
    ar_conn_unref(conn);
}

/* Non-blocking connect to `address`, or to the unix socket's path. */
static void
start_connect(ar_conn *conn, const char *address)
{
    redisOptions options = {.options = REDIS_OPT_NONBLOCK | REDIS_OPT_NO_PUSH_AUTOFREE |
                                       REDIS_OPT_SET_SOCK_CLOEXEC};
    if (conn->endpoint.path != NULL) {
        REDIS_OPTIONS_SET_UNIX(&options, conn->endpoint.path);
    } else {
        REDIS_OPTIONS_SET_TCP(&options, address, conn->endpoint.port);
    }
    if (conn->context != NULL) {
        redisFree(conn->context);
    }
    errno = 0;
    conn->context = redisConnectWithOptions(&options);
    if (conn->context == NULL) {
        PyErr_NoMemory();
        ar_conn_lose(conn, NULL, 0);
        return;
    }
    if (conn->context->err != 0) {
        address_failed(conn, errno != 0 ? errno : ECONNREFUSED);
        return;
    }
    redisReader *reader = NULL;
    if (ar_core_reserve(conn->core, conn->context->fd) == 0) {
        reader = ar_reply_reader_new(&conn->sink);
    }
    if (reader == NULL) {
        ar_conn_lose(conn, NULL, 0);
        return;
    }
    redisReaderFree(conn->context->reader);
    conn->context->reader = reader;
    conn->state = AR_CONN_CONNECTING;
    ar_libev_io_init(&conn->write_watcher, on_connect_event, conn->context->fd, EV_WRITE, conn);
    ev_io_start(conn->core->ev, &conn->write_watcher);
    ar_core_watchers_changed(conn->core);
}

static void
try_next_address(ar_conn *conn)
{
    PyObject *address = PyList_GET_ITEM(conn->addresses, conn->next_address);
    conn->next_address++;
    start_connect(conn, PyUnicode_AsUTF8(address));
}

/* ---- looking names up ---- */

/* Of an entry of what socket.getaddrinfo() returned: a str that can be encoded. */
static PyObject *
address_of(PyObject *entry)
{
    PyObject *sockaddr = PySequence_GetItem(entry, 4);
    PyObject *address = sockaddr != NULL ? PySequence_GetItem(sockaddr, 0) : NULL;
    Py_XDECREF(sockaddr);
    if (address != NULL && !PyUnicode_Check(address)) {
        PyErr_Format(PyExc_TypeError, "socket.getaddrinfo() gave %R for an address", address);
        Py_CLEAR(address);
    } else if (address != NULL && PyUnicode_AsUTF8(address) == NULL) {
        Py_CLEAR(address);
    }
    return address;
}

/* A list of its addresses, without repetition. The function may be somebody's replacement. */
static PyObject *
collect_addresses(PyObject *entries)
{
    PyObject *iterator = PyObject_GetIter(entries);
    PyObject *addresses = iterator != NULL ? PyList_New(0) : NULL, *entry;
    while (addresses != NULL && (entry = PyIter_Next(iterator)) != NULL) {
        PyObject *address = address_of(entry);
        int known = address == NULL ? -1 : PySequence_Contains(addresses, address);
        if (known < 0 || (known == 0 && PyList_Append(addresses, address) < 0)) {
            Py_CLEAR(addresses);
        }
        Py_XDECREF(address);
        Py_DECREF(entry);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(addresses);
    }
    Py_XDECREF(iterator);
    return addresses;
}

static void
name_resolved(ar_conn *conn, PyObject *entries)
{
    if (entries == NULL) {
        PyObject *error = ar_exception_take();
        PyObject *reason = PyObject_GetAttrString(error, "strerror");
        PyObject *number = PyObject_GetAttrString(error, "errno");
        PyErr_Clear();
        const char *text = reason != NULL && PyUnicode_Check(reason) ? PyUnicode_AsUTF8(reason)
                                                                     : "Name look-up failed";
        int code = number != NULL && PyLong_Check(number) ? (int)PyLong_AsLong(number) : 0;
        PyObject *exception = ar_error_connecting(conn->module_state, &conn->endpoint, code, text);
        if (exception != NULL) {
            PyException_SetCause(exception, Py_NewRef(error));
        } else {
            exception = ar_exception_take();
        }
        Py_XDECREF(reason);
        Py_XDECREF(number);
        Py_DECREF(error);
        ar_conn_lose(conn, exception, 0);
        return;
    }
    PyObject *addresses = collect_addresses(entries);
    if (conn->state == AR_CONN_CLOSED) { /* by Python code of what was looked through */
        Py_XDECREF(addresses);
        PyErr_Clear();
        return;
    }
    Py_XSETREF(conn->addresses, addresses);
    conn->next_address = 0;
    if (conn->addresses == NULL) {
        ar_conn_lose(conn, NULL, 0);
    } else if (PyList_GET_SIZE(conn->addresses) == 0) {
        address_failed(conn, EADDRNOTAVAIL);
    } else {
        try_next_address(conn);
    }
}

static void
resolve(ar_conn *conn)
{
    const ar_endpoint *endpoint = &conn->endpoint;
    PyObject *getaddrinfo =
        PyObject_GetAttrString(conn->module_state->socket_module, "getaddrinfo");
    PyObject *future = NULL;
    if (getaddrinfo != NULL) {
        future = PyObject_CallMethod(conn->core->loop, "run_in_executor", "OOsiii", Py_None,
                                     getaddrinfo, endpoint->host, endpoint->port, 0, SOCK_STREAM);
        Py_DECREF(getaddrinfo);
    }
    if (future == NULL || ar_conn_wait_for(conn, future, name_resolved) < 0) {
        ar_conn_lose(conn, NULL, 0);
    }
}

static void
on_connect_deadline(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(events))
{
    ar_conn *conn = timer->data;
    ar_conn_ref(conn); /* finalizers may close the client */
    PyObject *exception = ar_error_timeout(
        conn->module_state, &conn->endpoint,
        &(ar_stall){.phase = AR_PHASE_CONNECTION, .unsent = 1, .silent_for = -1.0});
    ar_conn_lose(conn, exception, 0);
    ar_conn_unref(conn);
}

static void
connect_to_endpoint(ar_conn *conn)
{
    const ar_endpoint *endpoint = &conn->endpoint;
    if (endpoint->path != NULL || ar_tls_is_address(endpoint->host)) {
        start_connect(conn, endpoint->host);
    } else {
        resolve(conn);
    }
}

/* ---- asking for the address ---- */

static void
located(ar_conn *conn, PyObject *address)
{
    if (address == NULL) {
        ar_conn_lose(conn, NULL, 0);
        return;
    }
    if (PyExceptionInstance_Check(address)) {
        ar_conn_lose(conn, Py_NewRef(address), 1);
        return;
    }
    const char *host;
    int port;
    if (!PyTuple_Check(address)) {
        PyErr_Format(PyExc_TypeError, "an address is (host, port), not %R", address);
        ar_conn_lose(conn, NULL, 1);
        return;
    }
    if (!PyArg_ParseTuple(address, "si", &host, &port)) {
        ar_conn_lose(conn, NULL, 1);
        return;
    }
    Py_XSETREF(conn->address, Py_NewRef(address));
    conn->endpoint = (ar_endpoint){.host = host, .port = port};
    connect_to_endpoint(conn);
}

void
ar_conn_open(ar_conn *conn)
{
    ar_conn_ref(conn);
    ar_libev_timer_init(&conn->timer, on_connect_deadline, conn);
    if (conn->config->connect_timeout > 0.0) {
        ar_core_timer_start(conn->core, &conn->timer, conn->config->connect_timeout);
    }
    if (conn->state == AR_CONN_CLOSED) {
        /* by a finalizer that asking for a turn has run */
    } else if (conn->config->locate == Py_None || conn->calls->locate == NULL) {
        connect_to_endpoint(conn);
    } else {
        PyObject *awaitable = conn->calls->locate(conn);
        if (awaitable == NULL || ar_conn_wait_for(conn, awaitable, located) < 0) {
            ar_conn_lose(conn, NULL, 0);
        }
    }
    ar_conn_unref(conn);
}
