/* One connection: state machine, output, FIFO of commands in flight. connect.c opens it, receive.c reads, handshake.c
 * introduces it to the server, pool.c owns it. */
#ifndef AR_CONNECTION_H
#define AR_CONNECTION_H

#include "bulk.h"
#include "command.h"
#include "config.h"
#include "io.h"
#include "reply.h"
#include "ring.h"

/*
 *  RESOLVING -> CONNECTING -> HANDSHAKE -> READY
 *      \------------\------------\-----------\--> CLOSED (never left)
 */
typedef enum {
    AR_CONN_RESOLVING,
    AR_CONN_CONNECTING,
    AR_CONN_HANDSHAKE,
    AR_CONN_READY,
    AR_CONN_CLOSED,
} ar_conn_state;

typedef enum { AR_LANE_EXPRESS, AR_LANE_LEASED } ar_lane;

struct ar_conn;

/* What the pool learns of its connections. */
typedef struct {
    void (*ready)(struct ar_conn *conn);
    /* Closed by the peer, an error or a deadline. `reason` is borrowed; the commands in flight are the
     * pool's to take (ar_conn_take_inflight). `fatal`: trying again would end the same way. */
    void (*lost)(struct ar_conn *conn, PyObject *reason, int fatal);
    /* The command is answered with an error, or a list of replies with one in it (all borrowed). 1: the
     * owner has taken the command back, and it is not answered. NULL: it never does. */
    int (*refused)(struct ar_conn *conn, ArCommand *command, PyObject *reply);
    /* An AR_TAKES command has its reply (stolen, not decoded). NULL: it is like any other. */
    void (*taken)(struct ar_conn *conn, ArCommand *command, PyObject *reply);
    void (*idle)(struct ar_conn *conn);     /* every command in flight has been answered */
    void (*progress)(struct ar_conn *conn); /* bytes have left or come in */
    void (*push)(struct ar_conn *conn, PyObject *message); /* RESP3 push; steals the message */
    void (*resume_later)(struct ar_conn *conn);            /* call ar_conn_resume() next turn */
    /* An awaitable of the address to connect to, or NULL with an exception set. Asked where the
     * configuration has no address. */
    PyObject *(*locate)(struct ar_conn *conn);
    /* Both NULL for an owner that sends commands. Otherwise nothing is parsed once the connection is ready:
     * the bytes are the owner's (-1 with an exception set: the connection is lost), and `settled`
     * follows when what had come has been handed over. */
    int (*bytes)(struct ar_conn *conn, const char *data, size_t length);
    void (*settled)(struct ar_conn *conn);
} ar_conn_owner;

enum { AR_HANDSHAKE_STEPS = 9 };

typedef struct ar_conn {
    ar_flushable flushable; /* first: the core casts back */
    int references;
    const ar_conn_owner *calls;
    void *owner;
    ar_state *module_state;
    ArCore *core;
    ArConfig *config;
    ar_endpoint endpoint;  /* the configuration's, or what `locate` said */
    PyObject *address;     /* tuple that owns the endpoint's host, or NULL */
    redisContext *context; /* NULL before connecting and after closing */
    SSL *session;          /* owned by the context */
    ev_io read_watcher, write_watcher;
    ev_timer timer; /* for connecting and the handshake as a whole */
    ar_outq out;
    ar_ring inflight; /* ArCommand *, owned */
    ar_reply_sink sink;
    ar_bulk bulk; /* the reply that is arriving, when it is a large string */
    ar_conn_state state;
    ar_lane lane;
    int busy;              /* its reader or context is on the stack */
    unsigned unflushed;    /* commands queued in this drain since the last write */
    unsigned flush_at;     /* as many of them are written before its end; 0: not decided */
    int answered;          /* a command has been answered: the server works */
    int tainted;           /* a command changed its state: not to be used again */
    int held;              /* somebody will still refer to its client_id */
    long long client_id;   /* as the server knows it, 0: unknown */
    int resuming;          /* has replies that were read but not delivered */
    int protocol;          /* spoken: 2 or 3 */
    PyObject *waiting_for; /* future of a name look-up or of credentials */
    void (*continuation)(struct ar_conn *conn,
                         PyObject *result); /* result borrowed, NULL: raised */
    PyObject *addresses;                    /* list of str still to try */
    Py_ssize_t next_address;
    unsigned char steps[AR_HANDSHAKE_STEPS]; /* of the handshake, in the order sent */
    int step_count, step_done;
    int introduce_again; /* the server does not know HELLO, or no user names: say less */
    int password_only;
    int authenticate_again; /* a new token came before it was ready */
    PyObject *handshake_error;
    double writable_at;  /* monotonic seconds: the peer took more of a write that had to wait */
    double silent_since; /* monotonic seconds: the last read, or the first command after a pause */
} ar_conn;

/* Steals nothing; the caller's is the first reference. */
ar_conn *ar_conn_new(ArCore *core, ArConfig *config, ar_lane lane, const ar_conn_owner *calls,
                     void *owner);
void ar_conn_ref(ar_conn *conn);
void ar_conn_unref(ar_conn *conn);
int ar_conn_traverse(ar_conn *conn, visitproc visit, void *arg);

/* Encodes the command behind those before it. -1 with an exception set: nothing was queued. */
int ar_conn_send(ar_conn *conn, ArCommand *command);
/* Closes without telling the owner. */
void ar_conn_close(ar_conn *conn);
/* Closes and tells the owner; steals `reason`, which is the pending exception when NULL. */
void ar_conn_lose(ar_conn *conn, PyObject *reason, int fatal);
void ar_conn_lose_io(ar_conn *conn);
/* The commands in flight, oldest first; the references go with them. */
ar_ring ar_conn_take_inflight(ar_conn *conn);
/* Delivers replies left over by an interrupt (receive.c). */
void ar_conn_resume(ar_conn *conn);
/* Writes now what is queued. */
void ar_conn_flush(ar_conn *conn);

static inline int
ar_conn_was_sent(const ar_conn *conn, const ArCommand *command)
{
    return command->wire_start < conn->out.written;
}

/* connect.c */
void ar_conn_open(ar_conn *conn);
/* Waits for an awaitable or future (stolen), then calls `continuation`. -1 with an exception set. */
int ar_conn_wait_for(ar_conn *conn, PyObject *awaitable,
                     void (*continuation)(ar_conn *conn, PyObject *result));

/* handshake.c */
void ar_conn_handshake_start(ar_conn *conn);
void ar_conn_handshake_reply(ar_conn *conn, PyObject *reply); /* steals the reply */

/* Between the files of the connection. */
void ar_conn_watch(ar_conn *conn);
void ar_conn_on_readable(struct ev_loop *ev, ev_io *watcher, int events);
void ar_conn_flush_later(ar_conn *conn);
void ar_conn_free_context(ar_conn *conn);

#endif
