/* The core: a libev loop that lives inside an asyncio loop's thread, one for each asyncio loop. */
#ifndef AR_LOOP_H
#define AR_LOOP_H

#include "busypoll.h"
#include "libev.h"
#include "state.h"

struct ArCore;

/* Something with bytes to write once the current drain or loop turn is over. */
typedef struct ar_flushable {
    struct ar_flushable *next;
    void (*flush)(struct ar_flushable *self); /* called once for each time it was queued */
    int queued;
} ar_flushable;

/* Work for the next loop turn: C work on `subject`, or `callback(subject)` inside `context`. */
typedef void (*ar_job_function)(PyObject *subject);
typedef struct {
    ar_job_function function;
    PyObject *subject, *callback, *context;
} ar_job;

static inline void
ar_job_clear(const ar_job *job)
{
    Py_XDECREF(job->subject);
    Py_XDECREF(job->callback);
    Py_XDECREF(job->context);
}

/* What may be called at once of those who wait for a reply; 0: nothing. */
enum {
    AR_DELIVER_TO_TASK = 1, /* a Task that is the only one */
    AR_DELIVER_TO_ALL = 2,  /* everybody, as outside of a drain */
};

#define AR_READ_BUFFER (64 * 1024)

/* Bytes read and written in one drain or turn, by all connections: beyond it each goes on by small pieces,
 * so that asyncio has its turn within milliseconds whatever is on its way. */
#define AR_BULK_PER_TURN ((Py_ssize_t)2 * 1024 * 1024)

typedef struct ArCore {
    PyObject_HEAD
    ar_state *state;
    struct ev_loop *ev;
    PyObject *loop;   /* the asyncio loop */
    PyObject *module; /* whose memory `state` is */
    PyObject *call_soon, *call_later;
    PyObject *drain_method, *turn_method, *timer_method;
    PyObject *done;         /* a future of the loop that is done: see ar_command_wake() */
    PyObject *timer_handle; /* asyncio's handle for the next libev timer, or NULL */
    double timer_due;       /* monotonic seconds for which timer_handle is set */
    ar_job *jobs;
    size_t job_count, job_capacity;
    ar_flushable *dirty_head, *dirty_tail;
    PyObject *interrupt;         /* KeyboardInterrupt or SystemExit on its way out of the drain */
    PyThreadState *drain_thread; /* set while a drain runs */
    int users;                   /* pools attached */
    int connections;             /* that live */
    int waker[2];                /* wakes the loop when call_soon() has no memory */
    ev_io waker_watcher;
    ev_io *reader;        /* of the connection opened last, if it still lives */
    int reader_drains;    /* in a row that asked nobody but it */
    int read_anything;    /* set whenever a connection has read */
    Py_ssize_t bulk_left; /* bytes that may still be read and written in this drain or turn */
    ar_busypoll busypoll;
    int asked;      /* a command was sent that the server answers at once */
    int turn_owed;  /* a turn was due, and asyncio had no memory for it */
    int delivering; /* a reply is being handed to its waiter: AR_DELIVER_... */
    int turn_scheduled;
    int watchers_changed; /* libev has changes that reach the kernel in the next ev_run only */
    unsigned generation;  /* of the process: differs after fork() */
    unsigned long thread; /* that made it: the loop's own */
    char read_buffer[AR_READ_BUFFER];
} ArCore;

/* The core of the running asyncio loop (a new reference), made when there is none yet.
 * RuntimeError outside of a running loop. */
ArCore *ar_core_get(ar_state *state);
/* The core of `loop` when there is one already; borrowed, NULL without an exception otherwise. */
ArCore *ar_core_find(ar_state *state, PyObject *loop);

static inline int
ar_core_draining_here(const ArCore *core)
{
    return core->drain_thread != NULL && core->drain_thread == PyThreadState_Get();
}

/* False once the asyncio loop has been closed, or after fork() in the child. */
int ar_core_alive(const ArCore *core);
/* The last user to detach closes the libev loop. */
void ar_core_attach(ArCore *core);
void ar_core_detach(ArCore *core);

/* Each returns -1 with an exception set when the asyncio loop refuses (it is closed). Callbacks may be those of a
 * command that was given up before any loop ran: `core` is NULL then, and refuses, too. */
int ar_core_schedule_job(ArCore *core, ar_job_function function, PyObject *subject);
int ar_core_schedule_callback(ArCore *core, PyObject *callback, PyObject *subject,
                              PyObject *context);
/* Room for so many more jobs; -1 with MemoryError set. */
int ar_core_reserve_jobs(ArCore *core, size_t count);
/* Room in libev for one more connection, on the descriptor `fd`; -1 with MemoryError set. */
int ar_core_reserve(ArCore *core, int fd);
/* Flush at the end of the drain under way, else of the next loop turn. The flushable is not queued yet, and has to stay
 * alive until its flush(): a finalizer that asking for a turn runs may even lead to it before this returns. */
void ar_core_mark_dirty(ArCore *core, ar_flushable *flushable);
/* `reader` is the read watcher of a connection: with only one of them, a drain tries it before it asks
 * libev. */
void ar_core_add_reader(ArCore *core, ev_io *reader);
void ar_core_remove_reader(ArCore *core, const ev_io *reader);
/* Written outside of a drain: if it pays, the next turn polls for the reply (busypoll.h). */
void ar_core_poll_soon(ArCore *core);
/* To be called after any change of a libev watcher outside of a libev callback. */
void ar_core_watchers_changed(ArCore *core);
void ar_core_timer_start(ArCore *core, ev_timer *timer, double seconds);

/* Tells the loop's exception handler; steals `exception`. */
void ar_core_report(ArCore *core, const char *message, PyObject *exception, PyObject *future);
/* Keeps a KeyboardInterrupt or SystemExit for the end of the drain. Steals `exception`. */
void ar_core_interrupt(ArCore *core, PyObject *exception);
int ar_is_interrupt(PyObject *exception);

/* Called in the child after fork(): every core made before is dead there. */
void ar_core_after_fork(void);

/* Between loop.c and core.c. */
extern PyMethodDef ar_core_methods[];
int ar_core_same_process(const ArCore *core);
/* Leaves the asyncio loop and gives the libev loop back. Jobs still queued are run nevertheless. */
void ar_core_close(ArCore *core);
void ar_core_cancel_timer(ArCore *core);
/* To be called after each run of libev: replaces the descriptor that asyncio watches if it is stale (libev.h). */
void ar_core_renew_if_stale(ArCore *core);
void ar_core_flush_dirty(ArCore *core);

int ar_core_setup(PyObject *module, ar_state *state);

#endif
