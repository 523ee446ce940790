/* A command: what is sent, and the future of its reply. awaitable.c gives it its two Python types. */
#ifndef AR_COMMAND_H
#define AR_COMMAND_H

#include "errors.h"
#include "loop.h"
#include "queue.h"

#include <stdint.h>

/*
 *            isfuture() asked           start            reply
 *   NEW ------------------> SCHEDULED -------> STARTED -------> DONE | FAILED
 *    | \---- await ----------------------------^   |
 *    |                                             | cancel() (also from NEW and SCHEDULED)
 *    +-- close(), throw() --> CLOSED               +------> CANCELLED (its slot stays in the FIFO)
 *
 * One that takes something away (AR_TAKES) is ANSWERED between STARTED and DONE: see answer.c.
 */
typedef enum {
    AR_NEW,
    AR_SCHEDULED,
    AR_STARTED,
    AR_ANSWERED, /* nobody has been told: to the outside it is still pending */
    AR_DONE,
    AR_FAILED,
    AR_CANCELLED,
    AR_CLOSED,
} ar_status;

/* What is known of a command by its name (lanes.c). */
enum {
    AR_REPLAYABLE = 1 << 0,   /* a read, or a write whose repetition changes nothing */
    AR_BLOCKING = 1 << 1,     /* the server may keep the reply back */
    AR_STATEFUL = 1 << 2,     /* changes the connection it is sent on */
    AR_NEVER_DECODE = 1 << 3, /* the reply is binary whatever the client's setting */
    AR_LEND = 1 << 4,         /* sends nothing: is after a connection of its own */
    AR_TAKES = 1 << 5,        /* what the reply brings is gone from the server */
    AR_SECRET = 1 << 6, /* there is a password in it: its bytes are wiped once they are sent */
    AR_READ = 1 << 7,   /* changes nothing: a replica may answer it */
};

/* What becomes of the commands of a pipeline and of their replies. */
typedef enum {
    AR_BATCH_PLAIN,       /* each reply is converted */
    AR_BATCH_TRANSACTION, /* between MULTI and EXEC; what EXEC gives is converted */
    AR_BATCH_RAW,         /* replies as they are */
} ar_batch_mode;

struct ArCommand;

/* How the layer above takes part in a command's life. */
typedef struct {
    /* Sends or queues. -1 with an exception set: the command fails with it. */
    int (*start)(struct ArCommand *command);
    /* Reply to result, stealing the reply. NULL with an exception set: the command fails with it. */
    PyObject *(*convert)(struct ArCommand *command, PyObject *reply);
    /* Of an AR_LEND command: takes `connection` over from `lender`. -1 with an exception set: it stays there. */
    int (*lend)(struct ArCommand *command, void *connection, void *lender);
    /* The waiter gives up while `connection` is serving this command alone. 1: another command has taken
     * its place there; 0: abandoned() is to follow, once this one is finished. */
    int (*bequeath)(struct ArCommand *command);
    void (*abandoned)(struct ArCommand *command);
    /* It was answered, and its waiter gives up before he is told (`dropped`: nobody ever asked). What the
     * reply had brought goes back. NULL for commands that take nothing. */
    void (*returned)(struct ArCommand *command, int dropped);
    /* It is finished; its arguments are still there. May be NULL. */
    void (*finished)(struct ArCommand *command);
    /* It is over, `started` having been set when it was started; `exception` (borrowed) is what it
     * failed with, whether an error handler turns that into a value or not. */
    void (*measured)(struct ArCommand *command, double started, PyObject *exception);
} ar_command_ops;

#define AR_INLINE_ARGUMENTS 5

