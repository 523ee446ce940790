/* Life, output and closing of a connection. Losing one may run Python code (error handlers of its commands), so
 * whoever flushes holds a reference. */
#include "connection.h"

#include <errno.h>
#include <string.h>

/* Commands after which a drain writes before its end, so that the server works while we go on; then after twice as
 * many, and so on, so that a long drain makes few writes. Of a server that works beside us (busypoll.h) half of the
 * commands in flight are written at once, so that it and we work on one half each: with 10 tasks that makes 1.9
 * times the commands. On our own core it only interrupts us, and half as many are made. */
#define FLUSH_AT 12
#define FLUSH_AT_MOST 24
/* Bytes written at once, if there are as many; what is left goes when libev says so. */
#define WRITE_MAX (1024 * 1024)
#define WRITE_MIN (128 * 1024)

static void flush_flushable(ar_flushable *flushable);

ar_conn *
ar_conn_new(ArCore *core, ArConfig *config, ar_lane lane, const ar_conn_owner *calls, void *owner)
{
    ar_conn *conn = PyMem_Calloc(1, sizeof(*conn));
    if (conn == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    conn->references = 1;
    conn->flushable.flush = flush_flushable;
    conn->calls = calls;
    conn->owner = owner;
    conn->module_state = core->state;
    conn->core = (ArCore *)Py_NewRef((PyObject *)core);
    core->connections++;
    conn->config = (ArConfig *)Py_NewRef((PyObject *)config);
    conn->endpoint = config->endpoint;
    conn->lane = lane;
    conn->protocol = config->protocol;
    conn->sink.state = core->state;
    conn->sink.encoding = config->codec.encoding;
    conn->sink.errors = config->codec.errors;
    return conn;
}

void
ar_conn_ref(ar_conn *conn)
{
    conn->references++;
}

void
ar_conn_free_context(ar_conn *conn)
{
    redisContext *context = conn->context;
    conn->context = NULL;
    conn->session = NULL;
    if (context != NULL) {
        ar_io_free(context);
    }
    ar_reply_sink_clear(&conn->sink);
    ar_bulk_clear(&conn->bulk);
}

void
ar_conn_unref(ar_conn *conn)
{
    if (--conn->references > 0) {
        return;
    }
    ar_conn_close(conn);
    ar_conn_free_context(conn);
    ar_ring inflight = ar_conn_take_inflight(conn);
    for (ArCommand *command; (command = ar_ring_pop(&inflight)) != NULL;) {
        command->connection = NULL;
        Py_DECREF(command);
    }
    ar_ring_free(&inflight);
    ar_outq_clear(&conn->out);
    Py_CLEAR(conn->handshake_error);
    Py_CLEAR(conn->waiting_for);
    Py_CLEAR(conn->addresses);
    Py_CLEAR(conn->address);
    Py_CLEAR(conn->config);
    conn->core->connections--;
    Py_CLEAR(conn->core);
    PyMem_Free(conn);
}

int
ar_conn_traverse(ar_conn *conn, visitproc visit, void *arg)
{
    Py_VISIT(conn->core);
    Py_VISIT(conn->config);
    Py_VISIT(conn->waiting_for);
    for (size_t i = 0; i < conn->inflight.count; i++) {
        Py_VISIT((PyObject *)ar_ring_at(&conn->inflight, i));
    }
    return 0;
}

ar_ring
ar_conn_take_inflight(ar_conn *conn)
{
    return ar_ring_take(&conn->inflight);
}

/* ---- closing ---- */

void
ar_conn_close(ar_conn *conn)
{
    if (conn->state == AR_CONN_CLOSED) {
        return;
    }
    conn->state = AR_CONN_CLOSED;
    ArCore *core = conn->core;
    if (core->ev != NULL) {
        ev_io_stop(core->ev, &conn->read_watcher);
        ev_io_stop(core->ev, &conn->write_watcher);
        ev_timer_stop(core->ev, &conn->timer);
    }
    ar_core_remove_reader(core, &conn->read_watcher);
    Py_CLEAR(conn->waiting_for);
    if (conn->busy == 0) {
        ar_conn_free_context(conn);
    }
}

void
ar_conn_lose(ar_conn *conn, PyObject *reason, int fatal)
{
    ar_conn_ref(conn);
    if (reason == NULL) {
        reason = ar_exception_take();
    }
    if (conn->state != AR_CONN_CLOSED) {
        ar_conn_close(conn);
        conn->calls->lost(conn, reason, fatal);
    }
    ar_conn_unref(conn);
    Py_DECREF(reason);
}

/* The context reports an error: tells end of file, TLS and errno apart. */
void
ar_conn_lose_io(ar_conn *conn)
{
    ar_state *state = conn->module_state;
    int number = errno, fatal = 0;
    char reason[256];
    PyObject *exception;
    if (conn->session != NULL && conn->context->err != REDIS_ERR_EOF) {
        fatal = SSL_get_verify_result(conn->session) != X509_V_OK;
        ar_tls_reason(conn->session, reason, sizeof(reason));
        exception = conn->state < AR_CONN_READY
                        ? ar_error_connecting(state, &conn->endpoint, 1, reason)
                        : ar_error_format(state->ConnectionError, "Connection lost: %s.", reason);
        if (fatal && exception != NULL) {
            ar_error_add_certificate_cause(exception, reason);
        }
    } else if (conn->context->err == REDIS_ERR_EOF) {
        exception = ar_error_format(state->ConnectionError, "Connection closed by server.");
    } else {
        exception =
            ar_error_format(state->ConnectionError, "Error %d while using the connection. %s.",
                            number, strerror(number));
    }
    ar_conn_lose(conn, exception, fatal);
}

/* ---- writing ---- */

/* A blocked TLS write may really wait for bytes to read; then the read watcher is what counts. */
static int
wants_write_event(const ar_conn *conn)
{
    return conn->out.head != NULL && (conn->session == NULL || !SSL_want_read(conn->session));
}

static size_t
write_limit(const ArCore *core)
{
    if (core->bulk_left <= WRITE_MIN) {
        return WRITE_MIN;
    }
    return core->bulk_left < WRITE_MAX ? (size_t)core->bulk_left : WRITE_MAX;
}

void
ar_conn_flush(ar_conn *conn)
{
    if (conn->context == NULL || conn->state < AR_CONN_HANDSHAKE || conn->state == AR_CONN_CLOSED ||
        conn->core->ev == NULL) {
        return;
    }
    uint64_t before = conn->out.written;
    if (ar_io_write(conn->context, &conn->out, write_limit(conn->core)) < 0) {
        ar_conn_lose_io(conn);
        return;
    }
    conn->core->bulk_left -= (Py_ssize_t)(conn->out.written - before);
    int wants = wants_write_event(conn);
    if (wants != ar_libev_io_active(&conn->write_watcher)) {
        if (wants) {
            ev_io_start(conn->core->ev, &conn->write_watcher);
        } else {
            ev_io_stop(conn->core->ev, &conn->write_watcher);
        }
        ar_core_watchers_changed(conn->core);
        if (conn->state == AR_CONN_CLOSED) { /* by a finalizer: its owner may be gone */
            return;
        }
    }
    conn->calls->progress(conn);
}

/* The reference was taken by ar_conn_flush_later(). */
static void
flush_flushable(ar_flushable *flushable)
{
    ar_conn *conn = (ar_conn *)flushable;
    conn->unflushed = 0;
    conn->flush_at = 0;
    ar_conn_flush(conn);
    ar_conn_unref(conn);
}

void
ar_conn_flush_later(ar_conn *conn)
{
    if (!conn->flushable.queued) {
        /* First: finalizers may run, and a core that they close flushes at once. */
        ar_conn_ref(conn);
        ar_core_mark_dirty(conn->core, &conn->flushable);
    }
}

static void
on_writable(struct ev_loop *Py_UNUSED(ev), ev_io *watcher, int Py_UNUSED(events))
{
    ar_conn *conn = watcher->data;
    conn->writable_at = ar_monotonic();
    ar_conn_ref(conn);
    ar_conn_flush(conn);
    ar_conn_unref(conn);
}

/* ---- sending ---- */

void
ar_conn_watch(ar_conn *conn)
{
    int fd = conn->context->fd;
    ar_libev_io_init(&conn->read_watcher, ar_conn_on_readable, fd, EV_READ, conn);
    ar_libev_io_init(&conn->write_watcher, on_writable, fd, EV_WRITE, conn);
    ev_io_start(conn->core->ev, &conn->read_watcher);
    ar_core_add_reader(conn->core, &conn->read_watcher);
    ar_core_watchers_changed(conn->core);
}

static int
encode(ar_conn *conn, ArCommand *command)
{
    ar_state *state = conn->module_state;
    const ar_text_codec *codec = &conn->config->codec;
    if (command->batch == NULL) {
        return ar_encode_command(state, &conn->out, codec, command->argv, command->argc);
    }
    return ar_queue_encode(command->batch, &conn->out, codec,
                           command->batch_mode == AR_BATCH_TRANSACTION);
}

/* Allows the command behind it on a node that is taking the slot over (cluster). */
static int
encode_asking(ar_conn *conn, ArCommand *command)
{
    static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
    ar_outq_mark mark = ar_outq_get_mark(&conn->out);
    if (ar_outq_append(&conn->out, asking, sizeof(asking) - 1) < 0 || encode(conn, command) < 0) {
        ar_outq_rollback(&conn->out, mark);
        return -1;
    }
    return 0;
}

static unsigned
first_flush_at(const ar_conn *conn)
{
    size_t half = (conn->inflight.count + 1) / 2;
    switch (ar_busypoll_server(&conn->core->busypoll)) {
    case AR_SERVER_BESIDE:
        return half < FLUSH_AT_MOST ? (unsigned)half : FLUSH_AT_MOST;
    case AR_SERVER_ON_OUR_CORE:
        return FLUSH_AT_MOST;
    case AR_SERVER_SOMEWHERE:
        break;
    }
    return FLUSH_AT;
}

int
ar_conn_send(ar_conn *conn, ArCommand *command)
{
    if (ar_ring_reserve(&conn->inflight) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    ar_outq_mark mark = ar_outq_get_mark(&conn->out);
    uint64_t start = conn->out.enqueued;
    if ((command->asking ? encode_asking(conn, command) : encode(conn, command)) < 0) {
        return -1;
    }
    if (command->properties & AR_SECRET) {
        ar_outq_keep_secret(&conn->out, mark);
    }
    command->unasked = command->asking;
    command->wire_start = start;
    command->attempts++;
    if (command->batch != NULL) {
        int around = command->batch_mode == AR_BATCH_TRANSACTION ? 2 : 0; /* MULTI, EXEC */
        command->missing = command->batch->count + around;
        Py_CLEAR(command->replies);
    }
    if (conn->inflight.count == 0) {
        conn->silent_since = ar_monotonic();
    }
    Py_INCREF(command);
    ar_ring_push(&conn->inflight, command);
    if (!(command->properties & AR_BLOCKING)) {
        conn->core->asked = 1;
    }
    /* Nothing in flight: at once. Otherwise with what else this drain or turn has to send. */
    if (conn->inflight.count == 1 && !ar_core_draining_here(conn->core) &&
        !conn->flushable.queued) {
        ar_conn_ref(conn);
        ar_conn_flush(conn);
        ar_core_poll_soon(conn->core);
        ar_conn_unref(conn);
        return 0;
    }
    ar_conn_flush_later(conn);
    if (conn->flush_at == 0) {
        conn->flush_at = first_flush_at(conn);
    }
    if (++conn->unflushed >= conn->flush_at && ar_core_draining_here(conn->core)) {
        conn->unflushed = 0;
        conn->flush_at *= 2;
        ar_conn_ref(conn);
        ar_conn_flush(conn);
        ar_conn_unref(conn);
    }
    return 0;
}
