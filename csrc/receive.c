/* Reading and delivering. A reply may run any Python code (it resumes a task), so every function here that
 * delivers holds a reference and looks at the state again afterwards. */
#include "connection.h"

/* Replies are parsed out of slices of what was read: hiredis moves the rest of its buffer to the
 * front for every kilobyte it has consumed itself. */
#define FEED_SLICE (16 * 1024)
/* Reads of a full buffer before other connections get their turn. */
#define READS_PER_DRAIN 16
/* Read at once into a large string; and what may follow behind it, which has to be copied. */
#define BULK_READ (2 * AR_READ_BUFFER)
#define BEHIND_BULK 4096

/* ---- delivering ---- */

/* How the reply that comes next is to be decoded. */
static int
next_reply_decodes(const ar_conn *conn)
{
    if (conn->state != AR_CONN_READY) {
        return 0;
    }
    const ArCommand *command = ar_ring_peek(&conn->inflight);
    if (!conn->config->decode || command == NULL) {
        return conn->config->decode;
    }
    if (command->batch != NULL) {
        return command->batch_mode == AR_BATCH_TRANSACTION ||
               !ar_queue_never_decodes(command->batch, command->batch->count - command->missing);
    }
    /* Of what may have to go back the bytes are kept as they came. */
    return !(command->properties & (AR_NEVER_DECODE | AR_TAKES));
}

/* Whether the owner takes the command back because of an error reply: one of its `replies` (a pipeline's), or
 * `replies` itself. */
static int
taken_back(ar_conn *conn, ArCommand *command, PyObject *replies)
{
    int failed = command->batch != NULL ? ar_error_first(replies, PyList_GET_SIZE(replies)) != NULL
                                        : PyExceptionInstance_Check(replies);
    return failed && conn->calls->refused != NULL && conn->calls->refused(conn, command, replies);
}

/* A reply of a pipeline: the slot stays until the last one is in. Steals `reply`. */
static void
collect_batch_reply(ar_conn *conn, ArCommand *command, PyObject *reply)
{
    if (command->replies == NULL && !ar_command_finished(command)) {
        command->replies = PyList_New(command->missing);
        if (command->replies == NULL) {
            ar_command_fail_pending_exception(command);
        }
    }
    if (command->replies != NULL) {
        PyList_SET_ITEM(command->replies, PyList_GET_SIZE(command->replies) - command->missing,
                        reply);
    } else {
        Py_DECREF(reply); /* nobody waits any more */
    }
    if (--command->missing > 0) {
        return;
    }
    if (ar_ring_peek(&conn->inflight) != command) {
        return;
    }
    (void)ar_ring_pop(&conn->inflight);
    command->connection = NULL;
    if (!ar_command_finished(command) && !taken_back(conn, command, command->replies)) {
        ar_command_reply(command, Py_NewRef(command->replies));
    }
    Py_DECREF(command);
}

static void
answer_command(ar_conn *conn, PyObject *reply, int failed)
{
    ArCommand *command = ar_ring_peek(&conn->inflight);
    if (command == NULL) {
        Py_DECREF(reply);
        ar_conn_lose(conn,
                     ar_error_format(conn->module_state->InvalidResponse,
                                     "Protocol error: a reply came without a command"),
                     0);
        return;
    }
    if (command->unasked) {
        command->unasked = 0; /* what comes of it, the command's own reply tells */
        Py_DECREF(reply);
        return;
    }
    conn->core->delivering = AR_DELIVER_TO_TASK;
    if (command->missing > 0) {
        Py_INCREF(command); /* failing without memory, it may have the connection closed */
        collect_batch_reply(conn, command, reply);
        Py_DECREF(command);
    } else {
        (void)ar_ring_pop(&conn->inflight);
        command->connection = NULL;
        if (!ar_command_finished(command) && taken_back(conn, command, reply)) {
            Py_DECREF(reply);
        } else if (failed) {
            ar_command_fail(command, reply);
        } else if ((command->properties & AR_TAKES) && conn->calls->taken != NULL) {
            conn->calls->taken(conn, command, reply);
        } else {
            ar_command_reply(command, reply);
        }
        Py_DECREF(command);
    }
    conn->core->delivering = 0;
    conn->answered = 1;
    if (conn->inflight.count == 0 && conn->state == AR_CONN_READY) {
        conn->calls->idle(conn);
    }
}