typedef struct ArCommand {
    PyObject_HEAD
    ar_state *state;
    const ar_command_ops *ops;
    PyObject *owner;     /* the client */
    ArCore *core;        /* of the loop it was scheduled or started on; NULL before */
    PyObject *result;    /* value, exception, or message of the cancellation */
    PyObject *traceback; /* the exception's own; each raise starts from it */
    PyObject *callback, *callback_context;
    PyObject *more_callbacks; /* list of (callback, context), or NULL */
    PyObject *on_error, *error_key;
    PyObject *options; /* keyword arguments of the callback, or NULL; of a part its positions */
    PyObject *inner;   /* the future a coroutine-style driver waits on, or NULL */
    PyObject **argv;   /* owned arguments; argv[0] is the command's name */
    Py_ssize_t argc;
    union {
        PyObject *inline_argv[AR_INLINE_ARGUMENTS];
        ar_flushable late; /* once finished: its waiters are woken at the end of the turn */
    };
    ArQueue *batch;      /* the commands of a pipeline, or NULL */
    PyObject *replies;   /* of the batch, as far as they have come; while ANSWERED, its receipt */
    Py_ssize_t missing;  /* replies of the batch still to come */
    void *connection;    /* a leased connection while it serves this command (borrowed) */
    uint64_t wire_start; /* position of its first byte in the connection's output */
    double timeout;      /* seconds from the start, 0: none */
    double deadline;     /* monotonic seconds, 0: none */
    double expires;      /* monotonic seconds at which the operation as a whole is over, 0: never */
    double started;      /* monotonic seconds if it is measured, else 0 */
    PyObject *context;   /* it was made in, if somebody is told of it, or NULL */
    PyObject *weakrefs;
    uint8_t status;
    uint8_t blocking;    /* _asyncio_future_blocking */
    uint8_t unretrieved; /* failed, and nobody has looked */
    uint8_t properties;  /* AR_REPLAYABLE ... */
    uint8_t attempts;    /* times its bytes were given to a connection */
    uint8_t as_bool;     /* the result is the truth of the reply */
    uint8_t quiet;       /* nobody is told when it fails */
    uint8_t batch_mode;  /* ar_batch_mode */
    /* Of a cluster's commands. */
    void *cluster;       /* that routes it, borrowed from its client */
    uint8_t routed;      /* sent to whichever node has `slot` */
    uint8_t asking;      /* goes out behind ASKING */
    uint8_t unasked;     /* the reply to ASKING is still to come */
    uint8_t redirects;   /* times it was sent on to another node */
    uint16_t slot;       /* of its keys, if it is routed */
    uint8_t repeated;    /* given to its pool once more, as its time was over */
    double patient_till; /* monotonic seconds at which waiting for a node ends, 0: not waited yet */
} ArCommand;

static inline int
ar_command_finished(const ArCommand *command)
{
    return command->status >= AR_DONE;
}

/* Memory of a command, zeroed but for its type; given back by its deallocation. */
ArCommand *ar_command_allocate(ar_state *state, PyTypeObject *type);
/* Keeps the memory of a command that is gone; 0 if it is to be freed. */
int ar_command_spare(ArCommand *command);
/* Frees what is kept. */
void ar_command_free_spares(ar_state *state);

/* A new command that owns references to the arguments. */
ArCommand *ar_command_new(ar_state *state, const ar_command_ops *ops, PyObject *owner,
                          PyObject *name, PyObject *const *rest, Py_ssize_t rest_count);

/* A second command object that takes over the first one's content (see inner). */
ArCommand *ar_command_move(ArCommand *command);
/* A tuple of its arguments, for code that makes objects while it uses them: that may run finalizers, and they may give
 * the command up. NULL with an exception set, or without one: it has been given up by now. */
PyObject *ar_command_hold_arguments(const ArCommand *command);

/* arguments.c: makes its arguments such that encoding them runs no Python code; -1 with an exception set. Python
 * code may run now, and may even finish the command. */
int ar_command_settle(ArCommand *command, const ar_text_codec *codec);
/* arguments.c: the same for a tuple: a new one. */
PyObject *ar_arguments_settle(ar_state *state, const ar_text_codec *codec, PyObject *arguments);

/* Sends it now; afterwards it is started or finished. */
void ar_command_start(ArCommand *command);
/* Starts it with the next loop turn. -1 with an exception set when no loop runs. */
int ar_command_schedule(ArCommand *command);

/* Finish it, once: each does nothing for a finished command. The first two steal their second
 * argument; a KeyboardInterrupt out of a resumed task goes to the core. */
void ar_command_reply(ArCommand *command, PyObject *reply); /* what the server said */
void ar_command_fail(ArCommand *command, PyObject *exception);
void ar_command_complete(ArCommand *command, PyObject *value); /* a final value */
void ar_command_fail_pending_exception(ArCommand *command);
int ar_command_cancel(ArCommand *command, PyObject *message);
/* ops->convert that leaves the reply as it is; an error reply is raised. */
PyObject *ar_command_pass_reply(ArCommand *command, PyObject *reply);

/* waking.c: calls, or schedules, everybody who waits for a command that has just been finished. */
void ar_command_wake(ArCommand *command);
/* waking.c: whether the waiter, a Task, would be resumed within ar_command_reply(). */
int ar_command_resumes_at_once(const ArCommand *command);

/* answer.c: the reply (stolen) of a command that takes something away. `receipt` (stolen) is kept for
 * ops->returned until somebody is told. */
void ar_command_answer(ArCommand *command, PyObject *reply, PyObject *receipt);
/* answer.c: somebody looks at a command: if it was answered, and nobody else waits, it is finished now. */
void ar_command_look(ArCommand *command);
/* answer.c: it was answered, and has its first waiter. */
void ar_command_tell_later(ArCommand *command);

/* waking.c: as add_done_callback() and remove_done_callback(). */
int ar_command_add_callback(ArCommand *command, PyObject *callback, PyObject *context);
int ar_command_remove_callback(ArCommand *command, PyObject *callback, Py_ssize_t *removed);

/* Drops what only sending needed. */
void ar_command_release_payload(ArCommand *command);

#endif
