/* _native.Link: one connection in the hands of one user, who sends and reads as it sees fit. It is lent by a pool, or
 * made for the purpose. */
#ifndef AR_LINK_H
#define AR_LINK_H

#include "inlet.h"
#include "pool.h"

/* What to do when more than `limit` bytes are waiting to be read. */
typedef enum {
    AR_OVERFLOW_PAUSE,       /* leave the rest to the socket, and so to the server */
    AR_OVERFLOW_DROP_OLDEST, /* forget the oldest published messages */
    AR_OVERFLOW_DISCONNECT,  /* the connection is lost */
} ar_overflow;

/*
 *   own:   NEW -- connect() --> CONNECTING -- ready --> OPEN -- lost, close() --> CLOSED
 *   lent:                                               OPEN -- lost, close(), release() --> CLOSED
 *
 * CLOSED is left by connect() only, with a new connection; what had come before the loss can still be read.
 */
typedef struct {
    PyObject_HEAD
    ar_state *state;
    ArConfig *config;
    ArCore *core;
    ArPool *pool;  /* that lent the connection, or NULL */
    ar_conn *conn; /* NULL when new or closed */
    ar_inlet inlet;
    ar_ring waiters; /* ArCommand *, owned */
    PyObject *error; /* why the connection was lost */
    ev_timer timer;  /* for the earliest deadline of the waiters */
    size_t limit;    /* bytes that may be held unread */
    ar_overflow overflow;
    int decode_kept;    /* how to decode what an overflow does not drop */
    PyObject *kept;     /* list of (reply, whether it was a push) to be read first, or NULL */
    Py_ssize_t dropped; /* messages, ever */
    int paused;
    int fresh;  /* bytes have come since the last look */
    int pushed; /* the reply read last was a push */
    /* What the connection's state would be to its next user. */
    Py_ssize_t unanswered;
    int watching, queueing, changed;
} ArLink;

/* Connected, and its handshake done. */
static inline int
ar_link_is_open(const ArLink *self)
{
    return self->conn != NULL && self->conn->state == AR_CONN_READY && ar_core_alive(self->core);
}

ArLink *ar_link_new(ar_state *state, ArConfig *config);

/* Awaitables. Connecting fails with the error; the others end with True, or with False when `timeout` seconds
 * (negative: none) have passed before. They also end when the connection is lost: the next read says why. */
PyObject *ar_link_connect(ArLink *self);
PyObject *ar_link_wait(ArLink *self, double timeout); /* for more bytes */
PyObject *ar_link_drain(ArLink *self);                /* for room in the output */

/* -1 with an exception set: nothing of it was sent. */
int ar_link_send(ArLink *self, PyObject *commands); /* sequence of tuples */
int ar_link_write(ArLink *self, PyObject *chunks);  /* sequence of bytes */

/* The next reply that has come; AR_READ_FAILED with an exception set. */
ar_read_result ar_link_next(ArLink *self, int decode, PyObject **reply, int *failed);

/* `reuse`: the connection goes back to the pool that lent it, when its state allows. */
void ar_link_close(ArLink *self, int reuse);
/* As above, and nobody is told: those who wait are garbage as well. */
void ar_link_discard(ArLink *self);

/* ops->lend: the pool's connection becomes a link, which is the command's result. */
int ar_link_lend(ArCommand *command, void *connection, void *lender);

/* link_io.c: bytes of the connection. */
int ar_link_bytes(ar_conn *conn, const char *data, size_t length);

int ar_link_setup(PyObject *module, ar_state *state);

#endif