static void
deliver(ar_conn *conn, PyObject *reply, int failed)
{
    switch (conn->sink.kind) {
    case AR_REPLY_ATTRIBUTE:
        Py_DECREF(reply);
        return;
    case AR_REPLY_PUSH:
        conn->calls->push(conn, reply);
        return;
    case AR_REPLY_VALUE:
        break;
    }
    if (conn->state == AR_CONN_HANDSHAKE) {
        ar_conn_handshake_reply(conn, reply);
    } else {
        answer_command(conn, reply, failed);
    }
}

/* Delivers every whole reply the reader holds. Returns 0 when delivering has to stop. */
static int
deliver_replies(ar_conn *conn)
{
    redisReader *reader = conn->context->reader;
    for (;;) {
        PyObject *reply;
        int failed;
        conn->sink.decode = next_reply_decodes(conn);
        switch (ar_reply_next(reader, &reply, &failed)) {
        case AR_READ_INCOMPLETE:
            return 1;
        case AR_READ_FAILED:
            ar_conn_lose(conn, NULL, 0);
            return 0;
        case AR_READ_REPLY:
            deliver(conn, reply, failed);
        }
        if (conn->state == AR_CONN_CLOSED || conn->core->interrupt != NULL) {
            return 0;
        }
    }
}

/* ---- large strings ---- */

/* Leaves hiredis in the middle of a large string, if that is where it is. 0: reading has to stop. */
static int
take_over_bulk(ar_conn *conn)
{
    redisReader *reader = conn->context->reader;
    if (reader->len == reader->pos || conn->state != AR_CONN_READY ||
        ar_ring_peek(&conn->inflight) == NULL) {
        return 1;
    }
    if (ar_bulk_take_over(&conn->bulk, reader) < 0) {
        ar_conn_lose(conn, NULL, 0);
        return 0;
    }
    return 1;
}

static void
forget_unwanted_bulk(ar_conn *conn)
{
    const ArCommand *command = ar_ring_peek(&conn->inflight);
    if (command == NULL || ar_command_finished(command)) {
        ar_bulk_forget(&conn->bulk);
    }
}

/* Takes what belongs to the string from the front of the data, and delivers it when it is whole.
 * Returns 0 when reading has to stop. */
static int
feed_bulk(ar_conn *conn, const char **data, size_t *length)
{
    Py_ssize_t used = ar_bulk_feed(&conn->bulk, *data, *length);
    if (used < 0) {
        ar_conn_lose(conn, NULL, 0);
        return 0;
    }
    *data += used;
    *length -= (size_t)used;
    if (ar_bulk_left(&conn->bulk) > 0) {
        return 1;
    }
    int failed;
    conn->sink.decode = next_reply_decodes(conn);
    PyObject *reply = ar_bulk_finish(&conn->bulk, &conn->sink, &failed);
    if (reply == NULL) {
        ar_conn_lose(conn, NULL, 0);
        return 0;
    }
    deliver(conn, reply, failed);
    return conn->state != AR_CONN_CLOSED && conn->core->interrupt == NULL;
}

static int
feed(ar_conn *conn, const char *data, size_t length)
{
    if (redisReaderFeed(conn->context->reader, data, length) == REDIS_OK) {
        return 0;
    }
    ar_reply_set_reader_error(conn->module_state, conn->context->reader);
    ar_conn_lose(conn, NULL, 0);
    return -1;
}

/* Keeps what an interrupt left undelivered for the next loop turn. */
static void
keep_for_later(ar_conn *conn, const char *rest, size_t length)
{
    if (conn->state != AR_CONN_CLOSED && (length == 0 || feed(conn, rest, length) == 0)) {
        conn->resuming = 1;
        conn->calls->resume_later(conn);
    }
}

/* Returns 0 when reading has to stop. */
static int
process(ar_conn *conn, const char *data, size_t length)
{
    if (conn->calls->bytes != NULL && conn->state == AR_CONN_READY) {
        if (conn->calls->bytes(conn, data, length) < 0) {
            ar_conn_lose(conn, NULL, 0);
        }
        return conn->state == AR_CONN_READY;
    }
    while (length > 0) {
        if (ar_bulk_active(&conn->bulk)) {
            if (!feed_bulk(conn, &data, &length)) {
                if (conn->core->interrupt != NULL) {
                    keep_for_later(conn, data, length);
                }
                return 0;
            }
            continue;
        }
        const redisReader *reader = conn->context->reader;
        /* In the middle of something large, slices would only make hiredis look in vain. */
        size_t held = reader->len - reader->pos;
        size_t slice = length > FEED_SLICE && held < FEED_SLICE ? FEED_SLICE : length;
        if (feed(conn, data, slice) < 0) {
            return 0;
        }
        data += slice;
        length -= slice;
        if (!deliver_replies(conn)) {
            if (conn->core->interrupt != NULL) {
                keep_for_later(conn, data, length);
            }
            return 0;
        }
        if (!take_over_bulk(conn)) {
            return 0;
        }
    }
    return 1;
}

void
ar_conn_resume(ar_conn *conn)
{
    if (!conn->resuming || conn->state == AR_CONN_CLOSED) {
        return;
    }
    conn->resuming = 0;
    ar_conn_ref(conn);
    conn->busy++;
    if (!deliver_replies(conn) && conn->core->interrupt != NULL) {
        keep_for_later(conn, NULL, 0);
    }
    conn->busy--;
    if (conn->state == AR_CONN_CLOSED && conn->busy == 0) {
        ar_conn_free_context(conn);
    }
    ar_conn_unref(conn);
}

/* ---- reading ---- */

/* Reads, straight into the large string that is arriving if there is one. *asked: bytes there was room for;
 * *length: bytes now in the core's buffer, to be processed. Returns what was read, or -1 after the connection
 * was lost. */
static ssize_t
read_some(ar_conn *conn, size_t *asked, size_t *length)
{
    char *buffer = conn->core->read_buffer;
    size_t room = 0;
    char *into = buffer;
    if (ar_bulk_active(&conn->bulk)) {
        forget_unwanted_bulk(conn);
        into = ar_bulk_room(&conn->bulk, &room);
        if (into == NULL) {
            ar_conn_lose(conn, NULL, 0);
            return -1;
        }
    }
    ssize_t count;
    if (room == 0) {
        *asked = AR_READ_BUFFER;
        count = ar_io_read(conn->context, buffer, AR_READ_BUFFER);
    } else {
        room = room < BULK_READ ? room : BULK_READ;
        *asked = room + BEHIND_BULK;
        count = ar_io_read_two(conn->context, into, room, buffer, BEHIND_BULK);
    }
    if (count < 0) {
        ar_conn_lose_io(conn);
        return -1;
    }
    size_t direct = (size_t)count < room ? (size_t)count : room;
    ar_bulk_received(&conn->bulk, direct);
    *length = (size_t)count - direct;
    return count;
}

static void
read_and_process(ar_conn *conn)
{
    int tls = ar_io_is_tls(conn->context);
    for (int rounds = 0;; rounds++) {
        size_t asked, length;
        ssize_t count = read_some(conn, &asked, &length);
        if (count <= 0) {
            return;
        }
        conn->silent_since = ar_monotonic();
        conn->core->read_anything = 1;
        conn->core->bulk_left -= count;
        int enough =
            rounds >= (tls ? READS_PER_DRAIN * 4 : READS_PER_DRAIN) || conn->core->bulk_left <= 0;
        if (!process(conn, conn->core->read_buffer, length)) {
            return;
        }
        if (tls) {
            /* OpenSSL may hold more than the socket shows, the rest of a record behind the end of a large
             * string above all: read until it has nothing left. */
            if (enough && SSL_pending(conn->session) == 0) {
                if (conn->calls->bytes == NULL) {
                    keep_for_later(conn, NULL, 0);
                }
                return;
            }
        } else if ((size_t)count < asked || enough) {
            return;
        }
    }
}

void
ar_conn_on_readable(struct ev_loop *Py_UNUSED(ev), ev_io *watcher, int Py_UNUSED(events))
{
    ar_conn *conn = watcher->data;
    /* Undelivered replies come first; the socket stays readable until then. */
    if (conn->core->interrupt != NULL || conn->resuming) {
        return;
    }
    ar_conn_ref(conn);
    conn->busy++;
    read_and_process(conn);
    conn->busy--;
    if (conn->state == AR_CONN_CLOSED) {
        if (conn->busy == 0) {
            ar_conn_free_context(conn);
        }
    } else {
        if (conn->session != NULL && conn->out.head != NULL) {
            ar_conn_flush_later(conn); /* TLS may have to read first */
        }
        if (conn->calls->settled != NULL && conn->state == AR_CONN_READY) {
            conn->calls->settled(conn);
        }
        if (conn->state != AR_CONN_CLOSED) { /* else its owner may be gone */
            conn->calls->progress(conn);
        }
    }
    ar_conn_unref(conn);
}
